//! The scheme that the browser requested, as the proxies in front of the server report it.

use std::net::IpAddr;

use crate::origin::Scheme;

/// The headers in which proxies report the connection of the browser. Fill in all values of each
/// header, in the order of the request.
///
/// Each proxy appends what it knows about its own client. Therefore only the last values are
/// trustworthy, as many as there are trusted proxies: the client can send the first values itself.
///
/// # Examples
/// ```
/// use std::net::IpAddr;
///
/// use session_core::{forwarded::ForwardedHeaders, origin::Scheme};
///
/// let is_trusted = |address: IpAddr| address.is_loopback();
/// let headers = ForwardedHeaders::default()
///     .x_forwarded_for([&b"203.0.113.7, 127.0.0.1"[..]])
///     .x_forwarded_proto([&b"https, http"[..]]);
/// assert_eq!(headers.scheme(is_trusted), Some(Scheme::Https));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ForwardedHeaders<'a> {
    x_forwarded_proto: Vec<&'a str>,
    x_forwarded_for: Vec<&'a str>,
    forwarded: Vec<&'a str>,
}

impl<'a> ForwardedHeaders<'a> {
    /// Sets all values of the header `X-Forwarded-Proto`.
    #[must_use]
    pub fn x_forwarded_proto(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.x_forwarded_proto = list(values);
        self
    }

    /// Sets all values of the header `X-Forwarded-For`.
    #[must_use]
    pub fn x_forwarded_for(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.x_forwarded_for = list(values);
        self
    }

    /// Sets all values of the header `Forwarded` (RFC 7239).
    #[must_use]
    pub fn forwarded(mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.forwarded = list(values);
        self
    }

    /// The scheme of the connection to the first of the trusted proxies: of the proxy that is
    /// nearest to the browser. `None` if the headers do not tell.
    ///
    /// Call it only if the client of the server itself is a trusted proxy. `is_trusted` tells
    /// whether an address is that of a trusted proxy. `X-Forwarded-Proto` takes precedence over
    /// `Forwarded`. If a proxy replaces the header instead of appending to it, there are fewer
    /// values than proxies, and the first value counts.
    #[must_use]
    pub fn scheme(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Option<Scheme> {
        let trusted = |text: &str| address(text).is_some_and(&is_trusted);
        if let Some(last) = self.x_forwarded_proto.len().checked_sub(1) {
            let more = self.x_forwarded_for.iter().rev().take_while(|text| trusted(text)).count();
            return Scheme::from_name(self.x_forwarded_proto[last.saturating_sub(more)]);
        }
        let last = self.forwarded.len().checked_sub(1)?;
        let clients = self.forwarded.iter().rev().map(|element| parameter(element, "for"));
        let more = clients.take_while(|client| client.is_some_and(trusted)).count();
        Scheme::from_name(parameter(self.forwarded[last.saturating_sub(more)], "proto")?)
    }
}

/// The elements of all values, separated by commas. An element that is not text is empty.
fn list<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<&'a str> {
    values
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|element| std::str::from_utf8(element).unwrap_or_default().trim_ascii())
        .collect()
}

/// A parameter of an element of `Forwarded`, without quotation marks.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim_ascii().eq_ignore_ascii_case(name).then(|| value.trim_ascii().trim_matches('"'))
    })
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or
/// `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `10.0.0.0/8` and `fd00::/8`.
    fn is_trusted(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    #[test]
    fn d14_scheme_is_that_of_the_first_trusted_proxy() {
        // X-Forwarded-For, X-Forwarded-Proto, scheme.
        for (clients, schemes, expected) in [
            ("", "https", Some(Scheme::Https)),
            ("203.0.113.7", "https", Some(Scheme::Https)),
            ("203.0.113.7", "HTTP", Some(Scheme::Http)),
            // The proxy near the browser uses TLS, and the second one does not.
            ("203.0.113.7, 10.0.0.2", "https, http", Some(Scheme::Https)),
            ("203.0.113.7, [fd00::1]:4711", "https, http", Some(Scheme::Https)),
            ("203.0.113.7, 10.0.0.2, 10.0.0.3", "https,http,http", Some(Scheme::Https)),
            // The second proxy replaces the header.
            ("203.0.113.7, 10.0.0.2", "http", Some(Scheme::Http)),
            // The client sends the first values itself.
            ("10.0.0.9, 203.0.113.7", "https, http", Some(Scheme::Http)),
            ("10.0.0.9, 203.0.113.7, 10.0.0.2", "https, http, http", Some(Scheme::Http)),
            ("not an address", "https, http", Some(Scheme::Http)),
            ("203.0.113.7", "", None),
            ("203.0.113.7", "gopher", None),
        ] {
            let headers = ForwardedHeaders::default()
                .x_forwarded_for([clients.as_bytes()])
                .x_forwarded_proto([schemes.as_bytes()]);
            assert_eq!(headers.scheme(is_trusted), expected, "{clients} / {schemes}");
        }
        assert_eq!(ForwardedHeaders::default().scheme(is_trusted), None);
    }

    #[test]
    fn d14_standard_header_is_read_too() {
        for (values, expected) in [
            (&["for=203.0.113.7;proto=https"][..], Some(Scheme::Https)),
            (&["for=203.0.113.7;proto=https, for=10.0.0.2;proto=http"], Some(Scheme::Https)),
            (
                &["For=203.0.113.7; Proto=\"https\"", "for=\"[fd00::1]:80\";proto=http"],
                Some(Scheme::Https),
            ),
            // The client sends the first element itself.
            (&["for=10.0.0.9;proto=https, for=203.0.113.7;proto=http"], Some(Scheme::Http)),
            (&["for=203.0.113.7"], None),
            (&["proto"], None),
            (&[""], None),
        ] {
            let headers =
                ForwardedHeaders::default().forwarded(values.iter().map(|text| text.as_bytes()));
            assert_eq!(headers.scheme(is_trusted), expected, "{values:?}");
        }
        let both = ForwardedHeaders::default()
            .forwarded([&b"for=203.0.113.7;proto=https"[..]])
            .x_forwarded_proto([&b"http"[..]]);
        assert_eq!(both.scheme(is_trusted), Some(Scheme::Http));
    }
}
