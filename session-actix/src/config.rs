//! What the middleware is told once.

use std::sync::Arc;

use ipnet::IpNet;
use session_core::{Policy, SessionStore, cookie::CookieCodec};

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
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) codec: CookieCodec,
    pub(crate) policy: Policy,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl SessionMiddleware {
    /// Sessions in `store`, in cookies that `codec` reads and writes, under the default [`Policy`].
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>, codec: CookieCodec) -> Self {
        let shared = Shared { store, codec, policy: Policy::default(), trusted_proxies: Vec::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The timeouts and switches that hold for every session.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        Arc::make_mut(&mut self.shared).policy = policy;
        self
    }

    /// The TLS proxies in front of the application: from these addresses, and from no other, `X-Forwarded-Proto: https` is believed.
    ///
    /// None by default. A proxy must replace the header that clients send; of several values the last counts, which the nearest proxy
    /// wrote.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Arc::make_mut(&mut self.shared).trusted_proxies = proxies.into_iter().collect();
        self
    }
}
