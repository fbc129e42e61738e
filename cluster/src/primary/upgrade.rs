use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{io, process};

use tokio::time::timeout;

use super::core::Core;
use super::successor::Successor;
use crate::error::UpgradeError;
use crate::event::Event;
use crate::image::Image;
use crate::status::Phase;

impl Core {
    /// Starts a primary that takes this one's place, and lets the workers leave when it has.
    /// Returns its process id.
    pub(super) async fn upgrade(&self) -> Result<u32, UpgradeError> {
        let _alone = self.changing.lock().await;
        let _beside = self.succeeding.lock().await;
        if self.ends() {
            return Err(UpgradeError::Stopping);
        }
        tracing::info!("upgrade of the primary begins");
        self.emit(Event::Upgrading);
        let done = self.raise_successor().await;
        match &done {
            Ok(pid) => {
                tracing::info!(pid, "another primary has taken over; the workers of this one leave")
            }
            Err(error) => tracing::error!(%error, "upgrade of the primary ended early"),
        }
        self.emit(Event::Upgraded(done.clone()));
        done
    }

    async fn raise_successor(&self) -> Result<u32, UpgradeError> {
        if process::id() == 1 {
            return Err(UpgradeError::Init);
        }
        if !self.is_in_charge() {
            return Err(UpgradeError::NotInCharge);
        }
        let old = self.image();
        let image = old.at_its_path().map_err(|source| UpgradeError::Program {
            path: old.path().to_owned(),
            source: Arc::new(source),
        })?;
        let mut successor =
            self.spawn_successor(&image).map_err(|source| UpgradeError::Spawn(Arc::new(source)))?;
        match self.until_ready(&mut successor).await {
            Ok(()) if self.hand_over(successor.pid) => {
                let pid = successor.pid;
                self.office.stay();
                // Without the word it takes over as well, when this process has ended.
                if let Err(error) = successor.release().await {
                    tracing::error!(pid, %error, "the new primary has died just when it had taken over");
                }
                self.office.hand_over(pid).await;
                self.runtime.spawn(successor.watch());
                Ok(pid)
            }
            Ok(()) => {
                successor.discard(self).await;
                Err(UpgradeError::Stopping)
            }
            Err(error) => {
                successor.discard(self).await;
                Err(error)
            }
        }
    }

    async fn until_ready(&self, successor: &mut Successor) -> Result<(), UpgradeError> {
        // So long for its workers, as everywhere, and as long for the program to come to that
        // point.
        let within = self.config.readiness * 2;
        let mut phase = self.phase.subscribe();
        tokio::select! {
            biased;
            // The sender lives here.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => Err(UpgradeError::Stopping),
            done = timeout(within, successor.ready()) => done.unwrap_or(Err(UpgradeError::Late(within))),
        }
    }

    /// A closure of the configuration that panics must not cost this primary.
    fn spawn_successor(&self, image: &Image) -> io::Result<Successor> {
        let spawned = catch_unwind(AssertUnwindSafe(|| Successor::spawn(self, image)));
        spawned.unwrap_or_else(|_| {
            Err(io::Error::other("a closure of the cluster's configuration panicked"))
        })
    }
}
