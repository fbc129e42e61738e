//! What a server said of its time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long a load goes on from what a server said of its time.
///
/// The server's clock alone is compared with what is stored (law 5). Within this time it is
/// computed from the server's last word and the time that has passed since it was asked, so it is
/// ahead by [`PROMPT`] at most. It decides `age` and `ttl`. That a session lives it can say for
/// certain; where it says that one has expired, the server is asked. Whether one is changed, the
/// server decides by itself.
const FOR_LOADS: Duration = Duration::from_millis(20);
/// The same for commits, whose script asks the server itself if a deadline is near. In this time a
/// clock drifts by less than a millisecond.
const FOR_COMMITS: Duration = Duration::from_secs(1);
/// The longest round trip whose answer tells the time: the server read its clock at some moment of
/// it.
const PROMPT: Duration = Duration::from_millis(20);

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

    /// The server's time in microseconds now. It can be ahead by the round trip that told it.
    pub(crate) fn micros(&self) -> u64 {
        self.told
            .saturating_add(u64::try_from(self.asked.elapsed().as_micros()).unwrap_or(u64::MAX))
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

    /// Goes on from what a server has just said of its time, if it answered promptly.
    pub(crate) fn note(&self, time: ServerTime) {
        if time.asked.elapsed() < PROMPT {
            *self.0.lock() = Some(time);
        }
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
            *clock.0.lock() = Some(ServerTime::new(Instant::now().checked_sub(age).unwrap(), 6));
            assert_eq!(
                (clock.for_load().is_some(), clock.for_commit().is_some()),
                (for_load, for_commit),
                "{age:?}"
            );
        }
    }

    #[test]
    fn c03_a_late_answer_does_not_tell_the_time() {
        let clock = ServerClock::default();
        clock.note(ServerTime::new(Instant::now(), 5));
        clock.note(ServerTime::new(Instant::now().checked_sub(PROMPT).unwrap(), 1_000_000));
        assert!(clock.for_commit().is_some_and(|time| time.micros() < 1_000_000));
    }
}
