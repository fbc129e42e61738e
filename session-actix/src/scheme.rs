//! The scheme that the browser requested.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header::HeaderValue};
use ipnet::IpNet;
use session_core::{forwarded::ForwardedHeaders, origin::Scheme};

/// The proxies whose headers count.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies {
    pub(crate) networks: Vec<IpNet>,
    /// Whether every client that connects over a Unix-domain socket is a trusted proxy.
    pub(crate) unix_sockets: bool,
}

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether the client of this request is a trusted proxy. A client that connects over a
    /// Unix-domain socket has no address.
    fn sent(&self, request: &HttpRequest) -> bool {
        match request.peer_addr() {
            Some(peer) => self.contains(peer.ip()),
            None => self.unix_sockets,
        }
    }
}

/// The scheme that the browser requested, if this server knows it: from its own TLS, or from
/// trusted proxies.
pub(crate) fn scheme(proxies: &TrustedProxies, request: &HttpRequest) -> Option<Scheme> {
    if request.app_config().secure() {
        return Some(Scheme::Https);
    }
    if !proxies.sent(request) {
        return None;
    }
    let values = |name: &'static str| request.headers().get_all(name).map(HeaderValue::as_bytes);
    // Almost all requests have one value, for which no list is needed.
    let mut schemes = values("x-forwarded-proto");
    if let (Some(value), None) = (schemes.next(), schemes.next())
        && !value.contains(&b',')
    {
        return Scheme::from_name(std::str::from_utf8(value).ok()?.trim_ascii());
    }
    ForwardedHeaders::default()
        .x_forwarded_proto(values("x-forwarded-proto"))
        .x_forwarded_for(values("x-forwarded-for"))
        .forwarded(values("forwarded"))
        .scheme(|address| proxies.contains(address))
}
