//! The settings of a [`MemoryStore`].

use std::time::Instant;

use super::{
    MemoryStore,
    clock::{Clock, ManualClock},
    occupancy::Occupancy,
};
use crate::Limits;

/// The settings of a [`MemoryStore`], all optional.
///
/// # Examples
/// ```
/// # use session_core::MemoryStore;
/// let store = MemoryStore::builder().max_sessions(1_000_000).max_bytes(1 << 30).build();
/// assert_eq!(store.held_sessions(), 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStoreBuilder {
    limits: Limits,
    max_sessions: Option<usize>,
    max_bytes: Option<usize>,
    clock: Option<ManualClock>,
}

impl MemoryStoreBuilder {
    /// The caps on one record. 64 KiB of data by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The most sessions it holds; one more is [`Rejection::Full`](crate::Rejection::Full). No cap by default.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = Some(sessions);
        self
    }

    /// About the most bytes of memory its sessions take; a session or a change beyond is [`Rejection::Full`](crate::Rejection::Full).
    /// No cap by default.
    ///
    /// Counted are keys, principals, names and values, with a fixed share for each session and each value that was measured once. The
    /// process takes more: freed memory does not go back to the system at once.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// A clock that only a test moves, in place of the machine's monotonic one.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The store, empty.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let clock = self.clock.map_or_else(|| Clock::Monotonic(Instant::now()), Clock::Manual);
        MemoryStore::assemble(self.limits, clock, Occupancy::new(self.max_sessions, self.max_bytes))
    }
}
