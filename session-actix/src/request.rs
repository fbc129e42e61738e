//! From the bytes of a request to its session.

use std::{
    cell::{Cell, OnceCell},
    sync::Arc,
    time::Instant,
};

use actix_web::{HttpMessage, HttpRequest, http::header};
use session_core::{
    CookieDelivery, SessionDriver,
    cookie::{Transport, VerifiedCookies},
    origin::Scheme,
};

use crate::{config::Shared, scheme::scheme};

/// Where a request's session is, once a handler has asked for it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) shared: Arc<Shared>,
    session: OnceCell<SessionDriver>,
    began: Instant,
    /// Whether the response head has left, or never will.
    closed: Cell<bool>,
}

impl Slot {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, session: OnceCell::new(), began: Instant::now(), closed: Cell::new(false) }
    }

    /// The session, opened by the first call. Nothing is loaded.
    pub(crate) fn open(&self, request: &HttpRequest) -> SessionDriver {
        let opened = self.session.get_or_init(|| open(&self.shared, request, self.began));
        if self.closed.get() {
            opened.seal();
        }
        opened.clone()
    }

    /// Says that the response head has left, or never will.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        if let Some(session) = self.session.get() {
            session.seal();
        }
    }

    /// The session if the request asked for it.
    pub(crate) fn used(&self) -> Option<SessionDriver> {
        self.session.get().cloned()
    }
}

fn open(shared: &Shared, request: &HttpRequest, began: Instant) -> SessionDriver {
    let https_only = shared.codec.config().transport_is(Transport::Https);
    // Over plain http an https-only cookie is neither given nor believed: it cannot have come from
    // a browser that honours `Secure`.
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

/// The slot that the middleware put into the request.
pub(crate) fn slot(request: &HttpRequest) -> Option<std::rc::Rc<Slot>> {
    request.extensions().get::<std::rc::Rc<Slot>>().cloned()
}
