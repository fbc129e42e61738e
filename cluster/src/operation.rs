use std::path::PathBuf;

use tokio::net::UnixListener;

use crate::config::ClusterBuilder;
use crate::control::{ControlSocket, lock_path};
use crate::error::StartError;
use crate::held::Held;
use crate::pid_file::{NotHeld, PidFile};

/// By what an operator shall get hold of the primary.
#[derive(Debug, Default)]
pub(crate) struct Operation {
    pid_file: Option<PathBuf>,
    control: Option<PathBuf>,
}

impl ClusterBuilder {
    /// Listens at `path` for orders of operators; [`control`](crate::control) has what they may
    /// say. Default: nowhere.
    ///
    /// [`start`](Self::start) makes a Unix socket there, of mode 0600 from the first moment. The
    /// folder must exist, and whoever may write to it decides what is at the path. A lock beside
    /// the socket, in a file with `.lock` after its name, tells that of a living primary, which is
    /// never replaced, from one that a crash left behind, which is. Both are removed before
    /// [`wait`](crate::ClusterHandle::wait) returns.
    #[must_use]
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.operation.control = Some(path.into());
        self
    }

    /// Writes the process id of the primary, and an end of line, to the file at `path`. Default: no
    /// file.
    ///
    /// [`start`](Self::start) locks the file (`flock`) before it does anything else, so that a
    /// second primary with the same one does not start. The kernel unlocks it when the process
    /// ends, however it ends, and what was left behind is taken over. The file has mode 0644 and is
    /// removed before [`wait`](crate::ClusterHandle::wait) returns. One that holds something else
    /// than a process id, or is a link, is refused.
    ///
    /// Who may read the file may lock it as well, and so keep a primary from starting. Where users
    /// are not trusted, put it in a folder that they cannot enter.
    #[must_use]
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.operation.pid_file = Some(path.into());
        self
    }
}

impl Operation {
    /// Takes what only one primary can have, before anything is started. What the predecessor has
    /// stays its until this one takes charge; of it is left in `given` what this one does not ask
    /// for.
    pub(crate) fn claim(&self, given: &mut Held) -> Result<Held, StartError> {
        Ok(Held {
            pid_file: self.hold_pid_file(&mut given.pid_file)?,
            control: self.bind_control(&mut given.control)?,
        })
    }

    /// Locks the pid file and writes it.
    fn hold_pid_file(&self, given: &mut Option<PidFile>) -> Result<Option<PidFile>, StartError> {
        let Some(path) = &self.pid_file else { return Ok(None) };
        if let Some(given) = given.take_if(|given| given.is_at(path)) {
            return Ok(Some(given));
        }
        let held = PidFile::open(path, 0o644).and_then(|held| {
            held.write_own_pid()?;
            Ok(held)
        });
        held.map(Some).map_err(|why| match why {
            NotHeld::Taken(holder) => StartError::PidFileHeld { path: path.clone(), holder },
            NotHeld::Failed(source) => StartError::PidFile { path: path.clone(), source },
        })
    }

    /// Binds the control socket. Clients are answered later.
    fn bind_control(
        &self,
        given: &mut Option<ControlSocket>,
    ) -> Result<Option<ControlSocket>, StartError> {
        let Some(path) = &self.control else { return Ok(None) };
        if let Some(given) = given.take_if(|given| given.lock().is_at(&lock_path(path))) {
            return Ok(Some(given));
        }
        ControlSocket::bind(path).map(Some).map_err(|why| match why {
            NotHeld::Taken(holder) => StartError::ControlHeld { path: path.clone(), holder },
            NotHeld::Failed(source) => StartError::Control { path: path.clone(), source },
        })
    }

    /// What the runtime accepts from.
    pub(crate) fn listener(&self, control: &ControlSocket) -> Result<UnixListener, StartError> {
        let path = self.control.clone().unwrap_or_default();
        control
            .listener()
            .and_then(UnixListener::from_std)
            .map_err(|source| StartError::Control { path, source })
    }
}
