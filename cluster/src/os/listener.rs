//! Opens shared TCP ports, and closes them to new connections.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    num::NonZeroU32,
};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::{error::StartError, model::ListenSpec};

impl ListenSpec {
    /// Resolves the address and opens the port.
    ///
    /// Uses a listener from `inherited` if one matches by name or address. Otherwise binds the
    /// first resolved address that is available.
    pub(crate) fn open(
        &self,
        name: &str,
        inherited: &mut BTreeMap<String, TcpListener>,
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
        if let Some(listener) = take_matching(&addresses, name, inherited) {
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
        // Without it a restarted server waits for old connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        // O_NONBLOCK belongs to the open socket, which all workers share. So it is set once, here.
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        self.prepare(&socket)?;
        Ok(socket.into())
    }

    /// Sets the options that may differ between two primaries. Accepted connections inherit the
    /// timeout.
    fn prepare(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_user_timeout(Some(self.send_timeout))?;
        socket.listen(self.backlog)
    }
}

/// Removes the listener that has one of these addresses from `inherited`. Port 0 matches any port
/// of the listener with the same name.
fn take_matching(
    addresses: &[SocketAddr],
    name: &str,
    inherited: &mut BTreeMap<String, TcpListener>,
) -> Option<TcpListener> {
    let matches = |of: &String, listener: &TcpListener| {
        listener.local_addr().is_ok_and(|is| {
            let same = |wanted: &SocketAddr| {
                wanted.ip() == is.ip()
                    && (wanted.port() == is.port() || (wanted.port() == 0 && of == name))
            };
            addresses.iter().any(same)
        })
    };
    let found = inherited
        .iter()
        .filter(|(of, listener)| matches(of, listener))
        .max_by_key(|(of, _)| *of == name)?
        .0
        .clone();
    inherited.remove(&found)
}

/// An interface index that no interface of a host has. The compiler evaluates the `expect`.
const NO_INTERFACE: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).expect("not zero");

/// Stops the kernel from completing new connections, for all processes that share the socket.
/// Connections that are already queued stay.
///
/// Closing a port resets every connection that the kernel has completed and no process has
/// accepted. A socket that is bound to an interface without packets gets no new connection, so its
/// queue can only shrink, and workers can empty it before they close the port. A client that
/// connects meanwhile is refused.
///
/// Binding needs no privilege since Linux 5.7, unless the socket is already bound to an interface.
/// Where the kernel does not allow it, a filter drops all packets to the socket instead. A client
/// that connects meanwhile then retries after one second and is refused.
pub(crate) fn reject_new_connections(listener: &TcpListener) -> io::Result<()> {
    /// `BPF_RET | BPF_K`: return the constant, here 0 bytes of the packet.
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    let socket = SockRef::from(listener);
    // On Linux this option is the same for IPv4 and IPv6.
    socket.bind_device_by_index_v4(Some(NO_INTERFACE)).or_else(|_| socket.attach_filter(&[DROP]))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    use super::*;

    #[test]
    fn port_zero_resolves_to_a_real_port() {
        let listener = ListenSpec::tcp("127.0.0.1:0").open("http", &mut BTreeMap::new()).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn k04_rejecting_new_connections_keeps_the_queued_ones() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = ListenSpec::tcp(address).open("http", &mut BTreeMap::new()).unwrap();
            let address = listener.local_addr().unwrap();
            let mut early = TcpStream::connect(address).unwrap();
            reject_new_connections(&listener).unwrap();
            let late = TcpStream::connect_timeout(&address, Duration::from_secs(1));
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{address}");

            let (mut accepted, _) = listener.accept().unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            drop(listener);
            accepted.write_all(b"served").unwrap();
            drop(accepted);
            let mut answer = String::new();
            early.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "served");
        }
    }

    #[test]
    fn k15_port_in_use_names_the_remedy() {
        let holder = ListenSpec::tcp("127.0.0.1:0").open("http", &mut BTreeMap::new()).unwrap();
        let address = holder.local_addr().unwrap();
        let error = ListenSpec::from(address).open("http", &mut BTreeMap::new()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot listen on {address} (`http`); stop the process that uses this port"
            )),
            "{text}"
        );
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn k15_address_without_a_port_is_named() {
        for address in ["127.0.0.1", "nonsense", "127.0.0.1:99999", ""] {
            let error = ListenSpec::tcp(address).open("http", &mut BTreeMap::new()).unwrap_err();
            assert!(matches!(&error, StartError::Address { .. }), "{address}: {error}");
            assert!(error.to_string().contains("host:port"), "{error}");
        }
    }
}
