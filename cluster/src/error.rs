use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use crate::event::ExitCause;
use crate::id::Slot;
use crate::status::{Ended, Replacement};

mod talk;

pub use talk::{DecodeError, Gone, ReplyError, RequestError, SendError};

/// Why a process does not know its role, or a worker cannot take up its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A runtime or another thread was started before.
    #[error(
        "cluster::role() must be called while the process has one thread, it has {threads}; call it first in main, before any runtime"
    )]
    TooLate {
        /// Threads found.
        threads: usize,
    },
    /// The role was asked for before.
    #[error("cluster::role() was called before in this process; call it once and pass the role on")]
    CalledTwice,
    /// The system does not show what is needed of this process.
    #[error("cannot read {what} of this process: {source}; is /proc mounted?")]
    Process {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The variable of a worker is set, but no primary wrote it.
    #[error(
        "environment variable {name} is reserved for workers and does not hold what a primary writes; unset it"
    )]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An inherited descriptor is not what it should be.
    #[error(
        "inherited descriptor {fd} of `{name}` is not usable: {source}; start workers through their primary only"
    )]
    Descriptor {
        /// Its name.
        name: String,
        /// Its number.
        fd: i32,
        /// What the system said.
        source: io::Error,
    },
    /// No listener of this name is left.
    #[error("no listener named `{name}`: the primary gave {given:?}, and each can be taken once")]
    NoListener {
        /// The name asked for.
        name: String,
        /// The names that are left.
        given: Vec<String>,
    },
    /// No descriptor of this name is left.
    #[error("no descriptor named `{name}`: the primary gave {given:?}, and each can be taken once")]
    NoDescriptor {
        /// The name asked for.
        name: String,
        /// The names that are left.
        given: Vec<String>,
    },
    /// The control socket failed or ended before the primary's greeting.
    #[error("no greeting from the primary: {0}")]
    Handshake(#[source] io::Error),
    /// The primary speaks another version.
    #[error("the primary speaks protocol {theirs}, this worker {ours}; both must be of one build")]
    Protocol {
        /// This worker's version.
        ours: u16,
        /// The primary's version.
        theirs: u16,
    },
    /// The primary that this process shall succeed is of a build with which it cannot agree.
    #[error(
        "the predecessor hands over by version {theirs}, this program by {ours}; stop that one and start this one"
    )]
    Predecessor {
        /// This program's version.
        ours: u16,
        /// The predecessor's version.
        theirs: u16,
    },
}

/// Why no other primary took this one's place. This one and its workers serve on, unless it says
/// otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The program is not there, or is none.
    #[error("there is no program to upgrade to at {}: {source}; put the new build there, under the same name", path.display())]
    Program {
        /// Where the program was when this primary started.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It could not be started.
    #[error("the new primary cannot be started: {0}")]
    Spawn(#[source] Arc<io::Error>),
    /// It ended before its workers were ready.
    #[error(
        "the new primary ended before its workers were ready ({0}), this one serves on; see the new one's output"
    )]
    Ended(ExitStatus),
    /// Its workers were not ready in time, so it was told to end.
    #[error(
        "the new primary's workers were not ready within {0:?}, so it was ended, and this one serves on; see the new one's output"
    )]
    Late(Duration),
    /// It said something else than that it is ready, so it was told to end.
    #[error(
        "the new primary speaks another language, so it was ended, and this one serves on; is it a program of this crate?"
    )]
    Garbled,
    /// This primary is process 1, with which a container ends.
    #[error(
        "this primary is process 1 of its container, which ends with it; reload the workers, or replace the container"
    )]
    Init,
    /// This primary has not taken over from its own predecessor yet.
    #[error("this primary has not taken over from its own predecessor yet; try again when it has")]
    NotInCharge,
    /// The cluster stops, or another primary has taken over already.
    #[error("the cluster stops")]
    Stopping,
}

/// Why a cluster did not start. Nothing is left behind but signal handlers: no worker, no open
/// port, no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting makes no sense.
    #[error("invalid cluster setting: {0}")]
    Config(String),
    /// The address cannot be understood or resolved.
    #[error(
        "cannot listen on {address:?} (`{name}`): {source}; write it as host:port, for example 127.0.0.1:3000 or [::1]:3000"
    )]
    Address {
        /// Name of the listener.
        name: String,
        /// The address as given.
        address: String,
        /// What resolution said.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error("cannot listen on {address} (`{name}`): {}", Reason(source))]
    Listen {
        /// Name of the listener.
        name: String,
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A worker process cannot be started.
    #[error("cannot start a worker process: {0}")]
    Spawn(#[source] io::Error),
    /// The way to the primary that this one shall succeed is not usable.
    #[error("cannot talk to the predecessor: {0}")]
    Predecessor(#[source] io::Error),
    /// Another primary holds the pid file.
    #[error("the pid file {} is held by {}: stop that one, or choose another file", path.display(), Holder(*holder))]
    PidFileHeld {
        /// The file.
        path: PathBuf,
        /// The process that holds it, if it has said so.
        holder: Option<u32>,
    },
    /// The pid file cannot be had.
    #[error("cannot write the pid file {}: {source}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process listens at the path of the control socket.
    #[error("the control socket {} is served by {}: stop that one, or choose another path", path.display(), Holder(*holder))]
    ControlHeld {
        /// The path.
        path: PathBuf,
        /// The primary that listens, if it is one.
        holder: Option<u32>,
    },
    /// The control socket cannot be had.
    #[error("cannot listen for orders at {}: {source}", path.display())]
    Control {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The signal handlers cannot be installed.
    #[error(
        "cannot install signal handlers: {0}; start the cluster inside a tokio runtime with I/O enabled"
    )]
    Signals(#[source] io::Error),
}

/// Who has what we want.
struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// A system error in words that tell what to do.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("address already in use; another process serves it: stop that one or choose another port")
            }
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address; choose one of its own, or 0.0.0.0 for all"),
            io::ErrorKind::PermissionDenied => {
                f.write_str("permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port")
            }
            _ => self.0.fmt(f),
        }
    }
}

/// Why a cluster ended without being told to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No worker was ever ready and all slots are given up: the program does not boot.
    #[error("no worker ever became ready: all {slots} slots were given up; {}", Last(last.as_ref()))]
    NeverReady {
        /// Number of slots.
        slots: usize,
        /// The last end of a worker.
        last: Option<crate::Ended>,
    },
    /// All slots are given up after they had served.
    #[error("no worker is left: all {slots} slots were given up; {}", Last(last.as_ref()))]
    AllGaveUp {
        /// Number of slots.
        slots: usize,
        /// The last end of a worker.
        last: Option<crate::Ended>,
    },
}

struct Last<'a>(Option<&'a crate::Ended>);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(end) if end.cause == ExitCause::BootFailed => {
                write!(
                    f,
                    "the last worker ended before it was ready ({}), see its output",
                    end.status
                )
            }
            Some(end) => write!(f, "the last worker ended with {}, see its output", end.status),
            None => f.write_str("no process could be started, see the log"),
        }
    }
}

/// Why a reload ended before all workers were replaced. Those of the other slots go on, with the
/// program that they had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The program is not there, or is none. No worker was replaced.
    #[error("there is no program to reload at {}: {source}; put the new build there, under the same name", path.display())]
    Program {
        /// Where the program was when the primary started.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A new worker could not be started.
    #[error("the new worker of slot {slot} cannot be started, the slot keeps what it has: {source}; {} others were replaced", replaced.len())]
    Spawn {
        /// The slot.
        slot: Slot,
        /// What the system said.
        source: Arc<io::Error>,
        /// The workers that were replaced before.
        replaced: Vec<Replacement>,
    },
    /// A new worker ended before it was ready.
    #[error(
        "the new worker of slot {} ended before it was ready ({}), the old one serves on; see the new one's output; {} others were replaced",
        ended.slot,
        ended.status,
        replaced.len()
    )]
    Failed {
        /// Its end.
        ended: Ended,
        /// The workers that were replaced before.
        replaced: Vec<Replacement>,
    },
    /// The cluster stops.
    #[error("the cluster stops")]
    Stopping,
}

/// Why there are not so many slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScaleError {
    /// None of the slots that would stay serves: all were given up. None was emptied.
    #[error(
        "none of the {slots} slots that would stay serves, because their workers die too often; nothing was closed"
    )]
    NoneServes {
        /// How many would stay.
        slots: usize,
    },
    /// The cluster stops.
    #[error("the cluster stops")]
    Stopping,
}
