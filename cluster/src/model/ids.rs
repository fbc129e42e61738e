//! The ids of workers and slots.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of one worker process.
///
/// Ids count from 1. The primary never reuses an id, so an id in a log always means one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(u64);

impl WorkerId {
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id as a number, counted from 1.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses an id in the form that a log shows.
impl FromStr for WorkerId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// A numbered place that the cluster keeps filled with one worker.
///
/// Slots count from 0. A replacement takes over the slot of the worker that it replaces. Use a
/// slot for things that belong to a place and not to a process: a port offset, a CPU, a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(usize);

impl Slot {
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The slot as a number, counted from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
