//! Upgrade: starts a new primary that takes over from this one.

use std::{
    future::pending,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
    time::Duration,
};

use command_fds::CommandFdExt;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::Child,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    error::{UpgradeError, WithSources},
    event::Event,
    model::Phase,
    os::{
        executable::Executable,
        fds::{
            GRANTED, HandoffManifest, ListenerFds, READY, REFUSED, SUCCESSOR_VARIABLE,
            WORKER_VARIABLE, open_pidfd, pass_fds,
        },
    },
    primary::cluster::Cluster,
};

/// Variables of a service manager that apply to one process only. The successor needs the others.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_PID"];

/// How long the service manager may take to receive a notice.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

impl Cluster {
    /// Starts a primary that replaces this one, and lets the workers drain when it has taken over.
    /// Returns its process id.
    pub(in crate::primary) async fn upgrade(&self) -> Result<u32, UpgradeError> {
        let _changing = self.changing.lock().await;
        let _succeeding = self.succeeding.lock().await;
        if self.shared.lifecycle.is_stopping() {
            return Err(UpgradeError::Stopping);
        }
        tracing::info!("upgrade of the primary begins");
        self.shared.emit(Event::Upgrading);
        let result = self.start_successor().await;
        match &result {
            Ok(pid) => tracing::info!(
                pid,
                "upgrade done: another primary has taken over, the workers of this one drain"
            ),
            Err(error) => {
                tracing::error!(error = %WithSources(error), "upgrade of the primary failed");
            }
        }
        self.shared.emit(Event::Upgraded(result.clone()));
        result
    }

    async fn start_successor(&self) -> Result<u32, UpgradeError> {
        if process::id() == 1 {
            return Err(UpgradeError::ProcessOne);
        }
        if !self.shared.lifecycle.is_in_charge() {
            return Err(UpgradeError::NotInCharge);
        }
        let old = self.shared.executable();
        let executable = old.reopen().map_err(|source| UpgradeError::Program {
            path: old.path().to_owned(),
            source: Arc::new(source),
        })?;
        let mut successor = self
            .spawn_successor(&executable)
            .map_err(|source| UpgradeError::Spawn(Arc::new(source)))?;
        match self.wait_successor_ready(&mut successor).await {
            Ok(()) if self.shared.hand_over(successor.pid) => {
                let pid = successor.pid;
                self.endpoints.leave_to_successor();
                // If this fails, the successor takes over when this process has ended.
                if let Err(error) = successor.grant().await {
                    tracing::error!(pid, %error, "the new primary died after it had taken over");
                }
                self.endpoints.release();
                // Fails without a service manager.
                let _ = timeout(NOTIFY_TIMEOUT, self.shared.announce_handover(pid)).await;
                self.shared.runtime.spawn(successor.watch());
                Ok(pid)
            }
            Ok(()) => {
                successor.discard(self).await;
                Err(UpgradeError::Stopping)
            }
            Err(error) => {
                successor.discard(self).await;
                Err(error)
            }
        }
    }

    async fn wait_successor_ready(
        &self,
        successor: &mut SuccessorProcess,
    ) -> Result<(), UpgradeError> {
        // The readiness time for its workers, and the same time again for the program to start
        // them.
        let within = self.shared.config.readiness * 2;
        let mut phase = self.shared.lifecycle.watch_phase();
        tokio::select! {
            biased;
            // Cannot fail: the sender lives in `shared`.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => Err(UpgradeError::Stopping),
            ready = timeout(within, successor.ready()) => {
                ready.unwrap_or(Err(UpgradeError::TimedOut(within)))
            }
        }
    }

    /// Starts the successor. A panic in a closure of the configuration becomes an error, so that
    /// this primary continues.
    fn spawn_successor(&self, executable: &Executable) -> io::Result<SuccessorProcess> {
        let spawned = catch_unwind(AssertUnwindSafe(|| SuccessorProcess::spawn(self, executable)));
        spawned.unwrap_or_else(|_| {
            Err(io::Error::other("a closure of the cluster's configuration panicked"))
        })
    }
}

/// The process of a primary that will replace this one.
#[derive(Debug)]
struct SuccessorProcess {
    pid: u32,
    child: Child,
    pidfd: OwnedFd,
    connection: UnixStream,
}

impl SuccessorProcess {
    /// Starts it, with the ports and files of this primary and the descriptors of the
    /// configuration.
    fn spawn(cluster: &Cluster, executable: &Executable) -> io::Result<Self> {
        let shared = &cluster.shared;
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let connection = UnixStream::from_std(ours)?;
        let mut passed = vec![OwnedFd::from(theirs)];
        let number = passed[0].as_raw_fd();
        let listeners = shared.with_listeners(|all| ListenerFds::copies(all, &mut passed))?;
        let fds = shared
            .config
            .pass_to_successor
            .iter()
            .map(|(name, open)| Ok((name.clone(), open()?)))
            .collect::<io::Result<_>>()?;
        let fds = pass_fds(fds, &mut passed);
        let files = cluster.endpoints.with_files(|files| files.copies(&mut passed))?;
        let manifest = HandoffManifest::new(number, listeners, fds, files);

        let mut command = executable.command(None);
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        command
            .env_remove(WORKER_VARIABLE)
            .env(SUCCESSOR_VARIABLE, serde_json::to_string(&manifest)?);
        command.preserved_fds(passed);
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
        match open_pidfd(pid) {
            Ok(pidfd) => Ok(Self { pid, child, pidfd, connection }),
            Err(e) => {
                // tokio reaps it in the background.
                let _ = child.start_kill();
                Err(e)
            }
        }
    }

    /// Waits until its workers serve.
    async fn ready(&mut self) -> Result<(), UpgradeError> {
        let Self { child, connection, .. } = self;
        let message = async {
            match connection.read_u8().await {
                Ok(READY) => Ok(()),
                Ok(_) => Err(UpgradeError::InvalidMessage),
                // The process ends. Its exit status follows.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            biased;
            received = message => received,
            status = child.wait() => Err(match status {
                Ok(status) => UpgradeError::Ended(status),
                Err(error) => UpgradeError::Spawn(Arc::new(error)),
            }),
        }
    }

    /// Tells it that it is in charge from now on.
    async fn grant(&mut self) -> io::Result<()> {
        self.connection.write_u8(GRANTED).await
    }

    /// Logs its end if it ends while this process lives.
    async fn watch(mut self) {
        let pid = self.pid;
        match self.child.wait().await {
            Ok(status) if status.success() => {
                tracing::info!(pid, "the primary that took over has ended");
            }
            Ok(status) => tracing::error!(pid, %status, "the primary that took over has ended"),
            Err(error) => {
                tracing::error!(pid, %error, "cannot wait for the primary that took over");
            }
        }
    }

    /// Ends it and waits for its end. It gets the drain deadline for its own workers, unless this
    /// cluster stops fast.
    async fn discard(mut self, cluster: &Cluster) {
        // It may already wait for the answer. Without an answer it would assume that this process
        // has died.
        let _ = self.connection.write_u8(REFUSED).await;
        let signal = |signal| {
            // Fails if it has ended.
            let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
        };
        signal(Signal::TERM);
        let mut phase = cluster.shared.lifecycle.watch_phase();
        let drain = cluster.shared.config.drain;
        let latest = Instant::now() + drain.deadline + drain.fast;
        tokio::select! {
            _ = self.child.wait() => return,
            () = sleep_until(latest) => {}
            // Cannot fail: the sender lives in `shared`.
            _ = phase.wait_for(|phase| *phase > Phase::Stopping) => {}
        }
        signal(Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::error!(pid = self.pid, %error, "cannot wait for a new primary that was ended");
        }
    }
}
