//! Scaling: changes the number of slots.

use std::{num::NonZeroUsize, time::Duration};

use tokio::sync::oneshot;

use crate::{
    error::ScaleError,
    event::Event,
    model::{Phase, Slot, SlotState},
    primary::{cluster::Cluster, commands::SlotCommand, table::WorkerTable},
};

impl Cluster {
    /// Changes the number of slots to `wanted`.
    pub(in crate::primary) async fn scale(&self, wanted: NonZeroUsize) -> Result<(), ScaleError> {
        let _changing = self.changing.lock().await;
        self.scale_to(wanted).await
    }

    /// Adds one slot.
    pub(in crate::primary) async fn add_slot(&self) -> Result<(), ScaleError> {
        let _changing = self.changing.lock().await;
        let now = self.shared.read(|table| table.slots().len());
        self.scale_to(NonZeroUsize::MIN.saturating_add(now)).await
    }

    /// Removes the last slot, unless it is the only one.
    pub(in crate::primary) async fn remove_slot(&self) -> Result<(), ScaleError> {
        let _changing = self.changing.lock().await;
        let now = self.shared.read(|table| table.slots().len());
        let wanted = NonZeroUsize::new(now.saturating_sub(1)).unwrap_or_else(|| {
            tracing::warn!("the only worker slot stays; to stop the cluster send TERM");
            NonZeroUsize::MIN
        });
        self.scale_to(wanted).await
    }

    /// The caller holds `changing`.
    async fn scale_to(&self, wanted: NonZeroUsize) -> Result<(), ScaleError> {
        let shared = &self.shared;
        if shared.lifecycle.is_stopping() {
            return Err(ScaleError::Stopping);
        }
        let (wanted, before) = (wanted.get(), shared.read(|table| table.slots().len()));
        for slot in (0..wanted.min(before)).map(Slot::new) {
            if shared.read(|table| table.slots()[slot.index()].state == SlotState::GaveUp) {
                self.wait_slot_ended(slot).await;
                shared.update(|table| table.set(slot, SlotState::BackingOff(Duration::ZERO)));
                self.start_slot(slot, None);
            }
        }
        for _ in before..wanted {
            let slot = shared.update(WorkerTable::add_slot);
            self.start_slot(slot, None);
        }
        if wanted < before {
            self.wait_any_serves(wanted).await?;
        }
        let mut closing = Vec::new();
        for slot in (wanted..before).map(Slot::new) {
            let (closed, end) = oneshot::channel();
            // A slot without a task is already closed.
            if self.slots.send(slot, SlotCommand::Close(closed)).is_ok() {
                closing.push((slot, end));
            }
        }
        for (slot, end) in closing {
            // An error means that the task has ended by itself.
            let _ = end.await;
            self.wait_slot_ended(slot).await;
        }
        if shared.lifecycle.is_stopping() {
            return Err(ScaleError::Stopping);
        }
        shared.update(|table| table.truncate(wanted));
        tracing::info!(from = before, to = wanted, "scaled");
        shared.emit(Event::Scaled { from: before, to: wanted });
        Ok(())
    }

    /// Waits until one of the first `count` slots serves. If the others were closed before that, no
    /// worker would serve.
    async fn wait_any_serves(&self, count: usize) -> Result<(), ScaleError> {
        let mut changed = self.shared.changed.subscribe();
        let mut phase = self.shared.lifecycle.watch_phase();
        loop {
            changed.borrow_and_update();
            match self.shared.read(|table| table.any_serves(count)) {
                Some(true) => return Ok(()),
                None => return Err(ScaleError::NoneServes { slots: count }),
                Some(false) => {}
            }
            tokio::select! {
                // Cannot fail: the senders live in `shared`.
                _ = changed.changed() => {}
                _ = phase.wait_for(|phase| *phase > Phase::Running) => {
                    return Err(ScaleError::Stopping);
                }
            }
        }
    }
}
