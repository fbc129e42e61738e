//! The types of single settings: store, cookie mode, keys, and the role of the process.

use std::fmt;

use session_core::cookie::Key;

use super::url::mask_passwords;

/// Where the sessions are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// In the primary. The workers use an inherited socket pair.
    Primary,
    /// At a URL that `store-any` opens.
    Url(String),
}

impl Store {
    /// Whether other servers can use the same sessions.
    pub(crate) fn can_be_shared(&self) -> bool {
        !matches!(self.scheme(), "" | "memory")
    }

    /// The scheme of the URL. Empty for sessions in the primary.
    pub(super) fn scheme(&self) -> &str {
        match self {
            Self::Primary => "",
            Self::Url(url) => url.split(':').next().unwrap_or_default(),
        }
    }
}

/// Masks passwords, because a URL can contain one.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("Primary"),
            Self::Url(url) => f.debug_tuple("Url").field(&mask_passwords(url)).finish(),
        }
    }
}

/// Whether browsers send the cookie over https only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieMode {
    /// Over https only.
    Secure,
    /// Also over plain http.
    Development,
}

/// The keys that sign cookies.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    Configured(Vec<Key>),
    /// The settings have no key. The primary generates one.
    Missing,
}

/// Whether a process serves requests or only owns sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessRole {
    Server,
    Owner,
}
