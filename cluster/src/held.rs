use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::{ControlSocket, lock_path};
use crate::error::BootError;
use crate::pid_file::PidFile;

/// What of a primary is on disk, and only one primary can have. Dropped, it removes its files,
/// unless they are to stay for another one.
#[derive(Debug, Default)]
pub(crate) struct Held {
    // Dropped in this order.
    pub(crate) control: Option<ControlSocket>,
    pub(crate) pid_file: Option<PidFile>,
}

/// The numbers of the descriptors by which a successor gets hold of it, and where it is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HeldFds {
    control: Option<(RawFd, RawFd, PathBuf)>,
    pid_file: Option<(RawFd, PathBuf)>,
}

impl Held {
    /// Copies for a successor, which are added to `passed`.
    pub(crate) fn copies(&self, passed: &mut Vec<OwnedFd>) -> io::Result<HeldFds> {
        let mut fds = HeldFds::default();
        if let Some(control) = &self.control {
            let (listener, lock) = (control.listener()?, control.lock().copy()?);
            fds.control =
                Some((pass(listener, passed), pass(lock, passed), control.path().to_owned()));
        }
        if let Some(pid_file) = &self.pid_file {
            fds.pid_file = Some((pass(pid_file.copy()?, passed), pid_file.path().to_owned()));
        }
        Ok(fds)
    }

    /// What a predecessor holds, by the descriptors that `adopt` takes over. It stays where it is
    /// until this primary takes charge of it.
    pub(crate) fn of_predecessor(
        given: HeldFds,
        mut adopt: impl FnMut(&str, RawFd) -> Result<OwnedFd, BootError>,
    ) -> Result<Self, BootError> {
        let mut held = Self::default();
        if let Some((listener, lock, path)) = given.control {
            let lock = File::from(adopt("lock of the control socket", lock)?);
            let lock = PidFile::of_predecessor(lock, lock_path(&path));
            held.control = Some(ControlSocket::of_predecessor(
                adopt("control socket", listener)?.into(),
                lock,
                path,
            ));
        }
        if let Some((file, path)) = given.pid_file {
            held.pid_file = Some(PidFile::of_predecessor(adopt("pid file", file)?.into(), path));
        }
        Ok(held)
    }

    /// Leaves the files where they are, for the primary that has copies of the descriptors.
    pub(crate) fn stay(&mut self) {
        if let Some(control) = &mut self.control {
            control.stay();
        }
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.stay();
        }
    }

    /// From now on they are this process's, with its number in them.
    pub(crate) fn take_charge(&mut self) {
        for file in self
            .control
            .as_mut()
            .map(ControlSocket::take_charge)
            .into_iter()
            .chain(self.pid_file.as_mut())
        {
            if let Err(error) = file.take_charge() {
                tracing::error!(path = %file.path().display(), %error, "the number of this process cannot be written; the lock is held");
            }
        }
    }
}

/// Adds a descriptor to those that are passed on. Its number is the same in both processes.
fn pass(fd: impl Into<OwnedFd>, passed: &mut Vec<OwnedFd>) -> RawFd {
    let fd = fd.into();
    let number = fd.as_raw_fd();
    passed.push(fd);
    number
}
