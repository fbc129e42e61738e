//! The settings of a [`MemoryStore`].

use super::{
    MemoryStore,
    clock::{Clock, ManualClock},
    quota::MemoryQuota,
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
#[derive(Debug, Clone)]
pub struct MemoryStoreBuilder {
    limits: Limits,
    max_sessions: usize,
    max_bytes: usize,
    reserved_percent: u8,
    clock: Option<ManualClock>,
}

impl Default for MemoryStoreBuilder {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_sessions: usize::MAX,
            max_bytes: 256 << 20,
            reserved_percent: 20,
            clock: None,
        }
    }
}

impl MemoryStoreBuilder {
    /// The caps on one record. 64 KiB of data by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The most sessions it holds; one more is [`Rejection::Full`](crate::Rejection::Full). No cap
    /// by default: `max_bytes` counts.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// About the most bytes of memory its sessions take; a session or a change beyond is
    /// [`Rejection::Full`](crate::Rejection::Full). 256 MiB by default.
    ///
    /// Keys, principals, names and values count, with a measured fixed share for each session and
    /// each value. The process takes more: freed memory does not go back to the system at once.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many percent of both caps only sessions with a principal may use, so that a flood of
    /// anonymous sessions leaves room for users to sign in. 20 by default, at most 100.
    #[must_use]
    pub fn reserved_percent(mut self, percent: u8) -> Self {
        self.reserved_percent = percent;
        self
    }

    /// A clock that only a test moves, in place of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The store, empty.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let clock = self.clock.map_or(Clock::System, Clock::Manual);
        MemoryStore::assemble(
            self.limits,
            clock,
            MemoryQuota::new(self.max_sessions, self.max_bytes, self.reserved_percent),
        )
    }
}
