//! The state that all tasks of an owner share: the store, settings, shutdown and counters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use session_core::{MemoryStore, SessionStore};
use tokio::sync::watch;

/// The settings of an owner.
#[derive(Debug, Clone)]
pub(crate) struct OwnerSettings {
    pub(crate) max_connections: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) frame_bytes: usize,
    pub(crate) hello_deadline: Duration,
    pub(crate) frame_deadline: Duration,
    pub(crate) drain_deadline: Duration,
    pub(crate) sweep: Option<Duration>,
    pub(crate) allowed_uids: Vec<u32>,
}

/// Counters of an owner, since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The clients that are connected now.
    pub connections: usize,
    /// The requests that the owner has read.
    pub requests: u64,
    /// The clients that the owner refused, because of their user or because of the limit of
    /// connections.
    pub refused: u64,
    /// The clients that the owner disconnected, because of invalid bytes or a missed deadline.
    pub cut_off: u64,
}

/// The state that all tasks of an owner share.
pub(crate) struct OwnerShared {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) settings: OwnerSettings,
    /// The same store if its sessions can be handed over.
    pub(crate) memory: Option<Arc<MemoryStore>>,
    pub(crate) tasks: Arc<TaskTracker>,
    stop: watch::Sender<bool>,
    /// Whether a handover is running. The owner's thread ends after it.
    handover_running: watch::Sender<bool>,
    requests: AtomicU64,
    refused: AtomicU64,
    cut_off: AtomicU64,
}

impl OwnerShared {
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        memory: Option<Arc<MemoryStore>>,
        settings: OwnerSettings,
    ) -> Self {
        Self {
            store,
            settings,
            memory,
            tasks: Arc::default(),
            stop: watch::Sender::new(false),
            handover_running: watch::Sender::new(false),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        }
    }

    pub(crate) fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the owner is shut down.
    pub(crate) async fn stopped(&self) {
        // The sender is in `self`, so the channel stays open here.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Shuts the owner down. Its thread stays alive until the guard is dropped.
    pub(crate) fn stop_for_handover(self: &Arc<Self>) -> HandoverGuard {
        self.handover_running.send_replace(true);
        self.stop.send_replace(true);
        HandoverGuard(Arc::clone(self))
    }

    /// Waits until no handover is running.
    pub(crate) async fn handover_ended(&self) {
        let _ = self.handover_running.subscribe().wait_for(|running| !*running).await;
    }

    /// Registers a connection. `None` if the owner has as many as its settings allow, or is shut
    /// down.
    pub(crate) fn track_connection(&self) -> Option<TaskToken> {
        let Some(token) = self.tasks.track_connection(self.settings.max_connections) else {
            self.count_refusal();
            return None;
        };
        self.unless_stopped(token)
    }

    /// Registers a connection that another owner accepted. The limit of connections does not apply.
    pub(crate) fn track_resumed(&self) -> Option<TaskToken> {
        self.unless_stopped(self.tasks.track_resumed())
    }

    /// Registers a listener. `None` if the owner is shut down.
    pub(crate) fn track_listener(&self) -> Option<TaskToken> {
        self.unless_stopped(self.tasks.track_listener())
    }

    /// Checks for a shutdown after the task was registered. So if a caller stops the owner and then
    /// finds no task, no task starts later.
    fn unless_stopped(&self, token: TaskToken) -> Option<TaskToken> {
        (!self.is_stopped()).then_some(token)
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            connections: self.tasks.connections(),
            requests: self.requests.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            cut_off: self.cut_off.load(Ordering::Relaxed),
        }
    }
}

/// Marks a running handover. Dropping the guard ends the mark.
pub(crate) struct HandoverGuard(Arc<OwnerShared>);

impl Drop for HandoverGuard {
    fn drop(&mut self) {
        self.0.handover_running.send_replace(false);
    }
}

/// Counts the connections and listeners of an owner. A shutdown waits for all of them, a handover
/// for those that can still start a call.
#[derive(Debug, Default)]
pub(crate) struct TaskTracker {
    open: watch::Sender<usize>,
    /// The tasks that may still start a call. A connection that only waits for its client to read
    /// is not among them.
    active: watch::Sender<usize>,
    connections: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskKind {
    /// Counts towards the limit of connections.
    Connection,
    Listener,
}

impl TaskTracker {
    /// Registers a connection, unless there are `max` already.
    fn track_connection(self: &Arc<Self>, max: usize) -> Option<TaskToken> {
        let next = |count: usize| (count < max).then_some(count + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(self.track(TaskKind::Connection))
    }

    fn track_resumed(self: &Arc<Self>) -> TaskToken {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.track(TaskKind::Connection)
    }

    fn track_listener(self: &Arc<Self>) -> TaskToken {
        self.track(TaskKind::Listener)
    }

    fn track(self: &Arc<Self>, kind: TaskKind) -> TaskToken {
        self.open.send_modify(|open| *open += 1);
        self.active.send_modify(|active| *active += 1);
        TaskToken { tracker: Arc::clone(self), kind, active: true }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until there is no connection and no listener.
    pub(crate) async fn wait_closed(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Waits until no listener or connection can start a call. Connections that only wait for their
    /// client to read may remain.
    pub(crate) async fn wait_inactive(&self) {
        let _ = self.active.subscribe().wait_for(|active| *active == 0).await;
    }
}

/// Registers a connection or listener. Dropping the token removes the registration.
#[derive(Debug)]
pub(crate) struct TaskToken {
    tracker: Arc<TaskTracker>,
    kind: TaskKind,
    active: bool,
}

impl TaskToken {
    /// Records that all calls have ended and that no further call starts. Only bytes for the client
    /// to read are left.
    pub(crate) fn set_inactive(&mut self) {
        if std::mem::replace(&mut self.active, false) {
            self.tracker.active.send_modify(|active| *active -= 1);
        }
    }
}

impl Drop for TaskToken {
    fn drop(&mut self) {
        self.set_inactive();
        if self.kind == TaskKind::Connection {
            self.tracker.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.tracker.open.send_modify(|open| *open -= 1);
    }
}
