//! What a server said of its time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long what a server said of its time is taken for its time.
///
/// The server's clock alone is compared with what is stored (law 5): no time that passed here is added, so a record seems at most this much
/// younger than it is, far less than the second that is allowed. Whether a session lives says the server, which has its key or has it not.
const HOLDS_FOR: Duration = Duration::from_millis(20);

/// The last word of a server on its time. Asking with every load would take a tenth of what a load costs.
#[derive(Default)]
pub(crate) struct ServerClock(Mutex<Option<(Instant, u64)>>);

impl ServerClock {
    /// The server's time in milliseconds, if it told it a moment ago.
    pub(crate) fn recent(&self) -> Option<u64> {
        self.0.lock().filter(|(told, _)| told.elapsed() < HOLDS_FOR).map(|(_, millis)| millis)
    }

    /// Notes what the server says: `asked` is when it was asked, so that the way there counts as age and not as news.
    pub(crate) fn note(&self, asked: Instant, millis: u64) {
        *self.0.lock() = Some((asked, millis));
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
        assert_eq!(clock.recent(), Some(5));
        clock.note(Instant::now().checked_sub(HOLDS_FOR).unwrap(), 6);
        assert_eq!(clock.recent(), None);
    }
}
