//! The handle of a running cluster: the public API of the primary.

use std::{num::NonZeroUsize, os::fd::AsFd, panic::resume_unwind, sync::Arc, time::Duration};

use rustix::{
    io::Errno,
    process::{Signal, pidfd_send_signal},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::{JoinError, JoinHandle};

use super::{cluster::Cluster, table::WorkerTable};
use crate::{
    error::{Gone, ReloadError, RequestError, RunError, ScaleError, SendError, UpgradeError},
    event::Events,
    model::{
        Addresses, ExitCause, Message, Phase, ReloadReport, ShutdownReport, Status, WorkerId,
        WorkerInfo,
    },
    wire::{
        frame::{self, ToWorker},
        message,
        outbox::{Outbox, QueueError},
        rpc::{Requests, WhenFull},
    },
};

/// A running cluster. Cloning is cheap; all clones refer to the same cluster.
///
/// Dropping all clones does not stop the cluster. It ends by [`shutdown`](Self::shutdown), by a
/// signal, or with its runtime.
#[derive(Debug, Clone)]
pub struct ClusterHandle(pub(super) Arc<Cluster>);

/// The receivers of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// One worker.
    One(WorkerId),
    /// All workers that are alive now.
    All,
}

/// How a cluster stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Workers drain until [`DrainPolicy::deadline`](crate::DrainPolicy::deadline).
    Graceful,
    /// Workers drain until [`DrainPolicy::fast`](crate::DrainPolicy::fast), without quiet time.
    Fast,
}

impl ClusterHandle {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self(cluster)
    }

    /// The events of the cluster. The first reader gets all events since the start, later readers
    /// get those from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.shared.events()
    }

    /// The live workers, oldest first.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.0.shared.read(WorkerTable::workers)
    }

    /// The state of the cluster and its slots.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.0.shared;
        Status {
            phase: shared.lifecycle.phase(),
            slots: shared.read(|table| table.slots().to_vec()),
            addresses: shared.addresses.clone(),
        }
    }

    /// The addresses that the cluster listens on, by name. For port 0 this is the port that the
    /// kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.0.shared.addresses
    }

    /// Waits until every slot serves or is given up, and at least one serves. Also returns `Ok`
    /// when the cluster stops before that. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`RunError`] when all slots were given up.
    pub async fn ready(&self) -> Result<(), RunError> {
        self.0.shared.ready().await
    }

    /// Queues a message for workers, in order, without waiting.
    ///
    /// Each worker has a queue of 4 MiB. `Ok` means queued: a worker that ends first does not read
    /// it.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] names the workers whose queue is full because they do not read; all
    /// others get the message. [`SendError::Gone`] when there is no such worker.
    /// [`SendError::TooLarge`] and [`SendError::Encode`] concern the message itself; then no worker
    /// gets it.
    pub fn send<T: Serialize + ?Sized>(
        &self,
        target: Target,
        message: &T,
    ) -> Result<(), SendError> {
        let bytes = message::encode(message)?;
        let len = bytes.len();
        let frame = frame::encode(&ToWorker::Message(bytes))
            .map_err(|_| SendError::TooLarge { len, max: Message::MAX })?;
        let receivers = self.receivers(target);
        if receivers.is_empty() && target != Target::All {
            return Err(SendError::Gone);
        }
        let mut full = Vec::new();
        for (id, outbox) in receivers {
            match outbox.try_send(frame.clone()) {
                Err(QueueError::Full) => full.push(id),
                Err(QueueError::Closed) if target == Target::One(id) => {
                    return Err(SendError::Gone);
                }
                Ok(()) | Err(QueueError::Closed) => {}
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        self.0.shared.update(|table| full.iter().for_each(|&id| table.count_refused(id)));
        Err(SendError::Full(full))
    }

    /// Sends a request to a worker and waits for its reply: `let load: f64 =
    /// cluster.request(id, &Question::Load, within).await?`.
    ///
    /// Requests and [messages](Self::send) share one queue of 4 MiB, so both arrive in order. A
    /// worker that boots finds the request when it connects. A worker that does not read requests
    /// yet refuses it, so send requests to workers that are [ready](crate::Worker::ready).
    ///
    /// Cancel safe: a request is sent whole or not at all. Dropping the future drops the reply; the
    /// worker does not learn it.
    ///
    /// # Errors
    ///
    /// [`RequestError::Full`] at once when the queue of the worker is full, [`RequestError::Gone`]
    /// when there is no such worker or it ends before it replies, [`RequestError::TimedOut`] after
    /// `within`. [`RequestError::NoReader`], [`RequestError::Busy`] and
    /// [`RequestError::NotAnswered`] come from the worker. The others concern the request or the
    /// reply itself.
    pub async fn request<R: DeserializeOwned>(
        &self,
        id: WorkerId,
        request: &(impl Serialize + Sync + ?Sized),
        within: Duration,
    ) -> Result<R, RequestError> {
        let body = message::encode(request)?;
        let shared = &self.0.shared;
        let channel = shared
            .read(|table| table.live().get(&id).map(|entry| Arc::clone(&entry.channel)))
            .ok_or(RequestError::Gone)?;
        let reply = channel.request(body, within, WhenFull::Refuse).await;
        if matches!(reply, Err(RequestError::Full)) {
            shared.update(|table| table.count_refused(id));
        }
        reply
    }

    /// The requests of all workers, in the order in which they arrived. The stream ends with the
    /// cluster.
    ///
    /// There is one reader: a further call replaces it, and the previous stream ends. Without
    /// a reader, workers that send requests get [`RequestError::NoReader`].
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.0.shared.requests.subscribe()
    }

    /// Sends a signal to a worker. `SIGTERM` makes a connected worker drain. Other signals act as
    /// on any process.
    ///
    /// The signal goes through a descriptor of the process, so it never reaches another process
    /// with a reused id.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the worker has ended. Also when the system refuses the signal, for example
    /// because the worker runs as another user. Then the log has the reason, and
    /// [`workers`](Self::workers) still lists the worker.
    pub fn kill(&self, id: WorkerId, signal: Signal) -> Result<(), Gone> {
        let pidfd = self
            .0
            .shared
            .read(|table| table.live().get(&id).map(|entry| Arc::clone(&entry.pidfd)))
            .ok_or(Gone)?;
        pidfd_send_signal(pidfd.as_fd(), signal).map_err(|error| {
            if error != Errno::SRCH {
                tracing::error!(
                    worker = %id, ?signal, %error,
                    "the system refused to send a signal to a worker, which is still alive"
                );
            }
            Gone
        })
    }

    /// Retires a worker: it drains, at most until the deadline, and another worker takes its slot.
    /// Returns how it ended.
    ///
    /// This does not count as a death of the slot, even if the worker is killed.
    ///
    /// Cancel safe: dropping the future does not cancel the order.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no such worker.
    pub async fn drain(&self, id: WorkerId) -> Result<ExitCause, Gone> {
        let mut end = self.0.shared.read(|table| table.retire(id)).ok_or(Gone)?;
        let cause = end.wait_for(Option::is_some).await.map_err(|_| Gone)?;
        cause.ok_or(Gone)
    }

    /// Replaces every worker by one that runs the program that is now at the path of the primary's
    /// program, even if it is the same program.
    ///
    /// Workers are replaced one after the other. The new worker starts beside the old one. When it
    /// is [ready](crate::Worker::ready), the old one drains. The next replacement begins when the
    /// old one has exited. So there is never one worker less than before, and at most one more.
    ///
    /// The path is `argv[0]`, if it is a path to the program and the process runs as the user that
    /// started it; a link to the current release is resolved again. Otherwise it is the path that
    /// the system reported at the start. Every user that may write to the folders of that path
    /// controls what is run.
    ///
    /// Cancel safe: dropping the future does not cancel the reload. Reloads and
    /// [`scale`](Self::scale) wait for each other.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] when a new worker ends or is not ready in time: the old worker of its slot
    /// continues to serve, and the following slots are not changed. This does not count as a death
    /// of the slot, unless the slot was empty or its old worker has died meanwhile. Also when the
    /// program is missing, or when the cluster stops.
    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let cluster = Arc::clone(&self.0);
        join(self.0.shared.runtime.spawn(async move { cluster.reload(|| ()).await }))
            .await
            .unwrap_or(Err(ReloadError::Stopping))
    }

    /// Replaces this primary, and with it all workers, by the program that is now at its path, as
    /// [`reload`](Self::reload) finds it. Returns the process id of the new primary.
    ///
    /// The new primary starts with the same arguments and environment, and reads its configuration
    /// again. It takes over the ports that it asks for, by name or by address, and starts its own
    /// workers beside those of this one. It has taken over when all of them serve. Then the workers
    /// of this primary drain, and [`wait`](Self::wait) returns a report with the
    /// [successor](ShutdownReport::successor). Until then this cluster is unchanged, and every
    /// failure leaves it unchanged. During the upgrade there are twice as many workers.
    ///
    /// The application hands over the state of its primary itself, over a descriptor of
    /// [`ClusterBuilder::pass_to_successor`](crate::ClusterBuilder::pass_to_successor). A new
    /// primary counts workers from 1 again, and has as many slots as its configuration says.
    ///
    /// If this primary dies before the new one is ready, the new one takes over without it.
    ///
    /// The new primary is another process. A service manager that ends the service with the first
    /// process, as the init of a container does, ends the new primary too. Use upgrades with
    /// systemd and `Type=notify`, which learns the new process, or without a service manager.
    ///
    /// Cancel safe: dropping the future does not cancel the upgrade. [Reloads](Self::reload),
    /// [`scale`](Self::scale) and upgrades wait for each other.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`] when the new primary cannot be started, ends, or is not ready within twice
    /// the [readiness time](crate::ClusterBuilder::readiness); when one of its slots is given up;
    /// when this process is process 1, or has not taken over from its own predecessor; when the
    /// cluster stops.
    pub async fn upgrade(&self) -> Result<u32, UpgradeError> {
        let cluster = Arc::clone(&self.0);
        join(self.0.shared.runtime.spawn(async move { cluster.upgrade().await }))
            .await
            .unwrap_or(Err(UpgradeError::Stopping))
    }

    /// Changes the number of slots.
    ///
    /// Slots with the highest numbers are removed: their workers drain, and the call returns when
    /// they have exited. Added slots are filled; [`ready`](Self::ready) waits until they serve.
    /// Remaining slots that were given up are tried again. No slot is emptied before one of the
    /// remaining slots serves.
    ///
    /// Cancel safe: dropping the future does not cancel the change. [Reloads](Self::reload) and
    /// scaling wait for each other.
    ///
    /// # Errors
    ///
    /// [`ScaleError`] when the cluster stops, or when none of the remaining slots can serve.
    pub async fn scale(&self, slots: NonZeroUsize) -> Result<(), ScaleError> {
        let cluster = Arc::clone(&self.0);
        join(self.0.shared.runtime.spawn(async move { cluster.scale(slots).await }))
            .await
            .unwrap_or(Err(ScaleError::Stopping))
    }

    /// Stops the cluster and waits for its end. A second call can shorten a stop in progress, but
    /// not lengthen it.
    ///
    /// The stop ends at the deadline of the policy at the latest. A worker that misses it is
    /// killed, and the report names it. Cancel safe: dropping the future does not cancel the stop.
    pub async fn shutdown(&self, mode: Shutdown) -> ShutdownReport {
        self.0.shared.stop(match mode {
            Shutdown::Graceful => Phase::Stopping,
            Shutdown::Fast => Phase::StoppingFast,
        });
        // An error means that all slots had been given up before the stop.
        self.wait().await.unwrap_or_else(|_| ShutdownReport::default())
    }

    /// Waits until the cluster has ended: after a signal, a [`shutdown`](Self::shutdown), or
    /// because all slots are given up. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`RunError`] when all slots were given up. Then end the process with a code other than 0, so
    /// that its service manager notices.
    pub async fn wait(&self) -> Result<ShutdownReport, RunError> {
        self.0.shared.lifecycle.ended().await;
        self.0.endpoints.closed().await;
        // `ended` has waited for `Some`.
        self.0.shared.lifecycle.outcome().unwrap_or_else(|| Ok(ShutdownReport::default()))
    }

    fn receivers(&self, target: Target) -> Vec<(WorkerId, Outbox)> {
        self.0.shared.read(|table| {
            let live = table.live().iter().map(|(&id, entry)| (id, entry.outbox.clone()));
            match target {
                Target::One(wanted) => live.filter(|(id, _)| *id == wanted).collect(),
                Target::All => live.collect(),
            }
        })
    }
}

/// The result of a task. `None` if its runtime ends before.
async fn join<T>(task: JoinHandle<T>) -> Option<T> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(result) => Some(result),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => None,
    }
}
