use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::error::StartError;

/// What a shared TCP port is made of.
///
/// The primary opens it once, with `SO_REUSEADDR`, non-blocking and closed on `exec`; workers
/// inherit the open socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    address: String,
    backlog: i32,
    send_timeout: Duration,
}

impl ListenSpec {
    /// A TCP port. `address` is `host:port`: an IP address, an IPv6 address in brackets, or a name
    /// that the system resolves.
    ///
    /// Port 0 lets the kernel choose; [`ClusterHandle::addresses`](crate::ClusterHandle::addresses)
    /// tells the choice, which stays the same for all workers and for the life of the cluster.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self { address: address.into(), backlog: 2048, send_timeout: Duration::from_secs(30) }
    }

    /// How many connections the kernel queues for all workers together; 2048 unless set, and never
    /// above `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections.into();
        self
    }

    /// How long a client may leave what was sent to it unread or unacknowledged; 30 s unless set.
    /// Then the kernel closes the connection (`TCP_USER_TIMEOUT`, whole milliseconds). Without it a
    /// client that never reads holds a connection for good.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout
            .clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX.unsigned_abs().into()));
        self
    }

    /// Resolves and opens the port: one that was `given`, by name or by address, or the first
    /// resolved address that can be had.
    pub(crate) fn open(
        &self,
        name: &str,
        given: &mut BTreeMap<String, TcpListener>,
    ) -> Result<TcpListener, StartError> {
        let error = |source| StartError::Listen {
            name: name.to_owned(),
            address: self.address.clone(),
            source,
        };
        let addresses = self.address.to_socket_addrs().map_err(|source| StartError::Address {
            name: name.to_owned(),
            address: self.address.clone(),
            source,
        })?;
        let addresses: Vec<_> = addresses.collect();
        if let Some(listener) = take(&addresses, name, given) {
            self.prepare(&SockRef::from(&listener)).map_err(error)?;
            return Ok(listener);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match self.bind(address) {
                Ok(listener) => return Ok(listener),
                Err(e) => last = e,
            }
        }
        Err(error(last))
    }

    fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server must not wait for connections of its predecessor in TIME_WAIT.
        socket.set_reuse_address(true)?;
        // O_NONBLOCK belongs to the open socket that all workers share, so it is set once, here.
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        self.prepare(&socket)?;
        Ok(socket.into())
    }

    /// Sets what may differ from one primary to the next. Accepted connections inherit the timeout.
    fn prepare(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_user_timeout(Some(self.send_timeout))?;
        socket.listen(self.backlog)
    }
}

impl From<SocketAddr> for ListenSpec {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.to_string())
    }
}

/// The port among those given that has one of these addresses. Port 0 is any port of that name.
fn take(
    addresses: &[SocketAddr],
    name: &str,
    given: &mut BTreeMap<String, TcpListener>,
) -> Option<TcpListener> {
    let fits = |of: &String, listener: &TcpListener| {
        listener.local_addr().is_ok_and(|is| {
            let same = |wanted: &SocketAddr| {
                wanted.ip() == is.ip()
                    && (wanted.port() == is.port() || (wanted.port() == 0 && of == name))
            };
            addresses.iter().any(same)
        })
    };
    let found = given
        .iter()
        .filter(|(of, listener)| fits(of, listener))
        .max_by_key(|(of, _)| *of == name)?
        .0
        .clone();
    given.remove(&found)
}

/// Lets no further connection in, for all processes that share the socket, and keeps those that are
/// queued.
///
/// A port that closes resets every connection that the kernel has completed and nobody has
/// accepted. Behind a filter that drops all packets to the listening socket the queue can only
/// shrink, so workers can empty it before they close. A client that knocks meanwhile tries again
/// after a second and is then refused.
pub(crate) fn close_door(listener: &TcpListener) -> io::Result<()> {
    /// `BPF_RET | BPF_K`: the answer is the constant, here 0 bytes of the packet.
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(listener).attach_filter(&[DROP])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn port_zero_is_resolved() {
        let listener = ListenSpec::tcp("127.0.0.1:0").open("http", &mut BTreeMap::new()).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn k04_behind_the_door_the_queue_stays_and_does_not_grow() {
        let listener = ListenSpec::tcp("127.0.0.1:0").open("http", &mut BTreeMap::new()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut early = TcpStream::connect(address).unwrap();
        close_door(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        accepted.write_all(b"served").unwrap();
        drop(accepted);
        let mut answer = String::new();
        early.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served");
    }

    #[test]
    fn k15_a_taken_port_says_what_to_do() {
        let holder = ListenSpec::tcp("127.0.0.1:0").open("http", &mut BTreeMap::new()).unwrap();
        let address = holder.local_addr().unwrap();
        let error = ListenSpec::from(address).open("http", &mut BTreeMap::new()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot listen on {address} (`http`): address already in use"
            )),
            "{text}"
        );
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn k15_an_address_without_a_port_is_named() {
        for address in ["127.0.0.1", "nonsense", "127.0.0.1:99999", ""] {
            let error = ListenSpec::tcp(address).open("http", &mut BTreeMap::new()).unwrap_err();
            assert!(matches!(&error, StartError::Address { .. }), "{address}: {error}");
            assert!(error.to_string().contains("host:port"), "{error}");
        }
    }
}
