//! What a server said of its time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long a stopwatch goes on from what a server said of its time.
///
/// The server's clock alone is compared with what is stored (law 5). Within this it is told by the server's last word and the time that has
/// passed since it was asked, so it is off by a round trip at most. It decides `age` and `ttl`, and by that round trip at most whether a session is
/// still loaded; whether one is changed, the server decides by itself.
const HOLDS_FOR: Duration = Duration::from_millis(20);

/// What a server said of its time. Asking with every load would take a tenth of what a load costs.
#[derive(Default)]
pub(crate) struct ServerClock(Mutex<Option<(Instant, u64)>>);

impl ServerClock {
    /// The server's time in microseconds, if it told it a moment ago.
    pub(crate) fn recent(&self) -> Option<u64> {
        let (asked, told) = (*self.0.lock())?;
        let passed = asked.elapsed();
        (passed < HOLDS_FOR).then(|| told.saturating_add(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Notes what the server told after it was `asked`.
    pub(crate) fn note(&self, asked: Instant, told: u64) {
        *self.0.lock() = Some((asked, told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_a_server_is_asked_again_after_a_moment() {
        let clock = ServerClock::default();
        assert_eq!(clock.recent(), None);
        clock.note(Instant::now(), 5);
        assert!(clock.recent().is_some_and(|now| (5..20_005).contains(&now)));
        clock.note(Instant::now().checked_sub(HOLDS_FOR).unwrap(), 6);
        assert_eq!(clock.recent(), None);
    }
}
