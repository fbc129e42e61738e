//! The addresses of servers.

use std::{fmt, path::PathBuf};

use redis::ConnectionAddr;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Host {
    /// The address in the driver's type.
    pub(crate) fn address(&self, tls: bool) -> ConnectionAddr {
        if tls {
            return ConnectionAddr::TcpTls {
                host: self.name.clone(),
                port: self.port,
                insecure: false,
                tls_params: None,
            };
        }
        ConnectionAddr::Tcp(self.name.clone(), self.port)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// The servers of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Servers {
    /// One server, over TCP.
    Node(Host),
    /// One server, over a Unix-domain socket.
    Socket(PathBuf),
    /// The primary with this name, found through these Sentinels.
    Sentinel { sentinels: Vec<Host>, primary: String },
    /// The Cluster to which these nodes belong.
    Cluster(Vec<Host>),
}

impl Servers {
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// The hosts in the settings, to which the store connects first.
    pub(crate) fn hosts(&self) -> &[Host] {
        match self {
            Self::Node(host) => std::slice::from_ref(host),
            Self::Socket(_) => &[],
            Self::Sentinel { sentinels: hosts, .. } | Self::Cluster(hosts) => hosts,
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |hosts: &[Host]| hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Node(host) => host.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, primary } => {
                write!(f, "{primary} of the Sentinels {}", joined(sentinels))
            }
            Self::Cluster(nodes) => write!(f, "the Cluster of {}", joined(nodes)),
        }
    }
}
