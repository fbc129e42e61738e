//! The phases of a cluster, from its start to its outcome.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    error::RunError,
    lock::lock,
    model::{Ended, Phase, ShutdownReport},
};

/// The result of a cluster.
pub(super) type Outcome = Result<ShutdownReport, RunError>;

/// The phase of the cluster, and which primary is in charge of its ports.
#[derive(Debug)]
pub(super) struct Lifecycle {
    started: Instant,
    /// Only ever rises.
    phase: watch::Sender<Phase>,
    outcome: watch::Sender<Option<Outcome>>,
    /// The stop in progress.
    stop: Mutex<Option<Stop>>,
    /// Whether the ports belong to this primary alone. Before it has taken over, its predecessor
    /// serves them.
    in_charge: watch::Sender<bool>,
    /// The primary that has taken over from this one.
    successor: watch::Sender<Option<u32>>,
}

#[derive(Debug)]
struct Stop {
    since: Instant,
    ended: Vec<Ended>,
}

impl Lifecycle {
    pub(super) fn new(in_charge: bool) -> Self {
        Self {
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Running),
            outcome: watch::Sender::new(None),
            stop: Mutex::new(None),
            in_charge: watch::Sender::new(in_charge),
            successor: watch::Sender::new(None),
        }
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    pub(super) fn watch_outcome(&self) -> watch::Receiver<Option<Outcome>> {
        self.outcome.subscribe()
    }

    /// Whether the cluster stops or has ended, so that nothing new is started.
    pub(super) fn is_stopping(&self) -> bool {
        self.phase() > Phase::Running || self.outcome.borrow().is_some()
    }

    /// Waits until the cluster stops or has ended.
    pub(super) async fn stopping(&self) {
        let (mut phase, ended) = (self.phase.subscribe(), self.ended());
        tokio::select! {
            // Cannot fail: `self` owns the sender.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => {}
            () = ended => {}
        }
    }

    /// Waits for the outcome.
    pub(super) async fn ended(&self) {
        // Cannot fail: `self` owns the sender.
        let _ = self.outcome.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until another primary has taken over. Never resolves if none does.
    pub(super) async fn handed_over(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
        if self.successor().is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The primary that has taken over, if this one stops for that.
    pub(super) fn successor(&self) -> Option<u32> {
        *self.successor.borrow()
    }

    pub(super) fn is_in_charge(&self) -> bool {
        *self.in_charge.borrow()
    }

    pub(super) fn take_charge(&self) {
        self.in_charge.send_replace(true);
    }

    /// Waits until the ports belong to this primary alone. Returns `false` if the cluster ends
    /// before.
    pub(super) async fn wait_in_charge(&self) -> bool {
        let mut in_charge = self.in_charge.subscribe();
        tokio::select! {
            // Cannot fail: `self` owns the sender.
            _ = in_charge.wait_for(|in_charge| *in_charge) => true,
            () = self.ended() => false,
        }
    }

    /// Begins a stop. Returns `false` if one is already in progress.
    pub(super) fn begin_stop(&self) -> bool {
        let mut stop = lock(&self.stop);
        let is_first = stop.is_none();
        if is_first {
            *stop = Some(Stop { since: Instant::now(), ended: Vec::new() });
        }
        is_first
    }

    /// Begins the stop after a handover to `successor`. Returns `false` if a stop is already in
    /// progress.
    pub(super) fn begin_handover(&self, successor: u32) -> bool {
        let is_first = self.begin_stop();
        if is_first {
            self.successor.send_replace(Some(successor));
        }
        is_first
    }

    /// Raises the phase. A lower phase than the current one has no effect.
    pub(super) fn raise(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let rises = phase > *current;
            *current = phase.max(*current);
            rises
        });
    }

    /// Records the end of a worker for the report, if the cluster stops.
    pub(super) fn record_end(&self, ended: Ended) {
        if let Some(stop) = &mut *lock(&self.stop) {
            stop.ended.push(ended);
        }
    }

    /// The outcome of a cluster whose slots have all ended. `error` is its error if no stop was
    /// requested.
    pub(super) fn conclude(&self, error: impl FnOnce() -> RunError) -> Outcome {
        let stop = lock(&self.stop).take();
        match stop {
            Some(stop) => Ok(ShutdownReport {
                workers: stop.ended,
                took: stop.since.elapsed(),
                successor: self.successor(),
            }),
            None => Err(error()),
        }
    }

    pub(super) fn publish(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}
