//! Decides which notices the primary sends to the service manager, and when.

use std::future::pending;

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    model::{Phase, SlotState},
    os::notify::{Notice, Notifier},
    primary::{events::ServiceStep, shared::Shared, table::WorkerTable},
};

/// Informs the service manager until the cluster has ended. Before this primary has taken over from
/// another one, that one informs the service manager.
///
/// The watchdog notices come from the runtime that supervises the workers. So the service manager
/// notices a primary that is stuck there.
pub(super) async fn notify(
    shared: &Shared,
    notifier: &Notifier,
    mut steps: UnboundedReceiver<ServiceStep>,
) {
    let mut changed = shared.changed.subscribe();
    let mut watchdog = notifier.watchdog_interval().map(|period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let mut reporter =
        Reporter { shared, notifier, ready: false, stopping: false, status: String::new() };
    loop {
        reporter.report_progress().await;
        tokio::select! {
            biased;
            Some(step) = steps.recv() => reporter.report_step(step).await,
            () = shared.lifecycle.stopping(), if !reporter.stopping => {
                reporter.report_stop().await;
            }
            () = shared.lifecycle.ended() => return,
            () = tick(&mut watchdog) => reporter.report_alive().await,
            // Cannot fail: the sender lives in `shared`.
            _ = changed.changed() => {}
        }
    }
}

/// What the service manager has been told.
struct Reporter<'a> {
    shared: &'a Shared,
    notifier: &'a Notifier,
    ready: bool,
    stopping: bool,
    status: String,
}

impl Reporter<'_> {
    /// Reports a changed status, and that the service is ready when it is ready for the first time.
    async fn report_progress(&mut self) {
        if !self.is_main() {
            return;
        }
        let status = self.status_line();
        if status != self.status {
            self.notifier.send(&Notice::Status(status.clone())).await;
            self.status = status;
        }
        if !self.ready && !self.stopping && self.shared.read(WorkerTable::is_settled) {
            self.ready = true;
            self.notifier.send(&Notice::Ready).await;
        }
    }

    /// Reports reloads and the handover. A failed reload is over too. Reloads before the service is
    /// ready are not reported.
    async fn report_step(&mut self, step: ServiceStep) {
        match step {
            ServiceStep::Reloading if self.ready && !self.stopping => {
                self.notifier.send(&Notice::Reloading).await;
                let status = format!("reloading; {}", self.status_line());
                self.notifier.send(&Notice::Status(status)).await;
            }
            ServiceStep::Reloaded if self.ready && !self.stopping => {
                self.notifier.send(&Notice::Ready).await;
                self.notifier.send(&Notice::Status(self.status_line())).await;
            }
            ServiceStep::HandedOver(pid, sent) => {
                self.notifier.send(&Notice::MainPid(pid)).await;
                // Fails if the sender has stopped waiting.
                let _ = sent.send(());
            }
            // The progress follows with the next report. The last watchdog notice came from the
            // predecessor.
            ServiceStep::TookOver => self.report_alive().await,
            ServiceStep::Reloading | ServiceStep::Reloaded => {}
        }
    }

    /// Reports the stop. The service continues if another primary has taken over or still serves.
    async fn report_stop(&mut self) {
        self.stopping = true;
        if self.is_main() {
            self.notifier.send(&Notice::Stopping).await;
        }
    }

    async fn report_alive(&self) {
        if self.is_main() {
            self.notifier.send(&Notice::Alive).await;
        }
    }

    /// Whether this is the main process of the service. The service manager accepts notices only
    /// from that process and logs a warning for others.
    fn is_main(&self) -> bool {
        let lifecycle = &self.shared.lifecycle;
        lifecycle.is_in_charge() && lifecycle.successor().is_none()
    }

    fn status_line(&self) -> String {
        let (slots, serving, live) = self.shared.read(|table| {
            let serves = |state| matches!(state, SlotState::Serving(_));
            let serving = table.slots().iter().filter(|slot| serves(slot.state)).count();
            (table.slots().len(), serving, table.live().len())
        });
        match self.shared.lifecycle.phase() {
            Phase::Running => format!("{serving} of {slots} workers serve"),
            _ => format!("stopping, {live} workers are left"),
        }
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}
