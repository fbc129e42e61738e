//! What a server said of its time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long a load goes on from what a server said of its time.
///
/// The server's clock alone is compared with what is stored (law 5). Within this time it is computed from the server's last word and the time
/// that has passed since it was asked, so it is off by a round trip at most. It decides `age` and `ttl`, and by that round trip at most whether
/// a session is still loaded; whether one is changed, the server decides by itself.
const FOR_LOADS: Duration = Duration::from_millis(20);
/// The same for commits, whose script asks the server itself if a deadline is near. In this time a clock drifts by less than a millisecond.
const FOR_COMMITS: Duration = Duration::from_secs(1);

/// A server's time, going on since it was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerTime {
    asked: Instant,
    told: u64,
}

impl ServerTime {
    /// The time in microseconds that the server told after it was `asked`.
    pub(crate) fn new(asked: Instant, told: u64) -> Self {
        Self { asked, told }
    }

    /// The server's time in microseconds now, too late by a round trip at most.
    pub(crate) fn micros(&self) -> u64 {
        self.told.saturating_add(u64::try_from(self.asked.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// What a server said of its time. Asking with every load would take a tenth of what a load costs.
#[derive(Default)]
pub(crate) struct ServerClock(Mutex<Option<ServerTime>>);

impl ServerClock {
    /// The server's time in microseconds for a load, if the server told it a moment ago.
    pub(crate) fn for_load(&self) -> Option<u64> {
        self.within(FOR_LOADS).map(|time| time.micros())
    }

    /// The server's time for a commit.
    pub(crate) fn for_commit(&self) -> Option<ServerTime> {
        self.within(FOR_COMMITS)
    }

    fn within(&self, age: Duration) -> Option<ServerTime> {
        (*self.0.lock()).filter(|time| time.asked.elapsed() < age)
    }

    pub(crate) fn note(&self, time: ServerTime) {
        *self.0.lock() = Some(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_a_server_is_asked_again_after_a_moment() {
        let clock = ServerClock::default();
        assert!(clock.for_load().is_none() && clock.for_commit().is_none());
        clock.note(ServerTime::new(Instant::now(), 5));
        assert!(clock.for_load().is_some_and(|now| (5..20_005).contains(&now)));
        for (age, for_load, for_commit) in [(FOR_LOADS, false, true), (FOR_COMMITS, false, false)] {
            clock.note(ServerTime::new(Instant::now().checked_sub(age).unwrap(), 6));
            assert_eq!((clock.for_load().is_some(), clock.for_commit().is_some()), (for_load, for_commit), "{age:?}");
        }
    }
}
