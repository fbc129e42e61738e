//! The server's time, cached for a short while after the server told it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The greatest age at which a load uses the cached time.
///
/// Only the server's clock is compared with stored times (law 5). Within this age the store adds
/// the time that has passed since it asked the server. The result is ahead of the server's clock by
/// at most [`MAX_ROUND_TRIP`]. The store uses it for `age` and `ttl`, and to find that a session is
/// live. If the result says that a session has expired, the store asks the server again. The server
/// itself decides whether a commit changes a session.
const MAX_AGE_FOR_LOADS: Duration = Duration::from_millis(20);
/// The greatest age at which a commit uses the cached time. The script asks the server for its time
/// if a deadline is near. A clock drifts by less than a millisecond within this age.
const MAX_AGE_FOR_COMMITS: Duration = Duration::from_secs(1);
/// The longest round trip whose answer is accepted: the server read its clock at some moment within
/// the round trip.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(20);

/// A time that a server told, and when the store asked for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerTime {
    asked_at: Instant,
    answered_micros: u64,
}

impl ServerTime {
    /// The time in microseconds with which the server answered a question of `asked_at`.
    pub(crate) fn new(asked_at: Instant, answered_micros: u64) -> Self {
        Self { asked_at, answered_micros }
    }

    /// The server's time now, in microseconds. It can be ahead by the round trip of the question.
    pub(crate) fn micros(&self) -> u64 {
        let passed = u64::try_from(self.asked_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answered_micros.saturating_add(passed)
    }
}

/// The last known time of a server. Without this cache a load would cost a tenth more.
#[derive(Default)]
pub(crate) struct ServerClock(Mutex<Option<ServerTime>>);

impl ServerClock {
    /// The server's time in microseconds for a load, if it is recent enough.
    pub(crate) fn for_load(&self) -> Option<u64> {
        self.not_older_than(MAX_AGE_FOR_LOADS).map(|time| time.micros())
    }

    /// The server's time for a commit, if it is recent enough.
    pub(crate) fn for_commit(&self) -> Option<ServerTime> {
        self.not_older_than(MAX_AGE_FOR_COMMITS)
    }

    fn not_older_than(&self, age: Duration) -> Option<ServerTime> {
        (*self.0.lock()).filter(|time| time.asked_at.elapsed() < age)
    }

    /// Keeps a time that a server has just told. A late answer is ignored.
    pub(crate) fn record(&self, time: ServerTime) {
        if time.asked_at.elapsed() < MAX_ROUND_TRIP {
            *self.0.lock() = Some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_old_time_is_not_used() {
        let clock = ServerClock::default();
        assert!(clock.for_load().is_none() && clock.for_commit().is_none());
        clock.record(ServerTime::new(Instant::now(), 5));
        assert!(clock.for_load().is_some_and(|now| (5..20_005).contains(&now)));
        for (age, for_load, for_commit) in
            [(MAX_AGE_FOR_LOADS, false, true), (MAX_AGE_FOR_COMMITS, false, false)]
        {
            *clock.0.lock() = Some(ServerTime::new(Instant::now().checked_sub(age).unwrap(), 6));
            assert_eq!(
                (clock.for_load().is_some(), clock.for_commit().is_some()),
                (for_load, for_commit),
                "{age:?}"
            );
        }
    }

    #[test]
    fn c03_time_of_a_late_answer_is_ignored() {
        let clock = ServerClock::default();
        clock.record(ServerTime::new(Instant::now(), 5));
        let late = Instant::now().checked_sub(MAX_ROUND_TRIP).unwrap();
        clock.record(ServerTime::new(late, 1_000_000));
        assert!(clock.for_commit().is_some_and(|time| time.micros() < 1_000_000));
    }
}
