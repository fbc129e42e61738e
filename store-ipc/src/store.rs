//! [`IpcStore`]: the client side of the store.

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

/// Sessions that another process owns, reached over a Unix-domain socket. Clones share the
/// connection.
///
/// All calls of a store and its clones share one connection. Many calls can be in flight, and their
/// replies arrive in any order. A call takes at most the deadline of the [`Config`], from its start
/// to its reply, also if the owner hangs or many calls wait before it.
///
/// [`connect`](Self::connect) reaches an owner by its path. The first call connects, and later
/// calls connect again after a loss. While no owner listens, the client pauses at most 250 ms
/// between attempts, and calls fail at once with `Unavailable`. [`from_stream`](Self::from_stream)
/// takes a stream that the process inherited. After the owner has closed it, every call fails with
/// `Unavailable`.
///
/// # Runtimes
/// Any tokio runtime with I/O and timers works, also a `current_thread` one. The task that reads
/// and writes the connection runs on the runtime of the first call. Calls from other runtimes and
/// threads work too, but their replies cross threads. So a web server whose workers have a runtime
/// each is a little faster with a store for each worker. If the runtime of the task ends, the next
/// call or a waiting call starts the task again. A blocked runtime delays the replies of all
/// callers.
///
/// # Limits
/// Pages of `list`, `scan` and `delete_everyone` may be shorter than their limit, so that each page
/// fits a frame and delays the calls of other clients for milliseconds only. Continue until `next`
/// is `None`. `delete_expired` purges at most 10,000 sessions in one call. Repeat it until it
/// returns 0.
///
/// # Cancel safety
/// Every call may be dropped at every await. A request is sent whole or not at all. A queued
/// request is sent even if its call was dropped or timed out. The owner executes it, and the client
/// ignores the reply.
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
/// let new = NewRecord::new(id.secret_hash(), Duration::from_secs(1800));
/// let _ = store.create(&id.key(), new).await?;
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
    /// The store of the owner that listens at `path`, with the default [`Config`]. The owner need
    /// not run yet.
    #[must_use]
    pub fn connect(path: impl AsRef<Path>) -> Self {
        let config = Config::new(path);
        Self::assemble(ReconnectingConnection::path(&config), &config)
    }

    /// The store of the owner that listens at the path of `config`. The owner need not run yet.
    ///
    /// # Errors
    /// [`ConfigError`] if the path is empty or a setting is out of range.
    pub fn connect_with(config: &Config) -> Result<Self, ConfigError> {
        config.check_path()?;
        config.check()?;
        Ok(Self::assemble(ReconnectingConnection::path(config), config))
    }

    /// The store of the owner at the other end of `stream`, with the default [`Config`].
    ///
    /// # Errors
    /// An I/O error if the stream cannot be made non-blocking.
    pub fn from_stream(stream: UnixStream) -> io::Result<Self> {
        Self::from_stream_with(stream, &Config::new(""))
    }

    /// The store of the owner at the other end of `stream`. The path of `config` has no effect.
    ///
    /// # Errors
    /// An I/O error if the stream cannot be made non-blocking. An I/O error of kind `InvalidInput`
    /// with a [`ConfigError`] if a setting is out of range.
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
            // The semaphore is never closed. The permit is released when this future ends or is
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

    /// Sends a request with a cursor. Only a cursor of another store can be too long to send. The
    /// contract requires `Other` for it.
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
        // A key that cannot have a record exempts no session, and a very long key would not fit a
        // frame.
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

/// Shows the address of the owner and the limits of calls. The settings contain no secret.
impl fmt::Debug for IpcStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcStore")
            .field("owner", &self.0.connection)
            .field("deadline", &self.0.deadline)
            .field("max_in_flight", &self.0.max_in_flight)
            .finish_non_exhaustive()
    }
}
