//! What all calls have in common: a turn, a deadline, and a collection with its indexes.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use session_core::StoreError;
use tokio::sync::SemaphorePermit;

use crate::{
    STORE,
    clients::{Clients, Link, Sessions},
    clock::ServerClock,
    config::Config,
    elections::Reading,
    error::ClientError,
    index,
};

/// What the clones of a store share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    pub(crate) clock: ServerClock,
    /// Whether the indexes are known to be there.
    prepared: AtomicBool,
    /// Held by the call that makes the indexes.
    preparing: tokio::sync::Mutex<()>,
}

impl Inner {
    pub(crate) fn new(clients: Clients, config: &Config) -> Self {
        Self {
            clients,
            clock: ServerClock::default(),
            prepared: AtomicBool::new(false),
            preparing: tokio::sync::Mutex::default(),
            config: config.clone(),
        }
    }

    /// Does `work` in its turn and within the deadline, and once more if the collection turns out
    /// to have lost its indexes.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let in_turn = async {
            let link = self.clients.link().await?;
            let _turn = self.turn(&link).await?;
            match work().await {
                Err(ClientError::NoIndex) => {
                    self.prepared.store(false, Ordering::Relaxed);
                    work().await
                }
                done => done,
            }
        };
        let deadline = self.config.deadline;
        match tokio::time::timeout(deadline, in_turn).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: deadline }),
        }
    }

    /// Waits for a turn: for half of the deadline, so that who gets one has time to use it. Who
    /// asks the driver for a connection and gives up stays in its queue.
    async fn turn<'l>(&self, link: &'l Link) -> Result<SemaphorePermit<'l>, ClientError> {
        let within = self.config.deadline / 2;
        match tokio::time::timeout(within, link.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Only `close` makes it fail, and nobody calls that.
            Ok(Err(_)) | Err(_) => Err(ClientError::Busy(format!(
                "all connections were in use for {within:?}; nothing was done"
            ))),
        }
    }

    /// Begins a read.
    pub(crate) async fn reading(&self) -> Result<Reading, ClientError> {
        Ok(Reading::begin(self.clients.link().await?.elections.as_ref()))
    }

    /// The collection, with its indexes.
    pub(crate) async fn ready(&self) -> Result<Sessions, ClientError> {
        let sessions = self.clients.link().await?.sessions;
        if !self.prepared.load(Ordering::Relaxed) {
            Box::pin(self.prepare(&sessions)).await?;
        }
        Ok(sessions)
    }

    async fn prepare(&self, sessions: &Sessions) -> Result<(), ClientError> {
        let _one_at_a_time = self.preparing.lock().await;
        if !self.prepared.load(Ordering::Relaxed) {
            index::prepare(sessions, self.config.is_direct()).await?;
            self.prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
