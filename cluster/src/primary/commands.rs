//! The commands that the primary sends to the task of each slot, and the registry of these tasks.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    lock::lock,
    model::{Ended, ExitCause, Slot, WorkerId},
    os::executable::Executable,
};

/// A command to the task of a slot.
#[derive(Debug)]
pub(super) enum SlotCommand {
    /// Replaces the worker of the slot by one that runs this program. The old worker drains when
    /// the new one is ready.
    Replace(Arc<Executable>, oneshot::Sender<ReplaceResult>),
    /// Replaces this worker, if it serves, by one with the program of the slot.
    Recycle(WorkerId, oneshot::Sender<ReplaceResult>),
    /// Lets the worker drain and leaves the slot empty.
    Close(oneshot::Sender<()>),
}

pub(super) type ReplaceResult = Result<Replaced, ReplaceError>;

/// The new worker, and the end of the old one if there was one.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) new: WorkerId,
    pub(super) old: Option<(WorkerId, watch::Receiver<Option<ExitCause>>)>,
}

/// Why the old worker continues.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The new one could not be started.
    Spawn(io::Error),
    /// The new one ended before it was ready.
    Ended(Ended),
    /// The cluster or the slot ends.
    Leaving,
    /// The worker to recycle is not the one that serves.
    NotCurrent,
}

/// A slot that needs a task.
#[derive(Debug)]
pub(super) struct SlotStart {
    pub(super) slot: Slot,
    /// What the task does first. `None` starts a worker.
    pub(super) first: Option<SlotCommand>,
    pub(super) commands: mpsc::UnboundedReceiver<SlotCommand>,
}

/// The command channels of all slot tasks.
#[derive(Debug)]
pub(super) struct SlotRegistry {
    tasks: Mutex<BTreeMap<Slot, mpsc::UnboundedSender<SlotCommand>>>,
    starts: mpsc::UnboundedSender<SlotStart>,
}

impl SlotRegistry {
    /// The second value receives the slots that need a task.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<SlotStart>) {
        let (starts, started) = mpsc::unbounded_channel();
        (Self { tasks: Mutex::default(), starts }, started)
    }

    /// Creates the command channel of a slot.
    pub(super) fn register(&self, slot: Slot) -> mpsc::UnboundedReceiver<SlotCommand> {
        let (sender, commands) = mpsc::unbounded_channel();
        lock(&self.tasks).insert(slot, sender);
        commands
    }

    /// Whether the slot has a task. The task may be about to end.
    pub(super) fn has_task(&self, slot: Slot) -> bool {
        lock(&self.tasks).contains_key(&slot)
    }

    pub(super) fn remove(&self, slot: Slot) {
        lock(&self.tasks).remove(&slot);
    }

    /// Sends a command to the task of a slot. Returns the command if there is no task. A task that
    /// is about to end drops the command, and the reply channel of the command closes.
    pub(super) fn send(&self, slot: Slot, command: SlotCommand) -> Result<(), SlotCommand> {
        match lock(&self.tasks).get(&slot) {
            Some(task) => drop(task.send(command)),
            None => return Err(command),
        }
        Ok(())
    }

    /// Requests a task for a slot. From here on the slot accepts commands. Returns `false` after
    /// the end of the cluster.
    pub(super) fn start(&self, slot: Slot, first: Option<SlotCommand>) -> bool {
        let commands = self.register(slot);
        self.starts.send(SlotStart { slot, first, commands }).is_ok()
    }
}
