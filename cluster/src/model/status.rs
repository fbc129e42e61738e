//! The state of a cluster, its slots and its workers, and the reports of reloads and stops.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    exit::{Ended, ExitCause, Replacement},
    ids::{Slot, WorkerId},
    listen::ListenAddress,
};

/// The addresses that the cluster listens on, by name.
pub type Addresses = BTreeMap<String, ListenAddress>;

/// The state of a cluster at one moment. From
/// [`ClusterHandle::status`](crate::ClusterHandle::status).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Whether the cluster runs or stops.
    pub phase: Phase,
    /// One entry per slot, in order.
    pub slots: Vec<SlotStatus>,
    /// The addresses that the cluster listens on, by name.
    pub addresses: Addresses,
}

/// The phase of a cluster. The phase only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Slots are kept filled.
    Running,
    /// Another primary has [taken over](crate::ClusterHandle::upgrade). Workers drain and are not
    /// replaced.
    HandedOver,
    /// Workers drain and are not replaced.
    Stopping,
    /// Workers drain with the short deadline.
    StoppingFast,
    /// Workers are killed.
    Killing,
}

/// The state of one slot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SlotStatus {
    /// The slot.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
    /// Unrequested deaths since the start, failed starts included.
    pub deaths: u32,
    /// How the last worker of the slot ended.
    pub last_exit: Option<ExitCause>,
}

/// What a slot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotState {
    /// Its worker boots.
    Starting(WorkerId),
    /// Its worker serves.
    Serving(WorkerId),
    /// Its worker drains.
    Draining(WorkerId),
    /// It is empty and gets a worker after this delay, counted from the last death.
    BackingOff(Duration),
    /// It stays empty: its workers died too often, or its supervision failed.
    GaveUp,
    /// It is empty because the cluster stops, or the slot was removed.
    Stopped,
}

/// A live worker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Its slot.
    pub slot: Slot,
    /// Its process id. To send a signal, use [`ClusterHandle::kill`](crate::ClusterHandle::kill),
    /// which cannot reach another process with a reused id.
    pub pid: u32,
    /// Whether it has reported that it is ready.
    pub ready: bool,
    /// Time since its start.
    pub uptime: Duration,
    /// Requests that it had [counted](crate::Heartbeat::count) at its last heartbeat.
    pub requests: u64,
    /// Time since its last heartbeat; `None` before the first.
    pub last_beat: Option<Duration>,
    /// Messages to it that were rejected because its queue was full.
    pub refused_messages: u64,
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The workers that were replaced, in that order.
    pub replaced: Vec<Replacement>,
    /// Time until the last of the old workers had exited.
    pub took: Duration,
}

/// How the cluster stopped.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The workers that were alive when the stop began, in the order in which they ended.
    pub workers: Vec<Ended>,
    /// Time from the order to the end of the last worker.
    pub took: Duration,
    /// Process id of the primary that took over, if this one stopped for that.
    pub successor: Option<u32>,
}

impl ShutdownReport {
    /// The workers that were killed: they missed their deadline, hung, or lost their supervision in
    /// the primary.
    pub fn killed(&self) -> impl Iterator<Item = WorkerId> {
        let killed = |cause| {
            matches!(cause, ExitCause::DeadlineKilled | ExitCause::Hung | ExitCause::Abandoned)
        };
        self.workers.iter().filter(move |ended| killed(ended.cause)).map(|ended| ended.id)
    }
}
