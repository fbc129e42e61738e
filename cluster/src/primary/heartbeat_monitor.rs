//! Decides when a silent worker is hung. The code reads no clock: the caller passes the time.

use std::time::Duration;

use tokio::time::Instant;

/// Number of checks within the time that a worker may be silent.
const CHECKS: u32 = 10;

/// Counts how long a worker has been silent, in checks of the primary and not by a clock.
///
/// The primary checks after every tenth of the allowed time. A late check does not count, because
/// then the primary itself was stopped, suspended or starved and has not read the socket. The next
/// check always comes a whole interval later, in which the primary reads what is in the socket. So
/// a worker is hung only after more than ten intervals in which the primary ran and received no
/// heartbeat.
pub(super) struct HeartbeatMonitor {
    interval: Duration,
    started: Instant,
    last_check: Instant,
    beats: u64,
    /// Whole intervals without a heartbeat.
    silent: u32,
}

impl HeartbeatMonitor {
    pub(super) fn start(allowed: Duration, now: Instant, beats: u64) -> Self {
        Self { interval: allowed / CHECKS, started: now, last_check: now, beats, silent: 0 }
    }

    pub(super) fn next_check(&self) -> Instant {
        self.last_check + self.interval
    }

    /// Checks the count of heartbeats. If the worker is hung, returns the time since the start of
    /// the monitor.
    pub(super) fn check(&mut self, now: Instant, beats: u64) -> Option<Duration> {
        let late = now.duration_since(self.last_check) > self.interval * 2;
        self.last_check = now;
        if beats != self.beats {
            self.beats = beats;
            self.silent = 0;
        } else if !late {
            self.silent += 1;
        }
        (self.silent > CHECKS).then(|| now.duration_since(self.started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(10);

    /// Checks on time until the worker is hung. Returns the time until then.
    fn until_hung(monitor: &mut HeartbeatMonitor, from: Instant) -> Duration {
        for _ in 0..100 {
            let now = monitor.next_check();
            if monitor.check(now, monitor.beats).is_some() {
                return now - from;
            }
        }
        panic!("the worker is never hung")
    }

    #[test]
    fn k08_silent_worker_is_hung_soon_after_the_allowed_time() {
        let now = Instant::now();
        let mut monitor = HeartbeatMonitor::start(ALLOWED, now, 7);
        let hung = until_hung(&mut monitor, now);
        assert!(ALLOWED < hung && hung <= ALLOWED * 12 / 10, "{hung:?}");
        // The position of the last heartbeat within an interval does not matter.
        let mut monitor = HeartbeatMonitor::start(ALLOWED, now, 7);
        assert_eq!(monitor.check(now + ALLOWED / 10, 8), None);
        let hung = until_hung(&mut monitor, now);
        assert!(ALLOWED + ALLOWED / 10 < hung && hung <= ALLOWED * 12 / 10, "{hung:?}");
    }

    #[test]
    fn k08_one_heartbeat_restarts_the_count() {
        let now = Instant::now();
        let mut monitor = HeartbeatMonitor::start(ALLOWED, now, 0);
        for beats in 0..100 {
            for _ in 0..CHECKS {
                assert_eq!(monitor.check(monitor.next_check(), beats), None);
            }
        }
    }

    #[test]
    fn k08_stopped_primary_does_not_count_as_silence() {
        let mut now = Instant::now();
        let mut monitor = HeartbeatMonitor::start(ALLOWED, now, 0);
        for _ in 0..CHECKS {
            now = monitor.next_check();
            assert_eq!(monitor.check(now, 0), None);
        }
        // One check before the limit, the primary is stopped for an hour, repeatedly. It always
        // listens for a whole interval before the next check.
        for _ in 0..100 {
            now = monitor.next_check() + Duration::from_secs(3600);
            assert_eq!(monitor.check(now, 0), None);
        }
        assert_eq!(until_hung(&mut monitor, now), ALLOWED / 10);
    }
}
