use std::time::Duration;

/// Says how often workers show that their event loops run, and when one that does not is taken for
/// hung.
///
/// Time counts as the primary lives it: while the primary itself is stopped, suspended or late,
/// nobody's silence grows. A worker is killed at `dead_after` at the earliest and about a fifth
/// later at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPolicy {
    /// Time between two beats, at least 1 ms.
    pub every: Duration,
    /// Silence after which a worker is killed and replaced, at least three times `every` and 100
    /// ms. Choose it well above the longest time that a handler may block: to kill a worker that
    /// works is worse than to find a hung one late.
    pub dead_after: Duration,
}

impl Default for HeartbeatPolicy {
    /// A beat every second; killed after 30 s of silence.
    fn default() -> Self {
        Self { every: Duration::from_secs(1), dead_after: Duration::from_secs(30) }
    }
}

impl HeartbeatPolicy {
    /// Names the first field that makes no sense.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.every < Duration::from_millis(1) {
            return Err("heartbeat.every must be at least 1 ms");
        }
        if self.dead_after < Duration::from_millis(100) {
            return Err(
                "heartbeat.dead_after must be at least 100 ms, below which a timer that is late cannot be told from a silence",
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
    fn a_policy_that_would_kill_who_beats_is_refused() {
        let policy = |every, dead_after| HeartbeatPolicy {
            every: Duration::from_millis(every),
            dead_after: Duration::from_millis(dead_after),
        };
        assert_eq!(HeartbeatPolicy::default().check(), Ok(()));
        assert_eq!(policy(1, 100).check(), Ok(()));
        for (refused, field) in [
            (policy(0, 300), "heartbeat.every"),
            (policy(100, 299), "heartbeat.dead_after"),
            (policy(1, 99), "heartbeat.dead_after"),
        ] {
            assert!(refused.check().unwrap_err().starts_with(field), "{refused:?}");
        }
    }
}
