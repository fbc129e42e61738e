//! The table of all slots and live workers. It is only data, without I/O and locks.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    error::RunError,
    model::{Ended, ExitCause, Slot, SlotState, SlotStatus, WorkerId, WorkerInfo},
    wire::{outbox::Outbox, rpc::RpcChannel},
};

/// The state of all slots and live workers.
#[derive(Debug)]
pub(super) struct WorkerTable {
    slots: Vec<SlotStatus>,
    live: BTreeMap<WorkerId, WorkerEntry>,
    ever_ready: bool,
    last: Option<Ended>,
}

/// A live worker, and the channels to it and to its supervisor.
#[derive(Debug)]
pub(super) struct WorkerEntry {
    pub(super) slot: Slot,
    pub(super) pid: u32,
    pub(super) started: Instant,
    pub(super) ready: bool,
    pub(super) draining: bool,
    pub(super) refused: u64,
    pub(super) outbox: Outbox,
    pub(super) channel: Arc<RpcChannel>,
    /// What it reports of itself.
    pub(super) progress: watch::Receiver<Progress>,
    /// Refers to this process even after its id was reused.
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) retire: watch::Sender<bool>,
    pub(super) end: watch::Receiver<Option<ExitCause>>,
}

/// What a worker has reported so far.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the worker reports each one separately, and none excludes another"
)]
pub(super) struct Progress {
    pub(super) online: bool,
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// It sent invalid data, so nothing further is read from it.
    pub(super) invalid: bool,
    pub(super) beats: u64,
    pub(super) last_beat: Option<Instant>,
    /// The count in its last heartbeat.
    pub(super) requests: u64,
}

impl WorkerEntry {
    fn is_leaving(&self) -> bool {
        self.draining || *self.retire.borrow()
    }
}

impl WorkerTable {
    pub(super) fn new(slots: usize) -> Self {
        let slots = (0..slots).map(|index| empty(Slot::new(index))).collect();
        Self { slots, live: BTreeMap::new(), ever_ready: false, last: None }
    }

    /// Adds a slot after the others and returns it.
    pub(super) fn add_slot(&mut self) -> Slot {
        let slot = Slot::new(self.slots.len());
        self.slots.push(empty(slot));
        slot
    }

    /// Removes the slots from `count` on.
    pub(super) fn truncate(&mut self, count: usize) {
        self.slots.truncate(count);
    }

    pub(super) fn insert(&mut self, id: WorkerId, entry: WorkerEntry) {
        self.live.insert(id, entry);
    }

    /// Makes this worker the current one of the slot.
    pub(super) fn fill(&mut self, slot: Slot, id: WorkerId) {
        let state = match self.live.get(&id) {
            Some(entry) if entry.is_leaving() => SlotState::Draining(id),
            Some(entry) if entry.ready => SlotState::Serving(id),
            _ => SlotState::Starting(id),
        };
        self.set(slot, state);
    }

    /// Whether a worker drains, will drain, or has ended.
    pub(super) fn is_leaving(&self, id: WorkerId) -> bool {
        self.live.get(&id).is_none_or(WorkerEntry::is_leaving)
    }

    /// Tells a worker to drain. Returns a receiver of its end.
    pub(super) fn retire(&self, id: WorkerId) -> Option<watch::Receiver<Option<ExitCause>>> {
        let entry = self.live.get(&id)?;
        entry.retire.send_replace(true);
        Some(entry.end.clone())
    }

    pub(super) fn retire_all(&self, slot: Slot) {
        for entry in self.live.values().filter(|entry| entry.slot == slot) {
            entry.retire.send_replace(true);
        }
    }

    /// Marks a worker as ready. The state of a draining worker stays as it is.
    pub(super) fn set_ready(&mut self, id: WorkerId) {
        let Some(entry) = self.live.get_mut(&id) else { return };
        entry.ready = true;
        self.ever_ready = true;
        let slot = entry.slot;
        if self.slots[slot.index()].state == SlotState::Starting(id) {
            self.set(slot, SlotState::Serving(id));
        }
    }

    pub(super) fn set_draining(&mut self, id: WorkerId) {
        let Some(entry) = self.live.get_mut(&id) else { return };
        entry.draining = true;
        let slot = entry.slot;
        let state = self.slots[slot.index()].state;
        if matches!(state, SlotState::Starting(of) | SlotState::Serving(of) if of == id) {
            self.set(slot, SlotState::Draining(id));
        }
    }

    /// Removes a worker that has ended.
    pub(super) fn remove(&mut self, ended: Ended) {
        self.live.remove(&ended.id);
        self.last = Some(ended);
        self.slots[ended.slot.index()].last_exit = Some(ended.cause);
    }

    pub(super) fn count_death(&mut self, slot: Slot) {
        self.slots[slot.index()].deaths += 1;
    }

    pub(super) fn set(&mut self, slot: Slot, state: SlotState) {
        self.slots[slot.index()].state = state;
    }

    pub(super) fn slots(&self) -> &[SlotStatus] {
        &self.slots
    }

    pub(super) fn live(&self) -> &BTreeMap<WorkerId, WorkerEntry> {
        &self.live
    }

    /// Counts a message that was not queued because the queue of the worker is full.
    pub(super) fn count_refused(&mut self, id: WorkerId) {
        if let Some(entry) = self.live.get_mut(&id) {
            entry.refused += 1;
        }
    }

    /// Whether one of the first `count` slots serves; `None` if all of them were given up.
    pub(super) fn any_serves(&self, count: usize) -> Option<bool> {
        let mut states = self.slots.iter().take(count).map(|slot| slot.state);
        let gave_up = states.clone().all(|state| state == SlotState::GaveUp);
        (!gave_up).then(|| states.any(|state| matches!(state, SlotState::Serving(_))))
    }

    /// Whether every slot serves or was given up, and at least one serves.
    pub(super) fn is_settled(&self) -> bool {
        let serves = |slot: &SlotStatus| matches!(slot.state, SlotState::Serving(_));
        self.slots.iter().all(|slot| serves(slot) || slot.state == SlotState::GaveUp)
            && self.slots.iter().any(serves)
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        self.live
            .iter()
            .map(|(&id, entry)| {
                let progress = *entry.progress.borrow();
                WorkerInfo {
                    id,
                    slot: entry.slot,
                    pid: entry.pid,
                    ready: entry.ready,
                    uptime: entry.started.elapsed(),
                    requests: progress.requests,
                    last_beat: progress.last_beat.map(|beat| beat.elapsed()),
                    refused_messages: entry.refused,
                }
            })
            .collect()
    }

    /// The error of a cluster whose slots were all given up.
    pub(super) fn run_error(&self) -> RunError {
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
