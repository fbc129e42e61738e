use std::num::NonZeroU64;
use std::time::Duration;

use crate::status::WorkerInfo;

/// Says when a worker that serves is replaced by a fresh one: a cure for programs that leak, or
/// fragment their memory.
///
/// It is a reload of one slot with the program that it runs: the fresh worker starts beside the old
/// one, which drains when that is ready. One worker of the cluster at a time; reloads and scaling
/// take turns with it. If the fresh one fails, the old one serves on, and after
/// [`RestartPolicy::cap`](crate::RestartPolicy::cap) the next attempt may come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recycle {
    /// Requests that a worker may [count](crate::Pulse::count). They are told with its heartbeat,
    /// so some more can be served.
    pub max_requests: Option<NonZeroU64>,
    /// Time since its start.
    pub max_age: Option<Duration>,
    /// Bytes of memory that it may hold: its private pages, and its part of those that it shares
    /// (`Pss` of `/proc/<pid>/smaps_rollup`). Where the system does not let the primary read that,
    /// because the worker runs as another user for example, its resident pages without those of
    /// files and of shared memory (`/proc/<pid>/statm`). It counts if three samples in a row are
    /// above; one is taken every ten beats, or every 10 s without a heartbeat. Choose it well above
    /// what a fresh worker holds, or workers are replaced one after the other for ever.
    pub max_memory: Option<u64>,
    /// Part of `max_requests` and `max_age` that is taken off at random, anew for each worker, from
    /// 0 to 0.5; so that workers that started together do not all reach their limits together. It
    /// only ever shortens.
    pub jitter: f64,
}

impl Default for Recycle {
    /// No limit, and a tenth of jitter for those that are set.
    fn default() -> Self {
        Self { max_requests: None, max_age: None, max_memory: None, jitter: 0.1 }
    }
}

/// The limit that a worker has reached, and where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecycleWhy {
    /// It has served so many requests.
    Requests(u64),
    /// It is so old.
    Age(Duration),
    /// It holds so many bytes.
    Memory(u64),
}

impl Recycle {
    pub(crate) fn is_off(&self) -> bool {
        self.max_requests.is_none() && self.max_age.is_none() && self.max_memory.is_none()
    }

    /// Names the first field that makes no sense. `beats` says whether workers have a heartbeat.
    pub(crate) fn check(&self, beats: bool) -> Result<(), &'static str> {
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err("recycle.jitter must be between 0 and 0.5");
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            return Err("recycle.max_age must be longer than zero");
        }
        if self.max_memory == Some(0) {
            return Err("recycle.max_memory must be more than zero");
        }
        if self.max_requests.is_some() && !beats {
            return Err("recycle.max_requests needs a heartbeat, which tells the count");
        }
        Ok(())
    }

    /// The limit that a worker has reached. `roll` is its random number from 0 to 1, `memory` what
    /// it held in the least of the samples that count, if there are enough.
    pub(crate) fn why(
        &self,
        worker: &WorkerInfo,
        roll: f64,
        memory: Option<u64>,
    ) -> Option<RecycleWhy> {
        let part = 1.0 - self.jitter * roll;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a limit that is drawn at random need not be exact to the request"
        )]
        let served = |max: NonZeroU64| worker.requests as f64 >= max.get() as f64 * part;
        if self.max_requests.is_some_and(served) {
            return Some(RecycleWhy::Requests(worker.requests));
        }
        if self.max_age.is_some_and(|max| worker.uptime >= max.mul_f64(part)) {
            return Some(RecycleWhy::Age(worker.uptime));
        }
        memory.filter(|&held| self.max_memory.is_some_and(|max| held > max)).map(RecycleWhy::Memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Slot, WorkerId};

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
    fn jitter_only_shortens_and_by_no_more_than_its_part() {
        let limits = Recycle {
            max_requests: NonZeroU64::new(1000),
            max_age: Some(SECOND * 1000),
            jitter: 0.25,
            ..Recycle::default()
        };
        for (roll, limit) in [(0.0, 1000), (0.5, 875), (1.0, 750)] {
            let at = |n: u64| limits.why(&worker(n, Duration::ZERO), roll, None);
            assert_eq!(
                (at(limit - 1), at(limit)),
                (None, Some(RecycleWhy::Requests(limit))),
                "{roll}"
            );
            let at = |n: u64| limits.why(&worker(0, Duration::from_secs(n)), roll, None);
            assert_eq!(
                (at(limit - 1), at(limit)),
                (None, Some(RecycleWhy::Age(Duration::from_secs(limit)))),
                "{roll}"
            );
        }
    }

    #[test]
    fn no_limit_is_never_reached() {
        let old = worker(u64::MAX, Duration::MAX);
        assert!(Recycle::default().is_off());
        assert_eq!(Recycle::default().why(&old, 1.0, Some(u64::MAX)), None);
        let limits = Recycle { max_memory: Some(10), ..Recycle::default() };
        assert_eq!(limits.why(&old, 1.0, Some(10)), None);
        assert_eq!(limits.why(&old, 1.0, Some(11)), Some(RecycleWhy::Memory(11)));
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        let fine = Recycle::default();
        for (limits, field) in [
            (Recycle { jitter: 0.6, ..fine }, "recycle.jitter"),
            (Recycle { jitter: f64::NAN, ..fine }, "recycle.jitter"),
            (Recycle { max_age: Some(Duration::ZERO), ..fine }, "recycle.max_age"),
            (Recycle { max_memory: Some(0), ..fine }, "recycle.max_memory"),
            (Recycle { max_requests: NonZeroU64::new(1), ..fine }, "recycle.max_requests"),
        ] {
            assert!(limits.check(false).unwrap_err().starts_with(field), "{limits:?}");
        }
        assert_eq!(Recycle { max_requests: NonZeroU64::new(1), ..fine }.check(true), Ok(()));
    }
}
