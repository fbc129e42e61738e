use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::reader::Progress;
use crate::error::RunError;
use crate::event::ExitCause;
use crate::id::{Slot, WorkerId};
use crate::line::Line;
use crate::outbox::Outbox;
use crate::status::{Ended, SlotState, SlotStatus, WorkerInfo};

/// What is known of slots and live workers, for everyone who asks.
#[derive(Debug)]
pub(super) struct Board {
    slots: Vec<SlotStatus>,
    live: BTreeMap<WorkerId, Live>,
    ever_ready: bool,
    last: Option<Ended>,
}

/// A live worker and the ways to reach it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) slot: Slot,
    pub(super) pid: u32,
    pub(super) born: Instant,
    pub(super) ready: bool,
    pub(super) draining: bool,
    pub(super) refused: u64,
    pub(super) outbox: Outbox,
    pub(super) line: Arc<Line>,
    /// What it says of itself.
    pub(super) progress: watch::Receiver<Progress>,
    /// Refers to this process even when its number was given to another.
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) retire: watch::Sender<bool>,
    pub(super) end: watch::Receiver<Option<ExitCause>>,
}

impl Live {
    fn leaves(&self) -> bool {
        self.draining || *self.retire.borrow()
    }
}

impl Board {
    pub(super) fn new(slots: usize) -> Self {
        let slots = (0..slots).map(|index| empty(Slot::new(index))).collect();
        Self { slots, live: BTreeMap::new(), ever_ready: false, last: None }
    }

    /// Adds a slot after the others and returns it.
    pub(super) fn add(&mut self) -> Slot {
        let slot = Slot::new(self.slots.len());
        self.slots.push(empty(slot));
        slot
    }

    /// Takes the slots from `count` on away.
    pub(super) fn truncate(&mut self, count: usize) {
        self.slots.truncate(count);
    }

    pub(super) fn born(&mut self, id: WorkerId, live: Live) {
        self.live.insert(id, live);
    }

    /// From now on this worker is the one of the slot.
    pub(super) fn fill(&mut self, slot: Slot, id: WorkerId) {
        let state = match self.live.get(&id) {
            Some(live) if live.leaves() => SlotState::Draining(id),
            Some(live) if live.ready => SlotState::Serving(id),
            _ => SlotState::Starting(id),
        };
        self.set(slot, state);
    }

    /// Whether a worker is on its way out.
    pub(super) fn leaves(&self, id: WorkerId) -> bool {
        self.live.get(&id).is_none_or(Live::leaves)
    }

    /// Tells a worker to leave. Its end can be waited for.
    pub(super) fn retire(&self, id: WorkerId) -> Option<watch::Receiver<Option<ExitCause>>> {
        let live = self.live.get(&id)?;
        live.retire.send_replace(true);
        Some(live.end.clone())
    }

    pub(super) fn retire_all(&self, slot: Slot) {
        for live in self.live.values().filter(|live| live.slot == slot) {
            live.retire.send_replace(true);
        }
    }

    /// A worker that became ready while it leaves still leaves.
    pub(super) fn ready(&mut self, id: WorkerId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.ready = true;
        self.ever_ready = true;
        let slot = live.slot;
        if self.slots[slot.index()].state == SlotState::Starting(id) {
            self.set(slot, SlotState::Serving(id));
        }
    }

    pub(super) fn draining(&mut self, id: WorkerId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.draining = true;
        let slot = live.slot;
        if matches!(self.slots[slot.index()].state, SlotState::Starting(of) | SlotState::Serving(of) if of == id)
        {
            self.set(slot, SlotState::Draining(id));
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        self.live.remove(&ended.id);
        self.last = Some(ended);
        self.slots[ended.slot.index()].last_exit = Some(ended.cause);
    }

    pub(super) fn died(&mut self, slot: Slot) {
        self.slots[slot.index()].deaths += 1;
    }

    pub(super) fn set(&mut self, slot: Slot, state: SlotState) {
        self.slots[slot.index()].state = state;
    }

    pub(super) fn slots(&self) -> &[SlotStatus] {
        &self.slots
    }

    pub(super) fn live(&self) -> &BTreeMap<WorkerId, Live> {
        &self.live
    }

    pub(super) fn refused(&mut self, id: WorkerId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.refused += 1;
        }
    }

    /// Whether one of the first `count` slots serves; `None` if none ever will.
    pub(super) fn serves(&self, count: usize) -> Option<bool> {
        let mut states = self.slots.iter().take(count).map(|slot| slot.state);
        let gave_up = states.clone().all(|state| state == SlotState::GaveUp);
        (!gave_up).then(|| states.any(|state| matches!(state, SlotState::Serving(_))))
    }

    /// Whether every slot serves or never will, and one does.
    pub(super) fn settled(&self) -> bool {
        let serves = |slot: &SlotStatus| matches!(slot.state, SlotState::Serving(_));
        self.slots.iter().all(|slot| serves(slot) || slot.state == SlotState::GaveUp)
            && self.slots.iter().any(serves)
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        self.live
            .iter()
            .map(|(&id, live)| {
                let said = *live.progress.borrow();
                WorkerInfo {
                    id,
                    slot: live.slot,
                    pid: live.pid,
                    ready: live.ready,
                    uptime: live.born.elapsed(),
                    requests: said.requests,
                    last_beat: said.last_beat.map(|beat| beat.elapsed()),
                    refused_messages: live.refused,
                }
            })
            .collect()
    }

    pub(super) fn why_empty(&self) -> RunError {
        let (slots, last) = (self.slots.len(), self.last);
        if self.ever_ready {
            RunError::AllGaveUp { slots, last }
        } else {
            RunError::NeverReady { slots, last }
        }
    }
}

fn empty(slot: Slot) -> SlotStatus {
    SlotStatus { slot, state: SlotState::BackingOff(Duration::ZERO), deaths: 0, last_exit: None }
}
