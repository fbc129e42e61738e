//! The work of the session layer in one request, without a web framework and a network.

use std::{error::Error, sync::Arc, time::Instant};

use session_core::{
    CookieChange, CookieDelivery, Policy, RecordedChanges, SessionContext, SessionDriver,
    SessionError, SessionId, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, VerifiedCookies},
};

use crate::expect_ready;

/// Runs requests of one session, which holds the number `n`. Keeps the `Cookie` header that the
/// browser of the session sends.
#[derive(Debug)]
pub struct RequestBench {
    context: Arc<SessionContext>,
    key: Key,
    codec: CookieCodec,
    header: String,
}

impl RequestBench {
    /// Creates the session in `store`. The policy is the default, and `cookie` configures the
    /// signed cookies.
    ///
    /// # Errors
    /// If browsers would refuse the cookie, or the operating system returns no random bytes.
    pub fn new(store: Arc<dyn SessionStore>, cookie: CookieConfig) -> Result<Self, Box<dyn Error>> {
        let key = Key::random()?;
        let codec = CookieCodec::signed(cookie, &key.clone().into())?;
        let context = Arc::new(SessionContext::new(store, Policy::default()));
        let mut bench = Self { context, key, codec, header: String::new() };
        let issued = bench.start()?.unwrap_or_default();
        let cookie = issued.split(';').next().unwrap_or_default();
        // Most sites have other cookies too, so two surround the session cookie.
        bench.header = format!("_ga=GA1.2.1234567890.1234567890; {cookie}; consent=necessary");
        Ok(bench)
    }

    /// The `Cookie` header of the browser.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The key that signs the cookies.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The codec that reads and writes the cookies.
    #[must_use]
    pub fn codec(&self) -> &CookieCodec {
        &self.codec
    }

    /// The store of the session.
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

    /// Begins a request: reads the cookie and opens the session, without a call to the store.
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

    /// Ends a request: makes the plan and the commit. Returns the `Set-Cookie` value if the
    /// response has to set the cookie.
    ///
    /// # Errors
    /// As [`SessionDriver::finish`].
    pub fn finish(&self, driver: &SessionDriver) -> Result<Option<String>, SessionError> {
        expect_ready(driver.finish(RecordedChanges::Commit))?;
        Ok(match driver.cookie() {
            CookieChange::Keep => None,
            CookieChange::Issue { id, max_age } => Some(self.codec.issue(&id, max_age)),
            CookieChange::Remove => Some(self.codec.remove()),
        })
    }

    /// Runs a request that reads one value.
    ///
    /// # Errors
    /// As [`Session::get`](session_core::Session::get) and [`SessionDriver::finish`].
    pub fn read(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        expect_ready(driver.session().get::<i64>("n"))?;
        self.finish(&driver)
    }

    /// Runs a request that adds to a number.
    ///
    /// # Errors
    /// As [`Session::add`](session_core::Session::add) and [`SessionDriver::finish`].
    pub fn add(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        expect_ready(driver.session().add("n", 1))?;
        self.finish(&driver)
    }

    /// Runs a request that reads a number and inserts the next one.
    ///
    /// # Errors
    /// As [`Session::get`](session_core::Session::get),
    /// [`Session::insert`](session_core::Session::insert) and [`SessionDriver::finish`].
    pub fn read_insert(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open();
        let n = expect_ready(driver.session().get::<i64>("n"))?.unwrap_or(0);
        driver.session().insert("n", &(n + 1))?;
        self.finish(&driver)
    }

    /// Runs a request without a cookie that starts a session.
    ///
    /// # Errors
    /// As [`Session::insert`](session_core::Session::insert) and [`SessionDriver::finish`].
    pub fn start(&self) -> Result<Option<String>, SessionError> {
        let driver = self.open_with(VerifiedCookies::default());
        driver.session().insert("n", &1)?;
        self.finish(&driver)
    }
}
