//! The list of targets, and the limit on memory that holds for all of them.

use std::{
    alloc::System,
    fmt,
    sync::{Mutex, PoisonError},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::{cluster, cookie, demo, formats, handover, ipc, mongo, redis, sql, url};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Code that reads bytes from outside, with the checks of its invariants.
pub struct Target {
    /// The name of the target and of its folder in `corpus`.
    pub name: &'static str,
    check: fn(&[u8]),
    /// The maximum total of allocated memory for an empty input, in MiB. A length field in the
    /// input does not raise it.
    base_mebibytes: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "cookie", check: cookie::check, base_mebibytes: 1 },
    Target { name: "formats", check: formats::check, base_mebibytes: 1 },
    Target { name: "ipc", check: ipc::check, base_mebibytes: 1 },
    Target { name: "handover", check: handover::check, base_mebibytes: 1 },
    Target { name: "redis", check: redis::check, base_mebibytes: 1 },
    Target { name: "mongo", check: mongo::check, base_mebibytes: 1 },
    Target { name: "sql", check: sql::check, base_mebibytes: 1 },
    Target { name: "url", check: url::check, base_mebibytes: 1 },
    // The parser of the command line alone allocates several MiB.
    Target { name: "demo", check: demo::check, base_mebibytes: 16 },
    // The primary trusts the length of a worker's frame, which is up to 1 MiB.
    Target { name: "cluster", check: cluster::check, base_mebibytes: 3 },
];

/// The maximum number of allocated bytes per input byte. A list of empty strings takes 24 bytes per
/// string. The growth of the list doubles that, and some lists are copied.
const BYTES_PER_INPUT_BYTE: usize = 4_096;

/// Allocations are counted for the whole process, so only one target runs at a time.
static RUN_LOCK: Mutex<()> = Mutex::new(());

/// Returns the target with this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Runs the target with an input.
    ///
    /// # Panics
    /// If an invariant does not hold, or if the target allocates too much memory.
    pub fn run(&self, bytes: &[u8]) {
        let _guard = RUN_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Region::new(ALLOCATOR);
        (self.check)(bytes);
        let (allocated, limit) = (
            region.change().bytes_allocated,
            (self.base_mebibytes << 20) + BYTES_PER_INPUT_BYTE * bytes.len(),
        );
        assert!(
            allocated <= limit,
            "an input of {} bytes allocates {allocated} bytes, the limit is {limit}",
            bytes.len()
        );
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.name).finish()
    }
}
