//! How often workers send heartbeats, and when a silent worker counts as hung.

use std::time::Duration;

/// How often workers report that their event loops run, and when a silent worker counts as hung.
///
/// The primary measures silence only while it runs itself. Time in which the primary is stopped,
/// suspended or starved does not count. The primary kills a silent worker after `dead_after` at the
/// earliest, and about a fifth later at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatPolicy {
    /// Time between two heartbeats, at least 1 ms.
    pub every: Duration,
    /// Silence after which a worker is killed and replaced. At least three times `every`, and at
    /// least 100 ms. Choose it well above the longest time that a handler may block: killing a
    /// worker that works is worse than detecting a hung one late.
    pub dead_after: Duration,
}

impl Default for HeartbeatPolicy {
    /// A heartbeat every second; killed after 30 s of silence.
    fn default() -> Self {
        Self { every: Duration::from_secs(1), dead_after: Duration::from_secs(30) }
    }
}

impl HeartbeatPolicy {
    /// Sets [`every`](Self#structfield.every): the time between two heartbeats.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Sets [`dead_after`](Self#structfield.dead_after): the silence that a worker is killed after.
    #[must_use]
    pub fn dead_after(mut self, dead_after: Duration) -> Self {
        self.dead_after = dead_after;
        self
    }

    /// Names the first invalid field.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.every < Duration::from_millis(1) {
            return Err("heartbeat.every must be at least 1 ms");
        }
        if self.dead_after < Duration::from_millis(100) {
            return Err(
                "heartbeat.dead_after must be at least 100 ms; with less, a late timer looks like \
                 a silent worker",
            );
        }
        if self.dead_after < self.every.saturating_mul(3) {
            return Err("heartbeat.dead_after must be at least three times heartbeat.every");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_that_kills_healthy_workers_is_rejected() {
        let policy = |every, dead_after| HeartbeatPolicy {
            every: Duration::from_millis(every),
            dead_after: Duration::from_millis(dead_after),
        };
        assert_eq!(HeartbeatPolicy::default().check(), Ok(()));
        assert_eq!(policy(1, 100).check(), Ok(()));
        for (rejected, field) in [
            (policy(0, 300), "heartbeat.every"),
            (policy(100, 299), "heartbeat.dead_after"),
            (policy(1, 99), "heartbeat.dead_after"),
        ] {
            assert!(rejected.check().unwrap_err().starts_with(field), "{rejected:?}");
        }
    }
}
