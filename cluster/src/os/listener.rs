//! Opens shared ports and Unix-domain sockets, and closes them to new connections.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    num::NonZeroU32,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::{
    pid_file::LockError,
    socket_file::{SocketFile, lock_path},
};
use crate::{
    error::StartError,
    model::{ListenAddress, ListenSpec, ListenTarget},
};

/// An open port or socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(SocketFile),
}

impl Listener {
    /// Where it accepts connections.
    pub(crate) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(socket) => Ok(ListenAddress::Unix(socket.path().to_owned())),
        }
    }

    /// A copy of the descriptor for another process.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(OwnedFd::from),
            Self::Unix(socket) => socket.listener().map(OwnedFd::from),
        }
    }

    /// Lets no new client connect, for all processes that share it. Connections that are already
    /// queued stay.
    pub(crate) fn reject_new_connections(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => reject_new_connections(listener),
            Self::Unix(socket) => socket.remove_file(),
        }
    }

    /// Leaves the files of a socket to the primary that has copies of the descriptors.
    pub(crate) fn leave_to_successor(&mut self) {
        if let Self::Unix(socket) = self {
            socket.leave_to_successor();
        }
    }

    /// Makes this process the owner of the files of a socket.
    pub(crate) fn take_charge(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Unix(socket) => socket.lock_mut().take_charge(),
        }
    }
}

impl ListenSpec {
    /// Opens the port or the socket, or takes it from `inherited`.
    pub(crate) fn open(
        &self,
        name: &str,
        inherited: &mut BTreeMap<String, Listener>,
    ) -> Result<Listener, StartError> {
        match &self.target {
            ListenTarget::Tcp(address) => {
                self.open_port(name, address, inherited).map(Listener::Tcp)
            }
            ListenTarget::Unix { path, mode } => {
                self.open_socket(name, path, *mode, inherited).map(Listener::Unix)
            }
        }
    }

    /// Uses a listener that matches by path. Otherwise creates the socket.
    fn open_socket(
        &self,
        name: &str,
        path: &Path,
        mode: u32,
        inherited: &mut BTreeMap<String, Listener>,
    ) -> Result<SocketFile, StartError> {
        let is_this = |listener: &Listener| matches!(listener, Listener::Unix(socket) if socket.lock().is_at(&lock_path(path)));
        let found = inherited.iter().find(|(_, listener)| is_this(listener));
        if let Some(of) = found.map(|(of, _)| of.clone())
            && let Some(Listener::Unix(socket)) = inherited.remove(&of)
        {
            // The settings of this primary may be stricter than those of its predecessor.
            return match socket.set_mode(mode) {
                Ok(()) => Ok(socket),
                Err(source) => Err(StartError::Listen {
                    name: name.to_owned(),
                    address: ListenAddress::Unix(path.to_owned()).to_string(),
                    source,
                }),
            };
        }
        let bind = || SocketFile::bind(path, mode, self.backlog);
        // The holder of the lock is a primary that runs.
        let opened = while_in_use(bind, |error| matches!(error, LockError::Taken(None)));
        opened.map_err(|error| match error {
            LockError::Taken(holder) => StartError::SocketHeld { path: path.to_owned(), holder },
            LockError::Failed(source) => StartError::Listen {
                name: name.to_owned(),
                address: ListenAddress::Unix(path.to_owned()).to_string(),
                source,
            },
        })
    }

    /// Uses a listener that matches by name or address. Otherwise binds the first resolved address
    /// that is available.
    fn open_port(
        &self,
        name: &str,
        address: &str,
        inherited: &mut BTreeMap<String, Listener>,
    ) -> Result<TcpListener, StartError> {
        let error = |source| StartError::Listen {
            name: name.to_owned(),
            address: address.to_owned(),
            source,
        };
        let addresses = address.to_socket_addrs().map_err(|source| StartError::Address {
            name: name.to_owned(),
            address: address.to_owned(),
            source,
        })?;
        let addresses: Vec<_> = addresses.collect();
        if let Some(listener) = take_matching(&addresses, name, inherited) {
            self.prepare(&SockRef::from(&listener)).map_err(error)?;
            return Ok(listener);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let is_in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
            match while_in_use(|| self.bind(address), is_in_use) {
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

/// How long the workers of a primary that was killed may still use its ports. They end within half
/// a second; a busy machine takes longer.
const ORPHANS_END: Duration = Duration::from_secs(2);

/// Tries again while the port or socket is in use, because a service manager starts a primary at
/// once after it was killed, when its workers still run. This blocks the thread, which has nothing
/// else to do before the start.
fn while_in_use<T, E>(
    open: impl Fn() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error) if is_in_use(&error) && began.elapsed() < ORPHANS_END => {
                thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Removes the listener that has one of these addresses from `inherited`. Port 0 matches any port
/// of the listener with the same name.
fn take_matching(
    addresses: &[SocketAddr],
    name: &str,
    inherited: &mut BTreeMap<String, Listener>,
) -> Option<TcpListener> {
    let matches = |of: &String, listener: &Listener| {
        listener.address().ok().and_then(|address| address.tcp()).is_some_and(|is| {
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
    match inherited.remove(&found) {
        Some(Listener::Tcp(listener)) => Some(listener),
        _ => None,
    }
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
fn reject_new_connections(listener: &TcpListener) -> io::Result<()> {
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
    };

    use super::*;

    fn tcp(address: &str) -> TcpListener {
        match ListenSpec::tcp(address).open("http", &mut BTreeMap::new()).unwrap() {
            Listener::Tcp(listener) => listener,
            Listener::Unix(socket) => panic!("{socket:?}"),
        }
    }

    #[test]
    fn port_zero_resolves_to_a_real_port() {
        let listener = tcp("127.0.0.1:0");
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn k04_rejecting_new_connections_keeps_the_queued_ones() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tcp(address);
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
        let holder = tcp("127.0.0.1:0");
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
