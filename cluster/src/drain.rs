use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a worker may take to leave. No time may exceed ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainPolicy {
    /// How long a worker should go on answering what was already accepted, before it stops its
    /// server. When the whole cluster stops it also accepts for so long before, to empty the queue
    /// that nobody else will.
    pub quiet: Duration,
    /// When a worker that was told to leave is killed.
    pub deadline: Duration,
    /// The deadline of [`Shutdown::Fast`](crate::Shutdown::Fast); such an order has no quiet time.
    /// Also the most that a worker gets to leave while it is not ready.
    pub fast: Duration,
    /// How long workers outlive their primary. After it they are gone, even with a blocked event
    /// loop.
    pub orphan: Duration,
}

impl Default for DrainPolicy {
    /// 200 ms quiet, 30 s to leave, 1 s when fast, 1.5 s after the primary died.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            deadline: Duration::from_secs(30),
            fast: Duration::from_secs(1),
            orphan: Duration::from_millis(1500),
        }
    }
}

impl DrainPolicy {
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
            // Two thirds leave the rest of the grace for a worker to come to its end by itself.
            DrainReason::PrimaryGone => (self.quiet.min(self.orphan / 4), self.orphan * 2 / 3),
            DrainReason::Shutdown | DrainReason::Retired | DrainReason::Signal => {
                (self.quiet, self.deadline)
            }
        };
        let accept = if reason == DrainReason::Shutdown { quiet } else { Duration::ZERO };
        DrainOrder { reason, accept, quiet, deadline }
    }
}

/// Tells a worker to stop serving and to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainOrder {
    /// Why.
    pub reason: DrainReason,
    /// How long to go on accepting. Zero while other workers share the port: they take what is
    /// queued. When the cluster stops, nothing new is let in, and this is the time to empty the
    /// queue.
    pub accept: Duration,
    /// After that: how long to answer what is already accepted, before the server is stopped.
    pub quiet: Duration,
    /// When the worker is killed, counted from the arrival of the order. Stop before it.
    pub deadline: Duration,
}

impl DrainOrder {
    /// The same order for a worker that has only so much time left; nobody is given more.
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

/// Why a worker is told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The primary is gone: the control socket ended.
    PrimaryGone,
}

impl DrainReason {
    /// An order of a higher urgency takes the place of another.
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
    fn every_order_ends_before_its_worker_is_killed() {
        let policy = DrainPolicy::default();
        for reason in [
            DrainReason::Shutdown,
            DrainReason::FastShutdown,
            DrainReason::Retired,
            DrainReason::PrimaryGone,
        ] {
            let order = policy.order(reason);
            assert!(order.accept + order.quiet < order.deadline, "{order:?}");
        }
        assert!(policy.order(DrainReason::PrimaryGone).deadline < policy.orphan);
        assert_eq!(policy.order(DrainReason::FastShutdown).quiet, Duration::ZERO);
    }

    #[test]
    fn an_order_cut_short_still_fits() {
        let order = DrainPolicy::default().order(DrainReason::Shutdown);
        assert_eq!(order.within(order.deadline), order);
        let cut = order.within(Duration::from_millis(100));
        assert_eq!(cut.deadline, Duration::from_millis(100));
        assert!(cut.accept + cut.quiet < cut.deadline, "{cut:?}");
    }
}
