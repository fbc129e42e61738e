//! The replies of the primary.

use std::{num::NonZeroUsize, os::unix::process::ExitStatusExt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{
    Addresses, Ended, ExitCause, Phase, ReloadReport, Replacement, ShutdownReport, Slot, SlotState,
    SlotStatus, WorkerId, WorkerInfo,
};

/// The result of a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Reply to [`Command::Status`](crate::control::Command::Status).
    Status(StatusReply),
    /// Reply to [`Command::Reload`](crate::control::Command::Reload).
    Reloaded(ReloadReply),
    /// Reply to [`Command::Upgrade`](crate::control::Command::Upgrade). The primary that replies
    /// ends when its workers have exited.
    Upgraded {
        /// The process id of the new primary.
        pid: u32,
    },
    /// Reply to [`Command::Scale`](crate::control::Command::Scale).
    Scaled {
        /// The number of slots.
        workers: NonZeroUsize,
    },
    /// Reply to [`Command::Drain`](crate::control::Command::Drain).
    Drained {
        /// The worker that has exited.
        id: WorkerId,
        /// Why it ended.
        cause: ExitCause,
    },
    /// Reply to [`Command::Kill`](crate::control::Command::Kill).
    Signalled {
        /// The worker. Its state shows the effect of the signal.
        id: WorkerId,
    },
    /// Reply to [`Command::Stop`](crate::control::Command::Stop).
    Stopped(StopReply),
}

/// The state of a cluster at one moment. It contains no settings and no environment variables,
/// because these can be secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SlotReply {
    /// The slot.
    pub slot: Slot,
    /// Its state.
    pub state: SlotStateKind,
    /// Its worker.
    pub worker: Option<WorkerId>,
    /// The delay while it backs off, counted from the last death.
    #[serde(rename = "delay_ms", with = "maybe_millis", default)]
    pub delay: Option<Duration>,
    /// Unrequested deaths since the start, failed starts included.
    pub deaths: u32,
    /// How its last worker ended.
    pub last_exit: Option<ExitCause>,
}

/// The state of a slot, without the data of [`SlotState`](crate::SlotState).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "`SlotState` documents the variants")]
pub enum SlotStateKind {
    Starting,
    Serving,
    Draining,
    BackingOff,
    GaveUp,
    Stopped,
}

/// A live worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerReply {
    /// Its id.
    pub id: WorkerId,
    /// Its slot.
    pub slot: Slot,
    /// Its process id.
    pub pid: u32,
    /// Its state.
    pub state: WorkerState,
    /// Time since its start.
    #[serde(rename = "uptime_ms", with = "millis")]
    pub uptime: Duration,
    /// Messages to it that were rejected because its queue was full.
    pub refused_messages: u64,
    /// Requests that it had [counted](crate::Heartbeat::count) at its last heartbeat.
    #[serde(default)]
    pub requests: u64,
    /// Time since its last heartbeat; `None` before the first.
    #[serde(rename = "last_beat_ms", with = "maybe_millis", default)]
    pub last_beat: Option<Duration>,
}

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It boots.
    Starting,
    /// It has reported that it is ready.
    Serving,
    /// It drains: it was told to, or its process received `SIGTERM`.
    Draining,
}

/// The result of a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReloadReply {
    /// The workers that were replaced, in that order.
    pub replaced: Vec<Replacement>,
    /// Time until the last of the old workers had exited.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
}

/// How the cluster stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StopReply {
    /// The workers that were alive when the stop began, in the order in which they ended.
    pub workers: Vec<EndReply>,
    /// Those of them that did not exit in time and were killed.
    pub killed: Vec<WorkerId>,
    /// Time from the order to the end of the last worker.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
    /// Process id of the primary that took over, if this one stopped for that.
    #[serde(default)]
    pub successor: Option<u32>,
}

/// The end of one worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
            SlotState::Starting(id) => (SlotStateKind::Starting, Some(id), None),
            SlotState::Serving(id) => (SlotStateKind::Serving, Some(id), None),
            SlotState::Draining(id) => (SlotStateKind::Draining, Some(id), None),
            SlotState::BackingOff(delay) => (SlotStateKind::BackingOff, None, Some(delay)),
            SlotState::GaveUp => (SlotStateKind::GaveUp, None, None),
            SlotState::Stopped => (SlotStateKind::Stopped, None, None),
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

/// A duration as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// An optional duration as whole milliseconds.
mod maybe_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
