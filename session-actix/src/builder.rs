//! The middleware's settings and its builder.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use actix_web::{HttpResponse, body::BoxBody};
use ipnet::IpNet;
use session_core::{
    Policy, SessionContext, SessionEvents, SessionStore,
    cookie::{CookieCodec, CookieConfig, CookieError, Key, KeyRing},
};

use crate::Error;

/// Middleware that gives every request of an application its session.
///
/// A clone shares the store. Build one outside the closure that `HttpServer::new` takes, and clone
/// it inside.
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

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) codec: CookieCodec,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) error_response: Option<ErrorResponse>,
    pub(crate) panics: Panics,
}

/// Makes the response for an error of this crate.
pub(crate) type ErrorResponse = Arc<dyn Fn(&Error) -> HttpResponse<BoxBody> + Send + Sync>;

/// What happens when a handler panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panics {
    /// The panic goes on to actix, which closes the connection.
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
    /// Sessions in `store`, in cookies that `signing` protects.
    ///
    /// `signing` is a [`Key`](session_core::cookie::Key), a [`KeyRing`] while the key changes, or
    /// [`CookieSigning::Unsigned`]. `store` is a store, or an `Arc` of one. The cookie is
    /// `__Host-id`, for https only, until the builder says otherwise.
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
            trusted_proxies: Vec::new(),
            error_response: None,
            panics: Panics::Propagate,
        }
    }

    /// The store, for what happens outside a request: readiness probes, administration, purges.
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
    trusted_proxies: Vec<IpNet>,
    error_response: Option<ErrorResponse>,
    panics: Panics,
}

/// How the cookie's value is protected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CookieSigning {
    /// The first key signs, and every key verifies.
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
    /// The cookie's name and attributes. [`CookieConfig::default`] until then.
    pub fn cookie(mut self, config: CookieConfig) -> Self {
        self.cookie = config;
        self
    }

    /// A cookie for plain http on the developer's own machine: the name `id`, without `Secure`.
    /// Short for `cookie(CookieConfig::development())`. Never use it for a site that others reach.
    pub fn development(self) -> Self {
        self.cookie(CookieConfig::development())
    }

    /// The timeouts and switches of every session. [`Policy::default`] until then.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Receives what happens to sessions: an audit trail.
    pub fn events(mut self, events: impl SessionEvents + 'static) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// The TLS proxies in front of the application. `X-Forwarded-Proto: https` counts if the
    /// connection comes from one of these addresses, and from no other. None by default.
    ///
    /// A proxy must replace the header that clients send. Of several values the last one counts,
    /// which the nearest proxy wrote.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies = proxies.into_iter().collect();
        self
    }

    /// Makes the response for every [`Error`] of this crate, for example as JSON: errors that
    /// handlers return, commits that fail, and panics if they are caught.
    ///
    /// The response gets the session's headers, `Cache-Control: no-store` and, with status 503,
    /// `Retry-After`, where the closure sets none. Without this option the client receives the
    /// plain text of the error's [`error_response`](actix_web::ResponseError::error_response).
    ///
    /// The errors of a route outside this middleware do not reach it.
    pub fn error_response<R>(mut self, respond: R) -> Self
    where
        R: Fn(&Error) -> HttpResponse<BoxBody> + Send + Sync + 'static,
    {
        self.error_response = Some(Arc::new(respond));
        self
    }

    /// Turns a panic of a handler into a 500. Without this option actix closes the connection. The
    /// changes that the request recorded are dropped in both cases
    /// ([`OnServerError`](session_core::OnServerError)).
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
            ("idle_timeout", self.policy.idle_timeout),
            ("absolute_timeout", self.policy.absolute_timeout),
        ] {
            if timeout < Duration::from_millis(1) {
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

/// Why a [`SessionMiddleware`] cannot be built.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Browsers would refuse the cookie.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// A timeout of the policy leaves no time to live.
    #[error("Policy::{name} is {timeout:?}: use a positive time")]
    Timeout {
        /// The field of [`Policy`].
        name: &'static str,
        /// Its value.
        timeout: Duration,
    },
}

/// The text of `Display`, because `main` prints errors with `Debug`.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shares the store. A store that is shared already gets no second layer, because each layer costs
/// an allocation in every call.
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
        assert_eq!(format!("{error:?}"), "Policy::idle_timeout is 0ns: use a positive time");
        let policy = Policy::default().absolute_timeout(Duration::ZERO);
        assert!(matches!(builder().policy(policy).build(), Err(BuildError::Timeout { .. })));
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
