//! The targets, and what holds for all of them.

use std::{
    alloc::System,
    fmt,
    sync::{Mutex, PoisonError},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::{cluster, cookie, demo, formats, handover, ipc, mongo, redis, sql, url};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Something that reads bytes from outside, and what must hold of it.
pub struct Target {
    /// Its name, and that of its folder of inputs.
    pub name: &'static str,
    check: fn(&[u8]),
    /// How many bytes of memory it may allocate in all for an input of none, in MiB. A length that
    /// an input claims is no reason for more.
    mebibytes: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "cookie", check: cookie::check, mebibytes: 1 },
    Target { name: "formats", check: formats::check, mebibytes: 1 },
    Target { name: "ipc", check: ipc::check, mebibytes: 1 },
    Target { name: "handover", check: handover::check, mebibytes: 1 },
    Target { name: "redis", check: redis::check, mebibytes: 1 },
    Target { name: "mongo", check: mongo::check, mebibytes: 1 },
    Target { name: "sql", check: sql::check, mebibytes: 1 },
    Target { name: "url", check: url::check, mebibytes: 1 },
    // The command line alone takes a few.
    Target { name: "demo", check: demo::check, mebibytes: 16 },
    // A worker is believed when it announces a frame of one.
    Target { name: "cluster", check: cluster::check, mebibytes: 3 },
];

/// How many bytes may be allocated for each byte that came: a list of empty texts takes 24 for
/// each, growing doubles that, and some are copied.
const EACH: usize = 4_096;

/// What is allocated is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Gives it an input.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn run(&self, bytes: &[u8]) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Region::new(ALLOCATOR);
        (self.check)(bytes);
        let (allocated, most) =
            (region.change().bytes_allocated, (self.mebibytes << 20) + EACH * bytes.len());
        assert!(allocated <= most, "{} bytes in made it allocate {allocated}", bytes.len());
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.name).finish()
    }
}
