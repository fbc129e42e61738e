//! What every call of a store needs: a permit, a deadline, and a collection with its indexes.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use session_core::StoreError;
use tokio::{
    sync::{Mutex, SemaphorePermit},
    time::error::Elapsed,
};

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
    /// Whether a call has succeeded. From then on a refused login means that the password has
    /// changed, and an operator can cure that without a restart.
    has_worked: AtomicBool,
}

impl Inner {
    pub(crate) fn new(clients: Clients, config: &Config) -> Self {
        Self {
            clients,
            clock: ServerClock::default(),
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::default(),
            has_worked: AtomicBool::new(false),
            config: config.clone(),
        }
    }

    /// Runs `work` with a permit and within the deadline. Runs it a second time if the collection
    /// has lost its indexes, or if the server refused the login and the password file has another
    /// password. The driver reports a refused login only if it has not sent the command.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let call = async {
            loop {
                let connection = self.clients.connection().await?;
                match self.attempt(&connection, &work).await {
                    Err(ClientError::Login) if self.clients.renew_password(&connection)? => {}
                    result => return result,
                }
            }
        };
        self.outcome(tokio::time::timeout(self.config.deadline, call).await)
    }

    /// As [`call`](Self::call), for work that changes something. It is not repeated with another
    /// password, because the first attempt may have changed it: the driver can repeat a command
    /// itself, and report only that its second attempt was refused.
    pub(crate) async fn call_once<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let call = async {
            let connection = self.clients.connection().await?;
            let result = self.attempt(&connection, &work).await;
            if let Err(ClientError::Login) = result {
                self.clients.renew_password(&connection)?;
            }
            result
        };
        self.outcome(tokio::time::timeout(self.config.deadline, call).await)
    }

    fn outcome<T>(&self, ended: Result<Result<T, ClientError>, Elapsed>) -> Result<T, StoreError> {
        match ended {
            Ok(Ok(value)) => {
                if !self.has_worked.load(Ordering::Relaxed) {
                    self.has_worked.store(true, Ordering::Relaxed);
                }
                Ok(value)
            }
            Ok(Err(error)) => Err(self.after_the_first_login(error).into()),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: self.config.deadline }),
        }
    }

    async fn attempt<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        connection: &Connection,
        work: &impl Fn() -> F,
    ) -> Result<T, ClientError> {
        let _permit = self.permit(connection).await?;
        match work().await {
            Err(ClientError::MissingIndex) => {
                self.is_prepared.store(false, Ordering::Relaxed);
                work().await
            }
            Err(error @ (ClientError::NoServer | ClientError::PoolCleared)) => {
                self.clients.measure_lookups();
                Err(connection.faults.explain(error))
            }
            result => result,
        }
    }

    /// Tells a login that was never right from one that was right before.
    fn after_the_first_login(&self, error: ClientError) -> ClientError {
        match (error, self.has_worked.load(Ordering::Relaxed)) {
            (ClientError::Login, true) => ClientError::LoginChanged,
            (ClientError::PasswordFile(_), false) => ClientError::Login,
            (error, _) => error,
        }
    }

    /// After a failed start: the error for a server that closes all connections because of TLS.
    pub(crate) async fn tls_mismatch(&self) -> Option<StoreError> {
        self.clients.tls_mismatch(self.config.deadline).await.map(Into::into)
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

    /// Starts a read over the collection of the same client. Another client may not have heard of
    /// an election yet.
    pub(crate) async fn start_read_of_sessions(
        &self,
    ) -> Result<(ReadAttempt, SessionCollection), ClientError> {
        let connection = self.clients.connection().await?;
        if !self.is_prepared.load(Ordering::Relaxed) {
            Box::pin(self.prepare(&connection.sessions)).await?;
        }
        Ok((ReadAttempt::start(connection.elections.as_ref()), connection.sessions))
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
