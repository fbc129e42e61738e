//! When a session's life has to be extended, as pure functions of durations.

use std::time::Duration;

use crate::Limits;

/// The shortest life a store is asked for. A shorter timeout means that the session ends now, and
/// this is as near as it gets.
const SHORTEST: Duration = Duration::from_millis(1);

/// The timeouts that hold for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
}

/// What using a session means for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenewalDecision {
    /// At least three quarters of the idle timeout are left: nothing to write.
    NotDue,
    /// The record's life becomes this.
    Renew(Duration),
    /// The absolute timeout is over, though the store still has the record: the timeout was
    /// shortened after it was written.
    Expired,
}

impl Timeouts {
    /// How long a new record lives.
    pub(crate) fn initial_ttl(&self) -> Duration {
        self.idle.min(self.absolute).clamp(SHORTEST, Limits::LONGEST_TTL)
    }

    /// How long a record whose absolute timeout began `age` ago lives after being used now. `None`
    /// if its time is over.
    ///
    /// Idle slides, absolute does not: the store's ttl never reaches beyond `absolute - age`, so
    /// the store alone enforces both.
    pub(crate) fn ttl_at(&self, age: Duration) -> Option<Duration> {
        let left = self.absolute.checked_sub(age)?;
        (left >= SHORTEST).then(|| left.min(self.idle).clamp(SHORTEST, Limits::LONGEST_TTL))
    }

    /// Decides for a record whose absolute timeout began `age` ago and that lives for `ttl` more.
    ///
    /// A life is renewed when less than three quarters of the idle timeout are left and renewing
    /// gains something (near the absolute deadline it gains nothing), and shortened when the
    /// timeouts have become shorter than what the store was told.
    pub(crate) fn decide(&self, age: Duration, ttl: Duration) -> RenewalDecision {
        let Some(renewed) = self.ttl_at(age) else {
            return RenewalDecision::Expired;
        };
        // Backends keep whole milliseconds and answer a little late; differences below 1/64 of the
        // timeout are no news.
        let slack = self.idle / 64;
        let due = ttl < self.idle.saturating_mul(3) / 4 && renewed > ttl + slack;
        let too_long = ttl > renewed.saturating_add(slack);
        if due || too_long { RenewalDecision::Renew(renewed) } else { RenewalDecision::NotDue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const TIMEOUTS: Timeouts =
        Timeouts { idle: Duration::from_secs(1_800), absolute: Duration::from_secs(28_800) };

    #[test]
    fn h16_life_is_renewed_only_when_less_than_three_quarters_are_left() {
        assert_eq!(TIMEOUTS.decide(Duration::ZERO, 30 * MINUTE), RenewalDecision::NotDue);
        assert_eq!(TIMEOUTS.decide(7 * MINUTE, 23 * MINUTE), RenewalDecision::NotDue);
        assert_eq!(TIMEOUTS.decide(8 * MINUTE, 22 * MINUTE), RenewalDecision::Renew(30 * MINUTE));
        assert_eq!(
            TIMEOUTS.decide(30 * MINUTE, Duration::from_millis(1)),
            RenewalDecision::Renew(30 * MINUTE)
        );
    }

    #[test]
    fn h16_the_absolute_deadline_does_not_slide() {
        assert_eq!(TIMEOUTS.decide(470 * MINUTE, 5 * MINUTE), RenewalDecision::Renew(10 * MINUTE));
        assert_eq!(
            TIMEOUTS.decide(475 * MINUTE, 5 * MINUTE),
            RenewalDecision::NotDue,
            "nothing is left to gain"
        );
        assert_eq!(TIMEOUTS.decide(480 * MINUTE, 5 * MINUTE), RenewalDecision::Expired);
        assert_eq!(TIMEOUTS.ttl_at(481 * MINUTE), None);
    }

    #[test]
    fn timeouts_without_end_and_without_length_become_lives_that_stores_take() {
        let endless = Timeouts { idle: Duration::MAX, absolute: Duration::MAX };
        assert_eq!(
            (endless.initial_ttl(), endless.ttl_at(MINUTE)),
            (Limits::LONGEST_TTL, Some(Limits::LONGEST_TTL))
        );
        assert_eq!(endless.decide(MINUTE, Limits::LONGEST_TTL), RenewalDecision::NotDue);
        let none = Timeouts { idle: Duration::ZERO, absolute: MINUTE };
        assert_eq!((none.initial_ttl(), none.ttl_at(Duration::ZERO)), (SHORTEST, Some(SHORTEST)));
    }

    #[test]
    fn shorter_timeouts_hold_from_the_next_use() {
        assert_eq!(TIMEOUTS.decide(MINUTE, 24 * 60 * MINUTE), RenewalDecision::Renew(30 * MINUTE));
    }

    #[test]
    fn a_session_used_to_the_end_never_outlives_its_absolute_timeout() {
        let (mut age, mut ttl) = (Duration::ZERO, TIMEOUTS.ttl_at(Duration::ZERO).unwrap());
        while !ttl.is_zero() {
            assert!(age + ttl <= TIMEOUTS.absolute);
            let step = MINUTE.min(ttl);
            (age, ttl) = (age + step, ttl.saturating_sub(step));
            if let RenewalDecision::Renew(renewed) = TIMEOUTS.decide(age, ttl) {
                ttl = renewed;
            }
        }
        assert_eq!(age, TIMEOUTS.absolute, "and it lives just as long when used every minute");
    }
}
