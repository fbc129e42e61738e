use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::error::BootError;
use crate::guard;
use crate::id::{Slot, WorkerId};
use crate::inheritance::Inheritance;
use crate::sys::FirstThread;
use crate::worker::Worker;

/// A worker before it is connected: what it inherited.
///
/// All descriptors are closed on `exec`, so a program that a request handler starts does not keep
/// the port.
#[derive(Debug)]
pub struct WorkerBoot {
    id: WorkerId,
    slot: Slot,
    control: UnixStream,
    listeners: BTreeMap<String, TcpListener>,
    fds: BTreeMap<String, OwnedFd>,
}

impl WorkerBoot {
    pub(crate) fn adopt(thread: &FirstThread, given: Inheritance) -> Result<Self, BootError> {
        let adopt = |name: &str, fd: RawFd| {
            thread.adopt(fd).map_err(|source| BootError::Descriptor {
                name: name.to_owned(),
                fd,
                source,
            })
        };
        let all = |fds: BTreeMap<String, RawFd>| {
            fds.into_iter()
                .map(|(name, fd)| adopt(&name, fd).map(|fd| (name, fd)))
                .collect::<Result<BTreeMap<_, _>, _>>()
        };
        let control = UnixStream::from(adopt("control", given.control)?);
        let listeners =
            all(given.listeners)?.into_iter().map(|(name, fd)| (name, fd.into())).collect();
        let fds = all(given.fds)?;
        // What else came through `exec`: left open in the primary by code that knows nothing of it.
        thread.seal().map_err(|source| BootError::Process { what: "the descriptors", source })?;
        // Last: from here on there is a second thread.
        let process = |source| BootError::Process { what: "the control socket", source };
        guard::watch(control.try_clone().map_err(process)?.into(), given.orphan)
            .map_err(process)?;
        Ok(Self { id: given.id, slot: given.slot, control, listeners, fds })
    }

    /// This worker's id.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// The slot that this worker fills.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Takes the listener that the primary opened under `name`. It is non-blocking.
    ///
    /// # Errors
    ///
    /// [`BootError::NoListener`] if there is none of this name, or it was taken before.
    pub fn take_listener(&mut self, name: &str) -> Result<TcpListener, BootError> {
        self.listeners.remove(name).ok_or_else(|| BootError::NoListener {
            name: name.to_owned(),
            given: self.listeners.keys().cloned().collect(),
        })
    }

    /// Takes the descriptor that [`ClusterBuilder::inherit`](crate::ClusterBuilder::inherit) made
    /// for this worker under `name`.
    ///
    /// # Errors
    ///
    /// [`BootError::NoDescriptor`] if there is none of this name, or it was taken before.
    pub fn take_fd(&mut self, name: &str) -> Result<OwnedFd, BootError> {
        self.fds.remove(name).ok_or_else(|| BootError::NoDescriptor {
            name: name.to_owned(),
            given: self.fds.keys().cloned().collect(),
        })
    }

    /// Greets the primary and waits for the settings. What was not taken before is closed.
    ///
    /// The runtime that runs this call must live as long as the worker is used: it runs the control
    /// connection. From here on `SIGTERM` is a drain order instead of an immediate end.
    ///
    /// # Errors
    ///
    /// [`BootError::Handshake`] when the primary is gone, [`BootError::Protocol`] when it is of
    /// another build.
    pub async fn connect(self) -> Result<Worker, BootError> {
        let stream = self
            .control
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(self.control));
        Worker::greet(self.id, self.slot, stream.map_err(BootError::Handshake)?).await
    }
}

pub(crate) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the control socket ended")
}
