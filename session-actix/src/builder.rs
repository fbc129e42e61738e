//! The middleware's settings and its builder.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use actix_web::{HttpResponse, body::BoxBody};
use ipnet::IpNet;
use session_core::{
    Policy, SessionContext, SessionEvents, SessionStore,
    cookie::{CookieCodec, CookieConfig, CookieError, Key, KeyRing},
};

use crate::{Error, scheme::TrustedProxies};

/// Middleware that gives every request of an application its session.
///
/// A clone shares the store. Build the middleware outside the closure that `HttpServer::new` takes,
/// and clone it inside the closure.
///
/// # Examples
/// ```
/// use actix_web::App;
/// use session_actix::{MemoryStore, SessionMiddleware, cookie::Key};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = SessionMiddleware::builder(MemoryStore::new(), Key::random()?).build()?;
/// let app = App::new().wrap(sessions.clone());
/// # let _ = app;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SessionMiddleware {
    pub(crate) shared: Arc<Shared>,
}

/// The settings that all requests share.
pub(crate) struct Shared {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) codec: CookieCodec,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) error_response: Option<ErrorResponse>,
    pub(crate) panics: Panics,
}

/// Makes the response for an error of this crate.
pub(crate) type ErrorResponse = Arc<dyn Fn(&Error) -> HttpResponse<BoxBody> + Send + Sync>;

/// What happens when a handler panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panics {
    /// The panic reaches actix, which closes the connection.
    Propagate,
    /// The client gets a 500.
    Catch,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("context", &self.context)
            .field("codec", &self.codec)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("panics", &self.panics)
            .finish_non_exhaustive()
    }
}

impl SessionMiddleware {
    /// A builder of a middleware that keeps its sessions in `store` and protects its cookies with
    /// `signing`.
    ///
    /// `store` is a store, or an `Arc` of one. `signing` is a [`Key`](session_core::cookie::Key), a
    /// [`KeyRing`] while the key changes, or [`CookieSigning::Unsigned`]. By default the cookie has
    /// the name `__Host-id` and is https-only.
    pub fn builder(
        store: impl SessionStore + 'static,
        signing: impl Into<CookieSigning>,
    ) -> SessionMiddlewareBuilder {
        SessionMiddlewareBuilder {
            store: shared(store),
            signing: signing.into(),
            cookie: CookieConfig::default(),
            policy: Policy::default(),
            events: None,
            trusted_proxies: TrustedProxies::default(),
            error_response: None,
            panics: Panics::Propagate,
        }
    }

    /// The store, for calls outside a request: readiness probes, administration, purges.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        self.shared.context.store()
    }

    /// The policy of every session.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.shared.context.policy()
    }
}

/// Collects the options of a [`SessionMiddleware`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct SessionMiddlewareBuilder {
    store: Arc<dyn SessionStore>,
    signing: CookieSigning,
    cookie: CookieConfig,
    policy: Policy,
    events: Option<Arc<dyn SessionEvents>>,
    trusted_proxies: TrustedProxies,
    error_response: Option<ErrorResponse>,
    panics: Panics,
}

/// How the value of the cookie is protected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CookieSigning {
    /// The cookie is signed. The first key signs, and every key verifies.
    Keys(KeyRing),
    /// The cookie is not signed. An id cannot be guessed, but each made-up cookie costs a store
    /// call, and the rules for superseded ids do not apply ([`CookieCodec::unsigned`]).
    Unsigned,
}

impl From<Key> for CookieSigning {
    fn from(key: Key) -> Self {
        Self::Keys(key.into())
    }
}

impl From<KeyRing> for CookieSigning {
    fn from(keys: KeyRing) -> Self {
        Self::Keys(keys)
    }
}

impl SessionMiddlewareBuilder {
    /// Sets the name and attributes of the cookie. [`CookieConfig::default`] by default.
    pub fn cookie(mut self, config: CookieConfig) -> Self {
        self.cookie = config;
        self
    }

    /// Sets a cookie for plain http on your own machine: the name `id`, without `Secure`. The same
    /// as `cookie(CookieConfig::development())`. Never use it for a site that other machines can
    /// reach.
    pub fn development(self) -> Self {
        self.cookie(CookieConfig::development())
    }

    /// Sets the timeouts of every session, and the reactions to ended sessions and failed requests.
    /// [`Policy::default`] by default.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the receiver of the events of sessions, for example an audit trail.
    pub fn events(mut self, events: impl SessionEvents + 'static) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// Sets the addresses of the proxies in front of the application. The middleware uses the
    /// headers `X-Forwarded-Proto` and `Forwarded` only of connections from these addresses. None
    /// by default.
    ///
    /// Each proxy must replace the header that its client sent, or append to it. Behind several
    /// proxies, name all of them: the middleware uses the value of the first one, see
    /// [`ForwardedHeaders::scheme`](session_core::forwarded::ForwardedHeaders::scheme).
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies.networks = proxies.into_iter().collect();
        self
    }

    /// Trusts every client that connects over a Unix-domain socket as a proxy. Such a client has no
    /// address that [`trusted_proxies`](Self::trusted_proxies) could name.
    ///
    /// Protect the socket by the rights of its folder: every process that can connect can claim
    /// that its client uses https.
    pub fn trusted_unix_proxy(mut self) -> Self {
        self.trusted_proxies.unix_sockets = true;
        self
    }

    /// Sets the function that makes the response for every [`Error`] of this crate, for example as
    /// JSON: errors that handlers return, commits that fail, and panics if they are caught.
    ///
    /// The middleware adds `Cache-Control: no-store` and, with status 503, `Retry-After`, unless
    /// the function sets them. If the request used the session, the middleware also adds the
    /// headers of the session. Without this option the client receives the plain text of the
    /// error's [`error_response`](actix_web::ResponseError::error_response).
    ///
    /// The function does not get the errors of routes outside this middleware.
    pub fn error_response<R>(mut self, respond: R) -> Self
    where
        R: Fn(&Error) -> HttpResponse<BoxBody> + Send + Sync + 'static,
    {
        self.error_response = Some(Arc::new(respond));
        self
    }

    /// Turns a panic of a handler into a 500. Without this option actix closes the connection.
    ///
    /// In both cases the changes that the request recorded are dropped. Only with
    /// [`OnServerError::KeepChanges`](session_core::OnServerError::KeepChanges) the changes before
    /// a caught panic are committed.
    pub fn catch_panics(mut self) -> Self {
        self.panics = Panics::Catch;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`BuildError::Cookie`] if browsers would refuse the cookie, [`BuildError::Timeout`] if no
    /// session could live under the policy.
    pub fn build(self) -> Result<SessionMiddleware, BuildError> {
        for (name, timeout) in [
            ("idle_timeout", Some(self.policy.idle_timeout)),
            ("anonymous_idle_timeout", self.policy.anonymous_idle_timeout),
            ("absolute_timeout", Some(self.policy.absolute_timeout)),
        ] {
            if let Some(timeout) = timeout
                && timeout < Duration::from_millis(1)
            {
                return Err(BuildError::Timeout { name, timeout });
            }
        }
        let codec = match self.signing {
            CookieSigning::Keys(keys) => CookieCodec::signed(self.cookie, &keys)?,
            CookieSigning::Unsigned => CookieCodec::unsigned(self.cookie)?,
        };
        let mut context = SessionContext::new(self.store, self.policy);
        if let Some(events) = self.events {
            context = context.events(events);
        }
        let shared = Shared {
            context: Arc::new(context),
            codec,
            trusted_proxies: self.trusted_proxies,
            error_response: self.error_response,
            panics: self.panics,
        };
        Ok(SessionMiddleware { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for SessionMiddlewareBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionMiddlewareBuilder")
            .field("policy", &self.policy)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("panics", &self.panics)
            .finish_non_exhaustive()
    }
}

/// The reason why a [`SessionMiddleware`] cannot be built.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Browsers would refuse the cookie.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// A timeout of the policy is shorter than a millisecond.
    #[error("Policy::{name} is {timeout:?}: use at least 1 ms")]
    Timeout {
        /// The field of [`Policy`].
        name: &'static str,
        /// Its value.
        timeout: Duration,
    },
}

/// Shows the text of `Display`, because `main` prints errors with `Debug`.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shares the store. An `Arc<dyn SessionStore>` gets no second layer, because each layer costs an
/// allocation in every call.
fn shared(store: impl SessionStore + 'static) -> Arc<dyn SessionStore> {
    match (&store as &dyn Any).downcast_ref::<Arc<dyn SessionStore>>() {
        Some(shared) => Arc::clone(shared),
        None => Arc::new(store),
    }
}

#[cfg(test)]
mod tests {
    use session_core::MemoryStore;

    use super::*;

    #[test]
    fn shared_store_gets_no_second_layer() {
        let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
        let sessions =
            SessionMiddleware::builder(Arc::clone(&store), Key::random().unwrap()).build().unwrap();
        assert!(Arc::ptr_eq(sessions.store(), &store));
    }

    #[test]
    fn zero_timeout_is_refused_with_its_name() {
        let builder = || SessionMiddleware::builder(MemoryStore::new(), Key::random().unwrap());
        let policy = Policy::default().idle_timeout(Duration::ZERO);
        let error = builder().policy(policy).build().unwrap_err();
        assert_eq!(format!("{error:?}"), "Policy::idle_timeout is 0ns: use at least 1 ms");
        let policy = Policy::default().absolute_timeout(Duration::ZERO);
        assert!(matches!(builder().policy(policy).build(), Err(BuildError::Timeout { .. })));
        let policy = Policy::default().anonymous_idle_timeout(Duration::ZERO);
        let error = builder().policy(policy).build().unwrap_err();
        assert_eq!(error.to_string(), "Policy::anonymous_idle_timeout is 0ns: use at least 1 ms");
        let policy = Policy::default().anonymous_idle_timeout(Duration::from_millis(1));
        builder().policy(policy).build().unwrap();
    }

    #[test]
    fn cookie_that_browsers_refuse_is_an_error() {
        let cookie = CookieConfig::default().path("/app");
        let built = SessionMiddleware::builder(MemoryStore::new(), Key::random().unwrap())
            .cookie(cookie)
            .build();
        assert!(matches!(built, Err(BuildError::Cookie(CookieError::HostPrefix { .. }))));
    }
}
