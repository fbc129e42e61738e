use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names one worker process for the life of the cluster.
///
/// Ids count from 1 and are never reused, so an id in a log always means one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

/// Reads an id as a log shows it.
impl FromStr for WorkerId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Names a place that the cluster keeps filled with one worker.
///
/// Slots count from 0. The replacement of a worker takes over its slot, so a slot suits whatever
/// belongs to a place rather than to a process: a port offset, a CPU, a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
