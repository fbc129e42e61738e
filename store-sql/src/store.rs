//! The store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

use crate::{
    STORE,
    commit::Committing,
    config::Config,
    engine::{ApplicationPool, Engine},
    error::{ClientError, ConfigError, ConnectError},
    inner::Inner,
    record::Unreadable,
    statement::Statement,
};

/// Sessions in an SQL database. Cloning shares the connections.
///
/// A call that reads or changes a session is one statement; with MySQL a commit is two. The crate's
/// page has the table of round trips. A call takes at most the deadline of its [`Config`], waiting
/// for a connection included.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do. Each runtime that uses the store has connections
/// of its own, so that a store may outlive the runtime that opened it, and a web server's workers
/// do not wake each other.
///
/// # Cancel safety
/// Every call may be dropped at every await. What was sent is not recalled: the database executes
/// it whole or not at all. The connection is used again once the answer to it has come, or closed
/// if that takes long.
///
/// # Panics
/// Calls panic outside a tokio runtime.
///
/// # Examples
/// ```no_run
/// # use std::time::Duration;
/// # use session_core::{NewRecord, SessionId, SessionStore};
/// # use store_sql::{Config, SqlStore};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = SqlStore::connect(&Config::new("postgres://app:secret@127.0.0.1/shop")?).await?;
/// let id = SessionId::random()?;
/// let _ = store.create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1800))).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqlStore(Arc<Inner>);

impl SqlStore {
    /// The store of these settings. The first call connects, and creates the table if it is
    /// missing.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let engine = Engine::own(&config.driver, config.connections, config.wait());
        Ok(Self(Arc::new(Inner::new(engine, config))))
    }

    /// The same over a pool that the application has; of the settings' URL only the kind of
    /// database counts. The pool has to be used on the runtime that made it, or on one that ends
    /// before that one does. Connections to MySQL have to have the time zone UTC, as the driver
    /// sets it, those to SQLite a short `busy_timeout`.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn with_pool(
        pool: impl Into<ApplicationPool>,
        config: &Config,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let engine = Engine::given(pool.into(), config.wait());
        if engine.dialect() != config.driver.dialect() {
            return Err(ConfigError::OtherPool);
        }
        Ok(Self(Arc::new(Inner::new(engine, config))))
    }

    /// The store of these settings, after a check of the database: the login, the table.
    ///
    /// A database that cannot be reached is no error, only a warning in the log: the store works
    /// once it is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings do not fit, the database refuses the login, or the table
    /// has other columns: it is one of the first version, or it does not belong to this crate.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        match store.0.call(|| async { Ok(()) }).await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = config.server, why, "sessions cannot be reached yet");
            }
            // What is wrong stands in the source; that it is the store's failure goes without
            // saying here.
            Err(StoreError::Other { source, .. }) => {
                return Err(ConnectError::Server { server: config.server.clone(), source });
            }
            Err(other) => {
                return Err(ConnectError::Server {
                    server: config.server.clone(),
                    source: other.into(),
                });
            }
            Ok(()) => {}
        }
        Ok(store)
    }
}

#[async_trait]
impl SessionStore for SqlStore {
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
        let loaded = inner.call(|| inner.load(key)).await?;
        Ok(loaded.map_err(|unreadable| corrupt(key, unreadable))?.map(Stored::new))
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
            Committing::Whole(..) => Err(ClientError::Answer("a commit is settled").into()),
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
        inner.call(|| inner.delete_everyone(after.as_ref(), limit)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.scan(after.as_ref(), limit)).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.delete_expired(limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner
            .call(|| async { inner.rows(&Statement::new(&inner.texts.ping, [])).await.map(drop) })
            .await
    }
}

fn corrupt(key: &StoreKey, source: Unreadable) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows where the database is and how calls are bounded; there is no secret in it.
impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}
