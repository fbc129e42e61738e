use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::core::Core;
use super::life::{self, End};
use super::spawn::{self, Newborn};
use crate::event::{Event, ExitCause};
use crate::id::Slot;
use crate::restart::{Deaths, Verdict};
use crate::status::{Phase, SlotState};

/// Keeps one slot filled, starting with `first`, until the cluster stops or the slot is given up.
pub(super) async fn keep(first: Newborn, core: Arc<Core>) {
    let slot = first.slot;
    let mut keeper = Keeper { slot, core, deaths: Deaths::default() };
    let mut next = Some(first);
    while let Some(newborn) = next.take() {
        let end = life::live(newborn, &keeper.core).await;
        next = keeper.replacement(end).await;
    }
}

struct Keeper {
    slot: Slot,
    core: Arc<Core>,
    deaths: Deaths,
}

impl Keeper {
    /// The next worker of the slot, after the delay that the policy asks for; `None` when there will be none.
    async fn replacement(&mut self, end: End) -> Option<Newborn> {
        let mut delay = if end.cause == ExitCause::Requested && end.was_ready {
            // Asked for, so no death; but a worker that leaves as soon as it is ready must not spin.
            let after = self.core.config.restart.base.saturating_sub(end.uptime);
            self.announce(after, 0);
            after
        } else {
            self.death(end.uptime)?
        };
        loop {
            self.pause(delay).await?;
            match spawn::spawn(&self.core, self.slot) {
                Ok(newborn) => return Some(newborn),
                Err(error) => {
                    tracing::error!(slot = %self.slot, %error, "cannot start a worker process");
                    self.core.emit(Event::SpawnFailed { slot: self.slot, error: Arc::new(error) });
                    delay = self.death(Duration::ZERO)?;
                }
            }
        }
    }

    /// Counts a death; the delay before the next start, or `None` when the slot is given up.
    fn death(&mut self, uptime: Duration) -> Option<Duration> {
        let slot = self.slot;
        if self.stopping() {
            return Some(Duration::ZERO);
        }
        self.core.note(|board| board.died(slot));
        match self.core.config.restart.after_death(&mut self.deaths, Instant::now(), uptime, fastrand::f64()) {
            Verdict::Respawn { after, attempt } => {
                self.announce(after, attempt);
                Some(after)
            }
            Verdict::GiveUp { deaths } => {
                tracing::error!(%slot, deaths, "slot is given up: its workers die too often");
                self.core.note(|board| board.set(slot, SlotState::GaveUp));
                self.core.emit(Event::GaveUp { slot, deaths });
                None
            }
        }
    }

    fn announce(&self, after: Duration, attempt: u32) {
        if !self.stopping() {
            let slot = self.slot;
            self.core.note(|board| board.set(slot, SlotState::BackingOff(after)));
            self.core.emit(Event::Respawning { slot, after, attempt });
        }
    }

    /// Waits; `None` when the cluster stops before or meanwhile.
    async fn pause(&self, delay: Duration) -> Option<()> {
        let mut phase = self.core.phase.subscribe();
        tokio::select! {
            biased;
            // The sender lives in the core; an error cannot happen and would mean the end as well.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => {
                self.core.note(|board| board.set(self.slot, SlotState::Stopped));
                None
            }
            () = sleep(delay) => Some(()),
        }
    }

    fn stopping(&self) -> bool {
        *self.core.phase.borrow() > Phase::Running
    }
}
