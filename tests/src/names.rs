//! A demo whose name lookups a test decides: in its own mount namespace, with its own files for the
//! resolver of the system.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    task::JoinHandle,
};

use crate::{Demo, KEY, binary::demo_server};

/// The name of the servers.
pub const NAME: &str = "store.test";
/// The files that replace those of the system.
#[derive(Debug)]
pub struct Names(TempDir);

impl Names {
    /// The name has these addresses. `None` if the system makes no namespaces.
    ///
    /// # Panics
    /// If there is no temporary folder.
    #[must_use]
    pub fn of(addresses: &[&str]) -> Option<Self> {
        let lines = addresses.iter().map(|address| format!("{address} {NAME}\n"));
        Self::new(&lines.collect::<String>(), "")
    }

    /// This name server answers. It has more time than the resolver gives it by default.
    ///
    /// # Panics
    /// If there is no temporary folder.
    #[must_use]
    pub fn from_server(server: &SlowNameServer) -> Option<Self> {
        let address = server.address;
        Self::new("", &format!("nameserver {address}\noptions timeout:20 attempts:1\n"))
    }

    fn new(hosts: &str, resolv: &str) -> Option<Self> {
        if env::var("TEST_NAMESPACES").is_ok_and(|value| value == "none") {
            eprintln!("SKIPPED, TEST_NAMESPACES=none: the system makes no namespaces");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, text) in
            [("hosts", hosts), ("resolv.conf", resolv), ("nsswitch.conf", "hosts: files dns\n")]
        {
            fs::write(folder.path().join(file), text).expect("an own folder");
        }
        Some(Self(folder))
    }

    /// Starts a demo with two workers and the store at this URL.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn demo(&self, store: &str, url: &str) -> Demo {
        let mounts = ["hosts", "resolv.conf", "nsswitch.conf"]
            .map(|file| format!("mount --bind '{}/{file}' /etc/{file}", self.0.path().display()));
        let script = format!("{} && exec \"$0\" \"$@\"", mounts.join(" && "));
        let program = demo_server().display().to_string();
        let demo: &[&str] =
            &["--listen", "127.0.0.1:0", "--workers", "2", "--store", store, "--store-url", url];
        let options = in_namespace("--mount");
        let arguments =
            [&*options, &["sh", "-c", &script, &program], demo, &["--cookie-key", KEY]].concat();
        Demo::start_as(Path::new("unshare"), &arguments, &[]).await
    }
}

/// The options of `unshare` for this namespace. A user without privileges needs a user namespace as
/// well.
#[must_use]
pub fn in_namespace(kind: &str) -> Vec<&str> {
    let own_user: &[&str] =
        if geteuid().is_root() { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
    [own_user, &[kind]].concat()
}

/// An address that accepts no connection and refuses none, as if its host dropped all packets: the
/// queue of its listener is full.
#[derive(Debug)]
pub struct DeadAddress {
    _listener: tokio::net::TcpListener,
    _queue: Vec<TcpStream>,
}

impl DeadAddress {
    /// A listener at this address.
    ///
    /// # Panics
    /// If something else listens there.
    pub async fn at(address: SocketAddr) -> Self {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.expect("a socket");
        socket.bind(address).expect("nothing else listens at this address");
        let listener = socket.listen(1).expect("a bound socket listens");
        let mut queue = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(connected.expect("the kernel accepts until the queue is full"));
        }
        Self { _listener: listener, _queue: queue }
    }
}

/// A name server that gives every name the address 127.0.0.1 after a delay.
#[derive(Debug)]
pub struct SlowNameServer {
    address: Ipv4Addr,
    answering: JoinHandle<()>,
}

impl SlowNameServer {
    /// A server that answers after `delay`. `None` if the user of the test may not open port 53.
    ///
    /// # Panics
    /// If another test has one.
    pub async fn start(delay: Duration) -> Option<Self> {
        // Resolvers always use port 53. Each test has another address.
        let address = Ipv4Addr::new(127, 53, fastrand::u8(..), fastrand::u8(1..255));
        let socket = match UdpSocket::bind((address, 53)).await {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED: this user may not open port 53: {error}");
                return None;
            }
            socket => std::sync::Arc::new(socket.expect("port 53 of an own address is free")),
        };
        let answering = tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((count, client)) = socket.recv_from(&mut bytes).await {
                let (answer, socket) = (answer(&bytes[..count]), std::sync::Arc::clone(&socket));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    socket.send_to(&answer, client).await.expect("the client waits");
                });
            }
        });
        Some(Self { address, answering })
    }
}

impl Drop for SlowNameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// The answer to a query (RFC 1035, section 4): one address for a query of type A, and none for a
/// query of another type.
fn answer(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).expect("a name ends with 0");
    let question = &query[12..12 + name + 5];
    let asks_for_ipv4 = question[name + 1..name + 3] == [0, 1];
    let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, u8::from(asks_for_ipv4), 0, 0, 0, 0];
    // The name in the question, type A, class IN, 0 seconds, 4 bytes.
    let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1];
    let addresses: &[u8] = if asks_for_ipv4 { &address } else { &[] };
    [&head, question, addresses].concat()
}
