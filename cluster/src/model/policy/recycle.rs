//! When a worker that serves is replaced by a fresh one. Pure: no clock, no I/O.

use std::{num::NonZeroU64, time::Duration};

use crate::model::status::WorkerInfo;

/// When a worker that serves is replaced by a fresh one. For programs that leak memory or fragment
/// it.
///
/// Recycling is a reload of one slot with the program that the slot runs: the fresh worker starts
/// beside the old one, which drains when the fresh one is ready. The primary recycles one worker of
/// the cluster at a time. Recycling, reloads and scaling wait for each other. If the fresh worker
/// fails, the old one continues to serve, and the primary tries again after
/// [`RestartPolicy::cap`](crate::RestartPolicy::cap).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RecyclePolicy {
    /// Requests that a worker may [count](crate::Heartbeat::count). The worker reports the count
    /// with its heartbeat, so it can serve some more.
    pub max_requests: Option<NonZeroU64>,
    /// Longest time since the start of the worker.
    pub max_age: Option<Duration>,
    /// Most bytes of memory: the private pages of the worker and its share of shared pages (`Pss`
    /// of `/proc/<pid>/smaps_rollup`). If the primary may not read that file, for example because
    /// the worker runs as another user: the resident pages without those of files and shared memory
    /// (`/proc/<pid>/statm`).
    ///
    /// The limit is reached when three samples in a row are above it. The primary takes one sample
    /// every ten heartbeats, or every 10 s without a heartbeat. Choose the limit well above what a
    /// fresh worker uses. Otherwise the primary recycles workers without end.
    pub max_memory: Option<u64>,
    /// Part of `max_requests` and `max_age` that is subtracted at random for each worker, from 0 to
    /// 0.5. So workers that started together reach their limits at different times. Jitter only
    /// shortens a limit.
    pub jitter: f64,
}

impl Default for RecyclePolicy {
    /// No limit; a jitter of 0.1 for the limits that are set.
    fn default() -> Self {
        Self { max_requests: None, max_age: None, max_memory: None, jitter: 0.1 }
    }
}

/// The limit that a worker has reached, and the measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecycleReason {
    /// The number of requests that it has counted.
    Requests(u64),
    /// The time since its start.
    Age(Duration),
    /// The bytes of memory that it uses.
    Memory(u64),
}

impl RecyclePolicy {
    /// Sets [`max_requests`](Self#structfield.max_requests). `None` means no limit.
    #[must_use]
    pub fn max_requests(mut self, max_requests: impl Into<Option<NonZeroU64>>) -> Self {
        self.max_requests = max_requests.into();
        self
    }

    /// Sets [`max_age`](Self#structfield.max_age). `None` means no limit.
    #[must_use]
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }

    /// Sets [`max_memory`](Self#structfield.max_memory), in bytes. `None` means no limit.
    #[must_use]
    pub fn max_memory(mut self, max_memory: impl Into<Option<u64>>) -> Self {
        self.max_memory = max_memory.into();
        self
    }

    /// Sets [`jitter`](Self#structfield.jitter): the part of a limit that is subtracted at random.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    pub(crate) fn is_off(&self) -> bool {
        self.max_requests.is_none() && self.max_age.is_none() && self.max_memory.is_none()
    }

    /// Names the first invalid field. `has_heartbeat` says whether workers send heartbeats.
    pub(crate) fn check(&self, has_heartbeat: bool) -> Result<(), &'static str> {
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err("recycle.jitter must be between 0 and 0.5");
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            return Err("recycle.max_age must be longer than zero");
        }
        if self.max_memory == Some(0) {
            return Err("recycle.max_memory must be more than zero");
        }
        if self.max_requests.is_some() && !has_heartbeat {
            return Err("recycle.max_requests needs a heartbeat, which reports the count");
        }
        Ok(())
    }

    /// The limit that `worker` has reached. `roll` is its random number from 0 to 1. `memory` is
    /// the smallest of the recent samples, once there are enough of them.
    pub(crate) fn reached(
        &self,
        worker: &WorkerInfo,
        roll: f64,
        memory: Option<u64>,
    ) -> Option<RecycleReason> {
        let part = 1.0 - self.jitter * roll;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a limit with random jitter need not be exact to one request"
        )]
        let served = |max: NonZeroU64| worker.requests as f64 >= max.get() as f64 * part;
        if self.max_requests.is_some_and(served) {
            return Some(RecycleReason::Requests(worker.requests));
        }
        if self.max_age.is_some_and(|max| worker.uptime >= max.mul_f64(part)) {
            return Some(RecycleReason::Age(worker.uptime));
        }
        memory
            .filter(|&bytes| self.max_memory.is_some_and(|max| bytes > max))
            .map(RecycleReason::Memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Slot, WorkerId};

    fn worker(requests: u64, uptime: Duration) -> WorkerInfo {
        let (id, slot) = (WorkerId::new(1), Slot::new(0));
        WorkerInfo {
            id,
            slot,
            pid: 1,
            ready: true,
            uptime,
            requests,
            last_beat: None,
            refused_messages: 0,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn jitter_shortens_a_limit_by_at_most_its_part() {
        let limits = RecyclePolicy {
            max_requests: NonZeroU64::new(1000),
            max_age: Some(SECOND * 1000),
            jitter: 0.25,
            ..RecyclePolicy::default()
        };
        for (roll, limit) in [(0.0, 1000), (0.5, 875), (1.0, 750)] {
            let at = |n: u64| limits.reached(&worker(n, Duration::ZERO), roll, None);
            assert_eq!(
                (at(limit - 1), at(limit)),
                (None, Some(RecycleReason::Requests(limit))),
                "{roll}"
            );
            let at = |n: u64| limits.reached(&worker(0, Duration::from_secs(n)), roll, None);
            assert_eq!(
                (at(limit - 1), at(limit)),
                (None, Some(RecycleReason::Age(Duration::from_secs(limit)))),
                "{roll}"
            );
        }
    }

    #[test]
    fn unset_limits_are_never_reached() {
        let old = worker(u64::MAX, Duration::MAX);
        assert!(RecyclePolicy::default().is_off());
        assert_eq!(RecyclePolicy::default().reached(&old, 1.0, Some(u64::MAX)), None);
        let limits = RecyclePolicy { max_memory: Some(10), ..RecyclePolicy::default() };
        assert_eq!(limits.reached(&old, 1.0, Some(10)), None);
        assert_eq!(limits.reached(&old, 1.0, Some(11)), Some(RecycleReason::Memory(11)));
    }

    #[test]
    fn invalid_recycle_fields_are_named() {
        let fine = RecyclePolicy::default();
        for (limits, field) in [
            (RecyclePolicy { jitter: 0.6, ..fine }, "recycle.jitter"),
            (RecyclePolicy { jitter: f64::NAN, ..fine }, "recycle.jitter"),
            (RecyclePolicy { max_age: Some(Duration::ZERO), ..fine }, "recycle.max_age"),
            (RecyclePolicy { max_memory: Some(0), ..fine }, "recycle.max_memory"),
            (RecyclePolicy { max_requests: NonZeroU64::new(1), ..fine }, "recycle.max_requests"),
        ] {
            assert!(limits.check(false).unwrap_err().starts_with(field), "{limits:?}");
        }
        assert_eq!(RecyclePolicy { max_requests: NonZeroU64::new(1), ..fine }.check(true), Ok(()));
    }
}
