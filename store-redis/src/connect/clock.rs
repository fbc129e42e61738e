//! The server's time, cached for a short while after the server told it.

use std::time::Duration;

use store_support::clock;
pub(crate) use store_support::clock::ServerTime;

/// The greatest age at which a load uses the cached time.
///
/// Only the server's clock is compared with stored times (law 5). Within this age the store adds
/// the time that has passed since it asked the server. The result is ahead of the server's clock by
/// at most [`clock::MAX_ROUND_TRIP`]. The store uses it for `age` and `ttl`, and to find that a
/// session is live. If the result says that a session has expired, the store asks the server again.
/// The server itself decides whether a commit changes a session.
const MAX_AGE_FOR_LOADS: Duration = Duration::from_millis(20);
/// The greatest age at which a commit uses the cached time. The script asks the server for its time
/// if a deadline is near. A clock drifts by less than a millisecond within this age.
const MAX_AGE_FOR_COMMITS: Duration = Duration::from_secs(1);

/// The last known time of a server. Without this cache a load would cost a tenth more.
#[derive(Default)]
pub(crate) struct ServerClock(clock::ServerClock);

impl ServerClock {
    /// The server's time in microseconds for a load, if it is recent enough.
    pub(crate) fn for_load(&self) -> Option<u64> {
        self.0.not_older_than(MAX_AGE_FOR_LOADS).map(|time| time.micros())
    }

    /// The server's time for a commit, if it is recent enough.
    pub(crate) fn for_commit(&self) -> Option<ServerTime> {
        self.0.not_older_than(MAX_AGE_FOR_COMMITS)
    }

    /// Keeps a time that a server has just told. A late answer is ignored.
    pub(crate) fn record(&self, time: ServerTime) {
        self.0.record(time);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
            let old = ServerTime::new(Instant::now().checked_sub(age).unwrap(), 6);
            let clock = ServerClock(old.into());
            assert_eq!(
                (clock.for_load().is_some(), clock.for_commit().is_some()),
                (for_load, for_commit),
                "{age:?}"
            );
        }
    }
}
