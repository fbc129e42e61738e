//! Errors of a running cluster: its end, reloads, scaling, upgrades.

use std::{fmt, io, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use crate::model::{Ended, ExitCause, Replacement, Slot};

/// Why a cluster ended without a request to stop.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// All slots are given up, and no worker was ever ready: the program does not boot.
    #[error(
        "no worker ever became ready: all {slots} slots were given up; {}",
        LastEnd(last.as_ref())
    )]
    NeverReady {
        /// Number of slots.
        slots: usize,
        /// The last worker that ended.
        last: Option<Ended>,
    },
    /// All slots are given up after workers had served.
    #[error("no worker is left: all {slots} slots were given up; {}", LastEnd(last.as_ref()))]
    AllGaveUp {
        /// Number of slots.
        slots: usize,
        /// The last worker that ended.
        last: Option<Ended>,
    },
}

struct LastEnd<'a>(Option<&'a Ended>);

impl fmt::Display for LastEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(end) if end.cause == ExitCause::BootFailed => {
                write!(
                    f,
                    "the last worker ended before it was ready ({}), see its output",
                    end.status
                )
            }
            Some(end) => write!(f, "the last worker ended with {}, see its output", end.status),
            None => f.write_str("no process could be started, see the log"),
        }
    }
}

/// Why a reload ended before all workers were replaced. The other workers continue with their
/// program.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The program file is missing or not executable. No worker was replaced.
    #[error(
        "there is no program to reload at {}; put the new build there, under the same name",
        path.display()
    )]
    Program {
        /// Where the program was when the primary started.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A new worker could not be started.
    #[error(
        "the new worker of slot {slot} cannot be started, the slot keeps its worker; \
         {} others were replaced",
        replaced.len()
    )]
    Spawn {
        /// The slot.
        slot: Slot,
        /// The system's error.
        source: Arc<io::Error>,
        /// The workers that were replaced before.
        replaced: Vec<Replacement>,
    },
    /// A new worker ended before it was ready.
    #[error(
        "the new worker of slot {} ended before it was ready ({}), the old one continues to serve; \
         see the output of the new one; {} others were replaced",
        ended.slot,
        ended.status,
        replaced.len()
    )]
    Failed {
        /// The end of the new worker.
        ended: Ended,
        /// The workers that were replaced before.
        replaced: Vec<Replacement>,
    },
    /// The cluster stops.
    #[error("the cluster stops")]
    Stopping,
}

/// Why the number of slots did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScaleError {
    /// All slots that would stay were given up. No slot was emptied.
    #[error(
        "none of the {slots} slots that would stay serves, because their workers die too often; \
         nothing was closed"
    )]
    NoneServes {
        /// Number of slots that would stay.
        slots: usize,
    },
    /// The cluster stops.
    #[error("the cluster stops")]
    Stopping,
}

/// Why no other primary replaced this one. This primary and its workers continue, except where a
/// variant says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The program file is missing or not executable.
    #[error(
        "there is no program to upgrade to at {}; put the new build there, under the same name",
        path.display()
    )]
    Program {
        /// Where the program was when this primary started.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The new primary could not be started.
    #[error("the new primary cannot be started")]
    Spawn(#[source] Arc<io::Error>),
    /// The new primary ended before its workers were ready.
    #[error(
        "the new primary ended before its workers were ready ({0}), this one continues; see the \
         output of the new one"
    )]
    Ended(ExitStatus),
    /// The workers of the new primary were not ready in time. It was told to end.
    #[error(
        "the new primary's workers were not ready within {0:?}, so it was ended, and this one \
         continues; see the output of the new one"
    )]
    TimedOut(Duration),
    /// The new primary sent an unknown message. It was told to end.
    #[error(
        "the new primary sent an unknown message, so it was ended, and this one continues; check \
         that the program uses this crate"
    )]
    InvalidMessage,
    /// This primary is process 1 of a container, and the container ends with process 1.
    #[error(
        "this primary is process 1 of its container, and the container ends with it; reload the \
         workers, or replace the container"
    )]
    ProcessOne,
    /// This primary has not yet taken over from its predecessor.
    #[error("this primary has not yet taken over from its predecessor; try again later")]
    NotInCharge,
    /// The cluster stops, or another primary has already taken over.
    #[error("the cluster stops")]
    Stopping,
}
