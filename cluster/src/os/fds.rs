//! Descriptors that one process passes to another: to a worker, and to the successor of a primary.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::{
    listener::Listener,
    pid_file::PidFile,
    socket_file::{SocketFile, lock_path},
    sys::FirstThread,
};
use crate::{
    error::{BootError, WithSources},
    model::{Slot, WorkerId},
};

/// The environment variable that tells a process that it is a worker. The worker removes it.
pub(crate) const WORKER_VARIABLE: &str = "CLUSTER_WORKER";

/// The environment variable that tells a primary that it succeeds another one.
pub(crate) const SUCCESSOR_VARIABLE: &str = "CLUSTER_SUCCESSOR";

/// Variables of a service manager that concern only the primary. They are removed from the
/// environment of workers.
pub(crate) const PRIMARY_ONLY: [&str; 6] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Version of the handover between two primaries, possibly of two builds: of [`HandoffManifest`]
/// and of the bytes below.
const HANDOFF_VERSION: u16 = 1;

/// From the successor: all of its workers serve.
pub(crate) const READY: u8 = b'R';

/// To the successor: the predecessor continues.
pub(crate) const REFUSED: u8 = b'N';

/// To the successor: it is in charge from now on.
pub(crate) const GRANTED: u8 = b'Y';

/// What a worker must know before it can read its control socket: its id and its descriptors.
///
/// The descriptor numbers are those of the primary. The child does not move descriptors to fixed
/// numbers, because a move could overwrite the descriptor that reports a failed `exec`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerBootInfo {
    pub(crate) id: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) orphan: Duration,
    pub(crate) control: RawFd,
    pub(crate) listeners: BTreeMap<String, RawFd>,
    pub(crate) fds: BTreeMap<String, RawFd>,
}

/// What a primary passes to its successor. The descriptor numbers are the same in both processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandoffManifest {
    version: u16,
    link: RawFd,
    #[serde(flatten)]
    listeners: ListenerFds,
    fds: BTreeMap<String, RawFd>,
    held: ExclusiveFds,
}

impl HandoffManifest {
    pub(crate) fn new(
        link: RawFd,
        listeners: ListenerFds,
        fds: BTreeMap<String, RawFd>,
        held: ExclusiveFds,
    ) -> Self {
        Self { version: HANDOFF_VERSION, link, listeners, fds, held }
    }
}

/// The descriptors of the listeners in a [`HandoffManifest`], by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ListenerFds {
    /// TCP ports.
    listeners: BTreeMap<String, RawFd>,
    /// Unix-domain sockets. An earlier build has none.
    #[serde(default)]
    sockets: BTreeMap<String, SocketFds>,
}

/// The descriptors of a socket and of its lock file, and the path of the socket.
type SocketFds = (RawFd, RawFd, PathBuf);

impl ListenerFds {
    /// Adds copies of the descriptors for a successor to `passed`.
    pub(crate) fn copies(
        listeners: &BTreeMap<String, Listener>,
        passed: &mut Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut fds = Self::default();
        for (name, listener) in listeners {
            match listener {
                Listener::Tcp(_) => {
                    fds.listeners.insert(name.clone(), pass_fd(listener.copy()?, passed));
                }
                Listener::Unix(socket) => {
                    fds.sockets.insert(name.clone(), pass_socket(socket, passed)?);
                }
            }
        }
        Ok(fds)
    }

    /// Adopts the listeners of a predecessor.
    fn adopt(self, thread: &FirstThread) -> Result<BTreeMap<String, Listener>, BootError> {
        let mut listeners: BTreeMap<_, _> = adopt_all(thread, self.listeners)?
            .into_iter()
            .map(|(name, fd)| (name, Listener::Tcp(fd.into())))
            .collect();
        for (name, socket) in self.sockets {
            let adopted = adopt_socket(thread, &name, socket)?;
            listeners.insert(name, Listener::Unix(adopted));
        }
        Ok(listeners)
    }
}

fn pass_socket(socket: &SocketFile, passed: &mut Vec<OwnedFd>) -> io::Result<SocketFds> {
    let (listener, lock) = (socket.listener()?, socket.lock().copy()?);
    Ok((pass_fd(listener, passed), pass_fd(lock, passed), socket.path().to_owned()))
}

fn adopt_socket(
    thread: &FirstThread,
    name: &str,
    (listener, lock, path): SocketFds,
) -> Result<SocketFile, BootError> {
    let lock = File::from(adopt_fd(thread, &format!("lock of {name}"), lock)?);
    let lock = PidFile::of_predecessor(lock, lock_path(&path));
    let listener = adopt_fd(thread, name, listener)?.into();
    Ok(SocketFile::of_predecessor(listener, lock, path))
}

/// What this primary got from its predecessor, and the connection to it.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) connection: UnixStream,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) fds: BTreeMap<String, OwnedFd>,
    pub(crate) files: ExclusiveFiles,
}

impl Predecessor {
    pub(crate) fn adopt(thread: &FirstThread, text: &[u8]) -> Result<Self, BootError> {
        let malformed = |source| BootError::Malformed { name: SUCCESSOR_VARIABLE, source };
        // The version first: another version may have other fields.
        let Version { version } = serde_json::from_slice(text).map_err(malformed)?;
        if version != HANDOFF_VERSION {
            return Err(BootError::Predecessor { ours: HANDOFF_VERSION, theirs: version });
        }
        let HandoffManifest { link, listeners, fds, held, .. } =
            serde_json::from_slice(text).map_err(malformed)?;
        let connection = adopt_fd(thread, "link", link)?.into();
        Ok(Self {
            connection,
            listeners: listeners.adopt(thread)?,
            fds: adopt_all(thread, fds)?,
            files: ExclusiveFiles::of_predecessor(thread, held)?,
        })
    }
}

#[derive(Deserialize)]
struct Version {
    version: u16,
}

/// The files that only one primary can have. Dropping it removes the files, unless they are left
/// for another primary.
#[derive(Debug, Default)]
pub(crate) struct ExclusiveFiles {
    // Dropped in this order.
    pub(crate) control: Option<SocketFile>,
    pub(crate) pid_file: Option<PidFile>,
}

/// The descriptors of [`ExclusiveFiles`] in a [`HandoffManifest`], and the paths of the files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ExclusiveFds {
    control: Option<SocketFds>,
    pid_file: Option<(RawFd, PathBuf)>,
}

impl ExclusiveFiles {
    /// Adds copies of the descriptors for a successor to `passed`.
    pub(crate) fn copies(&self, passed: &mut Vec<OwnedFd>) -> io::Result<ExclusiveFds> {
        let mut fds = ExclusiveFds::default();
        if let Some(control) = &self.control {
            fds.control = Some(pass_socket(control, passed)?);
        }
        if let Some(pid_file) = &self.pid_file {
            fds.pid_file = Some((pass_fd(pid_file.copy()?, passed), pid_file.path().to_owned()));
        }
        Ok(fds)
    }

    /// Adopts the files of a predecessor. They belong to the predecessor until
    /// [`take_charge`](Self::take_charge).
    fn of_predecessor(thread: &FirstThread, given: ExclusiveFds) -> Result<Self, BootError> {
        let mut files = Self::default();
        if let Some(control) = given.control {
            files.control = Some(adopt_socket(thread, "control socket", control)?);
        }
        if let Some((file, path)) = given.pid_file {
            let file = adopt_fd(thread, "pid file", file)?.into();
            files.pid_file = Some(PidFile::of_predecessor(file, path));
        }
        Ok(files)
    }

    /// Leaves the files to the primary that has copies of the descriptors.
    pub(crate) fn leave_to_successor(&mut self) {
        if let Some(control) = &mut self.control {
            control.leave_to_successor();
        }
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.leave_to_successor();
        }
    }

    /// Makes this process the owner of the files and writes its process id into them.
    pub(crate) fn take_charge(&mut self) {
        let control_lock = self.control.as_mut().map(SocketFile::lock_mut);
        for file in control_lock.into_iter().chain(self.pid_file.as_mut()) {
            if let Err(error) = file.take_charge() {
                tracing::error!(
                    path = %file.path().display(),
                    error = %WithSources(&error),
                    "cannot write the process id into a file; its lock is held"
                );
            }
        }
    }
}

/// Adds named descriptors to those that are passed on, and returns their numbers by name.
pub(crate) fn pass_fds(
    fds: Vec<(String, OwnedFd)>,
    passed: &mut Vec<OwnedFd>,
) -> BTreeMap<String, RawFd> {
    fds.into_iter().map(|(name, fd)| (name, pass_fd(fd, passed))).collect()
}

/// Adds a descriptor to those that are passed on. Its number is the same in both processes.
pub(crate) fn pass_fd(fd: impl Into<OwnedFd>, passed: &mut Vec<OwnedFd>) -> RawFd {
    let fd = fd.into();
    let number = fd.as_raw_fd();
    passed.push(fd);
    number
}

/// Adopts named descriptors that came through `exec`.
pub(crate) fn adopt_all(
    thread: &FirstThread,
    fds: BTreeMap<String, RawFd>,
) -> Result<BTreeMap<String, OwnedFd>, BootError> {
    fds.into_iter().map(|(name, fd)| adopt_fd(thread, &name, fd).map(|fd| (name, fd))).collect()
}

/// Adopts one descriptor that came through `exec`.
pub(crate) fn adopt_fd(thread: &FirstThread, name: &str, fd: RawFd) -> Result<OwnedFd, BootError> {
    thread.adopt(fd).map_err(|source| BootError::Descriptor { name: name.to_owned(), fd, source })
}

/// Opens a descriptor that refers to a process, even if its id is reused later.
pub(crate) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_info_survives_the_environment() {
        let given = WorkerBootInfo {
            id: WorkerId::new(7),
            slot: Slot::new(1),
            orphan: Duration::from_millis(1500),
            control: 9,
            listeners: BTreeMap::from([("http".to_owned(), 10)]),
            fds: BTreeMap::from([("store".to_owned(), 11)]),
        };
        let text = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<WorkerBootInfo>(&text).unwrap(), given);
    }
}
