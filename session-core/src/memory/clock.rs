//! The clock that decides expiry in a [`MemoryStore`](super::MemoryStore).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A clock that stands still until a test advances it, so that tests of expiry do not sleep.
///
/// Clones share the same time.
/// [`MemoryStore::with_manual_clock`](super::MemoryStore::with_manual_clock) returns one with its
/// store. [`MemoryStoreBuilder::clock`](super::MemoryStoreBuilder::clock) uses one for several
/// stores.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use session_core::{MemoryStore, NewRecord, SessionId, SessionStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, clock) = MemoryStore::with_manual_clock();
/// let id = SessionId::random()?;
/// let new = NewRecord::new(id.secret_hash(), Duration::from_secs(60));
/// let _ = store.create(&id.key(), new).await?;
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(store.load(&id.key()).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at its starting point.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the clock, for every store that uses it.
    pub fn advance(&self, by: Duration) {
        // It stops at its maximum, after centuries, and does not wrap around.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
            Some(now.saturating_add(nanos(by)))
        });
    }
}

/// Added to every reading: 146 years. So a session that was created in another process, or copied
/// with a great age, still has a time above zero.
const ORIGIN: u64 = 1 << 62;

/// Nanoseconds since a fixed moment. It never goes back. 64 bits last for 584 years.
#[derive(Debug)]
pub(super) enum Clock {
    /// `CLOCK_BOOTTIME`: independent of the time of day, and it counts the time that the machine
    /// sleeps.
    System,
    Manual(ManualClock),
}

impl Clock {
    pub(super) fn now(&self) -> u64 {
        let since = match self {
            Self::System => system(),
            Self::Manual(clock) => clock.0.load(Ordering::SeqCst),
        };
        ORIGIN.saturating_add(since)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn system() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The kernel counts seconds from 0 up, and nanoseconds below 10^9.
    let (seconds, nanos) =
        (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// On other systems: the clock of [`std::time::Instant`], which stops while the machine sleeps on
/// some of them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn system() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    nanos(START.get_or_init(std::time::Instant::now).elapsed())
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// `/proc/uptime` counts suspended time, as the file's documentation in proc(5) says.
    #[test]
    fn c26_system_clock_counts_the_time_since_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let clock = Duration::from_nanos(Clock::System.now() - ORIGIN).as_secs_f64();
        assert!((clock - uptime).abs() < 1.0, "clock {clock}, uptime {uptime}");
    }
}
