//! Which scheme the browser requested.

use actix_web::HttpRequest;
use ipnet::IpNet;
use session_core::origin::Scheme;

/// The scheme that the browser requested, if this server knows it: from its own TLS, or from a
/// trusted proxy.
pub(crate) fn scheme(trusted_proxies: &[IpNet], request: &HttpRequest) -> Option<Scheme> {
    if request.app_config().secure() {
        return Some(Scheme::Https);
    }
    let peer = request.peer_addr()?.ip().to_canonical();
    if !trusted_proxies.iter().any(|proxy| proxy.contains(&peer)) {
        return None;
    }
    let forwarded = request.headers().get_all("x-forwarded-proto").last()?.to_str().ok()?;
    Scheme::from_name(forwarded.rsplit(',').next()?.trim_ascii())
}
