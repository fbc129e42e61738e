//! The description of a shared TCP port.

use std::{net::SocketAddr, time::Duration};

/// A shared TCP port: its address and its socket options.
///
/// The primary opens the port once, with `SO_REUSEADDR`, non-blocking and closed on `exec`. Workers
/// inherit the open socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSpec {
    pub(crate) address: String,
    pub(crate) backlog: i32,
    pub(crate) send_timeout: Duration,
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
        Self { address: address.into(), backlog: 2048, send_timeout: Duration::from_secs(30) }
    }

    /// How many connections the kernel queues for all workers together. Default: 2048. The kernel
    /// limits it to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// How long sent data may stay unacknowledged or unread by a client before the kernel closes
    /// the connection (`TCP_USER_TIMEOUT`, whole milliseconds). Default: 30 s.
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
