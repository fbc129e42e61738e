//! [`AllowedHosts`]: the host names that the metrics server accepts.

use std::net::{IpAddr, SocketAddr};

use actix_web::{
    HttpRequest,
    http::{
        header::{HOST, HeaderValue},
        uri::Authority,
    },
};

/// The host names that the metrics server accepts.
///
/// A page in a browser on this machine can make its own host name resolve to the loopback address
/// (DNS rebinding). Then the browser treats the metrics server as the server of the page, and the
/// page may read its responses. The `Host` header still has the name of the page.
#[derive(Debug, Clone)]
pub(super) struct AllowedHosts {
    address: IpAddr,
    more: Vec<String>,
}

impl AllowedHosts {
    /// The names of the loopback address, and `more` names in lower case.
    pub(super) fn new(address: SocketAddr, more: Vec<String>) -> Self {
        Self { address: address.ip().to_canonical(), more }
    }

    /// Whether the request has exactly one `Host` header and its name is allowed. If the target of
    /// the request has a host name, that name must be allowed too.
    pub(super) fn allows(&self, request: &HttpRequest) -> bool {
        let mut hosts = request.headers().get_all(HOST).map(HeaderValue::as_bytes);
        let host = hosts.next().and_then(|host| Authority::try_from(host).ok());
        let named = host.is_some_and(|host| self.is_allowed(&host)) && hosts.next().is_none();
        named && request.uri().authority().is_none_or(|target| self.is_allowed(target))
    }

    /// The port is not checked: a page cannot change it independently of its name.
    fn is_allowed(&self, authority: &Authority) -> bool {
        let host = authority.host().to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_address = address.is_ok_and(|address| address.to_canonical() == self.address);
        !authority.as_str().contains('@')
            && (is_address || host == "localhost" || self.more.contains(&host))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn s29_only_own_names_are_allowed() {
        let names = |address: &str, more: &[&str]| {
            AllowedHosts::new(
                address.parse().unwrap(),
                more.iter().map(|name| (*name).to_owned()).collect(),
            )
        };
        let (four, six) =
            (names("127.0.0.1:9100", &["metrics.internal"]), names("[::1]:9100", &["10.0.0.7"]));
        let allowed = |names: &AllowedHosts, hosts: &[&str], uri: &str| {
            let request = hosts.iter().fold(TestRequest::default().uri(uri), |request, host| {
                request.append_header((HOST, *host))
            });
            names.allows(&request.to_http_request())
        };
        for host in [
            "127.0.0.1:9100",
            "127.0.0.1",
            "localhost:9100",
            "LOCALHOST",
            "metrics.internal",
            "Metrics.Internal:80",
        ] {
            assert!(allowed(&four, &[host], "/metrics"), "{host}");
        }
        for host in ["[::1]:9100", "[::1]", "localhost", "10.0.0.7:1"] {
            assert!(allowed(&six, &[host], "/metrics"), "{host}");
        }
        let foreign = [
            "evil.example",
            "evil.example:9100",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.2",
            "0.0.0.0",
            "[::1]",
            "",
            " ",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "x.metrics.internal",
        ];
        for host in foreign {
            assert!(!allowed(&four, &[host], "/metrics"), "{host}");
        }
        assert!(!allowed(&four, &[], "/metrics"));
        assert!(!allowed(&four, &["localhost", "evil.example"], "/metrics"));
        assert!(!allowed(&four, &["localhost"], "http://evil.example/metrics"));
        assert!(allowed(&four, &["localhost"], "http://127.0.0.1:9100/metrics"));
    }
}
