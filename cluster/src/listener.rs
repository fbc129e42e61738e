use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;

/// What a shared TCP port is made of.
///
/// The primary opens it once, with `SO_REUSEADDR`, non-blocking and closed on `exec`; workers inherit the open socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    address: String,
    backlog: i32,
}

impl ListenSpec {
    /// A TCP port. `address` is `host:port`: an IP address, an IPv6 address in brackets, or a name that the system resolves.
    ///
    /// Port 0 lets the kernel choose; [`ClusterHandle::addresses`](crate::ClusterHandle::addresses) tells the choice, which
    /// stays the same for all workers and for the life of the cluster.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self { address: address.into(), backlog: 2048 }
    }

    /// How many connections the kernel queues for all workers together; 2048 unless set, and never above
    /// `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// Resolves and opens the port: the first resolved address that can be had.
    pub(crate) fn open(&self, name: &str) -> Result<TcpListener, StartError> {
        let error = |source| StartError::Listen { name: name.to_owned(), address: self.address.clone(), source };
        let addresses = self.address.to_socket_addrs().map_err(|source| StartError::Address {
            name: name.to_owned(),
            address: self.address.clone(),
            source,
        })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match open(address, self.backlog) {
                Ok(listener) => return Ok(listener),
                Err(e) => last = e,
            }
        }
        Err(error(last))
    }
}

impl From<SocketAddr> for ListenSpec {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.to_string())
    }
}

fn open(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for connections of its predecessor in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // O_NONBLOCK belongs to the open socket that all workers share, so it is set once, here.
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_resolved() {
        let listener = ListenSpec::tcp("127.0.0.1:0").open("http").unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn k15_a_taken_port_says_what_to_do() {
        let holder = ListenSpec::tcp("127.0.0.1:0").open("http").unwrap();
        let address = holder.local_addr().unwrap();
        let error = ListenSpec::from(address).open("http").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on {address} (`http`): address already in use")), "{text}");
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn k15_an_address_without_a_port_is_named() {
        for address in ["127.0.0.1", "nonsense", "127.0.0.1:99999", ""] {
            let error = ListenSpec::tcp(address).open("http").unwrap_err();
            assert!(matches!(&error, StartError::Address { .. }), "{address}: {error}");
            assert!(error.to_string().contains("host:port"), "{error}");
        }
    }
}
