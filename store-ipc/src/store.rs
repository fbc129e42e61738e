//! The client side.

use std::{fmt, io, os::unix::net::UnixStream, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, Limits, NewRecord, Outcome, Page,
    Principal, Rejection, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};
use tokio::sync::Semaphore;

use crate::{
    client::reconnecting::ReconnectingConnection,
    config::Config,
    error::{ClientError, ConfigError, STORE},
    wire::message::{Reply, Request},
};

/// Sessions that another process owns, reached over a Unix-domain socket. Cloning shares the
/// connection.
///
/// All calls of one store and its clones share one connection, many at once, answered in any order.
/// A call takes at most the deadline of its [`Config`], from its start to its reply, however long
/// the owner hangs or how many calls wait before it.
///
/// [`connect`](Self::connect) reaches an owner by its path: the connection is made by the first
/// call and again whenever it is lost, with pauses of at most 250 ms while nobody is there, and
/// calls meanwhile are `Unavailable` at once. [`from_stream`](Self::from_stream) takes a stream
/// that the process inherited; when the owner ends it, every later call is `Unavailable`.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers will do, also a `current_thread` one. The task that reads
/// and writes runs on the runtime of the first call. Calls from other runtimes and threads are
/// fine; a reply then crosses threads, so a web server whose workers each have a runtime is a
/// little faster with a store for each. If the task's runtime ends, the next call, or one that is
/// waiting, takes over on its own. A runtime that is blocked keeps the replies of all callers
/// waiting.
///
/// # Limits
/// Pages of `list`, `scan` and `delete_everyone` may be shorter than their limit, so that each fits
/// a frame and delays the calls of other clients for milliseconds only: go on until `next` is
/// `None`. `delete_expired` purges at most 10,000 sessions at once: call it until it answers 0.
///
/// # Cancel safety
/// Every call may be dropped at every await. A request is sent whole or not at all. One that is
/// queued is sent although its call was dropped or timed out; the owner carries it out, and its
/// reply is ignored.
///
/// # Panics
/// Calls panic outside a tokio runtime.
///
/// # Examples
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use session_core::{MemoryStore, NewRecord, SessionId, SessionStore};
/// # use store_ipc::{IpcStore, Owner};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
/// let owner = Owner::builder(Arc::new(MemoryStore::new())).build()?.spawn_thread()?;
/// owner.serve(theirs)?;
///
/// let store = IpcStore::from_stream(ours)?;
/// let id = SessionId::random()?;
/// let _ = store.create(&id.key(), NewRecord::new(id.secret_hash(), Duration::from_secs(1800))).await?;
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct IpcStore(Arc<Inner>);

struct Inner {
    connection: ReconnectingConnection,
    deadline: Duration,
    limits: Limits,
    max_in_flight: usize,
    /// One permit for each call that may wait for a reply.
    permits: Semaphore,
}

impl IpcStore {
    /// The store of the owner that listens at `path`, with the defaults of [`Config`]. The owner
    /// may come later.
    #[must_use]
    pub fn connect(path: impl AsRef<Path>) -> Self {
        let config = Config::new(path);
        Self::assemble(ReconnectingConnection::path(&config), &config)
    }

    /// The store of the owner that listens at the path of `config`. The owner may come later.
    ///
    /// # Errors
    /// [`ConfigError`] if the path is empty or a setting is out of range.
    pub fn connect_with(config: &Config) -> Result<Self, ConfigError> {
        config.check_path()?;
        config.check()?;
        Ok(Self::assemble(ReconnectingConnection::path(config), config))
    }

    /// The store of the owner at the other end of `stream`, with the defaults of [`Config`].
    ///
    /// # Errors
    /// An I/O error if the stream cannot be made non-blocking.
    pub fn from_stream(stream: UnixStream) -> io::Result<Self> {
        Self::from_stream_with(stream, &Config::new(""))
    }

    /// The store of the owner at the other end of `stream`. The path of `config` is not used.
    ///
    /// # Errors
    /// An I/O error if the stream cannot be made non-blocking, or of kind `InvalidInput` with a
    /// [`ConfigError`] if a setting is out of range.
    pub fn from_stream_with(stream: UnixStream, config: &Config) -> io::Result<Self> {
        config.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self::assemble(
            ReconnectingConnection::inherited(stream, config.frame_bytes.get())?,
            config,
        ))
    }

    fn assemble(connection: ReconnectingConnection, config: &Config) -> Self {
        let max_in_flight = config.max_in_flight.get();
        let permits = Semaphore::new(max_in_flight);
        Self(Arc::new(Inner {
            connection,
            deadline: config.deadline,
            limits: config.limits,
            max_in_flight,
            permits,
        }))
    }

    /// Sends a request and waits for its reply, both within the deadline.
    async fn call(&self, request: Request) -> Result<Reply, StoreError> {
        let inner = &*self.0;
        let exchange = async {
            // The semaphore is never closed; the permit goes back when this future ends or is
            // dropped.
            let _permit = inner.permits.acquire().await.map_err(|_| ClientError::Closed)?;
            inner.connection.call(&request).await
        };
        match tokio::time::timeout(inner.deadline, exchange).await {
            Ok(Ok(Reply::Failed(failure))) => Err(failure.into()),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(StoreError::Timeout { store: STORE, after: inner.deadline }),
        }
    }

    /// Sends a request with a cursor. Only a cursor of another store is too long to send, which the
    /// contract calls `Other`.
    async fn call_page(&self, request: Request) -> Result<Reply, StoreError> {
        self.call(request).await.map_err(|error| match error {
            StoreError::Rejected(rejection @ Rejection::DataTooLarge { .. }) => {
                StoreError::Other { store: STORE, source: rejection.into() }
            }
            error => error,
        })
    }
}

#[async_trait]
impl SessionStore for IpcStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        new.check(key, &self.0.limits)?;
        match self.call(Request::Create(key.clone(), new)).await? {
            Reply::Created(created) => Ok(created),
            _ => Err(unexpected_reply()),
        }
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        if !key.is_storable() {
            return Ok(None);
        }
        match self.call(Request::Load(key.clone())).await? {
            Reply::Loaded(stored) => Ok(stored),
            _ => Err(unexpected_reply()),
        }
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        commit.check(&self.0.limits)?;
        if !key.is_storable() {
            return Ok(Outcome::Gone);
        }
        match self.call(Request::Commit(key.clone(), commit)).await? {
            Reply::Committed(outcome) => Ok(outcome),
            _ => Err(unexpected_reply()),
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        match self.call(Request::Delete(key.clone(), claim)).await? {
            Reply::Deleted(deleted) => Ok(deleted),
            _ => Err(unexpected_reply()),
        }
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        match self.call_page(Request::List(principal.clone(), after, wire_limit(limit))).await? {
            Reply::Listed(page) => Ok(page),
            _ => Err(unexpected_reply()),
        }
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        // A key that no record can have excepts nothing, and an overlong one would not fit a frame.
        let except = except.filter(|key| key.is_storable()).cloned();
        count(&self.call(Request::DeleteAll(principal.clone(), except)).await?)
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        match self.call_page(Request::DeleteEveryone(after, wire_limit(limit))).await? {
            Reply::DeletedEveryone(page) => Ok(page),
            _ => Err(unexpected_reply()),
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        match self.call_page(Request::Scan(after, wire_limit(limit))).await? {
            Reply::Page(page) => Ok(page),
            _ => Err(unexpected_reply()),
        }
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        count(&self.call(Request::DeleteExpired(wire_limit(limit))).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match self.call(Request::Ping).await? {
            Reply::Pong => Ok(()),
            _ => Err(unexpected_reply()),
        }
    }
}

fn wire_limit(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

fn count(reply: &Reply) -> Result<u64, StoreError> {
    match reply {
        Reply::Count(count) => Ok(*count),
        _ => Err(unexpected_reply()),
    }
}

fn unexpected_reply() -> StoreError {
    ClientError::UnexpectedReply.into()
}

/// Shows where the owner is and how calls are bounded; there is no secret in it.
impl fmt::Debug for IpcStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcStore")
            .field("owner", &self.0.connection)
            .field("deadline", &self.0.deadline)
            .field("max_in_flight", &self.0.max_in_flight)
            .finish_non_exhaustive()
    }
}
