//! What every call of a store needs: a permit, a deadline, and a collection with its indexes.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use session_core::StoreError;
use tokio::sync::{Mutex, SemaphorePermit};

use crate::{
    config::Config,
    connect::{
        clients::{Clients, Connection},
        clock::ServerClock,
        elections::ReadAttempt,
        hello::{self, ServerKind},
    },
    error::{ClientError, STORE},
    index::{self, SessionCollection},
};

/// The state that all clones of a store share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    pub(crate) clock: ServerClock,
    /// Whether the server and the indexes have been checked.
    is_prepared: AtomicBool,
    /// Held by the call that checks the server and creates the indexes.
    preparing: Mutex<()>,
}

impl Inner {
    pub(crate) fn new(clients: Clients, config: &Config) -> Self {
        Self {
            clients,
            clock: ServerClock::default(),
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::default(),
            config: config.clone(),
        }
    }

    /// Runs `work` with a permit and within the deadline. Runs it a second time if the collection
    /// has lost its indexes.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let with_permit = async {
            let connection = self.clients.connection().await?;
            let _permit = self.permit(&connection).await?;
            match work().await {
                Err(ClientError::MissingIndex) => {
                    self.is_prepared.store(false, Ordering::Relaxed);
                    work().await
                }
                result => result,
            }
        };
        let deadline = self.config.deadline;
        match tokio::time::timeout(deadline, with_permit).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: deadline }),
        }
    }

    /// Waits for a permit for at most half of the deadline, so that a call with a permit has time
    /// for its work. A call that asks the driver for a connection and gives up stays in the
    /// driver's queue.
    async fn permit<'c>(
        &self,
        connection: &'c Connection,
    ) -> Result<SemaphorePermit<'c>, ClientError> {
        let limit = self.config.deadline / 2;
        match tokio::time::timeout(limit, connection.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // `acquire` fails only after `close`, which this crate does not call.
            Ok(Err(_)) | Err(_) => Err(ClientError::Busy(format!(
                "all connections were in use for {limit:?}; the call did nothing"
            ))),
        }
    }

    /// Starts a read.
    pub(crate) async fn start_read(&self) -> Result<ReadAttempt, ClientError> {
        Ok(ReadAttempt::start(self.clients.connection().await?.elections.as_ref()))
    }

    /// The collection. The first call checks the server and creates missing indexes.
    pub(crate) async fn sessions(&self) -> Result<SessionCollection, ClientError> {
        let sessions = self.clients.connection().await?.sessions;
        if !self.is_prepared.load(Ordering::Relaxed) {
            Box::pin(self.prepare(&sessions)).await?;
        }
        Ok(sessions)
    }

    async fn prepare(&self, sessions: &SessionCollection) -> Result<(), ClientError> {
        let _guard = self.preparing.lock().await;
        if !self.is_prepared.load(Ordering::Relaxed) {
            let server = hello::check_server(sessions, self.config.is_direct()).await?;
            index::create_missing(sessions).await?;
            if server == ServerKind::Mongos {
                index::check_shard_key(sessions).await?;
            }
            self.is_prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
