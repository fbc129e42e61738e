//! The types of single settings: address, store, cookie mode, keys, and the role of the process.

use std::{fmt, net::SocketAddr, path::PathBuf};

use cluster::ListenSpec;
use session_core::cookie::Key;

use super::url::mask_passwords;

/// Where the server accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    /// A Unix-domain socket with its permissions.
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl Listen {
    pub(crate) fn spec(&self) -> ListenSpec {
        match self {
            Self::Tcp(address) => ListenSpec::from(*address),
            Self::Unix { path, mode } => ListenSpec::unix(path).mode(*mode),
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The proxies whose headers are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TrustedProxies {
    pub(crate) networks: Vec<ipnet::IpNet>,
    /// Whether the process at the other end of a Unix-domain socket is one.
    pub(crate) unix: bool,
}

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
