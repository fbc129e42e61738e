//! What a server said of its time.

use std::time::{Duration, Instant};

use mongodb::bson::DateTime;
use parking_lot::Mutex;

/// For how long a stopwatch goes on from what a server said of its time.
///
/// The server's clock alone is compared with what is stored (law 5). Within this it is told by the
/// server's last word and the time that has passed since it was asked, so it is ahead by [`PROMPT`]
/// at most. It decides `age` and `ttl`. That a session lives it can say for certain; where it says
/// that one has expired, the server is asked.
const HOLDS_FOR: Duration = Duration::from_millis(20);
/// The longest round trip whose answer tells the time: the server read its clock at some moment of
/// it.
const PROMPT: Duration = Duration::from_millis(20);

/// What a server said of its time. To compute it in each answer would take a fifth of what a load
/// costs.
#[derive(Default)]
pub(crate) struct ServerClock(Mutex<Option<(Instant, DateTime)>>);

impl ServerClock {
    /// The server's time, if it told it a moment ago.
    pub(crate) fn recent(&self) -> Option<DateTime> {
        let (asked, told) = (*self.0.lock())?;
        let passed = asked.elapsed();
        (passed < HOLDS_FOR).then(|| later(told, passed))
    }

    /// Goes on from what the server told after it was `asked`, if it answered promptly.
    pub(crate) fn note(&self, asked: Instant, told: DateTime) {
        if asked.elapsed() < PROMPT {
            *self.0.lock() = Some((asked, told));
        }
    }
}

/// A server's time when this much has passed.
pub(crate) fn later(told: DateTime, passed: Duration) -> DateTime {
    DateTime::from_millis(
        told.timestamp_millis()
            .saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// The least that a server's time can be, if this was computed from a prompt answer.
pub(crate) fn earlier(now: DateTime) -> DateTime {
    DateTime::from_millis(
        now.timestamp_millis()
            .saturating_sub(i64::try_from(PROMPT.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_a_server_is_asked_again_after_a_moment() {
        let clock = ServerClock::default();
        assert_eq!(clock.recent(), None);
        clock.note(Instant::now(), DateTime::from_millis(5));
        assert!(clock.recent().is_some_and(|now| (5..25).contains(&now.timestamp_millis())));
        clock.note(Instant::now().checked_sub(PROMPT).unwrap(), DateTime::from_millis(1_000_000));
        assert!(
            clock.recent().is_none_or(|now| now.timestamp_millis() < 1_000_000),
            "a late answer does not tell the time"
        );
        *clock.0.lock() =
            Some((Instant::now().checked_sub(HOLDS_FOR).unwrap(), DateTime::from_millis(6)));
        assert_eq!(clock.recent(), None);
    }
}
