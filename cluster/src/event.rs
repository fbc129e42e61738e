use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::{ReloadError, UpgradeError};
use crate::id::{Slot, WorkerId};
use crate::message::Message;
use crate::recycle::RecycleWhy;
use crate::status::ReloadReport;

/// What happened in the cluster. For one worker the order is `Forked`, `Online`, `Listening`,
/// `Ready`, `Exited`, with its messages between; steps that it never reached are missing.
/// `Draining` can come at any point between `Forked` and `Exited`, once. `Exited` is always the
/// last.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A worker process was started.
    Forked {
        /// The new worker.
        id: WorkerId,
        /// The slot that it fills.
        slot: Slot,
        /// Its process id.
        pid: u32,
    },
    /// The worker's code has connected to the primary.
    Online(WorkerId),
    /// The worker accepts connections.
    Listening {
        /// The worker.
        id: WorkerId,
        /// The name that the port was given in
        /// [`ClusterBuilder::listen`](crate::ClusterBuilder::listen).
        name: String,
        /// The local address.
        addr: SocketAddr,
    },
    /// The worker serves.
    Ready(WorkerId),
    /// The worker sent a message.
    Message {
        /// The sender.
        from: WorkerId,
        /// What it sent.
        message: Message,
    },
    /// The worker was told to leave, or leaves because its process was sent `SIGTERM`.
    Draining(WorkerId),
    /// The worker has not beaten for too long: its event loop is blocked, or its process is
    /// stopped. It is killed, and `Exited` follows.
    Unresponsive {
        /// The worker.
        id: WorkerId,
        /// Time since its last beat, or since it became ready.
        since: Duration,
    },
    /// The worker process ended and was reaped.
    Exited {
        /// The worker.
        id: WorkerId,
        /// The slot that it leaves.
        slot: Slot,
        /// Its process id, which the system may use again from now on.
        pid: u32,
        /// Why.
        cause: ExitCause,
        /// How the process ended, as the system reports it.
        status: ExitStatus,
        /// Time between start and end.
        uptime: Duration,
    },
    /// A worker could not be started. It counts as a death of the slot.
    SpawnFailed {
        /// The slot that stays empty for now.
        slot: Slot,
        /// Why.
        error: Arc<std::io::Error>,
    },
    /// The slot gets a new worker after a delay.
    Respawning {
        /// The slot.
        slot: Slot,
        /// The delay.
        after: Duration,
        /// Deaths in a row that the delay answers; 0 if the worker left on request.
        attempt: u32,
    },
    /// The slot stays empty: its workers died too often, or its supervision failed. The other slots
    /// go on.
    GaveUp {
        /// The slot.
        slot: Slot,
        /// Deaths within [`GiveUp::window`](crate::GiveUp::window), or in a row if these are more;
        /// 0 if the supervision failed, because a closure of the configuration panicked, for
        /// example.
        deaths: u32,
    },
    /// All workers are being replaced, one after the other.
    Reloading,
    /// All workers were replaced, or why some were not. In a stop it may be missing.
    Reloaded(Result<ReloadReport, ReloadError>),
    /// A new primary is started, which shall take this one's place.
    Upgrading,
    /// The primary with this process id has taken over, and the workers of this one leave; or why
    /// not. In a stop it may be missing.
    Upgraded(Result<u32, UpgradeError>),
    /// This primary has taken over from its predecessor.
    TookOver,
    /// The worker has reached a limit of [`Recycle`](crate::Recycle): a fresh one is started beside
    /// it. When that is ready this one drains.
    Recycling {
        /// The worker that shall leave.
        id: WorkerId,
        /// Which limit.
        why: RecycleWhy,
    },
    /// The worker serves on, because the fresh one could not be started or ended before it was
    /// ready. The log says how.
    NotRecycled {
        /// The worker that should have left.
        id: WorkerId,
        /// When the next attempt may come.
        pause: Duration,
    },
    /// There are so many slots now. Those that were taken away are empty, those that were added may
    /// still start.
    Scaled {
        /// Slots before.
        from: usize,
        /// Slots now.
        to: usize,
    },
    /// A reader was too slow: so many events are missing here.
    Lagged(u64),
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitCause {
    /// It was told to leave, or received `SIGTERM`, and left within its deadline. The status tells
    /// whether it did so cleanly.
    Requested,
    /// It ended, or was killed for being late, before it was ready.
    BootFailed,
    /// It was ready and then ended by itself, whatever its exit code, or was killed because what it
    /// said on its control socket could not be understood.
    Crashed,
    /// It was ready and then ended by this signal.
    Signalled(i32),
    /// It was ready, then did not beat for [`dead_after`](crate::HeartbeatPolicy::dead_after), and
    /// was killed.
    Hung,
    /// It was told to leave and killed, because the deadline passed or a second interrupt came.
    DeadlineKilled,
    /// Its supervision in the primary failed (a closure of the configuration panicked, for
    /// example), so it was killed.
    Abandoned,
}

/// Reads the events of a cluster in order. From
/// [`ClusterHandle::events`](crate::ClusterHandle::events).
#[derive(Debug)]
pub struct Events(Receiver<Unread>);

/// An event that waits for its readers. What it holds on to is let go when the last of them has it.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) event: Event,
    pub(crate) _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Events {
    pub(crate) fn new(receiver: Receiver<Unread>) -> Self {
        Self(receiver)
    }

    /// Waits for the next event; `None` when the cluster has stopped and all events were read.
    ///
    /// Up to 1,024 unread events are kept for each reader; then the oldest go, and one
    /// [`Event::Lagged`] counts them. Of messages 8 MiB in all: while the slowest reader has so
    /// much to read, further ones are dropped, and all readers get a count of them with the next
    /// event.
    ///
    /// Cancel safe: no event is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(unread) => Some(unread.event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The addresses that the cluster listens on, by name.
pub type Addresses = BTreeMap<String, SocketAddr>;
