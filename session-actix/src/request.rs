//! From the headers of a request to its session.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use actix_web::{HttpMessage, HttpRequest, http::header};
use session_core::{
    CookieDelivery, SessionDriver,
    cookie::{Transport, VerifiedCookies},
    origin::Scheme,
};

use crate::{builder::Shared, scheme::scheme};

/// The session of one request. It is opened when a handler first asks for it, so that the cookie
/// costs nothing on other routes.
#[derive(Debug)]
pub(crate) struct RequestSession {
    pub(crate) shared: Arc<Shared>,
    driver: OnceCell<SessionDriver>,
    began: Instant,
    /// Whether the response head has been sent, or will not be sent.
    head_sent: Cell<bool>,
}

impl RequestSession {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, driver: OnceCell::new(), began: Instant::now(), head_sent: Cell::new(false) }
    }

    /// The session that the middleware attached to the request.
    pub(crate) fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().cloned()
    }

    /// The driver, opened by the first call. Nothing is loaded.
    pub(crate) fn open(&self, request: &HttpRequest) -> SessionDriver {
        let driver = self.driver.get_or_init(|| open(&self.shared, request, self.began));
        if self.head_sent.get() {
            driver.seal();
        }
        driver.clone()
    }

    /// The driver, if a handler or a middleware asked for the session.
    pub(crate) fn used(&self) -> Option<SessionDriver> {
        self.driver.get().cloned()
    }

    /// Records that no cookie can reach the browser any more: the response head has been sent, or
    /// will not be sent.
    pub(crate) fn seal(&self) {
        self.head_sent.set(true);
        if let Some(driver) = self.driver.get() {
            driver.seal();
        }
    }
}

fn open(shared: &Shared, request: &HttpRequest, began: Instant) -> SessionDriver {
    let https_only = shared.codec.config().transport_is(Transport::Https);
    // Over plain http an https-only cookie is neither set nor read. A browser that honours `Secure`
    // does not send it there.
    let delivery = if https_only && scheme(&shared.trusted_proxies, request) != Some(Scheme::Https)
    {
        CookieDelivery::Refused
    } else {
        CookieDelivery::Possible
    };
    let cookies = request.headers().get_all(header::COOKIE).map(header::HeaderValue::as_bytes);
    let verified = match delivery {
        CookieDelivery::Possible => shared.codec.read(cookies),
        CookieDelivery::Refused => {
            shared.codec.count_as_refused(cookies);
            VerifiedCookies::default()
        }
    };
    SessionDriver::open(Arc::clone(&shared.context), verified, delivery, began)
}
