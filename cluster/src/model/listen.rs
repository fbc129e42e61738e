//! The description of a shared port or Unix-domain socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// How the text of an address of a Unix-domain socket starts.
const UNIX: &str = "unix:";

/// A shared TCP port or Unix-domain socket: its address and its socket options.
///
/// The primary opens it once, non-blocking and closed on `exec`. Workers inherit the open socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSpec {
    pub(crate) target: ListenTarget,
    pub(crate) backlog: i32,
    pub(crate) send_timeout: Duration,
}

/// What is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenTarget {
    /// `host:port`.
    Tcp(String),
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl ListenSpec {
    /// A TCP port. `address` is `host:port`: an IP address, an IPv6 address in brackets, or a name
    /// that the system resolves.
    ///
    /// With port 0 the kernel chooses a free port.
    /// [`ClusterHandle::addresses`](crate::ClusterHandle::addresses) returns it. It is the same for
    /// all workers and stays the same for the life of the cluster.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(ListenTarget::Tcp(address.into()))
    }

    /// A Unix-domain socket at `path`, with a lock file beside it (`path` with `.lock` appended).
    /// A socket that a crash left behind is replaced. A socket that another process serves is not.
    ///
    /// The cluster removes both files when it stops. By default the owner and the group of the
    /// socket may connect; see [`mode`](Self::mode).
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        // This fails only for an empty path, and binding to it fails as well.
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        Self::new(ListenTarget::Unix { path, mode: 0o660 })
    }

    fn new(target: ListenTarget) -> Self {
        Self { target, backlog: 2048, send_timeout: Duration::from_secs(30) }
    }

    /// The permissions of a Unix-domain socket, such as `0o666`. Users with the right to write to
    /// the socket can connect. Default: `0o660`. The umask does not change them. A TCP port has
    /// none.
    #[must_use]
    pub fn mode(mut self, permissions: u32) -> Self {
        if let ListenTarget::Unix { mode, .. } = &mut self.target {
            *mode = permissions & 0o777;
        }
        self
    }

    /// How many connections the kernel queues for all workers together. Default: 2048. The kernel
    /// limits it to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// How long sent data may stay unacknowledged or unread by a client before the kernel closes
    /// the connection (`TCP_USER_TIMEOUT`, whole milliseconds). Default: 30 s. A Unix-domain socket
    /// has no such timeout.
    ///
    /// Without it, a client that never reads holds its connection open for ever.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout
            .clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX.unsigned_abs().into()));
        self
    }
}

impl From<SocketAddr> for ListenSpec {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.to_string())
    }
}

/// Where a cluster accepts connections. The text is `127.0.0.1:3000` or `unix:/run/app.sock`, also
/// when it is serialized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address of a TCP port.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix(UNIX) {
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_survives_its_text() {
        for text in ["127.0.0.1:80", "[::1]:443", "unix:/run/app.sock"] {
            let address = ListenAddress::try_from(text.to_owned()).unwrap();
            assert_eq!(address.to_string(), text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<ListenAddress>(&json).unwrap(), address);
        }
        assert!(ListenAddress::try_from("app.sock".to_owned()).is_err());
    }
}
