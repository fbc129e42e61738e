//! Reload: replaces all workers, one after the other.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;

use crate::{
    error::{ReloadError, WithSources},
    event::Event,
    model::{ReloadReport, Replacement, Slot},
    os::executable::Executable,
    primary::{
        cluster::Cluster,
        commands::{ReplaceError, ReplaceResult, Replaced, SlotCommand},
    },
};

impl Cluster {
    /// Replaces all workers, one after the other. Calls `begun` when it is its turn.
    pub(in crate::primary) async fn reload(
        &self,
        begun: impl FnOnce(),
    ) -> Result<ReloadReport, ReloadError> {
        let _changing = self.changing.lock().await;
        begun();
        if self.shared.lifecycle.is_stopping() {
            return Err(ReloadError::Stopping);
        }
        tracing::info!("reload begins");
        self.shared.emit(Event::Reloading);
        let result = self.replace_all().await;
        match &result {
            Ok(report) => {
                tracing::info!(workers = report.replaced.len(), took = ?report.took, "reloaded");
            }
            Err(error) => tracing::error!(error = %WithSources(error), "reload failed"),
        }
        self.shared.emit(Event::Reloaded(result.clone()));
        result
    }

    async fn replace_all(&self) -> Result<ReloadReport, ReloadError> {
        let began = Instant::now();
        let old = self.shared.executable();
        let executable = old.reopen().map_err(|source| ReloadError::Program {
            path: old.path().to_owned(),
            source: Arc::new(source),
        })?;
        let executable = Arc::new(executable);
        let slots = self.shared.read(|table| table.slots().len());
        let mut replaced = Vec::with_capacity(slots);
        for slot in (0..slots).map(Slot::new) {
            match self.replace(slot, &executable).await {
                Ok(Replaced { new, old }) => {
                    let old_id = old.as_ref().map(|(old, _)| *old);
                    replaced.push(Replacement { slot, old: old_id, new });
                    if let Some((_, mut end)) = old {
                        // An error means its end too. This wait limits the extra workers to one.
                        let _ = end.wait_for(Option::is_some).await;
                    }
                }
                Err(ReplaceError::Leaving | ReplaceError::NotCurrent) => {
                    return Err(ReloadError::Stopping);
                }
                Err(ReplaceError::Spawn(source)) => {
                    return Err(ReloadError::Spawn { slot, source: Arc::new(source), replaced });
                }
                Err(ReplaceError::Ended(ended)) => {
                    return Err(ReloadError::Failed { ended, replaced });
                }
            }
        }
        self.shared.set_executable(executable);
        Ok(ReloadReport { replaced, took: began.elapsed() })
    }

    async fn replace(&self, slot: Slot, executable: &Arc<Executable>) -> ReplaceResult {
        while !self.shared.lifecycle.is_stopping() {
            let (reply, result) = oneshot::channel();
            let command = SlotCommand::Replace(Arc::clone(executable), reply);
            if let Err(command) = self.slots.send(slot, command) {
                // The slot was given up, so it has no task.
                self.start_slot(slot, Some(command));
            }
            match result.await {
                Ok(result) => return result,
                // The task was about to end.
                Err(_) => self.wait_slot_ended(slot).await,
            }
        }
        Err(ReplaceError::Leaving)
    }
}
