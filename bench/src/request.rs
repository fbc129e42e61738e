//! The library's part of a request, without a web framework and without a network.

use std::{error::Error, sync::Arc, time::Instant};

use session_core::{
    CookieChange, CookieDelivery, Policy, RecordedChanges, SessionContext, SessionDriver,
    SessionError, SessionId, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, VerifiedCookies},
};

use crate::at_once;

/// A site with one session, which holds the number `n`, and the `Cookie` header of its browser.
#[derive(Debug)]
pub struct Site {
    context: Arc<SessionContext>,
    key: Key,
    codec: CookieCodec,
    header: String,
}

impl Site {
    /// A site with the default policy, this store, and signed cookies like this.
    ///
    /// # Errors
    /// If browsers would refuse such a cookie, or the operating system gives no random bytes.
    pub fn new(store: Arc<dyn SessionStore>, cookie: CookieConfig) -> Result<Self, Box<dyn Error>> {
        let key = Key::random()?;
        let codec = CookieCodec::signed(cookie, &key.clone().into())?;
        let context = Arc::new(SessionContext::new(store, Policy::default()));
        let mut site = Self { context, key, codec, header: String::new() };
        let issued = site.start()?.unwrap_or_default();
        let cookie = issued.split(';').next().unwrap_or_default();
        // Between neighbours, as on most sites.
        site.header = format!("_ga=GA1.2.1234567890.1234567890; {cookie}; consent=necessary");
        Ok(site)
    }

    /// The `Cookie` header that its browser sends.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The key that signs its cookies.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The cookie's reader and writer.
    #[must_use]
    pub fn codec(&self) -> &CookieCodec {
        &self.codec
    }

    /// The sessions.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        self.context.store()
    }

    /// Finds and verifies the cookie.
    #[must_use]
    pub fn cookies(&self) -> VerifiedCookies {
        self.codec.read([self.header.as_bytes()])
    }

    /// The id in the cookie.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.cookies().iter().next().map(|cookie| cookie.id.clone())
    }

    /// Opens the session for one request: cookie, id, key.
    #[must_use]
    pub fn open(&self) -> SessionDriver {
        self.open_with(self.cookies())
    }

    fn open_with(&self, cookies: VerifiedCookies) -> SessionDriver {
        SessionDriver::open(
            Arc::clone(&self.context),
            cookies,
            CookieDelivery::Possible,
            Instant::now(),
        )
    }

    /// Ends a request: plan, commit, and the `Set-Cookie` value if one is due.
    ///
    /// # Errors
    /// As [`SessionDriver::finish`].
    pub fn finish(&self, driver: &SessionDriver) -> Result<Option<String>, SessionError> {
        at_once(driver.finish(RecordedChanges::Commit))?;
        Ok(match driver.cookie() {
            CookieChange::Keep => None,
            CookieChange::Issue { id, max_age } => Some(self.codec.issue(&id, max_age)),
            CookieChange::Remove => Some(self.codec.remove()),
        })
    }

    /// A request that reads one value.
    ///
    /// # Errors
    /// As [`Session::get`](session_core::Session::get) and [`SessionDriver::finish`].
    pub fn read(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        at_once(driver.session().get::<i64>("n"))?;
        self.finish(&driver)
    }

    /// A request that counts.
    ///
    /// # Errors
    /// As [`Session::add`](session_core::Session::add) and [`SessionDriver::finish`].
    pub fn add(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        at_once(driver.session().add("n", 1))?;
        self.finish(&driver)
    }

    /// A request that reads a value and inserts its successor.
    ///
    /// # Errors
    /// As [`Session::get`](session_core::Session::get),
    /// [`Session::insert`](session_core::Session::insert) and [`SessionDriver::finish`].
    pub fn read_insert(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        let n = at_once(driver.session().get::<i64>("n"))?.unwrap_or(0);
        driver.session().insert("n", &(n + 1))?;
        self.finish(&driver)
    }

    /// A request without a cookie that starts a session.
    ///
    /// # Errors
    /// As [`Session::insert`](session_core::Session::insert) and [`SessionDriver::finish`].
    pub fn start(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open_with(VerifiedCookies::default());
        driver.session().insert("n", &1)?;
        self.finish(&driver)
    }
}
