//! How much a store holds, and how much it may.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Rejection;

/// What a session costs besides key, principal and data: its slot, its place among the deadlines, the heads of its allocations.
/// Measured by `examples/memory_footprint.rs`, rounded up.
const SESSION_OVERHEAD: usize = 272;
/// What a principal costs besides its text: its allocation and its place in the index.
const PRINCIPAL_OVERHEAD: usize = 88;
/// What a value costs besides its name and text.
const VALUE_OVERHEAD: usize = 72;

/// Sessions and bytes held, over all shards.
///
/// Room is taken before a shard grows, so that the caps hold at every moment, but for what a store took over from another; it is given back under the same lock as what it was for.
#[derive(Debug)]
pub(super) struct Occupancy {
    pub(super) sessions: Counter,
    pub(super) bytes: Counter,
}

impl Occupancy {
    pub(super) fn new(max_sessions: Option<usize>, max_bytes: Option<usize>) -> Self {
        Self { sessions: Counter::new(max_sessions), bytes: Counter::new(max_bytes) }
    }

    pub(super) fn take(&self, sessions: usize, bytes: usize) -> Result<(), Rejection> {
        self.sessions.take(sessions).map_err(|cap| full(&format!("max_sessions = {cap}")))?;
        self.bytes.take(bytes).map_err(|cap| {
            self.sessions.give_back(sessions);
            full(&format!("max_bytes = {cap}"))
        })
    }

    /// Takes room also above the caps, for sessions that live already.
    pub(super) fn take_beyond(&self, sessions: usize, bytes: usize) {
        self.sessions.held.fetch_add(sessions, Ordering::Relaxed);
        self.bytes.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, sessions: usize, bytes: usize) {
        self.sessions.give_back(sessions);
        self.bytes.give_back(bytes);
    }
}

/// A sum that stays at or below a cap, unless what was taken over lifted it above.
#[derive(Debug)]
pub(super) struct Counter {
    held: AtomicUsize,
    cap: usize,
}

impl Counter {
    fn new(cap: Option<usize>) -> Self {
        Self { held: AtomicUsize::new(0), cap: cap.unwrap_or(usize::MAX) }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The counters guard no other memory, so no ordering beyond their own is needed.
    fn take(&self, amount: usize) -> Result<(), usize> {
        if amount == 0 {
            return Ok(());
        }
        let within = |held: usize| held.checked_add(amount).filter(|sum| *sum <= self.cap);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map(drop).map_err(|_| self.cap)
    }

    fn give_back(&self, amount: usize) {
        if amount > 0 {
            self.held.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

/// About how many bytes of memory a session takes. A principal is never empty, so no bytes means none.
pub(super) fn weight(key_bytes: usize, principal_bytes: usize, data_bytes: usize, values: usize) -> usize {
    let principal = if principal_bytes > 0 { PRINCIPAL_OVERHEAD + principal_bytes } else { 0 };
    SESSION_OVERHEAD + key_bytes + principal + data_bytes + values * VALUE_OVERHEAD
}

fn full(what: &str) -> Rejection {
    Rejection::Full { store: super::STORE.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_take_takes_nothing() {
        let occupancy = Occupancy::new(Some(2), Some(100));
        occupancy.take(1, 60).unwrap();
        assert_eq!(occupancy.take(1, 60), Err(full("max_bytes = 100")));
        assert_eq!((occupancy.sessions.held(), occupancy.bytes.held()), (1, 60));
        occupancy.take(1, 40).unwrap();
        assert_eq!(occupancy.take(1, 0), Err(full("max_sessions = 2")));
        occupancy.give_back(2, 100);
        assert_eq!((occupancy.sessions.held(), occupancy.bytes.held()), (0, 0));
    }
}
