//! The name and attributes of the session cookie.

use super::error::CookieError;

/// When browsers send the cookie with requests that another site caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the user follows a link.
    Lax,
    /// Always. The application then needs a separate defence against forged requests. Browsers
    /// accept it only with `Secure`.
    None,
}

/// The connections that carry the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Only https: the cookie has the attribute `Secure`, and no id is issued over plain http.
    Https,
    /// Also plain http, for development on your own machine. Everyone on the network path can read
    /// the cookie.
    PlainHttp,
}

/// The name and attributes of the session cookie. `HttpOnly` is always set: a script never needs
/// the id.
///
/// The default follows OWASP and RFC 6265bis: `__Host-id`, `Secure`, `HttpOnly`, `SameSite=Lax`,
/// `Path=/`, no `Domain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieConfig {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) domain: Option<String>,
    pub(crate) same_site: SameSite,
    pub(crate) transport: Transport,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "__Host-id".to_owned(),
            path: "/".to_owned(),
            domain: None,
            same_site: SameSite::Lax,
            transport: Transport::Https,
        }
    }
}

impl CookieConfig {
    /// Settings for plain http on your own machine: the name `id`, and no `Secure`. Never use them
    /// for a site that other machines can reach.
    #[must_use]
    pub fn development() -> Self {
        Self { name: "id".to_owned(), transport: Transport::PlainHttp, ..Self::default() }
    }

    /// Sets the name. With the prefix `__Host-`, browsers refuse the cookie from any other host or
    /// path.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the path below which browsers send the cookie. `/` by default.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sends the cookie to all hosts below `domain`. Each of them can then read it and set it. Not
    /// possible with `__Host-`.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Sets when browsers send the cookie with requests that another site caused. `Lax` by default.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Sets the connections that carry the cookie. `Https` by default.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Whether the cookie has this transport.
    #[must_use]
    pub fn transport_is(&self, transport: Transport) -> bool {
        self.transport == transport
    }

    /// Rejects what browsers would silently refuse.
    pub(crate) fn check(&self) -> Result<(), CookieError> {
        let token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
        let attribute = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
        if self.name.is_empty() || !self.name.bytes().all(token) {
            return Err(CookieError::Name { name: self.name.clone() });
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(attribute) {
            return Err(CookieError::Path { path: self.path.clone() });
        }
        if let Some(domain) = &self.domain
            && (domain.is_empty()
                || !domain
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')))
        {
            return Err(CookieError::Domain { domain: domain.clone() });
        }
        // Browsers compare the prefixes without regard to case (RFC 6265bis, 5.7), so the check
        // does too.
        let prefixed = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let secure = self.transport == Transport::Https;
        if prefixed("__Host-") && !(secure && self.path == "/" && self.domain.is_none()) {
            return Err(CookieError::HostPrefix { name: self.name.clone() });
        }
        if prefixed("__Secure-") && !secure {
            return Err(CookieError::SecurePrefix { name: self.name.clone() });
        }
        if self.same_site == SameSite::None && !secure {
            return Err(CookieError::SameSiteNone);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_browsers_refuse_are_rejected() {
        assert!(CookieConfig::default().check().is_ok());
        assert!(CookieConfig::development().check().is_ok());
        let host = CookieConfig::default();
        assert!(matches!(
            host.clone().transport(Transport::PlainHttp).check(),
            Err(CookieError::HostPrefix { .. })
        ));
        assert!(matches!(host.clone().path("/app").check(), Err(CookieError::HostPrefix { .. })));
        assert!(matches!(
            host.clone().domain("example.com").check(),
            Err(CookieError::HostPrefix { .. })
        ));
        assert!(matches!(
            CookieConfig::development().name("__sEcUrE-id").check(),
            Err(CookieError::SecurePrefix { .. })
        ));
        assert!(matches!(
            CookieConfig::development().same_site(SameSite::None).check(),
            Err(CookieError::SameSiteNone)
        ));
    }

    #[test]
    fn text_that_would_break_the_header_is_rejected() {
        for name in ["", "a b", "a=b", "a;b", "a\r\nb", "ü"] {
            assert!(
                matches!(
                    CookieConfig::development().name(name).check(),
                    Err(CookieError::Name { .. })
                ),
                "{name:?}"
            );
        }
        assert!(CookieConfig::development().path("/; HttpOnly").check().is_err());
        assert!(CookieConfig::development().domain("a.example; Path=/x").check().is_err());
    }
}
