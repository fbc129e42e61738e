//! The files that operators use to reach the primary: its pid file and its control socket.

use std::{path::Path, sync::Mutex};

use tokio::{net::UnixListener, sync::watch};

use crate::{
    builder::OperatorConfig,
    error::StartError,
    lock::lock,
    os::{
        fds::ExclusiveFiles,
        pid_file::{LockError, PidFile},
        socket_file::{SocketFile, lock_path},
    },
};

/// How many clients of the control socket may wait to be accepted.
const CONTROL_BACKLOG: i32 = 64;

/// The pid file and the control socket of the primary.
#[derive(Debug)]
pub(super) struct OperatorEndpoints {
    files: Mutex<ExclusiveFiles>,
    /// Files of the predecessor that this primary does not use.
    unused: Mutex<ExclusiveFiles>,
    closed: watch::Sender<bool>,
}

impl OperatorEndpoints {
    /// Locks the files before anything is started. Files of the predecessor stay its own until
    /// [`take_charge`](Self::take_charge). The second value is the control socket.
    pub(super) fn claim(
        config: &OperatorConfig,
        mut inherited: ExclusiveFiles,
    ) -> Result<(Self, Option<UnixListener>), StartError> {
        let files = ExclusiveFiles {
            pid_file: claim_pid_file(config.pid_file.as_deref(), &mut inherited.pid_file)?,
            control: claim_control(config.control.as_deref(), &mut inherited.control)?,
        };
        let listener = files
            .control
            .as_ref()
            .map(|control| {
                control.listener().and_then(UnixListener::from_std).map_err(|source| {
                    StartError::Control { path: config.control.clone().unwrap_or_default(), source }
                })
            })
            .transpose()?;
        let endpoints = Self {
            files: Mutex::new(files),
            unused: Mutex::new(inherited),
            closed: watch::Sender::new(false),
        };
        Ok((endpoints, listener))
    }

    /// Runs `read` with the files.
    pub(super) fn with_files<T>(&self, read: impl FnOnce(&ExclusiveFiles) -> T) -> T {
        read(&lock(&self.files))
    }

    /// Makes this primary the owner of the files, and removes those that it does not use.
    pub(super) fn take_charge(&self) {
        lock(&self.files).take_charge();
        let mut unused = std::mem::take(&mut *lock(&self.unused));
        unused.take_charge();
    }

    /// Makes the successor the owner of the files.
    pub(super) fn leave_to_successor(&self) {
        lock(&self.files).leave_to_successor();
    }

    /// Closes the descriptors of the files, which the successor has too. Otherwise the files would
    /// stay locked if the successor dies.
    pub(super) fn release(&self) {
        drop(std::mem::take(&mut *lock(&self.files)));
    }

    /// Removes the files and wakes the callers of [`closed`](Self::closed).
    pub(super) fn close(&self) {
        self.release();
        self.closed.send_replace(true);
    }

    /// Waits until the files are removed.
    pub(super) async fn closed(&self) {
        // Cannot fail: `self` owns the sender.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// Locks the pid file and writes it.
fn claim_pid_file(
    path: Option<&Path>,
    inherited: &mut Option<PidFile>,
) -> Result<Option<PidFile>, StartError> {
    let Some(path) = path else { return Ok(None) };
    if let Some(file) = inherited.take_if(|file| file.is_at(path)) {
        return Ok(Some(file));
    }
    let file = PidFile::open(path, 0o644).and_then(|file| {
        file.write_own_pid()?;
        Ok(file)
    });
    file.map(Some).map_err(|error| match error {
        LockError::Taken(holder) => StartError::PidFileHeld { path: path.to_owned(), holder },
        LockError::Failed(source) => StartError::PidFile { path: path.to_owned(), source },
    })
}

/// Binds the control socket. Clients are answered later.
fn claim_control(
    path: Option<&Path>,
    inherited: &mut Option<SocketFile>,
) -> Result<Option<SocketFile>, StartError> {
    let Some(path) = path else { return Ok(None) };
    if let Some(socket) = inherited.take_if(|socket| socket.lock().is_at(&lock_path(path))) {
        return Ok(Some(socket));
    }
    SocketFile::bind(path, 0o600, CONTROL_BACKLOG).map(Some).map_err(|error| match error {
        LockError::Taken(holder) => StartError::ControlHeld { path: path.to_owned(), holder },
        LockError::Failed(source) => StartError::Control { path: path.to_owned(), source },
    })
}
