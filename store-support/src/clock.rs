//! The last time that a server told.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The longest round trip whose answer is accepted. The server reads its clock at some moment
/// within the round trip, so a [`ServerTime`] is ahead of the server's clock by at most this.
pub const MAX_ROUND_TRIP: Duration = Duration::from_millis(20);

/// A time that a server told, and when the store asked for it.
#[derive(Debug, Clone, Copy)]
pub struct ServerTime {
    asked_at: Instant,
    answered_micros: u64,
}

impl ServerTime {
    /// The time in microseconds with which the server answered a question of `asked_at`.
    #[must_use]
    pub fn new(asked_at: Instant, answered_micros: u64) -> Self {
        Self { asked_at, answered_micros }
    }

    /// The server's time now, in microseconds. It can be ahead by the round trip of the question.
    #[must_use]
    pub fn micros(&self) -> u64 {
        let passed = u64::try_from(self.asked_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answered_micros.saturating_add(passed)
    }
}

/// The last known time of a server. It saves a question to the server in most calls.
#[derive(Debug, Default)]
pub struct ServerClock(Mutex<Option<ServerTime>>);

impl ServerClock {
    /// The last time that the server told, if the store asked for it less than `age` ago.
    #[must_use]
    pub fn not_older_than(&self, age: Duration) -> Option<ServerTime> {
        (*self.0.lock()).filter(|time| time.asked_at.elapsed() < age)
    }

    /// Keeps a time that a server has just told. Ignores the answer of a round trip that took
    /// [`MAX_ROUND_TRIP`] or longer.
    pub fn record(&self, time: ServerTime) {
        if time.asked_at.elapsed() < MAX_ROUND_TRIP {
            *self.0.lock() = Some(time);
        }
    }
}

/// A clock that knows this time, even if the time is old.
impl From<ServerTime> for ServerClock {
    fn from(time: ServerTime) -> Self {
        Self(Mutex::new(Some(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_old_time_is_not_used() {
        let age = Duration::from_secs(1);
        let clock = ServerClock::default();
        assert!(clock.not_older_than(age).is_none());
        clock.record(ServerTime::new(Instant::now(), 5));
        assert!(
            clock.not_older_than(age).is_some_and(|time| (5..1_000_005).contains(&time.micros()))
        );
        let clock = ServerClock::from(ServerTime::new(Instant::now().checked_sub(age).unwrap(), 6));
        assert!(clock.not_older_than(age).is_none());
        assert!(clock.not_older_than(age * 60).is_some());
    }

    #[test]
    fn c03_time_of_a_late_answer_is_ignored() {
        let clock = ServerClock::default();
        clock.record(ServerTime::new(Instant::now(), 5));
        let late = Instant::now().checked_sub(MAX_ROUND_TRIP).unwrap();
        clock.record(ServerTime::new(late, 100_000_000));
        let time = clock.not_older_than(Duration::from_secs(60));
        assert!(time.is_some_and(|time| time.micros() < 100_000_000));
    }
}
