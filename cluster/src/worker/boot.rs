//! A worker before it is connected to its primary.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use rustix::net::{AddressFamily, sockopt::socket_domain};

use super::handle::Worker;
use crate::{
    error::BootError,
    model::{Slot, WorkerId},
    os::{
        fds::{WorkerBootInfo, adopt_all, adopt_fd},
        guard,
        sys::FirstThread,
    },
};

/// A worker before it is connected: what it inherited.
///
/// All descriptors have `FD_CLOEXEC`, so a program that a request handler starts does not keep the
/// port open.
#[derive(Debug)]
pub struct WorkerBoot {
    id: WorkerId,
    slot: Slot,
    control: UnixStream,
    listeners: BTreeMap<String, OwnedFd>,
    fds: BTreeMap<String, OwnedFd>,
}

impl WorkerBoot {
    pub(crate) fn adopt(thread: &FirstThread, given: WorkerBootInfo) -> Result<Self, BootError> {
        let control = UnixStream::from(adopt_fd(thread, "control", given.control)?);
        let listeners = adopt_all(thread, given.listeners)?;
        let fds = adopt_all(thread, given.fds)?;
        // Other descriptors that came through `exec`: other code in the primary left them open.
        thread.seal().map_err(|source| BootError::Process { what: "the descriptors", source })?;
        // Last, because it starts a second thread.
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

    /// Takes the TCP listener that the primary opened under `name`. It is non-blocking.
    ///
    /// # Errors
    ///
    /// [`BootError::NoListener`] if there is no listener with this name, or it was taken before.
    /// [`BootError::OtherListener`] if it is a Unix-domain socket.
    pub fn take_listener(&mut self, name: &str) -> Result<TcpListener, BootError> {
        if self.is_unix(name)? {
            return Err(BootError::OtherListener {
                name: name.to_owned(),
                kind: "a Unix-domain socket",
                method: "take_unix_listener",
            });
        }
        self.take(name).map(TcpListener::from)
    }

    /// Takes the listener of the Unix-domain socket that the primary opened under `name`. It is
    /// non-blocking.
    ///
    /// # Errors
    ///
    /// [`BootError::NoListener`] if there is no listener with this name, or it was taken before.
    /// [`BootError::OtherListener`] if it is a TCP port.
    pub fn take_unix_listener(&mut self, name: &str) -> Result<UnixListener, BootError> {
        if !self.is_unix(name)? {
            return Err(BootError::OtherListener {
                name: name.to_owned(),
                kind: "a TCP port",
                method: "take_listener",
            });
        }
        self.take(name).map(UnixListener::from)
    }

    /// Whether the listener is a Unix-domain socket.
    fn is_unix(&self, name: &str) -> Result<bool, BootError> {
        let Some(listener) = self.listeners.get(name) else { return Err(self.no_listener(name)) };
        let domain = socket_domain(listener).map_err(|error| BootError::Process {
            what: "the kind of a listener",
            source: error.into(),
        })?;
        Ok(domain == AddressFamily::UNIX)
    }

    fn take(&mut self, name: &str) -> Result<OwnedFd, BootError> {
        self.listeners.remove(name).ok_or_else(|| self.no_listener(name))
    }

    fn no_listener(&self, name: &str) -> BootError {
        BootError::NoListener {
            name: name.to_owned(),
            given: self.listeners.keys().cloned().collect(),
        }
    }

    /// Takes the descriptor that [`ClusterBuilder::inherit`](crate::ClusterBuilder::inherit) opened
    /// for this worker under `name`.
    ///
    /// # Errors
    ///
    /// [`BootError::NoDescriptor`] if there is no descriptor with this name, or it was taken
    /// before.
    pub fn take_fd(&mut self, name: &str) -> Result<OwnedFd, BootError> {
        self.fds.remove(name).ok_or_else(|| BootError::NoDescriptor {
            name: name.to_owned(),
            given: self.fds.keys().cloned().collect(),
        })
    }

    /// Connects to the primary and waits for the settings. Descriptors that were not taken are
    /// closed.
    ///
    /// The runtime that runs this call must live as long as the worker is used, because it runs the
    /// control connection. From here on `SIGTERM` is a drain order instead of an immediate end.
    ///
    /// # Errors
    ///
    /// [`BootError::Handshake`] when the primary has ended, [`BootError::Protocol`] when it is of
    /// another build.
    pub async fn connect(self) -> Result<Worker, BootError> {
        let stream = self
            .control
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(self.control));
        Worker::connect(self.id, self.slot, stream.map_err(BootError::Handshake)?).await
    }
}
