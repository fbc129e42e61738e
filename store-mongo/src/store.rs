//! [`MongoStore`], the public type of this crate.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mongodb::{
    Client,
    bson::rawdoc,
    options::{ReadPreference, SelectionCriteria},
};
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

use crate::{
    codec::decode::DecodeError,
    commit::CommitAttempt,
    config::Config,
    connect::{clients::Clients, inner::Inner},
    error::{ClientError, ConfigError, ConnectError, STORE},
};

/// A store of sessions in MongoDB. Clones share their connections.
///
/// Each call that reads or changes one session takes one round trip; the crate's documentation has
/// the table. A call takes at most the deadline of its [`Config`], including the waits for a
/// permit, a server and a connection.
///
/// # Runtimes
/// The store works on every tokio runtime with I/O and timers. It creates one client of the driver
/// for each runtime that uses it. So the store can outlive the runtime that opened it, and the
/// workers of a web server do not wake each other.
///
/// # Cancel safety
/// Every call may be dropped at every await. A command that was sent is not recalled: the server
/// executes it, and the store ignores the response. The driver closes that connection and opens
/// another one.
///
/// # Panics
/// Calls panic outside a tokio runtime.
///
/// # Examples
/// ```no_run
/// # use std::time::Duration;
/// # use session_core::{NewRecord, SessionId, SessionStore};
/// # use store_mongo::{Config, MongoStore};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MongoStore::connect(&Config::new("mongodb://127.0.0.1:27017/shop")?).await?;
/// let id = SessionId::random()?;
/// let record = NewRecord::new(id.secret_hash(), Duration::from_secs(1800));
/// let _ = store.create(&id.key(), record).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoStore(Arc<Inner>);

impl MongoStore {
    /// Creates a store without I/O. The first call connects, checks the server, and creates missing
    /// indexes.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings are not valid.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::with_clients(Clients::per_runtime(config), config)
    }

    /// Creates a store that uses the application's client. From the URL in `config` the store uses
    /// the settings of this crate, the database, the write concern, the read concern and
    /// `maxPoolSize`, and ignores the rest. Use the store on the runtime that created the client,
    /// or on a runtime that ends earlier.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings are not valid.
    pub fn with_client(client: &Client, config: &Config) -> Result<Self, ConfigError> {
        Self::with_clients(Clients::provided(client, config), config)
    }

    /// Creates a store and connects: checks the version of the server, the login and the indexes.
    ///
    /// An unreachable server is not an error. The store logs a warning and works as soon as the
    /// server is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings are not valid, a file of the settings cannot be used, the
    /// server is older than 5.0, the server rejects the login, the driver does not trust the
    /// server's certificate, only one side uses TLS, or the collection has an index or a shard key
    /// that sessions cannot use.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        config.check_files()?;
        let inner = &store.0;
        let mut result = inner.call(|| inner.check_operators()).await;
        if let Err(StoreError::Unavailable { .. } | StoreError::Timeout { .. }) = result
            && let Some(mismatch) = inner.tls_mismatch().await
        {
            result = Err(mismatch);
        }
        match result {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers(), why, "sessions cannot be reached yet");
            }
            // The text of `Other` only names the store, so its source replaces it.
            Err(StoreError::Other { source, .. }) => {
                return Err(ConnectError::Server { server: config.servers().to_string(), source });
            }
            Err(other) => {
                return Err(ConnectError::Server {
                    server: config.servers().to_string(),
                    source: other.into(),
                });
            }
            Ok(()) => {}
        }
        Ok(store)
    }

    fn with_clients(clients: Clients, config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Arc::new(Inner::new(clients, config))))
    }
}

#[async_trait]
impl SessionStore for MongoStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let inner = &self.0;
        new.check(key, &inner.config.limits)?;
        inner.call_once(|| inner.create(key, &new)).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = &self.0;
        let found = inner.call(|| inner.load(key)).await?.map_err(|error| corrupt(key, error))?;
        Ok(found.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = &self.0;
        commit.check(&inner.config.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        match inner.call_once(|| inner.commit(key, &commit)).await? {
            CommitAttempt::Final(outcome) => Ok(outcome),
            CommitAttempt::Rejected(rejection) => Err(rejection.into()),
            CommitAttempt::Corrupt(error) => Err(corrupt(key, error)),
            // `Inner::commit` retries by itself and never returns this.
            CommitAttempt::Retry => {
                Err(ClientError::UnexpectedResponse("the commit has no outcome").into())
            }
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        let inner = &self.0;
        inner.call_once(|| inner.delete(key, claim)).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.list(principal, after.as_ref(), limit)).await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner.call_once(|| inner.delete_all(principal, except)).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let inner = &self.0;
        inner.call_once(|| inner.delete_page(after.as_ref(), limit)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.scan(after.as_ref(), limit)).await
    }

    /// The server deletes expired sessions about once a minute by itself. This call deletes them at
    /// once.
    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.delete_expired(limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner
            .call(|| async {
                let sessions = inner.clients.connection().await?.sessions;
                let database = sessions.client().database(&inner.config.database);
                let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
                Ok(database
                    .run_raw_command(rawdoc! { "ping": 1 })
                    .selection_criteria(primary)
                    .await
                    .map(drop)?)
            })
            .await
    }
}

fn corrupt(key: &StoreKey, source: DecodeError) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows the settings without secrets.
impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use session_core::SecretHash;

    use super::*;

    #[test]
    fn call_futures_stay_small() {
        let store = MongoStore::new(&Config::new("mongodb://127.0.0.1/").unwrap()).unwrap();
        // The driver boxes its futures. The rest of a call's future is moved several times.
        let (inner, key, commit) = (
            &store.0,
            StoreKey::from_text("AbCdefgh"),
            Commit::new(SecretHash::from_bytes([0; 32])),
        );
        let (load, commit) =
            (size_of_val(&inner.load(&key)), size_of_val(&inner.commit(&key, &commit)));
        let called = size_of_val(&inner.call(|| inner.load(&key)));
        assert!(
            load < 1024 && commit < 1024 && called < 1536,
            "load {load}, commit {commit}, load with permit {called}"
        );
    }
}
