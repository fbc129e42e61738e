//! The builder of a [`MemoryStore`](super::MemoryStore).

use super::clock::ManualClock;
use crate::Limits;

/// The settings of a [`MemoryStore`](super::MemoryStore). All are optional.
///
/// # Examples
/// ```
/// # use session_core::MemoryStore;
/// let store = MemoryStore::builder().max_sessions(1_000_000).max_bytes(1 << 30).build();
/// assert_eq!(store.held_sessions(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStoreBuilder {
    pub(super) limits: Limits,
    pub(super) max_sessions: usize,
    pub(super) max_bytes: usize,
    pub(super) reserved_percent: u8,
    pub(super) clock: Option<ManualClock>,
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
    /// Sets the limits on one record. 64 KiB of data by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the maximum number of sessions. A creation beyond it returns
    /// [`Rejection::Full`](crate::Rejection::Full). Unlimited by default, so that only `max_bytes`
    /// limits the store.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets about how many bytes of memory the sessions may occupy. A session or a change beyond it
    /// returns [`Rejection::Full`](crate::Rejection::Full). 256 MiB by default.
    ///
    /// Keys, principals, names, values, attributes and the former secret in its grace count, plus a
    /// measured fixed amount for each session and value. The process occupies more, because freed
    /// memory does not return to the system immediately.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the percentage of both limits that only sessions with a principal may use, so that
    /// users can still sign in during a flood of anonymous sessions. 20 by default, at most 100.
    #[must_use]
    pub fn reserved_percent(mut self, percent: u8) -> Self {
        self.reserved_percent = percent;
        self
    }

    /// Replaces the clock of the machine with one that only the test moves.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }
}
