use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::{maybe_millis, millis};
use crate::event::{Addresses, ExitCause};
use crate::id::{Slot, WorkerId};
use crate::status::{
    self, Ended, Phase, ReloadReport, Replacement, ShutdownReport, SlotStatus, WorkerInfo,
};

/// What was done, or seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// To [`Command::Status`](super::Command::Status).
    Status(StatusReply),
    /// To [`Command::Reload`](super::Command::Reload).
    Reloaded(ReloadReply),
    /// To [`Command::Upgrade`](super::Command::Upgrade). The primary that answers ends when its
    /// workers have left.
    Upgraded {
        /// The process id of the new primary.
        pid: u32,
    },
    /// To [`Command::Scale`](super::Command::Scale).
    Scaled {
        /// How many slots there are.
        workers: NonZeroUsize,
    },
    /// To [`Command::Drain`](super::Command::Drain).
    Drained {
        /// The worker that has left.
        id: WorkerId,
        /// How.
        cause: ExitCause,
    },
    /// To [`Command::Kill`](super::Command::Kill).
    Signalled {
        /// The worker. What the signal does to it shows in its state.
        id: WorkerId,
    },
    /// To [`Command::Stop`](super::Command::Stop).
    Stopped(StopReply),
}

/// The state of a cluster at one moment. It has no settings and no environment, which can hold
/// secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusReply {
    /// Whether the cluster runs or stops.
    pub phase: Phase,
    /// The process id of the primary.
    pub pid: u32,
    /// Time since the cluster was started.
    #[serde(rename = "uptime_ms", with = "millis")]
    pub uptime: Duration,
    /// Version of this crate in the primary.
    pub version: String,
    /// The addresses that the cluster listens on, by name.
    pub addresses: Addresses,
    /// One entry for each slot, in order.
    pub slots: Vec<SlotReply>,
    /// The live workers, oldest first.
    pub workers: Vec<WorkerReply>,
}

/// One slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SlotReply {
    /// Which.
    pub slot: Slot,
    /// What it does.
    pub state: SlotState,
    /// Its worker.
    pub worker: Option<WorkerId>,
    /// While it backs off: the delay, counted from the last death.
    #[serde(rename = "delay_ms", with = "maybe_millis", default)]
    pub delay: Option<Duration>,
    /// Deaths since the start that nobody requested, failed starts included.
    pub deaths: u32,
    /// How its last worker ended.
    pub last_exit: Option<ExitCause>,
}

/// What a slot does: [`cluster::SlotState`](crate::SlotState), by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the type that it names has them")]
pub enum SlotState {
    Starting,
    Serving,
    Draining,
    BackingOff,
    GaveUp,
    Stopped,
}

/// A live worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerReply {
    /// Its id.
    pub id: WorkerId,
    /// Its slot.
    pub slot: Slot,
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub state: WorkerState,
    /// Time since its start.
    #[serde(rename = "uptime_ms", with = "millis")]
    pub uptime: Duration,
    /// Messages to it that were refused because its queue was full.
    pub refused_messages: u64,
    /// Requests that it has [counted](crate::Pulse::count) up to its last beat.
    #[serde(default)]
    pub requests: u64,
    /// Time since its last beat; `None` before the first.
    #[serde(rename = "last_beat_ms", with = "maybe_millis", default)]
    pub last_beat: Option<Duration>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It boots.
    Starting,
    /// It has said that it is ready.
    Serving,
    /// It was told to leave, or leaves because its process was sent `SIGTERM`.
    Draining,
}

/// What a reload did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReloadReply {
    /// The workers that were replaced, in that order.
    pub replaced: Vec<Replacement>,
    /// Time until the last of the old ones had left.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
}

/// How the cluster stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StopReply {
    /// The workers that lived when the stop began, in the order in which they ended.
    pub workers: Vec<EndReply>,
    /// Those of them that did not leave in time and were killed.
    pub killed: Vec<WorkerId>,
    /// Time from the order to the end of the last worker.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
    /// Process id of the primary that took over, if that is why.
    #[serde(default)]
    pub successor: Option<u32>,
}

/// The end of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndReply {
    /// The worker.
    pub id: WorkerId,
    /// The slot that it filled.
    pub slot: Slot,
    /// Why it ended.
    pub cause: ExitCause,
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

impl From<&SlotStatus> for SlotReply {
    fn from(of: &SlotStatus) -> Self {
        let (state, worker, delay) = match of.state {
            status::SlotState::Starting(id) => (SlotState::Starting, Some(id), None),
            status::SlotState::Serving(id) => (SlotState::Serving, Some(id), None),
            status::SlotState::Draining(id) => (SlotState::Draining, Some(id), None),
            status::SlotState::BackingOff(delay) => (SlotState::BackingOff, None, Some(delay)),
            status::SlotState::GaveUp => (SlotState::GaveUp, None, None),
            status::SlotState::Stopped => (SlotState::Stopped, None, None),
        };
        Self { slot: of.slot, state, worker, delay, deaths: of.deaths, last_exit: of.last_exit }
    }
}

impl WorkerReply {
    pub(crate) fn new(of: &WorkerInfo, leaves: bool) -> Self {
        let state = match (leaves, of.ready) {
            (true, _) => WorkerState::Draining,
            (false, true) => WorkerState::Serving,
            (false, false) => WorkerState::Starting,
        };
        Self {
            id: of.id,
            slot: of.slot,
            pid: of.pid,
            state,
            uptime: of.uptime,
            refused_messages: of.refused_messages,
            requests: of.requests,
            last_beat: of.last_beat,
        }
    }
}

impl From<ReloadReport> for ReloadReply {
    fn from(of: ReloadReport) -> Self {
        Self { replaced: of.replaced, took: of.took }
    }
}

impl From<&ShutdownReport> for StopReply {
    fn from(of: &ShutdownReport) -> Self {
        let end = |of: &Ended| EndReply {
            id: of.id,
            slot: of.slot,
            cause: of.cause,
            code: of.status.code(),
            signal: of.status.signal(),
        };
        Self {
            workers: of.workers.iter().map(end).collect(),
            killed: of.killed().collect(),
            took: of.took,
            successor: of.successor,
        }
    }
}
