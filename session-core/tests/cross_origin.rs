//! S24: the rejection of requests from other origins, in a table for each header and a table of all
//! combinations.
#![expect(clippy::unwrap_used, reason = "test helpers may panic")]

use session_core::origin::{
    CrossOriginPolicy, CrossOriginPolicyBuilder, CrossOriginRejection, CrossOriginRequest, Scheme,
};

const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// Methods are case-sensitive, so `get` is not `GET` (RFC 9110, section 9.1).
const UNSAFE: [&str; 9] =
    ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PURGE", "get", ""];
const SCHEMES: [Option<Scheme>; 3] = [Some(Scheme::Https), Some(Scheme::Http), None];

fn policy() -> CrossOriginPolicy {
    let trusted = [
        "https://app.example.com",
        "HTTPS://Pay.Example:443",
        "http://[0:0::1]:3000",
        "capacitor://localhost",
    ];
    trusted
        .into_iter()
        .fold(CrossOriginPolicy::builder(), CrossOriginPolicyBuilder::trusted_origin)
        .build()
        .unwrap()
}

/// A `POST` to `host` with this `Origin`.
fn post(origin: &str, host: &str, scheme: Option<Scheme>) -> Result<(), CrossOriginRejection> {
    policy().check(
        &CrossOriginRequest::new("POST")
            .origin([origin.as_bytes()])
            .host(Some(host.as_bytes()))
            .scheme(scheme),
    )
}

#[test]
fn s24_every_combination_of_headers_has_its_result() {
    use OriginKind::{Own, Rejected, Trusted};
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum OriginKind {
        /// The own origin. Passes if `Sec-Fetch-Site` does not forbid the request.
        Own,
        /// A trusted origin. Passes.
        Trusted,
        /// Rejected.
        Rejected,
    }
    // The host, the values of Origin, and the results for a request over https, over http, and over
    // an unknown scheme.
    let table: [(&str, &[&str], [OriginKind; 3]); 27] = [
        ("example.com", &[], [Own, Own, Own]),
        ("example.com", &["https://example.com"], [Own, Rejected, Own]),
        ("example.com", &["http://example.com"], [Rejected, Own, Own]),
        ("example.com", &["https://example.com:443"], [Own, Rejected, Own]),
        ("example.com", &["http://example.com:80"], [Rejected, Own, Own]),
        ("example.com", &["https://example.com:80"], [Rejected, Rejected, Rejected]),
        ("example.com", &["http://example.com:443"], [Rejected, Rejected, Rejected]),
        ("example.com", &["https://example.com:8443"], [Rejected, Rejected, Rejected]),
        ("example.com:443", &["https://example.com"], [Own, Rejected, Own]),
        ("example.com:80", &["http://example.com"], [Rejected, Own, Own]),
        ("example.com:443", &["http://example.com"], [Rejected, Rejected, Rejected]),
        ("example.com:8443", &["https://example.com:8443"], [Own, Rejected, Own]),
        ("example.com:8443", &["http://example.com:8443"], [Rejected, Own, Own]),
        ("example.com:8443", &["https://example.com"], [Rejected, Rejected, Rejected]),
        ("EXAMPLE.com", &["https://Example.COM"], [Own, Rejected, Own]),
        ("[::1]:3000", &["https://[0:0::1]:3000"], [Own, Rejected, Own]),
        ("example.com", &["https://evil.example"], [Rejected, Rejected, Rejected]),
        ("example.com", &["https://www.example.com"], [Rejected, Rejected, Rejected]),
        ("example.com", &["https://example.com.evil.example"], [Rejected, Rejected, Rejected]),
        ("example.com", &["capacitor://example.com"], [Rejected, Rejected, Rejected]),
        ("example.com", &["null"], [Rejected, Rejected, Rejected]),
        (
            "example.com",
            &["https://example.com", "https://example.com"],
            [Rejected, Rejected, Rejected],
        ),
        (
            "example.com",
            &["https://app.example.com", "https://app.example.com"],
            [Rejected, Rejected, Rejected],
        ),
        ("example.com", &["https://app.example.com"], [Trusted, Trusted, Trusted]),
        ("example.com", &["https://pay.example"], [Trusted, Trusted, Trusted]),
        ("example.com", &["http://app.example.com"], [Rejected, Rejected, Rejected]),
        ("example.com", &["capacitor://localhost"], [Trusted, Trusted, Trusted]),
    ];
    // The values of Sec-Fetch-Site, and whether they allow the request, if there is a value.
    let sites: [(&[&str], Option<bool>); 9] = [
        (&[], None),
        (&["same-origin"], Some(true)),
        (&["none"], Some(true)),
        (&["same-site"], Some(false)),
        (&["cross-site"], Some(false)),
        (&[""], Some(false)),
        (&["Same-Origin"], Some(false)),
        (&["same-origin, none"], Some(false)),
        (&["same-origin", "same-origin"], Some(false)),
    ];
    let policy = policy();
    let mut checked = 0;
    for (host, origins, kinds) in table {
        for (scheme, kind) in SCHEMES.into_iter().zip(kinds) {
            for (site, browser) in sites {
                for upgrade in [None, Some("websocket")] {
                    for method in SAFE.into_iter().chain(UNSAFE) {
                        let request = CrossOriginRequest::new(method)
                            .upgrade(upgrade.map(str::as_bytes))
                            .fetch_site(site.iter().map(|site| site.as_bytes()))
                            .origin(origins.iter().map(|origin| origin.as_bytes()))
                            .host(Some(host.as_bytes()))
                            .scheme(scheme);
                        let passes = match browser {
                            _ if SAFE.contains(&method) && upgrade.is_none() => true,
                            Some(true) => true,
                            Some(false) => kind == Trusted,
                            None => kind != Rejected,
                        };
                        let checks = policy.check(&request);
                        assert_eq!(
                            checks.is_ok(),
                            passes,
                            "{method} {upgrade:?} {site:?} {origins:?} {host} {scheme:?}: \
                             {checks:?}"
                        );
                        checked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checked, 27 * 3 * 9 * 2 * 12);
}

#[test]
fn s24_a_malformed_origin_is_rejected() {
    let malformed = [
        "",
        " ",
        "example.com",
        "//example.com",
        "://example.com",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https://:443",
        "https://example.com/",
        "https://example.com?",
        "https://example.com#",
        "https://bob@example.com",
        "https://example.com:",
        "https://example.com:+443",
        "https://example.com:65979",
        "https://example.com: 443",
        "https://example.com:443:443",
        "https://exam ple.com",
        "https://example.com https://example.com",
        "https://example.com,https://example.com",
        "NULL",
        "https://example.com\t",
        "https://ex\u{e4}mple.com",
        "https://[::1",
        "https://::1",
        "https://[::1]443",
        "https://[::g]",
        "1https://example.com",
        "ht tps://example.com",
        "https://example.com\\.evil.example",
        "https://example.com%2eevil.example",
    ];
    for origin in malformed {
        for scheme in SCHEMES {
            assert_eq!(
                post(origin, "example.com", scheme),
                Err(CrossOriginRejection::MalformedOrigin),
                "{origin:?}"
            );
        }
    }
    let bytes =
        CrossOriginRequest::new("POST").origin([&b"https://\xff"[..]]).host(Some(b"example.com"));
    assert_eq!(policy().check(&bytes), Err(CrossOriginRejection::MalformedOrigin));
    let long = format!("https://{}", "a".repeat(254));
    assert_eq!(post(&long, &"a".repeat(254), None), Err(CrossOriginRejection::MalformedOrigin));
    assert_eq!(post(&long[..long.len() - 1], &"a".repeat(253), None), Ok(()));
}

#[test]
fn s24_an_origin_without_a_usable_host_is_rejected() {
    for host in [
        "",
        ":443",
        "example.com/",
        "bob@example.com",
        "exam ple.com",
        "example.com:x",
        "https://example.com",
    ] {
        assert_eq!(
            post("https://example.com", host, None),
            Err(CrossOriginRejection::UnknownHost),
            "{host:?}"
        );
    }
    let hostless = CrossOriginRequest::new("POST").origin([&b"https://example.com"[..]]);
    assert_eq!(policy().check(&hostless), Err(CrossOriginRejection::UnknownHost));
    assert_eq!(
        policy().check(&hostless.host(Some(b"\xff"))),
        Err(CrossOriginRejection::UnknownHost)
    );
    assert_eq!(
        policy().check(&hostless.origin([&b"https://app.example.com"[..]])),
        Ok(()),
        "a trusted origin needs no host"
    );
    assert_eq!(policy().check(&CrossOriginRequest::new("POST")), Ok(()));
}

#[test]
fn s24_the_rejection_names_the_cause() {
    let foreign = |origin: &str, own: &str| {
        Err(CrossOriginRejection::ForeignOrigin { origin: origin.to_owned(), own: own.to_owned() })
    };
    let other = |origin: &str, own: &str| {
        Err(CrossOriginRejection::OtherScheme { origin: origin.to_owned(), own: own.to_owned() })
    };
    assert_eq!(post("null", "example.com", None), Err(CrossOriginRejection::OpaqueOrigin));
    assert_eq!(
        post("http://Example.com:80", "example.com:443", Some(Scheme::Https)),
        foreign("http://example.com", "https://example.com")
    );
    assert_eq!(
        post("http://example.com", "example.com", Some(Scheme::Https)),
        other("http://example.com", "https://example.com")
    );
    assert_eq!(
        post("https://a.example", "example.com", None),
        foreign("https://a.example", "https://example.com")
    );
    assert_eq!(
        post("tauri://localhost", "localhost", None),
        foreign("tauri://localhost", "https://localhost")
    );
    let text =
        post("http://example.com", "example.com", Some(Scheme::Https)).unwrap_err().to_string();
    assert_eq!(
        text,
        "the request for https://example.com comes from http://example.com: the schemes differ"
    );
}

#[test]
fn s24_every_spelling_of_a_websocket_upgrade_counts() {
    let get = |values: &[&[u8]]| {
        let request = CrossOriginRequest::new("GET")
            .upgrade(values.iter().copied())
            .fetch_site([&b"cross-site"[..]]);
        policy().check(&request)
    };
    let websocket: [&[&[u8]]; 6] = [
        &[b"websocket"],
        &[b"WebSocket"],
        &[b"h2c, websocket"],
        &[b"h2c", b"websocket"],
        &[b"websocket/13"],
        &[b"\xff websocket"],
    ];
    for values in websocket {
        assert_eq!(get(values), Err(CrossOriginRejection::FetchSite), "{values:?}");
    }
    let others: [&[&[u8]]; 5] = [&[], &[b""], &[b"h2c"], &[b"web socket"], &[b"web", b"socket"]];
    for values in others {
        assert_eq!(get(values), Ok(()), "{values:?}");
    }
}

#[test]
fn s24_an_invalid_trusted_origin_is_an_error_with_a_reason() {
    let table = [
        ("app.example.com", "it has no scheme"),
        ("null", "it has no scheme"),
        ("", "it has no scheme"),
        ("://app.example.com", "its scheme is malformed"),
        ("https://app.example.com/", "it has a path, a query or a fragment"),
        ("https://app.example.com?a", "it has a path, a query or a fragment"),
        ("https://bob:secret@app.example.com", "it has a user name"),
        ("https://", "it has no host"),
        ("https://*.example.com", "it has a wildcard; name each origin"),
        (
            "https://b\u{fc}cher.example",
            "its host may have letters, digits, \"-\", \".\" and \"_\" only; \
             write other letters in Punycode",
        ),
        ("https://[::g]", "its IPv6 address is malformed"),
        ("https://app.example.com:70000", "its port is not a number of 0 to 65535"),
    ];
    for (origin, reason) in table {
        let error = CrossOriginPolicy::builder()
            .trusted_origin("https://a.example")
            .trusted_origin(origin)
            .build()
            .unwrap_err();
        let help = "use scheme://host or scheme://host:port, such as https://app.example.com";
        assert_eq!(
            error.to_string(),
            format!("trusted origin {origin:?} is not valid: {reason}; {help}")
        );
    }
}
