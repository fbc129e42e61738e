//! The events of a cluster, and the stream that reads them.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{Receiver, error::RecvError},
};

use crate::{
    error::{ReloadError, UpgradeError},
    model::{ExitCause, ListenAddress, Message, RecycleReason, ReloadReport, Slot, WorkerId},
};

/// Something that happened in the cluster.
///
/// The events of one worker come in this order: `Forked`, `Online`, `Listening`, `Ready`, `Exited`.
/// A step that the worker never reached is missing. Its messages come in between. `Draining` comes
/// at most once, at any point between `Forked` and `Exited`. `Exited` is always the last event.
#[derive(Debug, Clone)]
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
        /// The name of the port in [`ClusterBuilder::listen`](crate::ClusterBuilder::listen).
        name: String,
        /// The local address.
        addr: ListenAddress,
    },
    /// The worker serves.
    Ready(WorkerId),
    /// The worker sent a message.
    Message {
        /// The sender.
        from: WorkerId,
        /// The message.
        message: Message,
    },
    /// The worker drains: it was told to, or its process received `SIGTERM`.
    Draining(WorkerId),
    /// The worker has sent no heartbeat for too long: its event loop is blocked, or its process is
    /// stopped. The primary kills it, and `Exited` follows.
    Unresponsive {
        /// The worker.
        id: WorkerId,
        /// Time since its last heartbeat, or since it became ready.
        since: Duration,
    },
    /// The worker process ended and was reaped.
    Exited {
        /// The worker.
        id: WorkerId,
        /// The slot that it filled.
        slot: Slot,
        /// Its process id, which the system may now reuse.
        pid: u32,
        /// Why it ended.
        cause: ExitCause,
        /// The exit status that the system reports.
        status: ExitStatus,
        /// Time between start and end.
        uptime: Duration,
    },
    /// A worker could not be started. This counts as a death of the slot.
    SpawnFailed {
        /// The slot, which stays empty for now.
        slot: Slot,
        /// The system's error.
        error: Arc<std::io::Error>,
    },
    /// The slot gets a new worker after a delay.
    Respawning {
        /// The slot.
        slot: Slot,
        /// The delay.
        after: Duration,
        /// Number of deaths in a row; 0 if the worker exited on request.
        attempt: u32,
    },
    /// The slot stays empty: its workers died too often, or its supervision failed. The other slots
    /// continue.
    GaveUp {
        /// The slot.
        slot: Slot,
        /// Deaths within [`GiveUp::window`](crate::GiveUp::window) or in a row, whichever is more.
        /// 0 if the supervision failed, for example because a closure of the configuration
        /// panicked.
        deaths: u32,
    },
    /// A reload begins: all workers are replaced, one after the other.
    Reloading,
    /// The reload ended: its report, or why it ended early. May be missing in a stop.
    Reloaded(Result<ReloadReport, ReloadError>),
    /// An upgrade begins: this primary starts the new primary that will replace it.
    Upgrading,
    /// The upgrade ended: the process id of the primary that has taken over, or why none has. After
    /// a success the workers of this primary drain. May be missing in a stop.
    Upgraded(Result<u32, UpgradeError>),
    /// This primary has taken over from its predecessor.
    TookOver,
    /// The worker has reached a limit of [`RecyclePolicy`](crate::RecyclePolicy). A fresh worker
    /// starts beside it. The old worker drains when the fresh one is ready.
    Recycling {
        /// The old worker.
        id: WorkerId,
        /// The limit.
        why: RecycleReason,
    },
    /// The fresh worker could not be started, or ended before it was ready. The old one continues
    /// to serve. The log has the reason.
    NotRecycled {
        /// The old worker.
        id: WorkerId,
        /// Time before the next attempt.
        pause: Duration,
    },
    /// The number of slots changed. Removed slots are empty. Added slots may still start.
    Scaled {
        /// Slots before.
        from: usize,
        /// Slots now.
        to: usize,
    },
    /// The reader was too slow. This number of events is missing here.
    Lagged(u64),
}

/// Reads the events of a cluster in order. From
/// [`ClusterHandle::events`](crate::ClusterHandle::events).
#[derive(Debug)]
pub struct Events(Receiver<UnreadEvent>);

/// An event that waits for its readers. It holds its share of the byte budget until the last
/// reader has read it.
#[derive(Debug, Clone)]
pub(crate) struct UnreadEvent {
    pub(crate) event: Event,
    pub(crate) _budget: Option<Arc<OwnedSemaphorePermit>>,
}

impl Events {
    pub(crate) fn new(receiver: Receiver<UnreadEvent>) -> Self {
        Self(receiver)
    }

    /// Waits for the next event; `None` when the cluster has stopped and all events were read.
    ///
    /// The cluster keeps up to 1,024 unread events for each reader. Then it drops the oldest, and
    /// one [`Event::Lagged`] counts them. Unread messages are limited to 8 MiB in all. While the
    /// slowest reader has that much to read, the cluster drops new messages, and all readers get
    /// their count with the next event.
    ///
    /// Cancel safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(unread) => Some(unread.event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
