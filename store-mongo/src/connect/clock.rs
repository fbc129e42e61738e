//! The server's time, cached for a few milliseconds.

use std::time::{Duration, Instant};

use mongodb::bson::DateTime;
use store_support::clock::{self, MAX_ROUND_TRIP, ServerTime};

/// How long the store computes the server's time from the last time that the server sent.
///
/// Only the server's clock is compared with stored times (law 5). A computed time is at most
/// [`MAX_ROUND_TRIP`] ahead of the server's clock. It decides `age` and `ttl`. It can prove that a
/// session is alive. If it says that a session has expired, the store asks the server.
const MAX_AGE: Duration = Duration::from_millis(20);

/// The last time that a server sent. Without this cache each response would have to contain the
/// time, which makes a load 20 % slower.
#[derive(Default)]
pub(crate) struct ServerClock(clock::ServerClock);

impl ServerClock {
    /// The server's time, computed from the cached one. `None` if the cache is older than
    /// [`MAX_AGE`].
    pub(crate) fn recent(&self) -> Option<DateTime> {
        let millis = self.0.not_older_than(MAX_AGE)?.micros() / 1000;
        Some(DateTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    /// Caches the time in the response to a command that was sent at `sent_at`. Ignores a response
    /// that took [`MAX_ROUND_TRIP`] or longer.
    pub(crate) fn update(&self, sent_at: Instant, time: DateTime) {
        // The cache cannot hold a time before 1970.
        if let Some(time) = server_time(sent_at, time) {
            self.0.record(time);
        }
    }
}

fn server_time(sent_at: Instant, time: DateTime) -> Option<ServerTime> {
    let millis = u64::try_from(time.timestamp_millis()).ok()?;
    Some(ServerTime::new(sent_at, millis.saturating_mul(1000)))
}

/// The server's time after `elapsed` more.
pub(crate) fn later(time: DateTime, elapsed: Duration) -> DateTime {
    DateTime::from_millis(
        time.timestamp_millis()
            .saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// The earliest time that the server's clock can have while the computed time is `now`.
pub(crate) fn earliest(now: DateTime) -> DateTime {
    DateTime::from_millis(
        now.timestamp_millis()
            .saturating_sub(i64::try_from(MAX_ROUND_TRIP.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_server_time_is_cached_for_20_ms() {
        let clock = ServerClock::default();
        assert_eq!(clock.recent(), None);
        clock.update(Instant::now(), DateTime::from_millis(5));
        assert!(clock.recent().is_some_and(|now| (5..25).contains(&now.timestamp_millis())));
        let long_ago = Instant::now().checked_sub(MAX_ROUND_TRIP).unwrap();
        clock.update(long_ago, DateTime::from_millis(1_000_000));
        assert!(
            clock.recent().is_none_or(|now| now.timestamp_millis() < 1_000_000),
            "the clock ignores the time in a slow response"
        );
        let old = Instant::now().checked_sub(MAX_AGE).unwrap();
        let clock = ServerClock(server_time(old, DateTime::from_millis(6)).unwrap().into());
        assert_eq!(clock.recent(), None);
    }
}
