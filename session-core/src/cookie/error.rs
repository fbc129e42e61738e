//! The error of cookie configurations.

use crate::error_debug::debug_as_display;

/// The reason why a cookie configuration is not valid. `Debug` shows the same text as `Display`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The name is not a token.
    #[error("cookie name {name:?} is not valid; use letters, digits, '-' and '_'")]
    Name {
        /// The configured name.
        name: String,
    },
    /// The path does not start with `/`, or contains `;` or a control character.
    #[error(
        "cookie path {path:?} is not valid; \
         it must start with '/' and have no ';' or control character"
    )]
    Path {
        /// The configured path.
        path: String,
    },
    /// The domain is not a host name.
    #[error("cookie domain {domain:?} is not valid; use a host name such as example.com")]
    Domain {
        /// The configured domain.
        domain: String,
    },
    /// Browsers accept `__Host-` only with `Secure`, `Path=/` and no `Domain`.
    #[error(
        "browsers refuse the cookie {name:?} unless it is https only, has the path '/' \
         and no domain; \
         choose another name or keep those defaults"
    )]
    HostPrefix {
        /// The cookie's name.
        name: String,
    },
    /// Browsers accept `__Secure-` only with `Secure`.
    #[error(
        "browsers refuse the cookie {name:?} unless it is https only; \
         choose another name or keep Transport::Https"
    )]
    SecurePrefix {
        /// The cookie's name.
        name: String,
    },
    /// Browsers accept `SameSite=None` only with `Secure`.
    #[error("browsers refuse SameSite=None on a cookie that is not https only; use Lax or Strict")]
    SameSiteNone,
    /// The key cannot be used.
    #[error("the cookie key cannot be used")]
    Key,
}

debug_as_display!(CookieError);
