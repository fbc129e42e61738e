//! [`RedisStore`]: every call of the store, from its checks to its result.

use std::{fmt, pin::pin, sync::Arc, time::Instant};

use async_trait::async_trait;
use redis::Value;
use session_core::{
    AuthenticationChange, Claim, Commit, Created, Cursor, Deleted, DeletedPage, Limits, NewRecord,
    Outcome, Page, Principal, PrincipalChange, Record, SessionStore, StoreError, StoreKey, Stored,
    SummaryPage,
};

use crate::{
    codec::{self, CommitAnswer, DecodeError},
    commit::CommitContext,
    config::Config,
    connect::{
        clock::ServerTime,
        command::{Request, millis},
        connections::{Connections, Retry},
        decode,
        script::{CREATE, DELETE_ALL, Durability, LIST},
    },
    error::{ClientError, ConfigError, ConnectError, STORE},
    index::{EntryCause, Index, MAX_PAGE, list_cursor, listed_key},
    keys::Keys,
    scan::Scan,
};

/// How often a commit is sent in a Cluster. Each attempt after the second means that the session
/// changed its user meanwhile.
const MAX_COMMIT_ATTEMPTS: usize = 4;

/// Sessions in Redis or Valkey. Clones share the connections.
///
/// On one server most calls take one round trip. The crate's page has a table of all calls and of
/// the additional round trips in a Cluster. A call takes at most [`Config::deadline`], including
/// the wait for a permit and for a connection.
///
/// # Runtimes
/// The store works in any tokio runtime with I/O and timers. Each thread uses one of
/// [`Config::connections`]. The runtime of the thread that used the connection first drives it. If
/// that runtime ends, the next call makes a new connection.
///
/// # Cancel safety
/// Every call may be dropped at every await. The store sends a command completely or not at all. If
/// a call is dropped after that, the server executes the command, and the store ignores the answer.
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
/// let record = NewRecord::new(id.secret_hash(), Duration::from_secs(1800));
/// let _ = store.create(&id.key(), record).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    connections: Connections,
    keys: Keys,
    limits: Limits,
    is_cluster: bool,
    /// Whether the store writes the index of a user with its own command. In a Cluster the index is
    /// on another node than the user's sessions.
    has_separate_index: bool,
}

impl RedisStore {
    /// A store with these settings. It connects with the first call.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings are not valid.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            connections: Connections::new(config)?,
            keys: Keys::new(&config.prefix),
            limits: config.limits,
            is_cluster: config.servers.is_cluster(),
            has_separate_index: config.has_separate_index(),
        })))
    }

    /// A store with these settings, after a check of the server's version and of the login.
    ///
    /// If the server is unreachable, the result is still a store, and the log has a warning. The
    /// store works as soon as the server is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings are not valid, the server is older than 6.2, or it refuses
    /// the login.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        match store.inner().connections.probe().await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers, why, "sessions cannot be reached yet");
            }
            // The source has the reason. `StoreError::Other` itself adds nothing here.
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
        Index {
            connections: &self.connections,
            keys: &self.keys,
            is_separate: self.has_separate_index,
        }
    }

    fn scan(&self) -> Scan<'_> {
        Scan { connections: &self.connections, keys: &self.keys, is_cluster: self.is_cluster }
    }

    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, ClientError> {
        if let Some(principal) = new.principal.as_ref().filter(|_| self.has_separate_index) {
            // The index comes first: it may have an entry too many, but must not miss a session.
            Box::pin(self.index().add(principal, key, new.ttl, EntryCause::Creation)).await?;
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
        command.arg(if self.has_separate_index { "" } else { "1" });
        for (name, value) in new.data.iter() {
            command.arg(name.as_str()).arg(value.as_str());
        }
        // The creation of a record with a principal is a sign-in.
        let created = match new.principal {
            Some(_) => CREATE.run_durably(&self.connections, command).await,
            None => CREATE.run(&self.connections, command, Retry::Never).await,
        };
        if let (true, Some(principal), Err(ClientError::Full(_))) =
            (self.has_separate_index, &new.principal, &created)
        {
            // Otherwise refused sessions would fill the index.
            self.index().remove(principal, key).await;
        }
        match decode::int(&created?) {
            Some(0) => Ok(Created::New),
            Some(1) => Ok(Created::Taken),
            _ => Err(ClientError::UnexpectedAnswer("expected 0 or 1 from a creation")),
        }
    }

    async fn load(
        &self,
        key: &StoreKey,
    ) -> Result<Result<Option<Record>, DecodeError>, ClientError> {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(self.keys.session(key));
        let answer = self.connections.send(&Request::WithTime(&hash), Retry::IfLost).await?;
        let (fields, now) = decode::answer_and_time(answer)?;
        let is_empty = matches!(&fields, Value::Map(fields) if fields.is_empty());
        let loaded = read_record(fields, now)?;
        if is_empty || !matches!(loaded, Ok(None)) {
            return Ok(loaded);
        }
        // Rare: the record is expired by the cached time, and the server still has it.
        let request = Request::WithFreshTime(&hash);
        let answer = Box::pin(self.connections.send(&request, Retry::IfLost)).await?;
        let (fields, now) = decode::answer_and_time(answer)?;
        read_record(fields, now)
    }

    async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<CommitAnswer, ClientError> {
        let mut indexed = None;
        if let (true, PrincipalChange::Set(principal), Some(ttl)) =
            (self.has_separate_index, &commit.principal, commit.ttl)
        {
            Box::pin(self.index().add(principal, key, ttl, EntryCause::SignIn)).await?;
            indexed = Some((principal.clone(), ttl));
        }
        let is_durable =
            commit.rotate.is_some() || commit.authentication() != AuthenticationChange::Keep;
        let session = self.keys.session(key);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let time = self.connections.time_for_commit();
            let context = CommitContext {
                session: &session,
                data_limit: self.limits.data_bytes,
                has_separate_index: self.has_separate_index,
                time: time.as_ref(),
                indexed: indexed.as_ref(),
            };
            let (script, command) = context.command(commit);
            let asked_at = Instant::now();
            let answer = if is_durable {
                script.run_durably(&self.connections, command).await?
            } else {
                script.run(&self.connections, command, Retry::Never).await?
            };
            match codec::commit_answer(&answer, commit, self.limits.data_bytes, time.as_ref())? {
                CommitAnswer::NeedsIndex { principal, ttl } => {
                    let cause = if commit.principal == PrincipalChange::Keep {
                        EntryCause::Extension
                    } else {
                        EntryCause::SignIn
                    };
                    Box::pin(self.index().add(&principal, key, ttl, cause)).await?;
                    indexed = Some((principal, ttl));
                }
                answer => {
                    if let CommitAnswer::Done { now: Some(now), .. } = &answer {
                        let micros = now.saturating_mul(1000);
                        self.connections.record_time(ServerTime::new(asked_at, micros));
                    }
                    return Ok(answer);
                }
            }
        }
        Err(ClientError::Busy("the session changed its user during each attempt".to_owned()))
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        const SHAPE: ClientError =
            ClientError::UnexpectedAnswer("expected a time and a key at the start of a list");
        if self.has_separate_index {
            return self.index().list(principal, after, limit).await;
        }
        let mut command = LIST.on([self.keys.index(principal).as_str()], 0);
        command
            .arg(self.keys.session_prefix())
            .arg(principal.as_str())
            .arg(after.unwrap_or_default())
            .arg(limit);
        let answer = decode::list(LIST.run(&self.connections, command, Retry::IfLost).await?)?;
        let [now, last, entries @ ..] = answer.as_slice() else { return Err(SHAPE) };
        let now = decode::int(now).and_then(|now| u64::try_from(now).ok()).ok_or(SHAPE)?;
        let last = decode::text(last).ok_or(SHAPE)?;
        let (entries, _) = entries.as_chunks::<3>();
        let summary = |[key, head, attributes]: &[Value; 3]| {
            codec::summary(StoreKey::from_text(decode::text(key)?), head, attributes, now)
        };
        Ok(SummaryPage {
            sessions: entries.iter().filter_map(summary).collect(),
            next: (!last.is_empty()).then(|| list_cursor(last)),
        })
    }

    /// One pass is enough: entries are in the order of their keys, which no commit changes.
    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        if self.has_separate_index {
            return self.index().delete_all(principal, except).await;
        }
        let (mut ended, mut last) = (0, String::new());
        loop {
            let mut command = DELETE_ALL.on([self.keys.index(principal).as_str()], 0);
            command
                .arg(self.keys.session_prefix())
                .arg(principal.as_str())
                .arg(except.map_or("", StoreKey::as_str));
            let waits = self.connections.waits_for_replicas();
            command.arg(if waits { "1" } else { "" }).arg(&last);
            let answer = decode::list(DELETE_ALL.run_durably(&self.connections, command).await?)?;
            let (Some(count), Some(visited)) =
                (answer.first().and_then(decode::int), answer.get(1).and_then(decode::text))
            else {
                return Err(ClientError::UnexpectedAnswer(
                    "expected a number and a key from delete_all",
                ));
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
    /// Removes the index entry of a session that no longer exists, if the index has its own
    /// commands. This happens in the background. If it fails, lists ignore the entry.
    fn remove_entry(&self, principal: Principal, key: &StoreKey) {
        if self.0.has_separate_index {
            let (store, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                let remove = async {
                    store.0.index().remove(&principal, &key).await;
                    Ok(())
                };
                // The task ends within the deadline. Its result does not matter.
                let _: Result<(), StoreError> =
                    store.0.connections.within_deadline(pin!(remove)).await;
            });
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let inner = self.inner();
        new.check(key, &inner.limits)?;
        inner.connections.within_deadline(pin!(async { Ok(inner.create(key, new).await?) })).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = self.inner();
        let record = inner
            .connections
            .within_deadline(pin!(async {
                inner.load(key).await?.map_err(|source| corrupt(key, source))
            }))
            .await?;
        Ok(record.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = self.inner();
        commit.check(&inner.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        let committing = async { Ok(inner.commit(key, &commit).await?) };
        match inner.connections.within_deadline(pin!(committing)).await? {
            CommitAnswer::Done { committed, former, .. } => {
                if let Some(former) = former {
                    self.remove_entry(former, key);
                }
                Ok(Outcome::Done(committed))
            }
            CommitAnswer::Refused(outcome) => Ok(outcome),
            CommitAnswer::Rejected(rejection) => Err(rejection.into()),
            CommitAnswer::Corrupt => Err(corrupt(key, DecodeError::NoHead)),
            // `Inner::commit` adds the index entry and commits again, or fails.
            CommitAnswer::NeedsIndex { .. } => {
                Err(ClientError::UnexpectedAnswer("expected a final verdict").into())
            }
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        let inner = self.inner();
        let ended = inner
            .connections
            .within_deadline(pin!(async {
                Ok(inner.index().delete(key, claim, None, Durability::Replicas).await?)
            }))
            .await?;
        if let (Deleted::Ended, Some(principal)) = (ended.deleted, ended.principal) {
            self.remove_entry(principal, key);
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
        let after = after.as_ref().map(listed_key).transpose()?;
        inner
            .connections
            .within_deadline(pin!(async {
                Ok(inner.list(principal, after, limit.clamp(1, MAX_PAGE)).await?)
            }))
            .await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let inner = self.inner();
        inner
            .connections
            .within_deadline(pin!(async { Ok(inner.delete_all(principal, except).await?) }))
            .await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let inner = self.inner();
        let end = async {
            let (keys, next) = inner.scan().keys(after, limit.clamp(1, MAX_PAGE)).await?;
            Ok(DeletedPage { ended: inner.index().delete_each(&keys, None).await?, next })
        };
        inner.connections.within_deadline(pin!(end)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.inner();
        inner
            .connections
            .within_deadline(pin!(async {
                Ok(inner.scan().page(after, limit.clamp(1, MAX_PAGE)).await?)
            }))
            .await
    }

    /// Redis removes expired sessions by itself, so there is nothing to do.
    async fn delete_expired(&self, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = self.inner();
        let ping = async {
            let ping = redis::cmd("PING");
            Ok(inner.connections.send(&Request::Single(&ping), Retry::IfLost).await.map(drop)?)
        };
        inner.connections.within_deadline(pin!(ping)).await
    }
}

/// Reads the answer of `HGETALL` for a load.
fn read_record(
    fields: Value,
    now: u64,
) -> Result<Result<Option<Record>, DecodeError>, ClientError> {
    match fields {
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Err(DecodeError::NoHead)),
        fields => Ok(codec::record(fields.extract_error()?, now)),
    }
}

fn corrupt(key: &StoreKey, source: DecodeError) -> StoreError {
    StoreError::Corrupt { store: STORE, handle: key.handle(), source: source.into() }
}

/// Shows the addresses of the servers and the limits, but no secret.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("connections", &self.0.connections)
            .field("prefix", &self.0.keys.prefix())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use session_core::SecretHash;

    use super::*;

    #[test]
    fn futures_of_calls_are_small() {
        let store = RedisStore::new(&Config::new("redis://127.0.0.1/0").unwrap()).unwrap();
        let (inner, key, commit) = (
            store.inner(),
            StoreKey::from_text("AbCdefgh"),
            Commit::new(SecretHash::from_bytes([0; 32])),
        );
        // Connecting, waiting for replicas and writing an index are in boxes. Without the boxes the
        // future of a load has 10 KiB.
        let (load, commit) =
            (size_of_val(&inner.load(&key)), size_of_val(&inner.commit(&key, &commit)));
        assert!(load < 1024 && commit < 1536, "load {load}, commit {commit}");
    }
}
