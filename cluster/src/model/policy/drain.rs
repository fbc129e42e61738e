//! How long a worker may take to drain, and the order that tells it to.
//!
//! The program of the worker carries the order out: it waits, stops its server and ends. In the
//! demo server that is `demo-server/src/drain.rs`, in other programs a copy of the steps in
//! `cluster/examples/actix.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a worker may take to drain. Each time is at most ten years.
///
/// ```
/// # use std::time::Duration;
/// let policy = cluster::DrainPolicy::default().deadline(Duration::from_secs(10));
/// assert_eq!(policy.deadline, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainPolicy {
    /// The pause before a worker stops its server. Until then it answers accepted connections. When
    /// the whole cluster stops, the worker also accepts for this long before that, to empty the
    /// kernel's queue.
    pub quiet: Duration,
    /// When a draining worker is killed.
    pub deadline: Duration,
    /// The deadline of [`Shutdown::Fast`](crate::Shutdown::Fast), which has no quiet time. Also the
    /// longest time that a worker gets to exit while it is not ready.
    pub fast: Duration,
    /// How long the whole cluster continues to serve after a graceful stop was requested, before
    /// its ports close and the drain begins. Set it to the time in which the load balancers in
    /// front notice that the site is not ready any more.
    // Only the primary uses it, so the greeting of a worker does not contain it.
    #[serde(skip)]
    pub lead: Duration,
    /// How long workers outlive their primary. After this time they are killed, even with a blocked
    /// event loop.
    pub orphan: Duration,
}

impl Default for DrainPolicy {
    /// 200 ms quiet, 30 s to drain, 1 s for a fast stop, no lead, 1.5 s after the primary died.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            deadline: Duration::from_secs(30),
            fast: Duration::from_secs(1),
            lead: Duration::ZERO,
            orphan: Duration::from_millis(1500),
        }
    }
}

impl DrainPolicy {
    /// Sets [`quiet`](Self#structfield.quiet): the pause before a worker stops its server.
    #[must_use]
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// Sets [`deadline`](Self#structfield.deadline): when a draining worker is killed.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets [`fast`](Self#structfield.fast): the deadline of a fast stop.
    #[must_use]
    pub fn fast(mut self, fast: Duration) -> Self {
        self.fast = fast;
        self
    }

    /// Sets [`lead`](Self#structfield.lead): how long the cluster serves on before a graceful stop.
    #[must_use]
    pub fn lead(mut self, lead: Duration) -> Self {
        self.lead = lead;
        self
    }

    /// Sets [`orphan`](Self#structfield.orphan): how long workers outlive their primary.
    #[must_use]
    pub fn orphan(mut self, orphan: Duration) -> Self {
        self.orphan = orphan;
        self
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.quiet.saturating_mul(2) > self.deadline {
            return Err("drain.quiet must not exceed half of drain.deadline");
        }
        Ok(())
    }

    /// The order for `reason`, with the times that belong to it.
    pub(crate) fn order(&self, reason: DrainReason) -> DrainOrder {
        let (quiet, deadline) = match reason {
            DrainReason::FastShutdown => (Duration::ZERO, self.fast),
            // Two thirds leave the worker time to exit by itself before it is killed.
            DrainReason::PrimaryGone => (self.quiet.min(self.orphan / 4), self.orphan * 2 / 3),
            DrainReason::Shutdown => (self.quiet, self.lead + self.deadline),
            DrainReason::Retired | DrainReason::Signal => (self.quiet, self.deadline),
        };
        let accept =
            if reason == DrainReason::Shutdown { self.lead + quiet } else { Duration::ZERO };
        DrainOrder { reason, accept, quiet, deadline }
    }
}

/// Tells a worker to stop serving and to exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainOrder {
    /// Why the worker drains.
    pub reason: DrainReason,
    /// How long to continue to accept. Zero while other workers share the port, because they accept
    /// what is queued. When the cluster stops, this is the [lead](DrainPolicy::lead) and then the
    /// quiet time, in which the kernel completes no new connections and the workers empty the
    /// queue.
    pub accept: Duration,
    /// How long after that to answer accepted connections before stopping the server.
    pub quiet: Duration,
    /// When the worker is killed, counted from the arrival of the order. Exit before it.
    pub deadline: Duration,
}

impl DrainOrder {
    /// Shortens the order for a worker that has only `left` time. Never lengthens it.
    pub(crate) fn within(self, left: Duration) -> Self {
        if left >= self.deadline {
            return self;
        }
        Self {
            accept: self.accept.min(left / 4),
            quiet: self.quiet.min(left / 4),
            deadline: left,
            ..self
        }
    }
}

/// Why a worker is told to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DrainReason {
    /// The cluster stops gracefully.
    Shutdown,
    /// The cluster stops fast: no quiet time, a short deadline.
    FastShutdown,
    /// This worker is retired; another takes its slot.
    Retired,
    /// This process received `SIGTERM`; another takes its slot.
    Signal,
    /// The primary died: the control socket ended.
    PrimaryGone,
}

impl DrainReason {
    /// An order of higher urgency replaces one of lower urgency.
    pub(crate) fn urgency(self) -> u8 {
        match self {
            Self::Retired | Self::Signal => 0,
            Self::Shutdown => 1,
            Self::FastShutdown => 2,
            Self::PrimaryGone => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_times_fit_into_the_deadline() {
        let policy = DrainPolicy::default().lead(Duration::from_secs(60));
        for reason in [
            DrainReason::Shutdown,
            DrainReason::FastShutdown,
            DrainReason::Retired,
            DrainReason::PrimaryGone,
        ] {
            let order = policy.order(reason);
            assert!(order.accept + order.quiet < order.deadline, "{order:?}");
        }
        let stop = policy.order(DrainReason::Shutdown);
        assert_eq!(stop.accept, policy.lead + policy.quiet);
        assert_eq!(stop.deadline, policy.lead + policy.deadline);
        assert_eq!(policy.order(DrainReason::Retired).deadline, policy.deadline);
        assert!(policy.order(DrainReason::PrimaryGone).deadline < policy.orphan);
        assert_eq!(policy.order(DrainReason::FastShutdown).quiet, Duration::ZERO);
    }

    #[test]
    fn shortened_order_fits_into_its_deadline() {
        let order = DrainPolicy::default().order(DrainReason::Shutdown);
        assert_eq!(order.within(order.deadline), order);
        let cut = order.within(Duration::from_millis(100));
        assert_eq!(cut.deadline, Duration::from_millis(100));
        assert!(cut.accept + cut.quiet < cut.deadline, "{cut:?}");
    }
}
