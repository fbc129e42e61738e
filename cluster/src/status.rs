use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Addresses, ExitCause};
use crate::id::{Slot, WorkerId};

/// What [`ClusterHandle::status`](crate::ClusterHandle::status) saw at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether the cluster runs or stops.
    pub phase: Phase,
    /// One entry per slot, in order.
    pub slots: Vec<SlotStatus>,
    /// The addresses that the cluster listens on, by name.
    pub addresses: Addresses,
}

/// How far the cluster has come. Phases follow each other in this order; none comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Slots are kept filled.
    Running,
    /// Another primary has [taken over](crate::ClusterHandle::upgrade). Workers drain; none is
    /// replaced.
    HandedOver,
    /// Workers drain; none is replaced.
    Stopping,
    /// Workers have the short deadline.
    StoppingFast,
    /// Workers are killed.
    Killing,
}

/// One slot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlotStatus {
    /// Which.
    pub slot: Slot,
    /// What it does.
    pub state: SlotState,
    /// Deaths since the start that nobody requested, failed starts included.
    pub deaths: u32,
    /// How the last worker of the slot ended.
    pub last_exit: Option<ExitCause>,
}

/// What a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotState {
    /// Its worker boots.
    Starting(WorkerId),
    /// Its worker serves.
    Serving(WorkerId),
    /// Its worker leaves.
    Draining(WorkerId),
    /// It is empty and gets a worker after this delay, counted from the last death.
    BackingOff(Duration),
    /// It stays empty: its workers died too often, or its supervision failed.
    GaveUp,
    /// It is empty because the cluster stops, or the slot is taken away.
    Stopped,
}

/// A live worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Its slot.
    pub slot: Slot,
    /// Its process id. For signals use [`ClusterHandle::kill`](crate::ClusterHandle::kill), which
    /// cannot hit a stranger.
    pub pid: u32,
    /// Whether it has said that it is ready.
    pub ready: bool,
    /// Time since its start.
    pub uptime: Duration,
    /// Requests that it has [counted](crate::Pulse::count) up to its last beat.
    pub requests: u64,
    /// Time since its last beat; `None` before the first.
    pub last_beat: Option<Duration>,
    /// Messages to it that were refused because its queue was full.
    pub refused_messages: u64,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The workers that were replaced, in that order.
    pub replaced: Vec<Replacement>,
    /// Time until the last of the old ones had left.
    pub took: Duration,
}

/// One worker that took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Replacement {
    /// Whose slot it is.
    pub slot: Slot,
    /// The worker that left; `None` if the slot was empty, or it has died meanwhile.
    pub old: Option<WorkerId>,
    /// The worker that serves now.
    pub new: WorkerId,
}

/// How the cluster stopped.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The workers that lived when the stop began, in the order in which they ended.
    pub workers: Vec<Ended>,
    /// Time from the order to the end of the last worker.
    pub took: Duration,
    /// Process id of the primary that took over, if that is why.
    pub successor: Option<u32>,
}

impl ShutdownReport {
    /// The workers that did not leave in time, hung, or could no longer be watched by the primary,
    /// and were killed.
    pub fn killed(&self) -> impl Iterator<Item = WorkerId> {
        let killed = |cause| {
            matches!(cause, ExitCause::DeadlineKilled | ExitCause::Hung | ExitCause::Abandoned)
        };
        self.workers.iter().filter(move |ended| killed(ended.cause)).map(|ended| ended.id)
    }
}

/// The end of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The worker.
    pub id: WorkerId,
    /// The slot that it filled.
    pub slot: Slot,
    /// Why it ended.
    pub cause: ExitCause,
    /// How the process ended, as the system reports it.
    pub status: ExitStatus,
}
