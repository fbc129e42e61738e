//! When to extend the lifetime of a session, as pure functions of durations.

use std::time::Duration;

use crate::Limits;

/// The shortest ttl. A shorter timeout means that the session ends now, and this is the nearest
/// value that stores accept.
const SHORTEST: Duration = Duration::from_millis(1);

/// The timeouts of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
}

/// What a use of the session means for its ttl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenewalDecision {
    /// At least three quarters of the idle timeout are left: no write.
    NotDue,
    /// The ttl of the record becomes this.
    Renew(Duration),
    /// The absolute timeout has passed, although the store still has the record: the timeout was
    /// shortened after the record was written.
    Expired,
}

impl Timeouts {
    /// The ttl of a new record.
    pub(crate) fn initial_ttl(&self) -> Duration {
        self.idle.min(self.absolute).clamp(SHORTEST, Limits::LONGEST_TTL)
    }

    /// The ttl of a record after a use, `age` after its absolute timeout started. `None` if the
    /// absolute timeout has passed.
    ///
    /// The idle timeout slides and the absolute timeout does not. The ttl never exceeds `absolute -
    /// age`, so the store enforces both.
    pub(crate) fn ttl_at(&self, age: Duration) -> Option<Duration> {
        let left = self.absolute.checked_sub(age)?;
        (left >= SHORTEST).then(|| left.min(self.idle).clamp(SHORTEST, Limits::LONGEST_TTL))
    }

    /// Decides for a record with this `ttl`, `age` after its absolute timeout started.
    ///
    /// The ttl is renewed if less than three quarters of the idle timeout are left and the renewal
    /// makes it longer (near the absolute deadline it does not). It is shortened if the timeouts
    /// are now shorter than the stored ttl.
    pub(crate) fn decide(&self, age: Duration, ttl: Duration) -> RenewalDecision {
        let Some(renewed) = self.ttl_at(age) else {
            return RenewalDecision::Expired;
        };
        // Backends keep whole milliseconds and answer with a small delay. Differences below 1/64 of
        // the timeout are ignored.
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
    fn h16_ttl_is_renewed_below_three_quarters_of_the_idle_timeout() {
        assert_eq!(TIMEOUTS.decide(Duration::ZERO, 30 * MINUTE), RenewalDecision::NotDue);
        assert_eq!(TIMEOUTS.decide(7 * MINUTE, 23 * MINUTE), RenewalDecision::NotDue);
        assert_eq!(TIMEOUTS.decide(8 * MINUTE, 22 * MINUTE), RenewalDecision::Renew(30 * MINUTE));
        assert_eq!(
            TIMEOUTS.decide(30 * MINUTE, Duration::from_millis(1)),
            RenewalDecision::Renew(30 * MINUTE)
        );
    }

    #[test]
    fn h16_absolute_deadline_does_not_slide() {
        assert_eq!(TIMEOUTS.decide(470 * MINUTE, 5 * MINUTE), RenewalDecision::Renew(10 * MINUTE));
        assert_eq!(
            TIMEOUTS.decide(475 * MINUTE, 5 * MINUTE),
            RenewalDecision::NotDue,
            "a renewal gains nothing"
        );
        assert_eq!(TIMEOUTS.decide(480 * MINUTE, 5 * MINUTE), RenewalDecision::Expired);
        assert_eq!(TIMEOUTS.ttl_at(481 * MINUTE), None);
    }

    #[test]
    fn infinite_and_zero_timeouts_become_valid_ttls() {
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
    fn shorter_timeouts_apply_from_the_next_use() {
        assert_eq!(TIMEOUTS.decide(MINUTE, 24 * 60 * MINUTE), RenewalDecision::Renew(30 * MINUTE));
    }

    #[test]
    fn a_used_session_never_outlives_its_absolute_timeout() {
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
