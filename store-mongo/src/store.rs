//! The store.

use std::{fmt, future::Future, sync::Arc, time::Instant};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::{
    Client,
    bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId, rawdoc},
    options::{Hint, ReadPreference, ReturnDocument, SelectionCriteria},
};
use parking_lot::Mutex;
use session_core::{Commit, Created, Cursor, Listed, NewRecord, Outcome, Page, Principal, Record, SessionStore, StoreError, StoreKey};
use tokio::sync::SemaphorePermit;

use crate::{
    STORE,
    address::{Address, Addresses},
    clients::{Clients, Link, Sessions},
    clock::ServerClock,
    commit::{self, Committing},
    config::Config,
    document::{self, Head, Unreadable, alive, creation, expired, is_of, listing_and_now, record_and_now, with_key},
    error::{ClientError, ConfigError, ConnectError},
    field::{EXPIRES, FORMAT, ID, KEY, LINEAGE, NOW, PRINCIPAL},
    index::{self, Deployment, by_key, by_principal},
    purge, scan,
};

/// How often a commit is tried. Every time after the first means that the session changed, just so that the commit fits again.
const TRIES: usize = 8;
/// How many documents the first answer to a list holds.
const LIST: u32 = 1_000;

/// What is stored: nothing that lives, a record, or something else.
type Stored = Result<Option<Record>, Unreadable>;

/// Sessions in MongoDB. Cloning shares the connections.
///
/// One round trip for each call that reads or changes a session; the crate's page has the table. A call takes at most the deadline of its
/// [`Config`], waiting for its turn, a server and a connection included.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do. Each runtime that uses the store has a client of the driver of its own, so that a store may
/// outlive the runtime that opened it, and a web server's workers do not wake each other.
///
/// # Cancel safety
/// Every call may be dropped at every await. What was sent is not recalled: the server executes it, and its answer is ignored; the driver
/// closes that connection and opens another one.
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
/// let key = SessionId::random()?.store_key();
/// let _ = store.create(&key, NewRecord::new(Duration::from_secs(1800))).await?;
/// assert!(store.load(&key).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoStore(Arc<Inner>);

struct Inner {
    config: Config,
    clients: Clients,
    addresses: Addresses,
    clock: ServerClock,
    /// What the servers are, once the indexes are known to be there.
    deployment: Mutex<Option<Deployment>>,
    /// Held by the call that sees to the indexes.
    preparing: tokio::sync::Mutex<()>,
}

impl MongoStore {
    /// The store of these settings. Connects with the first call, which sees to the indexes too.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::over(Clients::own(config), config)
    }

    /// The same over a client that the application has; of the settings' URL only database and collection count, and its write and read concern.
    /// The client has to be used on the runtime that made it, or on one that ends before that one does.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit.
    pub fn with_client(client: &Client, config: &Config) -> Result<Self, ConfigError> {
        Self::over(Clients::given(client, config), config)
    }

    /// The store of these settings, after a look at the server: its version, the login, the indexes.
    ///
    /// A server that cannot be reached is no error, only a warning in the log: the store works once it is up.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings do not fit, the server is older than 5.0, it refuses the login, or an index is in the way.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let store = Self::new(config)?;
        let inner = &store.0;
        match inner.call(|| async { inner.ready().await.map(drop) }).await {
            Err(error) if error.is_transient() => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(server = %config.servers(), why, "sessions cannot be reached yet");
            }
            // What is wrong stands in the source; that it is the store's failure goes without saying here.
            Err(StoreError::Other { source, .. }) => return Err(ConnectError::Server { server: config.servers().to_string(), source }),
            Err(other) => return Err(ConnectError::Server { server: config.servers().to_string(), source: other.into() }),
            Ok(()) => {}
        }
        Ok(store)
    }

    fn over(clients: Clients, config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            clients,
            addresses: Addresses::default(),
            clock: ServerClock::default(),
            deployment: Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
            config: config.clone(),
        })))
    }
}

impl Inner {
    /// Does `work` in its turn and within the deadline, and once more if the collection turns out to have lost its indexes.
    async fn call<T, F: Future<Output = Result<T, ClientError>>>(&self, work: impl Fn() -> F) -> Result<T, StoreError> {
        let in_turn = async {
            let link = self.clients.link().await?;
            let _turn = self.turn(&link).await?;
            match work().await {
                Err(ClientError::NoIndex) => {
                    *self.deployment.lock() = None;
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

    /// Waits for a turn: for half of the deadline, so that who gets one has time to use it. Who asks the driver for a connection and gives up
    /// stays in its queue.
    async fn turn<'l>(&self, link: &'l Link) -> Result<SemaphorePermit<'l>, ClientError> {
        let within = self.config.deadline / 2;
        match tokio::time::timeout(within, link.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Only `close` makes it fail, and nobody calls that.
            Ok(Err(_)) | Err(_) => Err(ClientError::Busy(format!("all connections were in use for {within:?}; nothing was done"))),
        }
    }

    /// The collection, with its indexes.
    async fn ready(&self) -> Result<(Sessions, Deployment), ClientError> {
        let sessions = self.clients.link().await?.sessions;
        let known = *self.deployment.lock();
        match known {
            Some(deployment) => Ok((sessions, deployment)),
            None => Box::pin(self.prepare(sessions)).await,
        }
    }

    async fn prepare(&self, sessions: Sessions) -> Result<(Sessions, Deployment), ClientError> {
        let _one_at_a_time = self.preparing.lock().await;
        let known = *self.deployment.lock();
        let deployment = match known {
            Some(deployment) => deployment,
            None => index::prepare(&sessions).await?,
        };
        *self.deployment.lock() = Some(deployment);
        Ok((sessions, deployment))
    }

    /// Where the key's document lies, if that is known and of use.
    fn address(&self, key: &StoreKey, deployment: Deployment) -> Option<Address> {
        self.addresses.of(key).filter(|_| deployment == Deployment::Whole)
    }

    fn remember(&self, key: &StoreKey, document: &RawDocumentBuf) {
        if let Some(address) = document::address(document) {
            self.addresses.put(key, address);
        }
    }

    async fn create(&self, key: &StoreKey, new: &NewRecord) -> Result<Created, ClientError> {
        let (sessions, deployment) = self.ready().await?;
        for _ in 0..TRIES {
            // Nothing has this `_id`, so this inserts or fails, and is no change of anything: an insert as such cannot tell the time.
            let id = ObjectId::new();
            let mut nobody = doc! { ID: id };
            if deployment == Deployment::Sharded {
                nobody.insert(LINEAGE, key.lineage());
            }
            match sessions.update_one(nobody, creation(key, new)).upsert(true).await.map_err(ClientError::from) {
                Err(ClientError::Taken) if self.make_room(&sessions, key).await? => {}
                Err(ClientError::Taken) => return Ok(Created::Taken),
                Err(error) => return Err(error),
                Ok(_) => {
                    self.addresses.put(key, Address { id, small: document::is_small(new.data.bytes()) });
                    return Ok(Created::New);
                }
            }
        }
        // Each time a document had the key, and none had it a moment later; or an index that is none of these keeps the new one out.
        Err(ClientError::Taken)
    }

    /// Whether no document has the key any more: one whose time is over is deleted.
    async fn make_room(&self, sessions: &Sessions, key: &StoreKey) -> Result<bool, ClientError> {
        let mut leftover = with_key(key);
        leftover.insert(FORMAT, document::CURRENT);
        leftover.extend(expired());
        if sessions.delete_one(leftover).hint(by_key()).await?.deleted_count > 0 {
            return Ok(true);
        }
        let there = sessions.find_one(with_key(key)).projection(doc! { ID: 1 }).hint(by_key()).await?;
        Ok(there.is_none())
    }

    async fn load(&self, key: &StoreKey) -> Result<Stored, ClientError> {
        let (sessions, deployment) = self.ready().await?;
        if let Some(address) = self.address(key, deployment) {
            match self.find(&sessions, doc! { ID: address.id }, None).await? {
                Some((document, now)) if is_of(&document, key) => return Ok(document::record(&document, now)),
                // It has moved or ended. There may be another one, if the key was used once more.
                _ => self.addresses.forget(key),
            }
        }
        let Some((document, now)) = self.find(&sessions, with_key(key), Some(by_key())).await? else { return Ok(Ok(None)) };
        self.remember(key, &document);
        Ok(document::record(&document, now))
    }

    /// A document, and the server's time.
    async fn find(
        &self,
        sessions: &Sessions,
        filter: Document,
        hint: Option<Hint>,
    ) -> Result<Option<(RawDocumentBuf, DateTime)>, ClientError> {
        let mut find = sessions.find_one(filter);
        if let Some(hint) = hint {
            find = find.hint(hint);
        }
        if let Some(now) = self.clock.recent() {
            return Ok(find.await?.map(|document| (document, now)));
        }
        let asked = Instant::now();
        let Some(document) = find.projection(record_and_now()).await? else { return Ok(None) };
        let now = document::time(&document, NOW).map_err(|_| ClientError::Answer("a projection has what it computes"))?;
        self.clock.note(asked, now);
        Ok(Some((document, now)))
    }

    async fn commit(&self, key: &StoreKey, commit: &Commit) -> Result<Committing, ClientError> {
        let cap = self.config.limits.data_bytes;
        if commit.is_empty() {
            return Ok(match self.load(key).await? {
                Ok(record) => commit::explain(commit, record.as_ref(), cap),
                Err(unreadable) => Committing::Corrupt(unreadable),
            });
        }
        let (sessions, deployment) = self.ready().await?;
        // Any number that the last commit did not leave will do.
        let mark = fastrand::i64(..);
        let pipeline = commit::pipeline(key, commit, cap, mark);
        for _ in 0..TRIES {
            let asked = Instant::now();
            match self.update(&sessions, deployment, key, commit, pipeline.clone()).await {
                Ok(None) => return Ok(Committing::Settled(Outcome::Gone)),
                Ok(Some(after)) if commit::took_effect(&after, mark) => return Ok(self.settle(key, commit, &after, asked)),
                Ok(Some(_)) => {
                    let why = match self.load(key).await? {
                        Ok(record) => commit::explain(commit, record.as_ref(), cap),
                        Err(unreadable) => Committing::Corrupt(unreadable),
                    };
                    if !matches!(why, Committing::Again) {
                        return Ok(why);
                    }
                }
                Err(ClientError::Taken) => {
                    let Some(target) = &commit.move_to else { return Err(ClientError::Taken) };
                    if !self.make_room(&sessions, target).await? {
                        return Ok(Committing::Settled(Outcome::Conflict));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::Busy("the session changed again and again".to_owned()))
    }

    /// Notes and reads what a commit has made of a document.
    fn settle(&self, key: &StoreKey, commit: &Commit, after: &RawDocumentBuf, asked: Instant) -> Committing {
        let target = commit.move_to.as_ref().unwrap_or(key);
        if target != key {
            self.addresses.forget(key);
        }
        self.remember(target, after);
        match commit::committed(after, commit) {
            Ok((committed, now)) => {
                self.clock.note(asked, now);
                Committing::Settled(Outcome::Done(committed))
            }
            Err(unreadable) => Committing::Corrupt(unreadable),
        }
    }

    /// Sends a commit, and returns the document after it; `None` if no document has the key.
    async fn update(
        &self,
        sessions: &Sessions,
        deployment: Deployment,
        key: &StoreKey,
        commit: &Commit,
        pipeline: Vec<Document>,
    ) -> Result<Option<RawDocumentBuf>, ClientError> {
        if let Some(address) = self.address(key, deployment) {
            let mut update = sessions.find_one_and_update(doc! { ID: address.id }, pipeline.clone()).return_document(ReturnDocument::After);
            if !address.small {
                update = update.projection(commit::answer_fields(commit));
            }
            if let Some(after) = update.await? {
                return Ok(Some(after));
            }
            self.addresses.forget(key);
        }
        let update = sessions.find_one_and_update(with_key(key), pipeline).return_document(ReturnDocument::After);
        Ok(update.projection(commit::answer_fields(commit)).hint(by_key()).await?)
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, ClientError> {
        let (sessions, _) = self.ready().await?;
        let deletion = sessions.find_one_and_delete(with_key(key)).projection(doc! { EXPIRES: 1, NOW: "$$NOW" }).hint(by_key());
        let deleted = deletion.await?;
        self.addresses.forget(key);
        let Some(deleted) = deleted else { return Ok(false) };
        // What has no time that can be read was a session all the same.
        let times = (document::time(&deleted, EXPIRES), document::time(&deleted, NOW));
        Ok(!matches!(times, (Ok(expires), Ok(now)) if expires <= now))
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let (sessions, _) = self.ready().await?;
        let theirs = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
        let found = sessions.find(theirs).projection(listing_and_now()).batch_size(LIST).hint(by_principal()).await?;
        let documents: Vec<RawDocumentBuf> = found.try_collect().await?;
        let mut listed: Vec<Listed> = documents.iter().filter_map(listed).collect();
        listed.sort_by_key(|listed| listed.age);
        Ok(listed)
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, ClientError> {
        let (sessions, _) = self.ready().await?;
        let mut theirs = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
        if let Some(except) = except {
            theirs.insert(KEY, doc! { "$ne": except.as_str() });
        }
        let mut ended = 0;
        loop {
            let deleted = sessions.delete_many(theirs.clone()).hint(by_principal()).await?.deleted_count;
            ended += deleted;
            // The index is in the order of expiry, so one walk can miss a session whose life is shortened meanwhile.
            if deleted == 0 {
                return Ok(ended);
            }
        }
    }
}

fn listed(document: &RawDocumentBuf) -> Option<Listed> {
    let (head, now) = (Head::read(document).ok()?, document::time(document, NOW).ok()?);
    Some(Listed { key: document::key(document)?, age: head.age(now), ttl: head.ttl(now)? })
}

#[async_trait]
impl SessionStore for MongoStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let inner = &self.0;
        new.check(key, &inner.config.limits)?;
        inner.call(|| inner.create(key, &new)).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        let inner = &self.0;
        inner.call(|| inner.load(key)).await?.map_err(|unreadable| corrupt(key, unreadable))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let inner = &self.0;
        commit.check(key, &inner.config.limits)?;
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

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        if !key.is_storable() {
            return Ok(false);
        }
        let inner = &self.0;
        inner.call(|| inner.delete(key)).await
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.list(principal)).await
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner.call(|| inner.delete_all(principal, except)).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = &self.0;
        inner
            .call(|| async {
                let (sessions, _) = inner.ready().await?;
                scan::page(&sessions, after.as_ref(), limit).await
            })
            .await
    }

    /// The server purges by itself about once a minute; this does not wait for it.
    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let inner = &self.0;
        inner
            .call(|| async {
                let (sessions, _) = inner.ready().await?;
                purge::delete_expired(&sessions, limit).await
            })
            .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner
            .call(|| async {
                let sessions = inner.clients.link().await?.sessions;
                let database = sessions.client().database(&inner.config.database);
                let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
                Ok(database.run_raw_command(rawdoc! { "ping": 1 }).selection_criteria(primary).await.map(drop)?)
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
    use super::*;

    #[test]
    fn calls_are_small_enough_to_be_moved() {
        let store = MongoStore::new(&Config::new("mongodb://127.0.0.1/").unwrap()).unwrap();
        // The driver puts its own futures into boxes; what is left is moved a few times.
        let (inner, key, commit) = (&store.0, StoreKey::from_text("AbCdefgh"), Commit::new());
        let (load, commit) = (size_of_val(&inner.load(&key)), size_of_val(&inner.commit(&key, &commit)));
        let called = size_of_val(&inner.call(|| inner.load(&key)));
        assert!(load < 1024 && commit < 1024 && called < 1536, "load {load}, commit {commit}, in its turn {called}");
    }
}
