//! When a worker that died is replaced, and when its slot is given up. Pure: no clock, no I/O.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// When a worker that died is replaced, and when its slot is given up.
///
/// The primary replaces a worker at once after the first death in a row. Before the n-th
/// replacement it waits `base × factorⁿ⁻²`, at most `cap`, plus up to `jitter` of that delay so
/// that slots do not restart at the same time. A worker that was ready and lived for `stable_after`
/// ends the row. A worker that was told to drain does not count as a death, however it ended.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// Delay after the second death in a row.
    pub base: Duration,
    /// Growth of the delay per further death, at least 1.
    pub factor: f64,
    /// Longest delay before jitter.
    pub cap: Duration,
    /// Part of the delay that is added at random, from 0 to 1.
    pub jitter: f64,
    /// Uptime after which the death of a worker that was ready starts a new row.
    pub stable_after: Duration,
    /// When a slot is left empty.
    pub give_up: GiveUp,
}

/// Gives a slot up after `deaths` deaths within `window`, or after `deaths` deaths in a row.
///
/// The row counts too because workers that hang at boot die too rarely for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GiveUp {
    /// Number of deaths, at least 1.
    pub deaths: u32,
    /// The time within which they count.
    pub window: Duration,
}

impl Default for RestartPolicy {
    /// At once, then 0.2 s doubling to 15 s; the slot is given up after six deaths within one
    /// minute or in a row.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(15),
            jitter: 0.2,
            stable_after: Duration::from_secs(30),
            give_up: GiveUp::default(),
        }
    }
}

impl Default for GiveUp {
    /// Six deaths within one minute or in a row.
    fn default() -> Self {
        Self { deaths: 6, window: Duration::from_secs(60) }
    }
}

impl GiveUp {
    /// Sets [`deaths`](Self#structfield.deaths): the number of deaths.
    #[must_use]
    pub fn deaths(mut self, deaths: u32) -> Self {
        self.deaths = deaths;
        self
    }

    /// Sets [`window`](Self#structfield.window): the time within which deaths count.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }
}

impl RestartPolicy {
    /// Sets [`base`](Self#structfield.base): the delay after the second death in a row.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets [`factor`](Self#structfield.factor): the growth of the delay per further death.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets [`cap`](Self#structfield.cap): the longest delay before jitter.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets [`jitter`](Self#structfield.jitter): the part of the delay that is added at random.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets [`stable_after`](Self#structfield.stable_after): the uptime that ends a row of deaths.
    #[must_use]
    pub fn stable_after(mut self, stable_after: Duration) -> Self {
        self.stable_after = stable_after;
        self
    }

    /// Sets [`give_up`](Self#structfield.give_up): when a slot is left empty.
    #[must_use]
    pub fn give_up(mut self, give_up: GiveUp) -> Self {
        self.give_up = give_up;
        self
    }

    /// Names the first invalid field.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if !self.factor.is_finite() || self.factor < 1.0 {
            return Err("restart.factor must be a number of at least 1");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err("restart.jitter must be between 0 and 1");
        }
        if self.give_up.deaths == 0 {
            return Err("restart.give_up.deaths must be at least 1");
        }
        Ok(())
    }

    /// Records a death in `deaths` and decides what follows. `served` is the uptime of a worker
    /// that was ready, and zero for other workers. `roll` is a random number from 0 to 1.
    pub(crate) fn after_death(
        &self,
        deaths: &mut RecentDeaths,
        now: Instant,
        served: Duration,
        roll: f64,
    ) -> RestartDecision {
        if !served.is_zero() && served >= self.stable_after {
            deaths.row = 0;
        }
        deaths.row = deaths.row.saturating_add(1);
        deaths.recent.push_back(now);
        deaths.recent.retain(|&death| now.duration_since(death) <= self.give_up.window);
        let recent = u32::try_from(deaths.recent.len()).unwrap_or(u32::MAX);
        let most = recent.max(deaths.row);
        if most >= self.give_up.deaths {
            return RestartDecision::GiveUp { deaths: most };
        }
        RestartDecision::Respawn { after: self.delay(deaths.row, roll), attempt: deaths.row }
    }

    fn delay(&self, row: u32, roll: f64) -> Duration {
        let Some(doublings) = row.checked_sub(2) else { return Duration::ZERO };
        let exponent = i32::try_from(doublings).unwrap_or(i32::MAX);
        let cap = self.cap.as_secs_f64();
        // `min` also turns an overflow to infinity into the cap.
        let plain = (self.base.as_secs_f64() * self.factor.powi(exponent)).min(cap);
        Duration::try_from_secs_f64(plain * (1.0 + self.jitter * roll)).unwrap_or(self.cap)
    }
}

/// The deaths of one slot that still matter for a decision.
#[derive(Debug, Default)]
pub(crate) struct RecentDeaths {
    /// Deaths in a row.
    row: u32,
    /// Deaths within the window.
    recent: VecDeque<Instant>,
}

/// What follows a death.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RestartDecision {
    Respawn { after: Duration, attempt: u32 },
    GiveUp { deaths: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            base: MS(100),
            cap: MS(500),
            jitter: 0.5,
            stable_after: MS(10_000),
            give_up: GiveUp { deaths: 100, window: MS(60_000) },
            ..RestartPolicy::default()
        }
    }

    fn delays(policy: &RestartPolicy, roll: f64, count: u32) -> Vec<Duration> {
        let (mut deaths, now) = (RecentDeaths::default(), Instant::now());
        (0..count)
            .map(|_| match policy.after_death(&mut deaths, now, MS(1), roll) {
                RestartDecision::Respawn { after, .. } => after,
                RestartDecision::GiveUp { .. } => panic!("gave up"),
            })
            .collect()
    }

    #[test]
    fn k07_delays_start_at_zero_and_grow_to_the_cap() {
        assert_eq!(delays(&policy(), 0.0, 6), [MS(0), MS(100), MS(200), MS(400), MS(500), MS(500)]);
    }

    #[test]
    fn k07_jitter_only_lengthens_the_delay() {
        assert_eq!(delays(&policy(), 1.0, 3), [MS(0), MS(150), MS(300)]);
    }

    #[test]
    fn k07_death_of_a_stable_worker_starts_a_new_row() {
        let (mut deaths, now) = (RecentDeaths::default(), Instant::now());
        for _ in 0..4 {
            policy().after_death(&mut deaths, now, MS(1), 0.0);
        }
        let decision = policy().after_death(&mut deaths, now, MS(10_000), 0.0);
        assert_eq!(decision, RestartDecision::Respawn { after: MS(0), attempt: 1 });
    }

    #[test]
    fn k07_slot_is_given_up_for_deaths_within_the_window() {
        let policy = RestartPolicy { give_up: GiveUp { deaths: 3, window: MS(1_000) }, ..policy() };
        let (mut deaths, start) = (RecentDeaths::default(), Instant::now());
        let mut die = |at| policy.after_death(&mut deaths, start + MS(at), MS(10_000), 0.0);
        assert!(matches!(die(0), RestartDecision::Respawn { .. }));
        assert!(matches!(die(900), RestartDecision::Respawn { .. }));
        assert!(matches!(die(1_500), RestartDecision::Respawn { .. }));
        assert_eq!(die(1_600), RestartDecision::GiveUp { deaths: 3 });
    }

    #[test]
    fn k07_slot_is_given_up_for_a_row_of_slow_failed_boots() {
        let policy = RestartPolicy { give_up: GiveUp { deaths: 3, window: MS(1_000) }, ..policy() };
        let (mut deaths, start) = (RecentDeaths::default(), Instant::now());
        let mut die = |at| policy.after_death(&mut deaths, start + MS(at), Duration::ZERO, 0.0);
        assert_eq!(die(0), RestartDecision::Respawn { after: MS(0), attempt: 1 });
        assert_eq!(die(30_000), RestartDecision::Respawn { after: MS(100), attempt: 2 });
        assert_eq!(die(60_000), RestartDecision::GiveUp { deaths: 3 });
    }

    #[test]
    fn longest_row_does_not_overflow_the_delay() {
        let policy = RestartPolicy {
            factor: 1e300,
            give_up: GiveUp { deaths: u32::MAX, window: MS(1) },
            ..policy()
        };
        let mut deaths = RecentDeaths { row: u32::MAX - 2, ..RecentDeaths::default() };
        let decision = policy.after_death(&mut deaths, Instant::now(), MS(1), 1.0);
        assert!(matches!(decision, RestartDecision::Respawn { after, .. } if after == MS(750)));
    }

    #[test]
    fn invalid_restart_fields_are_named() {
        for (policy, field) in [
            (RestartPolicy { factor: f64::NAN, ..policy() }, "factor"),
            (RestartPolicy { factor: 0.5, ..policy() }, "factor"),
            (RestartPolicy { jitter: 1.1, ..policy() }, "jitter"),
            (RestartPolicy { give_up: GiveUp { deaths: 0, window: MS(1) }, ..policy() }, "deaths"),
        ] {
            assert!(policy.check().unwrap_err().contains(field));
        }
    }
}
