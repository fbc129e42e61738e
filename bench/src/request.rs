//! The library's part of a request, without a web framework and without a network.

use std::{error::Error, sync::Arc};

use session_core::{
    CookieChange, Delivery, Policy, RecordedChanges, Session, SessionError, SessionStore,
    cookie::{CookieCodec, CookieConfig, Key, Presented},
};

use crate::at_once;

/// A site with one session, which holds the number `n`, and the `Cookie` header of its browser.
#[derive(Debug)]
pub struct Site {
    store: Arc<dyn SessionStore>,
    codec: CookieCodec,
    policy: Policy,
    header: String,
}

impl Site {
    /// A site with the default policy, this store, and signed cookies like this.
    ///
    /// # Errors
    /// If browsers would refuse such a cookie, or the operating system gives no random bytes.
    pub fn new(store: Arc<dyn SessionStore>, cookie: CookieConfig) -> Result<Self, Box<dyn Error>> {
        let codec = CookieCodec::signed(cookie, &Key::random()?.into())?;
        let mut site = Self { store, codec, policy: Policy::default(), header: String::new() };
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

    /// The cookie's reader and writer.
    #[must_use]
    pub fn codec(&self) -> &CookieCodec {
        &self.codec
    }

    /// The sessions.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.store
    }

    /// Finds and verifies the cookie.
    #[must_use]
    pub fn presented(&self) -> Option<Presented> {
        self.codec.read([self.header.as_bytes()])
    }

    /// Opens the session for one request: cookie, id, key.
    #[must_use]
    pub fn open(&self) -> Session {
        Session::open(Arc::clone(&self.store), self.policy, self.presented(), Delivery::Possible)
    }

    /// Ends a request: plan, commit, and the `Set-Cookie` value if one is due.
    ///
    /// # Errors
    /// As [`Session::finish`].
    pub fn finish(&self, session: &Session) -> Result<Option<String>, SessionError> {
        at_once(session.finish(RecordedChanges::Commit))?;
        Ok(match session.cookie() {
            CookieChange::Keep => None,
            CookieChange::Issue { id, max_age } => Some(self.codec.issue(&id, max_age)),
            CookieChange::Remove => Some(self.codec.remove()),
        })
    }

    /// A request that reads one value.
    ///
    /// # Errors
    /// As [`Session::get`] and [`Session::finish`].
    pub fn read(&self) -> Result<Option<String>, SessionError> {
        let session = self.open();
        at_once(session.get::<i64>("n"))?;
        self.finish(&session)
    }

    /// A request that counts.
    ///
    /// # Errors
    /// As [`Session::add`] and [`Session::finish`].
    pub fn add(&self) -> Result<Option<String>, SessionError> {
        let session = self.open();
        at_once(session.add("n", 1))?;
        self.finish(&session)
    }

    /// A request that reads a value and inserts its successor.
    ///
    /// # Errors
    /// As [`Session::get`], [`Session::insert`] and [`Session::finish`].
    pub fn read_insert(&self) -> Result<Option<String>, SessionError> {
        let session = self.open();
        let n = at_once(session.get::<i64>("n"))?.unwrap_or(0);
        session.insert("n", &(n + 1))?;
        self.finish(&session)
    }

    /// A stranger's request that starts a session.
    ///
    /// # Errors
    /// As [`Session::insert`] and [`Session::finish`].
    pub fn start(&self) -> Result<Option<String>, SessionError> {
        let session = Session::open(Arc::clone(&self.store), self.policy, None, Delivery::Possible);
        session.insert("n", &1)?;
        self.finish(&session)
    }
}
