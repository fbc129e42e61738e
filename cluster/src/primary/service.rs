use std::future::pending;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::board::Board;
use super::core::Core;
use super::office::Step;
use crate::notify::{Notice, Notifier};
use crate::status::{Phase, SlotState};

/// Tells the service manager how the cluster fares, until it has ended. Before this primary has
/// taken over from another, that one does.
///
/// It runs on the runtime that supervises the workers and looks at the board, so a primary that is
/// stuck there is missed.
pub(super) async fn follow(
    core: &Arc<Core>,
    notifier: &Notifier,
    mut steps: UnboundedReceiver<Step>,
) {
    let mut changed = core.changed.subscribe();
    let mut beats = notifier.beat().map(|period| {
        let mut beats = interval(period);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats
    });
    let mut said = Said { ready: false, stopping: false, status: String::new() };
    loop {
        said.progress(core, notifier).await;
        tokio::select! {
            biased;
            Some(step) = steps.recv() => said.step(step, core, notifier).await,
            () = core.stopping(), if !said.stopping => said.stop(core, notifier).await,
            () = core.ended() => return,
            () = beat(&mut beats) => said.beat(core, notifier).await,
            // The sender lives in the core.
            _ = changed.changed() => {}
        }
    }
}

/// What the service manager knows.
struct Said {
    ready: bool,
    stopping: bool,
    status: String,
}

impl Said {
    /// Says that the service is ready when it is so for the first time.
    async fn progress(&mut self, core: &Core, notifier: &Notifier) {
        if !counts(core) {
            return;
        }
        self.status(core, notifier).await;
        if !self.ready && !self.stopping && core.see(Board::settled) {
            self.ready = true;
            notifier.tell(&Notice::Ready).await;
        }
    }

    /// A reload that failed is over as well. Before the service is ready, none is spoken of.
    async fn step(&mut self, step: Step, core: &Core, notifier: &Notifier) {
        match step {
            Step::Reloading if self.ready && !self.stopping => {
                notifier.tell(&Notice::Reloading).await;
                notifier.tell(&Notice::Status(format!("reloading; {}", line(core)))).await;
            }
            Step::Reloaded if self.ready && !self.stopping => {
                notifier.tell(&Notice::Ready).await;
                notifier.tell(&Notice::Status(line(core))).await;
            }
            Step::HandedOver(pid, told) => {
                notifier.tell(&Notice::MainPid(pid)).await;
                // Who waited may have gone.
                let _ = told.send(());
            }
            // Then this primary is in charge, which is progress. The last beat was the
            // predecessor's.
            Step::TookOver => self.beat(core, notifier).await,
            Step::Reloading | Step::Reloaded => {}
        }
    }

    /// The service goes on if another primary has taken over, or serves yet.
    async fn stop(&mut self, core: &Core, notifier: &Notifier) {
        self.stopping = true;
        if counts(core) {
            notifier.tell(&Notice::Stopping).await;
        }
    }

    /// A service manager hears only the primary that counts, and complains of others.
    async fn beat(&self, core: &Core, notifier: &Notifier) {
        if counts(core) {
            notifier.tell(&Notice::Alive).await;
        }
    }

    async fn status(&mut self, core: &Core, notifier: &Notifier) {
        let line = line(core);
        if line != self.status {
            notifier.tell(&Notice::Status(line.clone())).await;
            self.status = line;
        }
    }
}

/// Whether this is the primary that the service manager shall hear.
fn counts(core: &Core) -> bool {
    core.is_in_charge() && core.successor().is_none()
}

fn line(core: &Core) -> String {
    let (slots, serving, live) = core.see(|board| {
        let serving =
            board.slots().iter().filter(|slot| matches!(slot.state, SlotState::Serving(_))).count();
        (board.slots().len(), serving, board.live().len())
    });
    let phase = *core.phase.borrow();
    match phase {
        Phase::Running => format!("{serving} of {slots} workers serve"),
        _ => format!("stopping, {live} workers are left"),
    }
}

async fn beat(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => pending().await,
    }
}
