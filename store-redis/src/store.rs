//! The store.

use std::{fmt, pin::pin, sync::Arc};

use async_trait::async_trait;
use redis::Value;
use session_core::{
    Commit, Created, Cursor, Limits, Listed, NewRecord, Outcome, Page, Principal, PrincipalChange, Record, SessionStore, StoreError,
    StoreKey,
};

use crate::{
    STORE,
    answer::{self, Committing, Stored, Unreadable},
    command::{Request, millis},
    config::Config,
    error::{ClientError, ConfigError, ConnectError},
    index::{Index, Sessions},
    keys::{Keys, place},
    link::{Links, Repeat},
    scan,
    script::{COMMIT, CREATE, DELETE_ALL, Durability, LIST},
};

/// Every retry after the first means that the session changed its user in between.
const MOST_INDEXED: usize = 4;

/// Sessions in Redis or Valkey. Cloning shares the connections.
///
/// One round trip for each call on one server; the crate's page has the table, and what a Cluster adds. A call takes at most the deadline of
/// its [`Config`], waiting for its turn and for a connection included.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do. Each thread keeps to one of [`Config::connections`], which is driven by the runtime of the
/// thread that used it first. If that runtime ends, the next call makes a new connection on its own.
///
/// # Cancel safety
/// Every call may be dropped at every await. A command is sent whole or not at all, and one that was sent is not recalled: the server
/// executes it, and its answer is ignored.
///
/// # Panics
/// Calls panic outside a tokio runtime.
///
/// # Examples
/// ```no_run
/// # use std::time::Duration;
/// # use session_core::{NewRecord, SessionId, SessionStore};
/// # use store_redis::{Config, RedisStore};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect(&Config::new("redis://127.0.0.1:6379/0?prefix=shop:")?).await?;
/// let key = SessionId::random()?.store_key();
/// let _ = store.create(&key, NewRecord::new(Duration::from_secs(1800))).await?;
/// assert!(store.load(&key).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

pub(crate) struct Inner {
    links: Links,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    /// In a Cluster a user's index lies on another node than the user's sessions, and is written apart from them.
    apart: bool,
}

impl RedisStore {
    /// The store of these settings. Connects with the first call.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let links = Links::new(config)?;
        let keys = Keys::new(&config.prefix);
        Ok(Self(Arc::new(Inner { links, keys, limits: config.limits, apart: config.servers.is_cluster() })))
    }

    /// The same, and asks the server whether it can be used: its version, the login.
    ///
    /// A server that cannot be reached is no error, only a warning in the log: the store works once it is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings do not fit, the server is older than 6.2, or it refuses the login.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        match store.inner().links.reach().await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers, why, "sessions cannot be reached yet");
            }
            // What is wrong stands in the source; that it is the store's failure goes without saying here.
            Err(StoreError::Other { source, .. }) => return Err(ConnectError::Server { server: config.servers.to_string(), source }),
            Err(other) => return Err(ConnectError::Server { server: config.servers.to_string(), source: other.into() }),
            Ok(()) => {}
        }
        Ok(store)
    }

    fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    fn index(&self) -> Index<'_> {
        Index { links: &self.links, keys: &self.keys }
    }

    /// What an index's name begins with, if scripts keep indexes.
    pub(crate) fn index_prefix(&self) -> String {
        if self.apart { String::new() } else { self.keys.index_prefix() }
    }

    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, ClientError> {
        let (name, place) = (self.keys.session(key), place(key));
        let index = match &new.principal {
            // First the index: it may show too much, and never too little.
            Some(principal) if self.apart => {
                Box::pin(self.index().add(principal, &place, new.ttl, Sessions::New)).await?;
                None
            }
            Some(principal) => Some(self.keys.index(principal)),
            None => None,
        };
        let bytes = new.data.bytes();
        let keys: &[&str] = &match &index {
            Some(index) => vec![name.as_str(), index.as_str()],
            None => vec![name.as_str()],
        };
        let mut command = CREATE.on(keys.iter().copied(), bytes);
        command.arg(millis(new.ttl)).arg(&place).arg(bytes).arg(new.lifetime.to_text());
        command.arg(new.principal.as_ref().map_or("", Principal::as_str));
        for (name, value) in new.data.iter() {
            command.arg(name.as_str()).arg(value.as_str());
        }
        let created = CREATE.run(&self.links, command, Repeat::Never).await;
        if let (true, Some(principal), Err(ClientError::Full(_))) = (self.apart, &new.principal, &created) {
            // What is refused again and again must not fill the index.
            self.index().forget(principal, &place).await;
        }
        match answer::int(&created?) {
            Some(0) => Ok(Created::New),
            Some(1) => Ok(Created::Taken),
            _ => Err(ClientError::Answer("a creation answers with 0 or 1")),
        }
    }

    async fn load(&self, key: &StoreKey) -> Result<Stored, ClientError> {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(self.keys.session(key));
        let (hash, now) = answer::timed(self.links.send(&Request::Timed(&hash), Repeat::Once).await?)?;
        match hash {
            Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Err(Unreadable::NoHead)),
            hash => Ok(answer::record(hash.extract_error()?, now)),
        }
    }

    async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        let target = commit.move_to.as_ref().filter(|target| *target != key);
        let places = (place(key), place(target.unwrap_or(key)));
        let mut indexed = None;
        if let (true, PrincipalChange::Set(principal), Some(ttl)) = (self.apart, &commit.principal, commit.ttl) {
            Box::pin(self.index().add(principal, &places.1, ttl, Sessions::Kept)).await?;
            indexed = Some((principal.clone(), ttl));
        }
        for _ in 0..MOST_INDEXED {
            let command = self.commit_command(key, target, commit, &places, indexed.as_ref());
            let answer = match target {
                Some(_) => COMMIT.run_durably(&self.links, command).await?,
                None => COMMIT.run(&self.links, command, Repeat::Never).await?,
            };
            match answer::committing(&answer, commit, self.limits.data_bytes)? {
                Committing::Index { principal, ttl } => {
                    Box::pin(self.index().add(&principal, &places.1, ttl, Sessions::Kept)).await?;
                    indexed = Some((principal, ttl));
                }
                settled => {
                    if let (true, Committing::Settled { former: Some(former), .. }) = (self.apart && target.is_some(), &settled) {
                        // The old key is dead for good. An entry that stays is only one that lists pass over.
                        Box::pin(self.index().forget(former, &places.0)).await;
                    }
                    return Ok(settled);
                }
            }
        }
        Err(ClientError::Busy("the session changed its user again and again".to_owned()))
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, ClientError> {
        let ended = self.index().end(key, None, &self.index_prefix(), Durability::Replicas).await?;
        if let (true, Some(principal)) = (self.apart && ended.live, &ended.principal) {
            self.index().forget(principal, &place(key)).await;
        }
        Ok(ended.live)
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let mut listed = if self.apart { self.index().list(principal).await? } else { self.list_here(principal).await? };
        listed.sort_by_key(|listed| listed.age);
        Ok(listed)
    }

    async fn list_here(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let mut command = LIST.on([self.keys.index(principal).as_str()], 0);
        command.arg(self.keys.prefix()).arg(principal.as_str());
        let answer = answer::list(LIST.run(&self.links, command, Repeat::Once).await?)?;
        let (now, entries) = answer.split_first().ok_or(ClientError::Answer("a list begins with the time"))?;
        let now = answer::int(now).and_then(|now| u64::try_from(now).ok()).ok_or(ClientError::Answer("a list begins with the time"))?;
        let listed = |entry: &[Value]| answer::listed(answer::text(entry.first()?)?, entry.get(1)?, now);
        Ok(entries.chunks(2).filter_map(listed).collect())
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, ClientError> {
        let except = except.map(place);
        if self.apart {
            return self.index().end_all(principal, except.as_deref()).await;
        }
        let mut ended = 0;
        loop {
            let mut command = DELETE_ALL.on([self.keys.index(principal).as_str()], 0);
            command.arg(self.keys.prefix()).arg(principal.as_str()).arg(except.as_deref().unwrap_or_default());
            command.arg(if self.links.waits() { "1" } else { "" });
            let answer = answer::list(DELETE_ALL.run_durably(&self.links, command).await?)?;
            let [Some(count), Some(more)] = [0, 1].map(|at| answer.get(at).and_then(answer::int)) else {
                return Err(ClientError::Answer("an end of all answers with two numbers"));
            };
            ended += u64::try_from(count).unwrap_or(0);
            if more == 0 {
                return Ok(ended);
            }
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let inner = self.inner();
        new.check(key, &inner.limits)?;
        inner.links.within(pin!(async { Ok(inner.create(key, new).await?) })).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = self.inner();
        inner.links.within(pin!(async { inner.load(key).await?.map_err(|source| corrupt(key, source)) })).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = self.inner();
        commit.check(key, &inner.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        let committing = inner.links.within(pin!(async { Ok(inner.commit(key, &commit).await?) })).await?;
        match committing {
            Committing::Settled { outcome, .. } => Ok(outcome),
            Committing::Rejected(rejection) => Err(rejection.into()),
            Committing::Corrupt => Err(corrupt(key, Unreadable::NoHead)),
            // `Inner::commit` settles it, or says that it could not.
            Committing::Index { .. } => Err(ClientError::Answer("a commit is settled").into()),
        }
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        if !key.is_storable() {
            return Ok(false);
        }
        let inner = self.inner();
        inner.links.within(pin!(async { Ok(inner.delete(key).await?) })).await
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        let inner = self.inner();
        inner.links.within(pin!(async { Ok(inner.list(principal).await?) })).await
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        let inner = self.inner();
        inner.links.within(pin!(async { Ok(inner.delete_all(principal, except).await?) })).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.inner();
        let limit = limit.clamp(1, scan::MOST);
        let scan = async {
            Ok(if inner.apart {
                scan::cluster::page(&inner.links, &inner.keys, after, limit).await?
            } else {
                scan::node::page(&inner.links, &inner.keys, after, limit).await?
            })
        };
        inner.links.within(pin!(scan)).await
    }

    /// Redis purges by itself, so there is nothing to do.
    async fn delete_expired(&self, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = self.inner();
        let ping = async { Ok(inner.links.send(&Request::One(&redis::cmd("PING")), Repeat::Once).await.map(drop)?) };
        inner.links.within(pin!(ping)).await
    }
}

fn corrupt(key: &StoreKey, source: Unreadable) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows where the servers are and how calls are bounded; there is no secret in it.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("links", &self.0.links).field("prefix", &self.0.keys.prefix()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_small_enough_to_be_moved() {
        let store = RedisStore::new(&Config::new("redis://127.0.0.1/0").unwrap()).unwrap();
        let (inner, key, commit) = (store.inner(), StoreKey::from_text("AbCdefgh"), Commit::new());
        // What makes connections, waits for replicas or writes an index apart is in boxes. Without them a load has 10 KiB.
        let (load, commit) = (size_of_val(&inner.load(&key)), size_of_val(&inner.commit(&key, &commit)));
        assert!(load < 1024 && commit < 1536, "load {load}, commit {commit}");
    }
}
