//! The store.

use std::{fmt, pin::pin, sync::Arc, time::Instant};

use async_trait::async_trait;
use redis::Value;
use session_core::{
    AuthenticationChange, Claim, Commit, Created, Cursor, Deleted, DeletedPage, Limits, NewRecord,
    Outcome, Page, Principal, PrincipalChange, Record, SessionStore, StoreError, StoreKey, Stored,
    SummaryPage,
};

use crate::{
    STORE,
    answer::{self, Committing, Unreadable},
    clock::ServerTime,
    command::{Request, millis},
    config::Config,
    error::{ClientError, ConfigError, ConnectError},
    index::{Cause, Index},
    keys::Keys,
    link::{Links, Repeat},
    scan,
    script::{CREATE, DELETE_ALL, Durability, LIST},
};

/// Every retry after the first means that the session changed its user in between.
const MOST_INDEXED: usize = 4;

/// Sessions in Redis or Valkey. Cloning shares the connections.
///
/// One round trip for each call on one server; the crate's page has the table, and what a Cluster
/// adds. A call takes at most the deadline of its [`Config`], waiting for its turn and for a
/// connection included.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do. Each thread keeps to one of
/// [`Config::connections`], which is driven by the runtime of the thread that used it first. If
/// that runtime ends, the next call makes a new connection on its own.
///
/// # Cancel safety
/// Every call may be dropped at every await. A command is sent whole or not at all, and one that
/// was sent is not recalled: the server executes it, and its answer is ignored.
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
/// let id = SessionId::random()?;
/// let _ = store.create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1800))).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

pub(crate) struct Inner {
    links: Links,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    /// In a Cluster a user's index lies on another node than the user's sessions, and is written
    /// apart from them.
    pub(crate) apart: bool,
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
        Ok(Self(Arc::new(Inner {
            links,
            keys,
            limits: config.limits,
            apart: config.servers.is_cluster(),
        })))
    }

    /// The same, and asks the server whether it can be used: its version, the login.
    ///
    /// A server that cannot be reached is no error, only a warning in the log: the store works once
    /// it is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings do not fit, the server is older than 6.2, or it refuses the
    /// login.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        match store.inner().links.reach().await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers, why, "sessions cannot be reached yet");
            }
            // What is wrong stands in the source; that it is the store's failure goes without
            // saying here.
            Err(StoreError::Other { source, .. }) => {
                return Err(ConnectError::Server { server: config.servers.to_string(), source });
            }
            Err(other) => {
                return Err(ConnectError::Server {
                    server: config.servers.to_string(),
                    source: other.into(),
                });
            }
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
        Index { links: &self.links, keys: &self.keys, apart: self.apart }
    }

    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, ClientError> {
        if let Some(principal) = new.principal.as_ref().filter(|_| self.apart) {
            // First the index: it may show too much, and never too little.
            Box::pin(self.index().add(principal, key, new.ttl, Cause::Creation)).await?;
        }
        let bytes = new.data.bytes();
        let mut command = CREATE.on([self.keys.session(key).as_str()], bytes);
        command.arg(millis(new.ttl)).arg(millis(new.age));
        command.arg(new.authenticated.map_or_else(String::new, |age| millis(age).to_string()));
        command
            .arg(new.version)
            .arg(bytes)
            .arg(new.secret.as_bytes())
            .arg(new.generation)
            .arg(new.since);
        command
            .arg(new.attributes.to_text())
            .arg(new.principal.as_ref().map_or("", Principal::as_str));
        command.arg(if self.apart { "" } else { "1" });
        for (name, value) in new.data.iter() {
            command.arg(name.as_str()).arg(value.as_str());
        }
        // A record with a principal is a sign-in.
        let created = match new.principal {
            Some(_) => CREATE.run_durably(&self.links, command).await,
            None => CREATE.run(&self.links, command, Repeat::Never).await,
        };
        if let (true, Some(principal), Err(ClientError::Full(_))) =
            (self.apart, &new.principal, &created)
        {
            // What is refused again and again must not fill the index.
            self.index().forget(principal, key).await;
        }
        match answer::int(&created?) {
            Some(0) => Ok(Created::New),
            Some(1) => Ok(Created::Taken),
            _ => Err(ClientError::Answer("a creation answers with 0 or 1")),
        }
    }

    async fn load(
        &self,
        key: &StoreKey,
    ) -> Result<Result<Option<Record>, Unreadable>, ClientError> {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(self.keys.session(key));
        let (fields, now) =
            answer::timed(self.links.send(&Request::Timed(&hash), Repeat::Once).await?)?;
        let is_empty = matches!(&fields, Value::Map(fields) if fields.is_empty());
        let found = found(fields, now)?;
        if is_empty || !matches!(found, Ok(None)) {
            return Ok(found);
        }
        // Seldom: the server has what the computed time says has expired.
        let (fields, now) =
            answer::timed(Box::pin(self.links.send(&Request::Told(&hash), Repeat::Once)).await?)?;
        self::found(fields, now)
    }

    async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        let mut indexed = None;
        if let (true, PrincipalChange::Set(principal), Some(ttl)) =
            (self.apart, &commit.principal, commit.ttl)
        {
            Box::pin(self.index().add(principal, key, ttl, Cause::SignIn)).await?;
            indexed = Some((principal.clone(), ttl));
        }
        let is_durable =
            commit.rotate.is_some() || commit.authentication() != AuthenticationChange::Keep;
        for _ in 0..MOST_INDEXED {
            let time = self.links.time_for_commit();
            let (script, command) =
                self.commit_command(key, commit, time.as_ref(), indexed.as_ref());
            let asked = Instant::now();
            let answer = if is_durable {
                script.run_durably(&self.links, command).await?
            } else {
                script.run(&self.links, command, Repeat::Never).await?
            };
            match answer::committing(&answer, commit, self.limits.data_bytes, time.as_ref())? {
                Committing::Index { principal, ttl } => {
                    let cause = if commit.principal == PrincipalChange::Keep {
                        Cause::Extension
                    } else {
                        Cause::SignIn
                    };
                    Box::pin(self.index().add(&principal, key, ttl, cause)).await?;
                    indexed = Some((principal, ttl));
                }
                settled => {
                    if let Committing::Done { now: Some(now), .. } = &settled {
                        self.links.note_time(ServerTime::new(asked, now.saturating_mul(1000)));
                    }
                    return Ok(settled);
                }
            }
        }
        Err(ClientError::Busy("the session changed its user again and again".to_owned()))
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        const SHAPE: ClientError = ClientError::Answer("a list begins with the time and a key");
        if self.apart {
            return self.index().list(principal, after, limit).await;
        }
        let mut command = LIST.on([self.keys.index(principal).as_str()], 0);
        command
            .arg(self.keys.session_prefix())
            .arg(principal.as_str())
            .arg(after.unwrap_or_default())
            .arg(limit);
        let answer = answer::list(LIST.run(&self.links, command, Repeat::Once).await?)?;
        let [now, last, entries @ ..] = answer.as_slice() else { return Err(SHAPE) };
        let now = answer::int(now).and_then(|now| u64::try_from(now).ok()).ok_or(SHAPE)?;
        let last = answer::text(last).ok_or(SHAPE)?;
        let (entries, _) = entries.as_chunks::<3>();
        let summary = |[key, head, attributes]: &[Value; 3]| {
            answer::summary(StoreKey::from_text(answer::text(key)?), head, attributes, now)
        };
        Ok(SummaryPage {
            sessions: entries.iter().filter_map(summary).collect(),
            next: (!last.is_empty()).then(|| scan::list_cursor(last)),
        })
    }

    /// One pass is enough: entries are in the order of keys, which no commit changes.
    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        if self.apart {
            return self.index().end_all(principal, except).await;
        }
        let (mut ended, mut last) = (0, String::new());
        loop {
            let mut command = DELETE_ALL.on([self.keys.index(principal).as_str()], 0);
            command
                .arg(self.keys.session_prefix())
                .arg(principal.as_str())
                .arg(except.map_or("", StoreKey::as_str));
            command.arg(if self.links.waits() { "1" } else { "" }).arg(&last);
            let answer = answer::list(DELETE_ALL.run_durably(&self.links, command).await?)?;
            let (Some(count), Some(visited)) =
                (answer.first().and_then(answer::int), answer.get(1).and_then(answer::text))
            else {
                return Err(ClientError::Answer("an end of all answers with a number and a key"));
            };
            ended += u64::try_from(count).unwrap_or(0);
            if visited.is_empty() {
                return Ok(ended);
            }
            visited.clone_into(&mut last);
        }
    }
}

impl RedisStore {
    /// Takes a session that is dead for good out of the index of a Cluster, beside the caller. An
    /// entry that stays is only passed over.
    fn forget(&self, principal: Principal, key: &StoreKey) {
        if self.0.apart {
            let (store, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                let forget = async {
                    store.0.index().forget(&principal, &key).await;
                    Ok(())
                };
                // It ends within the deadline, whether or not it succeeds.
                let _: Result<(), StoreError> = store.0.links.within(pin!(forget)).await;
            });
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

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = self.inner();
        let record = inner
            .links
            .within(pin!(async { inner.load(key).await?.map_err(|source| corrupt(key, source)) }))
            .await?;
        Ok(record.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = self.inner();
        commit.check(&inner.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        let committing =
            inner.links.within(pin!(async { Ok(inner.commit(key, &commit).await?) })).await?;
        match committing {
            Committing::Done { committed, former, .. } => {
                if let Some(former) = former {
                    self.forget(former, key);
                }
                Ok(Outcome::Done(committed))
            }
            Committing::Refused(outcome) => Ok(outcome),
            Committing::Rejected(rejection) => Err(rejection.into()),
            Committing::Corrupt => Err(corrupt(key, Unreadable::NoHead)),
            // `Inner::commit` settles it, or fails.
            Committing::Index { .. } => Err(ClientError::Answer("a commit is settled").into()),
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        let inner = self.inner();
        let ended = inner
            .links
            .within(pin!(async {
                Ok(inner.index().end(key, claim, None, Durability::Replicas).await?)
            }))
            .await?;
        if let (Deleted::Ended, Some(principal)) = (ended.deleted, ended.principal) {
            self.forget(principal, key);
        }
        Ok(ended.deleted)
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let inner = self.inner();
        let after = after.as_ref().map(scan::listed).transpose()?;
        inner
            .links
            .within(pin!(async {
                Ok(inner.list(principal, after, limit.clamp(1, scan::MOST)).await?)
            }))
            .await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let inner = self.inner();
        inner.links.within(pin!(async { Ok(inner.delete_all(principal, except).await?) })).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let inner = self.inner();
        let end = async {
            let (keys, next) =
                scan::keys(&inner.index(), after, limit.clamp(1, scan::MOST)).await?;
            Ok(DeletedPage { ended: inner.index().end_each(&keys, None).await?, next })
        };
        inner.links.within(pin!(end)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.inner();
        inner
            .links
            .within(pin!(async {
                Ok(scan::page(&inner.index(), after, limit.clamp(1, scan::MOST)).await?)
            }))
            .await
    }

    /// Redis purges by itself, so there is nothing to do.
    async fn delete_expired(&self, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = self.inner();
        let ping = async {
            Ok(inner
                .links
                .send(&Request::One(&redis::cmd("PING")), Repeat::Once)
                .await
                .map(drop)?)
        };
        inner.links.within(pin!(ping)).await
    }
}

/// Reads the answer to a load.
fn found(fields: Value, now: u64) -> Result<Result<Option<Record>, Unreadable>, ClientError> {
    match fields {
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Err(Unreadable::NoHead)),
        fields => Ok(answer::record(fields.extract_error()?, now)),
    }
}

fn corrupt(key: &StoreKey, source: Unreadable) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows where the servers are and how calls are bounded; there is no secret in it.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("links", &self.0.links)
            .field("prefix", &self.0.keys.prefix())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use session_core::SecretHash;

    use super::*;

    #[test]
    fn calls_are_small_enough_to_be_moved() {
        let store = RedisStore::new(&Config::new("redis://127.0.0.1/0").unwrap()).unwrap();
        let (inner, key, commit) = (
            store.inner(),
            StoreKey::from_text("AbCdefgh"),
            Commit::new(SecretHash::from_bytes([0; 32])),
        );
        // What makes connections, waits for replicas or writes an index apart is in boxes. Without
        // them a load has 10 KiB.
        let (load, commit) =
            (size_of_val(&inner.load(&key)), size_of_val(&inner.commit(&key, &commit)));
        assert!(load < 1024 && commit < 1536, "load {load}, commit {commit}");
    }
}
