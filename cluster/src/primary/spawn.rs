//! Starts worker processes.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixStream as StdUnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::Instant,
};

use command_fds::CommandFdExt;
use tokio::{net::UnixStream, process::Child};

use super::shared::Shared;
use crate::{
    model::{Slot, WorkerId},
    os::{
        executable::Executable,
        fds::{PRIMARY_ONLY, WORKER_VARIABLE, WorkerBootInfo, open_pidfd, pass_fds},
    },
};

/// A worker process that was just started.
#[derive(Debug)]
pub(super) struct SpawnedWorker {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) pid: u32,
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) control: UnixStream,
    pub(super) started: Instant,
}

impl SpawnedWorker {
    /// Kills and reaps the worker of a cluster whose start failed.
    pub(super) async fn discard(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(worker = %self.id, %error, "cannot kill a worker after a failed start");
        }
    }
}

/// Starts a worker process for `slot` that runs `executable`.
///
/// In this process all descriptors keep `FD_CLOEXEC`. The flag is cleared in the child, and only on
/// the descriptors of that child.
pub(super) fn spawn(
    shared: &Shared,
    slot: Slot,
    executable: &Executable,
) -> io::Result<SpawnedWorker> {
    let id = shared.next_id();
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let control = UnixStream::from_std(ours)?;

    let mut passed = vec![OwnedFd::from(theirs)];
    let info = WorkerBootInfo {
        id,
        slot,
        orphan: shared.config.drain.orphan,
        control: passed[0].as_raw_fd(),
        listeners: pass_fds(shared.sockets()?, &mut passed),
        fds: pass_fds(open_inherited(shared, id)?, &mut passed),
    };
    let command = command(shared, executable, &info, passed)?;
    // The command owns this process's copies of the descriptors. They are closed when the command
    // is dropped here.
    let mut child = tokio::process::Command::from(command).spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
    // The child is not reaped yet, so its id cannot be reused.
    match open_pidfd(pid) {
        Ok(pidfd) => {
            Ok(SpawnedWorker { id, slot, pid, child, pidfd, control, started: Instant::now() })
        }
        Err(e) => {
            // tokio reaps it in the background.
            let _ = child.start_kill();
            Err(e)
        }
    }
}

fn command(
    shared: &Shared,
    executable: &Executable,
    info: &WorkerBootInfo,
    passed: Vec<OwnedFd>,
) -> io::Result<Command> {
    let mut command = executable.command(shared.config.worker_args.as_deref());
    command.envs(shared.config.vars(info.slot));
    for name in PRIMARY_ONLY {
        command.env_remove(name);
    }
    command.env(WORKER_VARIABLE, serde_json::to_string(info)?);
    // A separate process group, so that Ctrl-C at a terminal reaches only the primary.
    command.process_group(0).stdin(Stdio::null());
    command.preserved_fds(passed);
    Ok(command)
}

fn open_inherited(shared: &Shared, id: WorkerId) -> io::Result<Vec<(String, OwnedFd)>> {
    shared.config.inherit.iter().map(|(name, open)| Ok((name.clone(), open(id)?))).collect()
}
