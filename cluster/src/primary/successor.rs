use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use command_fds::CommandFdExt;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use super::spawn::{open_pidfd, pass};
use crate::error::UpgradeError;
use crate::image::Image;
use crate::inheritance;
use crate::status::Phase;
use crate::succession::{Legacy, NO, READY, VARIABLE, YOURS};

/// Variables of a service manager that hold for one process. What it watches, and where it listens,
/// a successor needs as well.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_PID"];

/// A primary that shall take this one's place.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) pid: u32,
    child: Child,
    pidfd: OwnedFd,
    link: UnixStream,
}

impl Successor {
    /// Starts it, with the ports of this one and what the configuration leaves to it.
    pub(super) fn spawn(core: &Core, image: &Image) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let link = UnixStream::from_std(ours)?;
        let mut passed = vec![OwnedFd::from(theirs)];
        let number = passed[0].as_raw_fd();
        let listeners = pass(core.sockets()?, &mut passed);
        let left = core
            .config
            .bequeath
            .iter()
            .map(|(name, open)| Ok((name.clone(), open()?)))
            .collect::<io::Result<_>>()?;
        let left = pass(left, &mut passed);
        let legacy = Legacy::new(number, listeners, left, core.office.copies(&mut passed)?);

        let mut command = image.command(None);
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        command.env_remove(inheritance::VARIABLE).env(VARIABLE, serde_json::to_string(&legacy)?);
        command.preserved_fds(passed);
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
        match open_pidfd(pid) {
            Ok(pidfd) => Ok(Self { pid, child, pidfd, link }),
            Err(e) => {
                // Reaped by tokio in the background.
                let _ = child.start_kill();
                Err(e)
            }
        }
    }

    /// Waits until its workers serve.
    pub(super) async fn ready(&mut self) -> Result<(), UpgradeError> {
        let Self { child, link, .. } = self;
        let word = async {
            match link.read_u8().await {
                Ok(READY) => Ok(()),
                Ok(_) => Err(UpgradeError::Garbled),
                // It ends, which shows by its exit.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            biased;
            said = word => said,
            status = child.wait() => Err(match status {
                Ok(status) => UpgradeError::Ended(status),
                Err(error) => UpgradeError::Spawn(Arc::new(error)),
            }),
        }
    }

    /// Tells it that it is the one that counts from now on.
    pub(super) async fn release(&mut self) -> io::Result<()> {
        self.link.write_u8(YOURS).await
    }

    /// Says so if it ends while this process lives.
    pub(super) async fn watch(mut self) {
        match self.child.wait().await {
            Ok(status) if status.success() => {
                tracing::info!(pid = self.pid, "the primary that took over has ended")
            }
            Ok(status) => {
                tracing::error!(pid = self.pid, %status, "the primary that took over has ended")
            }
            Err(error) => {
                tracing::error!(pid = self.pid, %error, "cannot wait for the primary that took over")
            }
        }
    }

    /// Ends it and waits for its end. It has time to end what its workers serve, unless this
    /// cluster stops fast.
    pub(super) async fn discard(mut self, core: &Core) {
        // It may wait for the answer already. That there is none it takes for the death of this
        // process.
        let _ = self.link.write_u8(NO).await;
        let signal = |signal| {
            // It may have ended already.
            let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
        };
        signal(Signal::TERM);
        let mut phase = core.phase.subscribe();
        let latest = Instant::now() + core.config.drain.deadline + core.config.drain.fast;
        tokio::select! {
            _ = self.child.wait() => return,
            () = sleep_until(latest) => {}
            // The sender lives in the core.
            _ = phase.wait_for(|phase| *phase > Phase::Stopping) => {}
        }
        signal(Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::error!(pid = self.pid, %error, "cannot wait for a primary that was to take over");
        }
    }
}
