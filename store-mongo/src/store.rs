//! The store.

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
    STORE,
    clients::Clients,
    commit::Committing,
    config::Config,
    document::Unreadable,
    error::{ClientError, ConfigError, ConnectError},
    inner::Inner,
    purge,
};

/// Sessions in MongoDB. Cloning shares the connections.
///
/// One round trip for each call that reads or changes a session; the crate's page has the table. A
/// call takes at most the deadline of its [`Config`], waiting for its turn, a server and a
/// connection included.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do. Each runtime that uses the store has a client of
/// the driver of its own, so that a store may outlive the runtime that opened it, and a web
/// server's workers do not wake each other.
///
/// # Cancel safety
/// Every call may be dropped at every await. What was sent is not recalled: the server executes it,
/// and its answer is ignored; the driver closes that connection and opens another one.
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
/// let _ = store.create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1800))).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoStore(Arc<Inner>);

impl MongoStore {
    /// The store of these settings. Connects with the first call, which sees to the indexes too.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::over(Clients::own(config), config)
    }

    /// The same over a client that the application has; of the settings' URL only database and
    /// collection count, and its write and read concern. The client has to be used on the runtime
    /// that made it, or on one that ends before that one does.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn with_client(client: &Client, config: &Config) -> Result<Self, ConfigError> {
        Self::over(Clients::given(client, config), config)
    }

    /// The store of these settings, after a look at the server: its version, the login, the
    /// indexes.
    ///
    /// A server that cannot be reached is no error, only a warning in the log: the store works once
    /// it is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings do not fit, the server is older than 5.0, it refuses the
    /// login, or the collection has an index or a shard key that sessions cannot have.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        let inner = &store.0;
        match inner.call(|| async { inner.ready().await.map(drop) }).await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers(), why, "sessions cannot be reached yet");
            }
            // What is wrong stands in the source; that it is the store's failure goes without
            // saying here.
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

    fn over(clients: Clients, config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Arc::new(Inner::new(clients, config))))
    }
}

#[async_trait]
impl SessionStore for MongoStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let inner = &self.0;
        new.check(key, &inner.config.limits)?;
        inner.call(|| inner.create(key, &new)).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = &self.0;
        let found =
            inner.call(|| inner.load(key)).await?.map_err(|unreadable| corrupt(key, unreadable))?;
        Ok(found.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = &self.0;
        commit.check(&inner.config.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        match inner.call(|| inner.commit(key, &commit)).await? {
            Committing::Settled(outcome) => Ok(outcome),
            Committing::Rejected(rejection) => Err(rejection.into()),
            Committing::Corrupt(unreadable) => Err(corrupt(key, unreadable)),
            // `Inner::commit` settles it, or says that it could not.
            Committing::Again => Err(ClientError::Answer("a commit is settled").into()),
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        let inner = &self.0;
        inner.call(|| inner.delete(key, claim)).await
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
        inner.call(|| inner.delete_all(principal, except)).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.delete_page(after.as_ref(), limit)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.page(after.as_ref(), limit)).await
    }

    /// The server purges by itself about once a minute; this does not wait for it.
    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner.call(|| async { purge::delete_expired(&inner.ready().await?, limit).await }).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner
            .call(|| async {
                let sessions = inner.clients.link().await?.sessions;
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

fn corrupt(key: &StoreKey, source: Unreadable) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows where the servers are and how calls are bounded; there is no secret in it.
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
    fn calls_are_small_enough_to_be_moved() {
        let store = MongoStore::new(&Config::new("mongodb://127.0.0.1/").unwrap()).unwrap();
        // The driver puts its own futures into boxes; what is left is moved a few times.
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
            "load {load}, commit {commit}, in its turn {called}"
        );
    }
}
