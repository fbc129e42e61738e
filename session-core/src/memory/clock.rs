//! The clock that decides expiry in a [`MemoryStore`](super::MemoryStore).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A clock that stands still until a test moves it, so that expiry is tested without sleeping.
///
/// Clones are the same clock. [`MemoryStore::with_manual_clock`](super::MemoryStore::with_manual_clock) gives one with its store,
/// [`MemoryStoreBuilder::clock`](super::MemoryStoreBuilder::clock) puts one under several stores.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use session_core::{MemoryStore, NewRecord, SessionId, SessionStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, clock) = MemoryStore::with_manual_clock();
/// let key = SessionId::random()?.store_key();
/// let _ = store.create(&key, NewRecord::new(Duration::from_secs(60))).await?;
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(store.load(&key).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that has not moved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass; under every store on this clock at once.
    pub fn advance(&self, by: Duration) {
        // It stops at its end, after centuries, and does not start over.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_add(nanos(by))));
    }
}

/// What a clock says at its start: 146 years. So a session that was created in another process before this clock was made has a moment on it.
const START: u64 = 1 << 62;

/// Nanoseconds since [`START`] before a start of its own, never going back. 64 bits last for 584 years.
#[derive(Debug)]
pub(super) enum Clock {
    Monotonic(Instant),
    Manual(ManualClock),
}

impl Clock {
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::Monotonic(start) => START.saturating_add(nanos(start.elapsed())),
            Self::Manual(clock) => START.saturating_add(clock.0.load(Ordering::SeqCst)),
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
