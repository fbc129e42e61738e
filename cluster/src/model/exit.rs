//! How workers end, and which worker replaced which.

use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use super::ids::{Slot, WorkerId};

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitCause {
    /// It was told to drain, or received `SIGTERM`, and exited within its deadline. The exit status
    /// tells whether it exited cleanly.
    Requested,
    /// It ended before it was ready, or was killed because it was not ready in time.
    BootFailed,
    /// It was ready and then exited by itself, with any exit code. Also: the primary killed it
    /// because its control socket carried invalid data.
    Crashed,
    /// It was ready and then ended by this signal.
    Signalled(i32),
    /// It was ready, sent no heartbeat for [`dead_after`](crate::HeartbeatPolicy::dead_after), and
    /// was killed.
    Hung,
    /// It was told to drain and then killed, because the deadline passed or a second interrupt
    /// came.
    DeadlineKilled,
    /// Its supervision in the primary failed, for example because a closure of the configuration
    /// panicked. The primary killed it.
    Abandoned,
}

/// The end of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The worker.
    pub id: WorkerId,
    /// The slot that it filled.
    pub slot: Slot,
    /// Why it ended.
    pub cause: ExitCause,
    /// The exit status that the system reports.
    pub status: ExitStatus,
}

/// One worker that replaced another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Replacement {
    /// The slot of both workers.
    pub slot: Slot,
    /// The worker that drained. `None` if the slot was empty, or its worker died during the
    /// replacement.
    pub old: Option<WorkerId>,
    /// The worker that serves now.
    pub new: WorkerId,
}
