//! Cross-origin protection: whether a state-changing request comes from a page of the same origin.
//!
//! A browser attaches the cookies of a site to a request that a page of another origin caused. Such
//! a request acts in the name of the signed-in user (cross-site request forgery, CSRF).
//! [`CrossOriginPolicy`] recognizes these requests by two headers that browsers set and that pages
//! cannot change. The module is independent of web frameworks: an adapter fills in a
//! [`CrossOriginRequest`] and answers 403 if [`CrossOriginPolicy::check`] returns an error.

use std::net::Ipv6Addr;

use crate::error_debug::debug_as_display;

/// The scheme of a URL that a browser requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, default port 80.
    Http,
    /// `https`, default port 443.
    Https,
}

impl Scheme {
    /// The scheme with this name, in upper or lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Rejects state-changing requests that a page of another origin caused.
///
/// The rules are those of `CrossOriginProtection` in Go 1.25
/// ([`net/http/csrf.go`](https://go.dev/src/net/http/csrf.go)), in this order:
///
/// | request | verdict |
/// |---|---|
/// | `GET`, `HEAD` or `OPTIONS`, no WebSocket upgrade | passes: these methods must not change state |
/// | `Sec-Fetch-Site` is `same-origin` or `none` | passes. `none` means that the user made the request, not a page |
/// | `Sec-Fetch-Site` is anything else, also empty or repeated | passes if `Origin` is trusted |
/// | `Origin` is the request's own origin, or trusted | passes |
/// | any other `Origin`, also `null`, malformed or repeated | rejected |
/// | neither header | passes |
///
/// `Sec-Fetch-Site` is the browser's own verdict. Chrome 76, Firefox 90, Safari 16.4 and later send
/// it, but only to https and to `localhost` (W3C Fetch Metadata). `Origin` covers older browsers
/// and plain http: browsers send it with every method except `GET` and `HEAD` (Fetch Standard,
/// "append a request `Origin` header"). A request with neither header comes from a program such as
/// `curl`, not from a browser that a page could misuse. A page of another origin cannot make a
/// program send the user's cookies, and a program can set both headers freely. Rejecting such
/// requests would stop no attack.
///
/// Three rules are stricter than those of Go:
/// - **The scheme of `Origin` is compared if the request's own scheme is known.** Go compares host
///   and port only. An attacker in the network can serve a page as `http://` of an https site, and
///   that page must not act on the https site. If the scheme is unknown, `Origin` may have either
///   scheme.
/// - **A WebSocket upgrade counts as a state-changing request**, although it is a `GET`. Browsers
///   open a WebSocket to any origin and send cookies with it, and the page can then read and write
///   (cross-site WebSocket hijacking). Browsers always send `Origin` with it (RFC 6455, section
///   4.1).
/// - An empty or repeated header counts as present.
///
/// Two origins are equal if scheme, host and port are equal (RFC 6454, section 5). Names are
/// compared without regard to case. A missing port is the default port of the scheme.
///
/// # Examples
/// ```
/// use session_core::origin::{CrossOriginPolicy, CrossOriginRequest, Scheme};
///
/// # fn main() -> Result<(), session_core::origin::InvalidOrigin> {
/// let policy = CrossOriginPolicy::builder().trusted_origin("https://app.example.com").build()?;
/// let post = CrossOriginRequest::new("POST")
///     .host(Some(b"example.com"))
///     .scheme(Some(Scheme::Https));
/// let from = |origin: &'static [u8]| policy.check(&post.origin([origin]));
///
/// assert!(from(b"https://example.com").is_ok());
/// assert!(from(b"https://app.example.com").is_ok());
/// assert!(from(b"http://example.com").is_err());
/// assert!(from(b"https://evil.example").is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrossOriginPolicy {
    /// In the form of [`normalized`].
    trusted: Vec<String>,
}

impl CrossOriginPolicy {
    /// A builder of a policy. Without [`CrossOriginPolicyBuilder::trusted_origin`] the policy
    /// trusts no other origin.
    #[must_use]
    pub fn builder() -> CrossOriginPolicyBuilder {
        CrossOriginPolicyBuilder::default()
    }

    /// Checks one request. It does no I/O, and allocates only if it has to compare an `Origin`.
    ///
    /// # Errors
    /// The reason to reject the request. The response should be a 403.
    pub fn check(&self, request: &CrossOriginRequest<'_>) -> Result<(), CrossOriginRejection> {
        if matches!(request.method, "GET" | "HEAD" | "OPTIONS") && !request.upgrades_to_websocket {
            return Ok(());
        }
        match request.fetch_site {
            Field::One(b"same-origin" | b"none") => Ok(()),
            Field::One(_) | Field::Repeated => match request.parse_origin() {
                Ok(Some(origin)) if self.trusted.contains(&origin) => Ok(()),
                _ => Err(CrossOriginRejection::FetchSite),
            },
            Field::Absent => match request.parse_origin()? {
                Some(origin) if !self.trusted.contains(&origin) => request.check_own(origin),
                _ => Ok(()),
            },
        }
    }
}

/// Collects the trusted origins of a [`CrossOriginPolicy`].
#[derive(Debug, Clone, Default)]
pub struct CrossOriginPolicyBuilder {
    trusted: Vec<String>,
}

impl CrossOriginPolicyBuilder {
    /// Allows pages of one more origin to cause state-changing requests. Can be called several
    /// times.
    ///
    /// `origin` is `scheme://host` or `scheme://host:port`, such as `https://app.example.com`.
    /// Wildcards are not supported. Any scheme is accepted, such as `capacitor://localhost` for a
    /// mobile application. A trusted origin can do everything that the user can do, so add https
    /// origins only.
    #[must_use]
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted.push(origin.into());
        self
    }

    /// Checks the origins.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for the first trusted origin that is not valid.
    pub fn build(self) -> Result<CrossOriginPolicy, InvalidOrigin> {
        let checked =
            |origin: String| normalized(&origin).map_err(|reason| InvalidOrigin { origin, reason });
        Ok(CrossOriginPolicy {
            trusted: self.trusted.into_iter().map(checked).collect::<Result<_, _>>()?,
        })
    }
}

/// The parts of a request that the policy checks. Parts that are not set count as absent or
/// unknown.
#[derive(Debug, Clone, Copy)]
pub struct CrossOriginRequest<'a> {
    method: &'a str,
    upgrades_to_websocket: bool,
    fetch_site: Field<'a>,
    origin: Field<'a>,
    host: Option<&'a [u8]>,
    scheme: Option<Scheme>,
}

impl<'a> CrossOriginRequest<'a> {
    /// A request with this method, in capitals as it is sent.
    #[must_use]
    pub fn new(method: &'a str) -> Self {
        Self {
            method,
            upgrades_to_websocket: false,
            fetch_site: Field::Absent,
            origin: Field::Absent,
            host: None,
            scheme: None,
        }
    }

    /// Sets all values of the header `Upgrade`.
    #[must_use]
    pub fn upgrade(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        // Some servers search for the name anywhere in the value, so the check does too.
        let websocket = b"websocket";
        let names_it = |value: &[u8]| {
            value.windows(websocket.len()).any(|part| part.eq_ignore_ascii_case(websocket))
        };
        self.upgrades_to_websocket = values.into_iter().any(names_it);
        self
    }

    /// Sets all values of the header `Sec-Fetch-Site`.
    #[must_use]
    pub fn fetch_site(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.fetch_site = Field::of(values);
        self
    }

    /// Sets all values of the header `Origin`.
    #[must_use]
    pub fn origin(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.origin = Field::of(values);
        self
    }

    /// Sets host and port that the browser requested: the authority of the request target if it has
    /// one (as in HTTP/2), otherwise the header `Host`.
    #[must_use]
    pub fn host(mut self, host: Option<&'a [u8]>) -> Self {
        self.host = host;
        self
    }

    /// Sets the scheme that the browser requested, if the server knows it: from its own TLS or from
    /// a trusted proxy.
    #[must_use]
    pub fn scheme(mut self, scheme: Option<Scheme>) -> Self {
        self.scheme = scheme;
        self
    }

    fn parse_origin(&self) -> Result<Option<String>, CrossOriginRejection> {
        match self.origin {
            Field::Absent => Ok(None),
            Field::One(b"null") => Err(CrossOriginRejection::OpaqueOrigin),
            Field::One(text) => {
                normalized_bytes(text).map(Some).ok_or(CrossOriginRejection::MalformedOrigin)
            }
            Field::Repeated => Err(CrossOriginRejection::MalformedOrigin),
        }
    }

    /// Checks that `origin`, in the form of [`normalized`], is the origin that the browser
    /// requested.
    fn check_own(&self, origin: String) -> Result<(), CrossOriginRejection> {
        let own = |scheme: Scheme| {
            let host = std::str::from_utf8(self.host?).ok()?;
            normalized(&format!("{}://{host}", scheme.name())).ok()
        };
        let theirs = origin.split_once("://").and_then(|(scheme, _)| Scheme::from_name(scheme));
        // If the scheme is unknown, the scheme of `Origin` is used. An `Origin` with another
        // scheme, such as that of a browser extension, equals neither.
        let known = own(self.scheme.or(theirs).unwrap_or(Scheme::Https))
            .ok_or(CrossOriginRejection::UnknownHost)?;
        if origin == known {
            Ok(())
        } else if theirs.and_then(own).is_some_and(|own| own == origin) {
            Err(CrossOriginRejection::OtherScheme { origin, own: known })
        } else {
            Err(CrossOriginRejection::ForeignOrigin { origin, own: known })
        }
    }
}

/// A header that is allowed once in a request.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Absent,
    One(&'a [u8]),
    Repeated,
}

impl<'a> Field<'a> {
    fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::One(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// The reason why a request is rejected. The text is for the log: it contains origins, but no
/// cookie and no path.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrossOriginRejection {
    /// The browser reports that another origin caused the request, and that origin is not trusted.
    #[error("Sec-Fetch-Site says that another origin caused the request")]
    FetchSite,
    /// The origin has no name, for example in a sandboxed frame or after a redirect from another
    /// origin.
    #[error("Origin is null")]
    OpaqueOrigin,
    /// The header `Origin` is repeated, or is not an origin.
    #[error("Origin is repeated or malformed")]
    MalformedOrigin,
    /// The request has an `Origin`, but its own host is missing or malformed.
    #[error("the request has an Origin, but its own host is missing or malformed")]
    UnknownHost,
    /// The request and its `Origin` have the same host and port, but different schemes. If this
    /// happens on pages of the site itself, the proxy in front of it sends the wrong
    /// `X-Forwarded-Proto`.
    #[error("the request for {own} comes from {origin}: the schemes differ")]
    OtherScheme {
        /// The origin that caused the request.
        origin: String,
        /// The origin that the browser requested.
        own: String,
    },
    /// `Origin` is not the request's own origin and is not trusted. If this happens on pages of the
    /// site itself, the proxy in front of it does not forward the header `Host`.
    #[error("the request for {own} comes from {origin}, which is not trusted")]
    ForeignOrigin {
        /// The origin that caused the request.
        origin: String,
        /// The origin that the browser requested.
        own: String,
    },
}

debug_as_display!(CrossOriginRejection);

/// A trusted origin that is not a valid origin.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "trusted origin {origin:?} is not valid: {reason}; \
     use scheme://host or scheme://host:port, such as https://app.example.com"
)]
pub struct InvalidOrigin {
    origin: String,
    reason: &'static str,
}

debug_as_display!(InvalidOrigin);

fn normalized_bytes(origin: &[u8]) -> Option<String> {
    normalized(std::str::from_utf8(origin).ok()?).ok()
}

/// The maximum length of a DNS name in bytes. It bounds the length of a log line.
const MAX_HOST_BYTES: usize = 253;

/// The canonical form of an origin: lower case, no default port, IPv6 addresses as the standard
/// library writes them. The error is the reason why the origin is not valid.
fn normalized(origin: &str) -> Result<String, &'static str> {
    let (scheme, rest) = origin.split_once("://").ok_or("it has no scheme")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || scheme.len() > MAX_HOST_BYTES {
        return Err("its scheme is malformed");
    }
    if rest.contains(['/', '?', '#', '\\']) {
        return Err("it has a path, a query or a fragment");
    }
    if rest.contains('@') {
        return Err("it has a user name");
    }
    // A colon inside brackets belongs to an IPv6 address.
    let (host, port) = match rest.rfind(':').filter(|colon| !rest[*colon..].contains(']')) {
        Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
        None => (rest, None),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => format!(
            "[{}]",
            address.parse::<Ipv6Addr>().map_err(|_| "its IPv6 address is malformed")?
        ),
        None if host.is_empty() => return Err("it has no host"),
        None if host.len() > MAX_HOST_BYTES => return Err("its host is longer than 253 bytes"),
        None if host.contains('*') => return Err("it has a wildcard; name each origin"),
        None if !host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) =>
        {
            return Err("its host may have letters, digits, \"-\", \".\" and \"_\" only; \
                 write other letters in Punycode");
        }
        None => host.to_ascii_lowercase(),
    };
    let scheme = scheme.to_ascii_lowercase();
    let Some(port) = port else { return Ok(format!("{scheme}://{host}")) };
    // `parse` alone would accept a plus sign.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 =
        port.parse().ok().filter(|_| is_number).ok_or("its port is not a number of 0 to 65535")?;
    let is_default = Scheme::from_name(&scheme).is_some_and(|scheme| scheme.default_port() == port);
    Ok(if is_default { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
}
