//! The store: the calls of [`SessionStore`] on an SQL database.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    SessionStore, StoreError, StoreKey, Stored, SummaryPage, observe::retried,
};

use crate::{
    codec::object,
    commit::{self, Verdict},
    config::Config,
    connect::{ApplicationPool, Client, Database},
    dialect::{Arg, Statement},
    error::{ClientError, ConfigError, ConnectError, STORE, Unreadable, ends_start},
    index, scan,
};

/// Sessions in an SQL database. Clones share the connections.
///
/// A call that reads or changes a session is one statement; a commit on MySQL is two. The
/// [crate's documentation](crate) lists the round trips of each call. A call takes at most the
/// deadline of its [`Config`], including the wait for a connection.
///
/// # Runtimes
/// Use the store on any tokio runtime with I/O and timers enabled. Each runtime that uses the store
/// has its own connections. So the store may outlive the runtime that opened it, and the workers of
/// a web server do not wake each other.
///
/// # Cancel safety
/// Every call may be dropped at every await. The database still executes a statement that was sent,
/// completely or not at all. The connection is used again once the answer has arrived, or closed if
/// that takes long.
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
pub struct SqlStore(Arc<Client>);

impl SqlStore {
    /// Builds a store without connecting. The first call connects, and creates the table if it is
    /// missing.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting is not valid.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let database = Database::own(config);
        Ok(Self(Arc::new(Client::new(database, config))))
    }

    /// Builds a store over the application's pool. From the URL of the settings it uses only the
    /// kind of database, and whether `statement-cache-capacity` is 0.
    ///
    /// Use the store on the runtime that made the pool, or on a runtime that ends before that one.
    /// Connections to MySQL must have the time zone UTC, which is the driver's default. Connections
    /// to SQLite must have a short `busy_timeout`.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting is not valid, or the pool connects to another kind of database.
    pub fn with_pool(
        pool: impl Into<ApplicationPool>,
        config: &Config,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let database = Database::over(pool.into(), config)?;
        Ok(Self(Arc::new(Client::new(database, config))))
    }

    /// Builds a store and checks the login and the table.
    ///
    /// If the database cannot be reached, this logs a warning and succeeds. The store works once
    /// the database is up.
    ///
    /// # Errors
    /// [`ConnectError`] if a setting is not valid, a file of certificates cannot be read, or the
    /// database reports an error that waiting does not end. For example, it refuses the login, or
    /// the table has other columns: the first version created it, or it does not belong to this
    /// crate.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        config.check_files()?;
        match store.0.call(|| async { Ok(()) }).await {
            Err(error) if !ends_start(&error) => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = config.server, why, "sessions cannot be reached yet");
            }
            // The source has the reason. The text of `Other` only adds the name of the store.
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
        let client = &self.0;
        new.check(key, &client.config.limits)?;
        client.call(|| create(client, key, &new)).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let client = &self.0;
        let loaded = client.call(|| client.load(key)).await?;
        Ok(loaded.map_err(|unreadable| corrupt(key, unreadable))?.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let client = &self.0;
        commit.check(&client.config.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        match client.call(|| commit::commit(client, key, &commit)).await? {
            Verdict::Settled(outcome) => Ok(outcome),
            Verdict::Rejected(rejection) => Err(rejection.into()),
            Verdict::Corrupt(unreadable) => Err(corrupt(key, unreadable)),
            // `commit::commit` executes a rewritten commit itself and never returns it.
            Verdict::Rewrite(..) => Err(ClientError::Answer("a commit is not settled").into()),
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        let client = &self.0;
        client.call(|| delete(client, key, claim)).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let client = &self.0;
        client.call(|| index::list(client, principal, after.as_ref(), limit)).await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let client = &self.0;
        client.call(|| index::delete_all(client, principal, except)).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let client = &self.0;
        client.call(|| scan::delete_everyone(client, after.as_ref(), limit)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let client = &self.0;
        client.call(|| scan::scan(client, after.as_ref(), limit)).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let client = &self.0;
        client.call(|| scan::delete_expired(client, limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let client = &self.0;
        let ping = Statement::new(&client.statements.ping, []);
        client.call(|| async { client.rows(&ping).await.map(drop) }).await
    }
}

async fn create(client: &Client, key: &StoreKey, new: &NewRecord) -> Result<Created, ClientError> {
    let args = [
        Arg::bytes(key.as_str()),
        Arg::text(object(&new.data)),
        Arg::number(new.version),
        Arg::bytes(new.secret.as_bytes()),
        Arg::number(new.generation),
        Arg::number(new.since),
        Arg::number(new.age.as_millis()),
        new.authenticated.map_or(Arg::Integer(None), |age| Arg::number(age.as_millis())),
        new.principal.as_ref().map_or(Arg::Bytes(None), |principal| Arg::bytes(principal.as_str())),
        Arg::text(new.attributes.to_text()),
        Arg::number(new.ttl.as_millis()),
    ];
    let written = client.write(&Statement::new(&client.statements.create, args), None).await?;
    Ok(if written.affected > 0 && !written.is_marked { Created::New } else { Created::Taken })
}

/// The generation that is not below that of any session.
const ANY_GENERATION: i64 = i64::MAX;

async fn delete(client: &Client, key: &StoreKey, claim: Claim) -> Result<Deleted, ClientError> {
    let mut generation = match claim {
        Claim::Any => ANY_GENERATION,
        Claim::Generation(generation) => generation.into(),
    };
    loop {
        let args = [Arg::bytes(key.as_str()), Arg::number(generation)];
        let deleted = client.delete_rows(&client.statements.delete, args).await?;
        if deleted.live > 0 {
            return Ok(Deleted::Ended);
        }
        if deleted.rows > 0 || generation == ANY_GENERATION {
            return Ok(Deleted::Missing);
        }
        match client.load(key).await? {
            Ok(None) => return Ok(Deleted::Missing),
            Ok(Some(record)) if i64::from(record.since) > generation => {
                return Ok(Deleted::Superseded);
            }
            // The session changed in between, and the claim covers it now.
            Ok(Some(_)) => retried(STORE),
            // Every claim ends an unreadable record.
            Err(_) => generation = ANY_GENERATION,
        }
    }
}

fn corrupt(key: &StoreKey, source: Unreadable) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows the settings. They contain no secret.
impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}
