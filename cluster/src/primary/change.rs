use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::board::Board;
use super::core::Core;
use super::slot::{First, NotReplaced, Order, Replaced, Successor};
use crate::error::{ReloadError, ScaleError};
use crate::event::Event;
use crate::id::Slot;
use crate::image::Image;
use crate::status::{Phase, ReloadReport, Replacement, SlotState};

impl Core {
    /// Replaces all workers, one after the other. Calls `begun` when it is its turn.
    pub(super) async fn reload(&self, begun: impl FnOnce()) -> Result<ReloadReport, ReloadError> {
        let _alone = self.changing.lock().await;
        begun();
        if self.ends() {
            return Err(ReloadError::Stopping);
        }
        tracing::info!("reload begins");
        self.emit(Event::Reloading);
        let done = self.replace_all().await;
        match &done {
            Ok(report) => {
                tracing::info!(workers = report.replaced.len(), took = ?report.took, "reloaded")
            }
            Err(error) => tracing::error!(%error, "reload ended early"),
        }
        self.emit(Event::Reloaded(done.clone()));
        done
    }

    async fn replace_all(&self) -> Result<ReloadReport, ReloadError> {
        let began = Instant::now();
        let old = self.image();
        let image = old.at_its_path().map_err(|source| ReloadError::Program {
            path: old.path().to_owned(),
            source: Arc::new(source),
        })?;
        let image = Arc::new(image);
        let slots = self.see(|board| board.slots().len());
        let mut replaced = Vec::with_capacity(slots);
        for slot in (0..slots).map(Slot::new) {
            match self.replace(slot, &image).await {
                Ok(Successor { id, old }) => {
                    replaced.push(Replacement {
                        slot,
                        old: old.as_ref().map(|(old, _)| *old),
                        new: id,
                    });
                    if let Some((_, mut end)) = old {
                        // An error would be its end as well. Not before: there are never two more
                        // than there should be.
                        let _ = end.wait_for(Option::is_some).await;
                    }
                }
                Err(NotReplaced::Leaving | NotReplaced::Another) => {
                    return Err(ReloadError::Stopping);
                }
                Err(NotReplaced::Spawn(source)) => {
                    return Err(ReloadError::Spawn { slot, source: Arc::new(source), replaced });
                }
                Err(NotReplaced::Ended(ended)) => {
                    return Err(ReloadError::Failed { ended, replaced });
                }
            }
        }
        self.set_image(image);
        Ok(ReloadReport { replaced, took: began.elapsed() })
    }

    async fn replace(&self, slot: Slot, image: &Arc<Image>) -> Replaced {
        while !self.ends() {
            let (tell, told) = oneshot::channel();
            // A slot that was given up has no task any more.
            if let Err(order) = self.order(slot, Order::Replace(Arc::clone(image), tell)) {
                self.recruit(slot, First::Ordered(order));
            }
            match told.await {
                Ok(done) => return done,
                // The task was at its end just then.
                Err(_) => self.unkept(slot).await,
            }
        }
        Err(NotReplaced::Leaving)
    }

    /// Makes it so many slots.
    pub(super) async fn scale(&self, wanted: NonZeroUsize) -> Result<(), ScaleError> {
        let _alone = self.changing.lock().await;
        self.scale_alone(wanted).await
    }

    /// Makes it one slot more or less. The last one stays.
    pub(super) async fn step(&self, more: bool) -> Result<(), ScaleError> {
        let _alone = self.changing.lock().await;
        let now = self.see(|board| board.slots().len());
        let wanted = if more { now + 1 } else { now - 1 };
        let wanted = NonZeroUsize::new(wanted).unwrap_or_else(|| {
            tracing::warn!("the only worker slot stays; to stop the cluster send TERM");
            NonZeroUsize::MIN
        });
        self.scale_alone(wanted).await
    }

    async fn scale_alone(&self, wanted: NonZeroUsize) -> Result<(), ScaleError> {
        if self.ends() {
            return Err(ScaleError::Stopping);
        }
        let (wanted, before) = (wanted.get(), self.see(|board| board.slots().len()));
        for slot in (0..wanted.min(before)).map(Slot::new) {
            if self.see(|board| board.slots()[slot.index()].state == SlotState::GaveUp) {
                self.unkept(slot).await;
                self.note(|board| board.set(slot, SlotState::BackingOff(Duration::ZERO)));
                self.recruit(slot, First::Starts);
            }
        }
        for _ in before..wanted {
            let slot = self.note(Board::add);
            self.recruit(slot, First::Starts);
        }
        if wanted < before {
            self.one_serves(wanted).await?;
        }
        let mut closing = Vec::new();
        for slot in (wanted..before).map(Slot::new) {
            let (closed, end) = oneshot::channel();
            // One without a task is closed already.
            if self.order(slot, Order::Close(closed)).is_ok() {
                closing.push((slot, end));
            }
        }
        for (slot, end) in closing {
            // Without a word it has ended by itself meanwhile.
            let _ = end.await;
            self.unkept(slot).await;
        }
        if self.ends() {
            return Err(ScaleError::Stopping);
        }
        self.note(|board| board.truncate(wanted));
        tracing::info!(from = before, to = wanted, "scaled");
        self.emit(Event::Scaled { from: before, to: wanted });
        Ok(())
    }

    /// Waits until one of the slots that stay serves: who is closed before leaves nobody.
    async fn one_serves(&self, of: usize) -> Result<(), ScaleError> {
        let mut changed = self.changed.subscribe();
        let mut phase = self.phase.subscribe();
        loop {
            changed.borrow_and_update();
            match self.see(|board| board.serves(of)) {
                Some(true) => return Ok(()),
                None => return Err(ScaleError::NoneServes { slots: of }),
                Some(false) => {}
            }
            tokio::select! {
                // The senders live here.
                _ = changed.changed() => {}
                _ = phase.wait_for(|phase| *phase > Phase::Running) => return Err(ScaleError::Stopping),
            }
        }
    }
}
