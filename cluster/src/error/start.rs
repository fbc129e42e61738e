//! Errors of the start of a process and of a cluster.

use std::{fmt, io, path::PathBuf};

/// Why a process does not know its role, or why a worker cannot start its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The process already has a runtime or another thread.
    #[error(
        "cluster::role() must be called while the process has one thread, but it has {threads}; \
         call it first in main, before any runtime"
    )]
    TooLate {
        /// Number of threads.
        threads: usize,
    },
    /// The role was requested before.
    #[error("cluster::role() was called before in this process; call it once and pass the role on")]
    CalledTwice,
    /// The system does not provide the required information about this process.
    #[error("cannot read {what} of this process; check that /proc is mounted")]
    Process {
        /// The required information.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The environment variable of a worker is set, but its content is not from a primary.
    #[error(
        "environment variable {name} is reserved for workers and does not hold what a primary \
         writes; unset it"
    )]
    Malformed {
        /// The variable.
        name: &'static str,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// An inherited descriptor is not usable.
    #[error(
        "inherited descriptor {fd} of `{name}` is not usable; start workers only through their \
         primary"
    )]
    Descriptor {
        /// Its name.
        name: String,
        /// Its number.
        fd: i32,
        /// The system's error.
        source: io::Error,
    },
    /// There is no listener with this name, or it was taken before.
    #[error(
        "no listener named `{name}`; the names that remain are {given:?}, and each can be taken \
         once"
    )]
    NoListener {
        /// The requested name.
        name: String,
        /// The names that remain.
        given: Vec<String>,
    },
    /// The listener is of the other kind.
    #[error("the listener `{name}` is {kind}; take it with {method}")]
    OtherListener {
        /// The requested name.
        name: String,
        /// What it is.
        kind: &'static str,
        /// The method that takes it.
        method: &'static str,
    },
    /// There is no descriptor with this name, or it was taken before.
    #[error(
        "no descriptor named `{name}`; the names that remain are {given:?}, and each can be taken \
         once"
    )]
    NoDescriptor {
        /// The requested name.
        name: String,
        /// The names that remain.
        given: Vec<String>,
    },
    /// The control socket failed or ended before the handshake with the primary was complete.
    #[error("the handshake with the primary failed; check whether the primary still runs")]
    Handshake(#[source] io::Error),
    /// The primary uses another protocol version.
    #[error(
        "the primary uses protocol version {theirs}, this worker uses {ours}; use the same build \
         for both"
    )]
    Protocol {
        /// The version of this worker.
        ours: u16,
        /// The version of the primary.
        theirs: u16,
    },
    /// The predecessor of this primary uses another handover version.
    #[error(
        "the predecessor uses handover version {theirs}, this program uses {ours}; stop the \
         predecessor and start this program"
    )]
    Predecessor {
        /// The version of this program.
        ours: u16,
        /// The version of the predecessor.
        theirs: u16,
    },
}

/// Why a cluster did not start.
///
/// A failed start leaves no worker, no open port and no file. The signal handlers stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is invalid.
    #[error("invalid cluster setting: {0}")]
    Config(String),
    /// The address cannot be parsed or resolved.
    #[error(
        "cannot listen on {address:?} (`{name}`); write it as host:port, for example \
         127.0.0.1:3000 or [::1]:3000"
    )]
    Address {
        /// Name of the listener.
        name: String,
        /// The configured address.
        address: String,
        /// The error of the resolution.
        source: io::Error,
    },
    /// The port cannot be opened.
    #[error("cannot listen on {address} (`{name}`){}", ListenRemedy(source))]
    Listen {
        /// Name of the listener.
        name: String,
        /// The configured address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process serves the Unix-domain socket.
    #[error(
        "the socket {} is served by {}; stop that process, or choose another path",
        path.display(),
        Holder(*holder)
    )]
    SocketHeld {
        /// The path.
        path: PathBuf,
        /// The primary that serves it, if it is one.
        holder: Option<u32>,
    },
    /// A worker process cannot be started.
    #[error("cannot start a worker process")]
    Spawn(#[source] io::Error),
    /// The connection to the predecessor is not usable.
    #[error("cannot communicate with the predecessor")]
    Predecessor(#[source] io::Error),
    /// Another primary holds the pid file.
    #[error(
        "the pid file {} is held by {}; stop that process, or choose another file",
        path.display(),
        Holder(*holder)
    )]
    PidFileHeld {
        /// The file.
        path: PathBuf,
        /// The process that holds it, if the file names one.
        holder: Option<u32>,
    },
    /// The pid file cannot be written.
    #[error("cannot write the pid file {}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process listens at the path of the control socket.
    #[error(
        "the control socket {} is served by {}; stop that process, or choose another path",
        path.display(),
        Holder(*holder)
    )]
    ControlHeld {
        /// The path.
        path: PathBuf,
        /// The primary that listens there, if it is one.
        holder: Option<u32>,
    },
    /// The control socket cannot be opened.
    #[error("cannot open the control socket {}", path.display())]
    Control {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The signal handlers cannot be installed.
    #[error(
        "cannot install signal handlers; start the cluster inside a tokio runtime with I/O enabled"
    )]
    Signals(#[source] io::Error),
}

/// The process that holds a file.
struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// What to do about an error of `bind` or `listen`. The words of the operating system are in the
/// source only.
struct ListenRemedy<'a>(&'a io::Error);

impl fmt::Display for ListenRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind() {
            io::ErrorKind::AddrInUse => {
                "; stop the process that uses this port, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                ": this machine has no such address; choose one of its addresses, or 0.0.0.0 for \
                 all of them"
            }
            io::ErrorKind::PermissionDenied => {
                "; choose a port of at least 1024, because lower ports need CAP_NET_BIND_SERVICE"
            }
            _ => "",
        })
    }
}
