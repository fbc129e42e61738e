use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use command_fds::CommandFdExt;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;
use tokio::process::Child;

use super::core::Core;
use crate::id::{Slot, WorkerId};
use crate::image::Image;
use crate::inheritance::{Inheritance, PRIMARY_ONLY, VARIABLE};

/// A worker process that was just started.
#[derive(Debug)]
pub(super) struct Newborn {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) pid: u32,
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) control: UnixStream,
    pub(super) born: Instant,
}

impl Newborn {
    /// Kills and reaps a worker that is not wanted after all.
    pub(super) async fn discard(mut self) {
        if let Err(e) = self.child.kill().await {
            tracing::warn!(worker = %self.id, error = %e, "a worker of a cluster that does not start cannot be killed");
        }
    }
}

/// Starts a worker process for `slot`, which runs `image`.
///
/// All descriptors stay closed on `exec` in this process; the flag is cleared in the child, for its
/// own alone.
pub(super) fn spawn(core: &Core, slot: Slot, image: &Image) -> io::Result<Newborn> {
    let id = core.next_id();
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let control = UnixStream::from_std(ours)?;

    let mut passed = vec![OwnedFd::from(theirs)];
    let inheritance = Inheritance {
        id,
        slot,
        orphan: core.config.drain.orphan,
        control: passed[0].as_raw_fd(),
        listeners: pass(core.sockets()?, &mut passed),
        fds: pass(open_inherited(core, id)?, &mut passed),
    };
    let command = command(core, image, &inheritance, passed)?;
    // The command owns this process's copies of the descriptors and closes them when it is dropped
    // here.
    let mut child = tokio::process::Command::from(command).spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
    // The child is not reaped yet, so the number is still its own.
    match open_pidfd(pid) {
        Ok(pidfd) => Ok(Newborn { id, slot, pid, child, pidfd, control, born: Instant::now() }),
        Err(e) => {
            // Reaped by tokio in the background.
            let _ = child.start_kill();
            Err(e)
        }
    }
}

fn command(
    core: &Core,
    image: &Image,
    inheritance: &Inheritance,
    passed: Vec<OwnedFd>,
) -> io::Result<Command> {
    let mut command = image.command(core.config.worker_args.as_deref());
    command.envs(core.config.vars(inheritance.slot));
    for name in PRIMARY_ONLY {
        command.env_remove(name);
    }
    command.env(VARIABLE, serde_json::to_string(inheritance)?);
    // A group of its own: Ctrl-C at the terminal reaches the primary alone, which decides.
    command.process_group(0).stdin(Stdio::null());
    command.preserved_fds(passed);
    Ok(command)
}

fn open_inherited(core: &Core, id: WorkerId) -> io::Result<Vec<(String, OwnedFd)>> {
    core.config.inherit.iter().map(|(name, open)| Ok((name.clone(), open(id)?))).collect()
}

pub(super) fn pass(
    fds: Vec<(String, OwnedFd)>,
    passed: &mut Vec<OwnedFd>,
) -> BTreeMap<String, RawFd> {
    fds.into_iter()
        .map(|(name, fd)| {
            let number = fd.as_raw_fd();
            passed.push(fd);
            (name, number)
        })
        .collect()
}

pub(super) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
