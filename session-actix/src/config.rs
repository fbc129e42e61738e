//! What the middleware is told once.

use std::sync::Arc;

use ipnet::IpNet;
use session_core::{Policy, SessionContext, SessionEvents, SessionStore, cookie::CookieCodec};

/// The middleware that gives every request of an application its session.
///
/// Cloning shares the store: make one and clone it into the factory that `HttpServer::new` takes.
#[derive(Debug, Clone)]
pub struct SessionMiddleware {
    pub(crate) shared: Arc<Shared>,
}

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) codec: CookieCodec,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl SessionMiddleware {
    /// Sessions in `store`, in cookies that `codec` reads and writes, under the default [`Policy`].
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>, codec: CookieCodec) -> Self {
        let context = Arc::new(SessionContext::new(store, Policy::default()));
        let shared = Shared { context, codec, trusted_proxies: Vec::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The timeouts and switches that hold for every session.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.set_context(|context| context.with_policy(policy));
        self
    }

    /// Receives what happens to sessions: an audit trail.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn SessionEvents>) -> Self {
        self.set_context(|context| context.events(events));
        self
    }

    /// The TLS proxies in front of the application: from these addresses, and from no other,
    /// `X-Forwarded-Proto: https` is believed.
    ///
    /// None by default. A proxy must replace the header that clients send; of several values the
    /// last counts, which the nearest proxy wrote.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Arc::make_mut(&mut self.shared).trusted_proxies = proxies.into_iter().collect();
        self
    }

    fn set_context(&mut self, change: impl FnOnce(SessionContext) -> SessionContext) {
        let shared = Arc::make_mut(&mut self.shared);
        shared.context = Arc::new(change(SessionContext::clone(&shared.context)));
    }
}
