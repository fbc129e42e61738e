use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use serde::Serialize;
use tokio::task::{JoinError, JoinHandle};

use super::board::Board;
use super::core::Core;
use crate::error::{Gone, ReloadError, RunError, ScaleError, SendError, UpgradeError};
use crate::event::{Addresses, Events, ExitCause};
use crate::frame::{self, ToWorker};
use crate::id::WorkerId;
use crate::message;
use crate::outbox::{Outbox, Refused};
use crate::status::{Phase, ReloadReport, ShutdownReport, Status, WorkerInfo};

/// A running cluster. Cloning is cheap; all clones are the same cluster.
///
/// Dropping all of them stops nothing: the cluster ends by [`shutdown`](Self::shutdown), by a
/// signal, or with its runtime.
#[derive(Clone, Debug)]
pub struct ClusterHandle(pub(super) Arc<Core>);

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// One worker.
    One(WorkerId),
    /// All that live now.
    All,
}

/// How a cluster stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Workers drain until [`DrainPolicy::deadline`](crate::DrainPolicy::deadline).
    Graceful,
    /// Workers drain until [`DrainPolicy::fast`](crate::DrainPolicy::fast), without quiet time.
    Fast,
}

impl ClusterHandle {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// The events of the cluster. The first reader sees all since the start, later ones those from
    /// now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.events()
    }

    /// The live workers, oldest first.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.0.see(Board::workers)
    }

    /// What the cluster and its slots do.
    #[must_use]
    pub fn status(&self) -> Status {
        let slots = self.0.see(|board| board.slots().to_vec());
        Status { phase: *self.0.phase.borrow(), slots, addresses: self.0.addresses.clone() }
    }

    /// The addresses that the cluster listens on, by name, with the port that the kernel chose for
    /// port 0.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    /// Waits until every slot serves or is given up, and at least one serves. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`RunError`] when no slot serves: all were given up. A stop before all slots served is no
    /// error.
    pub async fn ready(&self) -> Result<(), RunError> {
        let mut changed = self.0.changed.subscribe();
        let mut outcome = self.0.outcome.subscribe();
        loop {
            changed.borrow_and_update();
            if self.0.see(Board::settled) {
                return Ok(());
            }
            tokio::select! {
                _ = changed.changed() => {}
                ended = outcome.wait_for(Option::is_some) => {
                    return match ended.as_deref() {
                        Ok(Some(Err(e))) => Err(e.clone()),
                        _ => Ok(()),
                    };
                }
            }
        }
    }

    /// Queues a message for workers, in order, without waiting.
    ///
    /// Each worker has a queue of 4 MiB. `Ok` means queued: a worker that ends first never reads
    /// it.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] names the workers that do not read and whose queue is full; the message
    /// went to all others. [`SendError::Gone`] when there is no such worker.
    /// [`SendError::TooLarge`] and [`SendError::Encode`] for the message itself; then it went to
    /// nobody.
    pub fn send<T: Serialize + ?Sized>(
        &self,
        target: Target,
        message: &T,
    ) -> Result<(), SendError> {
        let bytes = message::encode(message)?;
        let len = bytes.len();
        let frame = frame::encode(&ToWorker::Message(bytes))
            .map_err(|_| SendError::TooLarge { len, max: message::Message::MAX })?;
        let receivers = self.receivers(target);
        if receivers.is_empty() && target != Target::All {
            return Err(SendError::Gone);
        }
        let mut full = Vec::new();
        for (id, outbox) in receivers {
            match outbox.offer(frame.clone()) {
                Err(Refused::Full) => full.push(id),
                Err(Refused::Closed) if target == Target::One(id) => return Err(SendError::Gone),
                Ok(()) | Err(Refused::Closed) => {}
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        self.0.note(|board| full.iter().for_each(|&id| board.refused(id)));
        Err(SendError::Full(full))
    }

    /// Sends a signal to a worker. `SIGTERM` makes a connected worker drain; others do what they do
    /// to any process.
    ///
    /// It goes through a descriptor of the process, so it never hits a stranger that was given the
    /// same number.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the worker has ended. Also when the system refuses the signal, because the
    /// worker runs as another user for example; then the log has the reason, and
    /// [`workers`](Self::workers) still shows the worker.
    pub fn kill(&self, id: WorkerId, signal: Signal) -> Result<(), Gone> {
        let pidfd = self
            .0
            .see(|board| board.live().get(&id).map(|live| Arc::clone(&live.pidfd)))
            .ok_or(Gone)?;
        pidfd_send_signal(pidfd.as_fd(), signal).map_err(|error| {
            if error != Errno::SRCH {
                tracing::error!(worker = %id, ?signal, %error, "the system refuses to send a signal to a worker, which lives on");
            }
            Gone
        })
    }

    /// Retires a worker: it drains, at most until the deadline, and another takes its slot. Returns
    /// how it ended.
    ///
    /// It is no death of the slot, also if the worker had to be killed.
    ///
    /// Cancel safe: dropping the future does not take the order back.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no such worker.
    pub async fn drain(&self, id: WorkerId) -> Result<ExitCause, Gone> {
        let mut end = self.0.see(|board| board.retire(id)).ok_or(Gone)?;
        let cause = end.wait_for(Option::is_some).await.map_err(|_| Gone)?;
        cause.ok_or(Gone)
    }

    /// Replaces every worker by one of the program that is now where the primary's was when it
    /// started, also if that is the same. One after the other: the new worker starts beside the old
    /// one, and when it is [ready](crate::Worker::ready) the old one drains. The next one follows
    /// when that has left, so there is never one less than before, and one more at most.
    ///
    /// The program was where `argv[0]` leads, if that is a path to it and the process runs as who
    /// started it; a link to the current release is followed anew. Else it is where the system says
    /// that it was. Whoever may write to the folders of that path decides what is run.
    ///
    /// Cancel safe: dropping the future does not take the order back. Reloads and
    /// [`scale`](Self::scale) wait for each other.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] when a new worker ends, or is late, before it is ready: the old one of its
    /// slot serves on, and the slots that follow are left as they are. That is no death of the
    /// slot, unless the slot was empty or its old worker has died meanwhile. Also when there is no
    /// program, or the cluster stops.
    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let core = Arc::clone(&self.0);
        settled(self.0.runtime.spawn(async move { core.reload(|| ()).await }))
            .await
            .unwrap_or(Err(ReloadError::Stopping))
    }

    /// Replaces this primary, and with it all workers, by the program that is now where this one
    /// was when it started, as [`reload`](Self::reload) finds it. Returns the process id of the new
    /// primary.
    ///
    /// The new one is started with the same arguments and environment, and reads its configuration
    /// anew. It takes over the ports that it asks for, by name or by address, and starts workers of
    /// its own beside those of this one. When all of them serve it has taken over: the workers of
    /// this primary drain, and [`wait`](Self::wait) returns with the
    /// [successor](ShutdownReport::successor) in its report. Until then nothing has changed for
    /// this cluster, and whatever fails leaves it as it was. So long, there are twice as many
    /// workers.
    ///
    /// State that the primary holds is the application's to hand on:
    /// [`ClusterBuilder::bequeath`](crate::ClusterBuilder::bequeath) opens a way. A new primary
    /// counts workers from 1 again, and has as many slots as its configuration says.
    ///
    /// If this primary dies before the new one is ready, the new one takes over without it.
    ///
    /// The new one is another process than the one that somebody started. A service manager that
    /// ends the service with that process, as the init of a container does, ends the new one too:
    /// it is for systemd with `Type=notify`, which is told, and for those that do not watch.
    ///
    /// Cancel safe: dropping the future does not take the order back. [Reloads](Self::reload),
    /// [`scale`](Self::scale) and this wait for each other.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`] when the new primary cannot be started, ends, or is not ready within twice
    /// the [readiness time](crate::ClusterBuilder::readiness); when one of its slots is given up;
    /// when this process is process 1, or has not taken over itself; when the cluster stops.
    pub async fn upgrade(&self) -> Result<u32, UpgradeError> {
        let core = Arc::clone(&self.0);
        settled(self.0.runtime.spawn(async move { core.upgrade().await }))
            .await
            .unwrap_or(Err(UpgradeError::Stopping))
    }

    /// Makes it so many slots. Those with the highest numbers are emptied: their workers drain, and
    /// it returns when they have left. Added ones are filled; [`ready`](Self::ready) waits until
    /// they serve. Slots that were given up, and stay, are tried again. No slot is emptied before
    /// one that stays serves.
    ///
    /// Cancel safe: dropping the future does not take the order back. [Reloads](Self::reload) and
    /// this wait for each other.
    ///
    /// # Errors
    ///
    /// [`ScaleError`] when the cluster stops, or none of the slots that would stay can serve.
    pub async fn scale(&self, slots: NonZeroUsize) -> Result<(), ScaleError> {
        let core = Arc::clone(&self.0);
        settled(self.0.runtime.spawn(async move { core.scale(slots).await }))
            .await
            .unwrap_or(Err(ScaleError::Stopping))
    }

    /// Stops the cluster and waits for its end. A stop under way goes on; it can be hurried, not
    /// slowed.
    ///
    /// It ends by the deadline of the policy at the latest: a worker that is late is killed, and
    /// the report says so. Cancel safe: dropping the future does not take the stop back.
    pub async fn shutdown(&self, mode: Shutdown) -> ShutdownReport {
        self.0.stop(match mode {
            Shutdown::Graceful => Phase::Stopping,
            Shutdown::Fast => Phase::StoppingFast,
        });
        // Without a report the slots had ended by themselves, and there was nothing to stop.
        self.wait().await.unwrap_or_else(|_| ShutdownReport::default())
    }

    /// Waits until the cluster has ended: after a signal, a [`shutdown`](Self::shutdown), or
    /// because all slots are given up. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`RunError`] when all slots were given up. The process should then end with a code other
    /// than 0, so that whoever started it notices.
    pub async fn wait(&self) -> Result<ShutdownReport, RunError> {
        self.0.ended().await;
        self.0.office.closed().await;
        // The wait was for `Some`.
        self.0.outcome.borrow().clone().unwrap_or_else(|| Ok(ShutdownReport::default()))
    }

    fn receivers(&self, target: Target) -> Vec<(WorkerId, Outbox)> {
        self.0.see(|board| {
            let live = board.live().iter().map(|(&id, live)| (id, live.outbox.clone()));
            match target {
                Target::One(wanted) => live.filter(|(id, _)| *id == wanted).collect(),
                Target::All => live.collect(),
            }
        })
    }
}

/// What a task comes to. `None` if its runtime ends before.
async fn settled<T>(task: JoinHandle<T>) -> Option<T> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => None,
    }
}
