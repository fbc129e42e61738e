//! The connections of a store: a pool for each runtime that uses it, or the application's pool.
//!
//! The runtime that opened a connection also drives it. So each tokio runtime has its own pool. A
//! worker of a web server that has its own runtime gets its answers on its own thread, and no
//! connection depends on a runtime that has ended.
//!
//! The driver's own pool checks each connection that is returned, which costs one more round trip
//! for each call. This pool checks a connection only if it was idle for a while, or if its last
//! call was cancelled.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use sqlx::{ConnectOptions, Connection, Database, pool::PoolConnection};
use store_support::runtime_entries::remove_entry;
use tokio::{
    runtime::{Handle, Id},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::error::ClientError;

/// A connection that was idle for longer is checked before its next use, because its server may be
/// gone.
const FRESH_FOR: Duration = Duration::from_secs(1);

type Options<D> = <<D as Database>::Connection as Connection>::Options;

/// The connections of a store.
pub(crate) enum Pool<D: Database> {
    /// The store's own.
    Own(OwnPool<D>),
    /// The application's.
    Application(sqlx::Pool<D>),
}

/// A pool for each runtime.
pub(crate) struct OwnPool<D: Database> {
    options: Options<D>,
    max_connections: usize,
    wait: Duration,
    entries: Arc<RwLock<Vec<Entry<D>>>>,
}

/// The connections of one runtime.
struct RuntimePool<D: Database> {
    /// One permit for each connection that may exist.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle<D>>>,
    /// Connections that were opened in an earlier generation are closed after their call.
    generation: AtomicU64,
}

struct Idle<D: Database> {
    connection: D::Connection,
    since: Instant,
}

struct Entry<D: Database> {
    runtime: Id,
    pool: Arc<RuntimePool<D>>,
    /// Ends the task that removes this entry when the runtime ends.
    _store_alive: oneshot::Sender<()>,
}

impl<D: Database> Pool<D> {
    /// A pool with at most `max_connections` connections for each runtime. A call waits at most
    /// `wait` for a connection.
    pub(crate) fn own(options: Options<D>, max_connections: usize, wait: Duration) -> Self {
        Self::Own(OwnPool { options, max_connections, wait, entries: Arc::default() })
    }

    /// Closes all connections: those in use after their call. The application's pool keeps its
    /// connections.
    #[cfg(feature = "sqlite")]
    pub(crate) fn close_connections(&self) {
        let Self::Own(own) = self else { return };
        for entry in &*own.entries.read() {
            entry.pool.generation.fetch_add(1, Ordering::Relaxed);
            entry.pool.idle.lock().clear();
        }
    }

    /// Takes a connection for one call.
    pub(crate) async fn acquire(&self) -> Result<Checkout<D>, ClientError> {
        match self {
            Self::Application(pool) => Ok(Checkout::Application(pool.acquire().await?)),
            Self::Own(own) => own.acquire().await.map(Checkout::Own),
        }
    }
}

impl<D: Database> OwnPool<D> {
    async fn acquire(&self) -> Result<PooledConnection<D>, ClientError> {
        let pool = self.runtime_pool(Handle::current().id());
        let Ok(Ok(permit)) = timeout(self.wait, Arc::clone(&pool.permits).acquire_owned()).await
        else {
            return Err(ClientError::Busy(format!(
                "all connections were in use for {:?}; nothing was sent",
                self.wait
            )));
        };
        let idle = pool.idle.lock().pop();
        let Some(Idle { connection, since }) = idle else {
            return self.connect(pool, Some(permit)).await;
        };
        let is_clean = since.elapsed() < FRESH_FOR;
        let mut connection = PooledConnection {
            connection: Some(connection),
            generation: pool.generation.load(Ordering::Relaxed),
            pool: Arc::clone(&pool),
            permit: Some(permit),
            wait: self.wait,
            is_clean,
        };
        // If the call is cancelled during this ping, the connection is closed: the MySQL driver
        // forgets that the answer to the ping is outstanding, and would take it for the answer to
        // the next statement.
        if is_clean || connection.ping().await.is_ok() {
            connection.is_clean = true;
            return Ok(connection);
        }
        // The server is gone, so the other idle connections are lost too.
        pool.idle.lock().clear();
        let permit = connection.close();
        self.connect(pool, permit).await
    }

    async fn connect(
        &self,
        pool: Arc<RuntimePool<D>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PooledConnection<D>, ClientError> {
        let generation = pool.generation.load(Ordering::Relaxed);
        let connection =
            Box::pin(self.options.connect()).await.map_err(ClientError::of_connecting)?;
        Ok(PooledConnection {
            connection: Some(connection),
            generation,
            pool,
            permit,
            wait: self.wait,
            is_clean: true,
        })
    }

    /// The pool of this runtime, which is added at the runtime's first call.
    fn runtime_pool(&self, runtime: Id) -> Arc<RuntimePool<D>> {
        let find = |entries: &[Entry<D>]| {
            entries
                .iter()
                .find(|entry| entry.runtime == runtime)
                .map(|entry| Arc::clone(&entry.pool))
        };
        if let Some(pool) = find(&self.entries.read()) {
            return pool;
        }
        let pool = Arc::new(RuntimePool {
            permits: Arc::new(Semaphore::new(self.max_connections)),
            idle: Mutex::default(),
            generation: AtomicU64::new(0),
        });
        let (store_alive, store_ends) = oneshot::channel();
        {
            let mut entries = self.entries.write();
            if let Some(existing) = find(&entries) {
                return existing;
            }
            entries.push(Entry { runtime, pool: Arc::clone(&pool), _store_alive: store_alive });
        }
        // The lock is released here: a runtime that is shutting down drops the new task at once,
        // and that drop takes the lock to remove the entry.
        let end = RuntimeEnd { runtime, entries: Arc::downgrade(&self.entries) };
        tokio::spawn(async move {
            let _end = end;
            // This returns an error when the store ends, because nothing is ever sent.
            let _ = store_ends.await;
        });
        pool
    }
}

/// The state of a connection after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterError {
    /// The database answered, so the connection can be used again.
    Usable,
    /// The answer is missing, or the connection must not be used again.
    Broken,
}

/// A connection that one call uses.
pub(crate) enum Checkout<D: Database> {
    Own(PooledConnection<D>),
    Application(PoolConnection<D>),
}

impl<D: Database> Checkout<D> {
    /// Returns the connection after an answer. The next call can use it without a check.
    pub(crate) fn release(self) {
        if let Self::Own(mut connection) = self {
            connection.put_back();
        }
    }

    /// Closes the connection on drop unless it is released after an answer. For work that leaves
    /// the connection in another state until it is complete.
    pub(crate) fn close_unless_released(&mut self) {
        match self {
            Self::Own(connection) => connection.is_clean = false,
            Self::Application(connection) => connection.close_on_drop(),
        }
    }

    /// Returns the connection after an error. A broken one is closed, and so are the idle ones,
    /// because their server is probably gone as well.
    pub(crate) fn release_after_error(self, state: AfterError) {
        match self {
            Self::Own(mut connection) if state == AfterError::Usable => {
                if connection.is_clean {
                    connection.put_back();
                } else {
                    drop(connection.close());
                }
            }
            Self::Own(mut connection) => {
                connection.pool.idle.lock().clear();
                drop(connection.close());
            }
            // The application's pool checks whether a connection is alive, but a server that is not
            // the primary any more answers that check too.
            Self::Application(mut connection) => {
                if state == AfterError::Broken {
                    connection.close_on_drop();
                }
            }
        }
    }
}

impl<D: Database> Deref for Checkout<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        match self {
            Self::Application(connection) => connection,
            Self::Own(connection) => connection
                .connection
                .as_ref()
                .unwrap_or_else(|| unreachable!("release takes the checkout by value")),
        }
    }
}

impl<D: Database> DerefMut for Checkout<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        match self {
            Self::Application(connection) => connection,
            Self::Own(connection) => connection
                .connection
                .as_mut()
                .unwrap_or_else(|| unreachable!("release takes the checkout by value")),
        }
    }
}

/// A connection of a runtime's pool, with its permit.
pub(crate) struct PooledConnection<D: Database> {
    connection: Option<D::Connection>,
    generation: u64,
    pool: Arc<RuntimePool<D>>,
    permit: Option<OwnedSemaphorePermit>,
    wait: Duration,
    /// Whether the connection can be used again once the outstanding answers have arrived.
    is_clean: bool,
}

impl<D: Database> PooledConnection<D> {
    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.connection {
            Some(connection) => match timeout(self.wait, connection.ping()).await {
                Ok(answer) => answer,
                Err(_) => Err(sqlx::Error::WorkerCrashed),
            },
            None => Ok(()),
        }
    }

    fn put_back(&mut self) {
        let is_current = self.generation == self.pool.generation.load(Ordering::Relaxed);
        if let Some(connection) = self.connection.take().filter(|_| is_current) {
            self.pool.idle.lock().push(Idle { connection, since: Instant::now() });
        }
        // The permit is released last, so that the next call finds the connection.
        self.permit = None;
    }

    fn close(&mut self) -> Option<OwnedSemaphorePermit> {
        self.connection = None;
        self.permit.take()
    }
}

/// A drop without release means that the call was cancelled. The database is still answering its
/// statement. After the answer the connection can be used again, unless a transaction or a lock is
/// left on it.
impl<D: Database> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        if !self.is_clean {
            drop(self.close());
            return;
        }
        let (Some(connection), Ok(runtime)) = (self.connection.take(), Handle::try_current())
        else {
            return;
        };
        // A runtime that is shutting down drops the task at once. `is_clean` is false, so that this
        // drop closes the connection.
        let mut cancelled = Self {
            connection: Some(connection),
            generation: self.generation,
            pool: Arc::clone(&self.pool),
            permit: self.permit.take(),
            wait: self.wait,
            is_clean: false,
        };
        runtime.spawn(async move {
            if cancelled.ping().await.is_ok() {
                cancelled.put_back();
            } else {
                cancelled.close();
            }
        });
    }
}

/// Removes the pool of a runtime when the runtime ends and drops all its tasks.
struct RuntimeEnd<D: Database> {
    runtime: Id,
    entries: Weak<RwLock<Vec<Entry<D>>>>,
}

impl<D: Database> Drop for RuntimeEnd<D> {
    fn drop(&mut self) {
        remove_entry(&self.entries, |entry| entry.runtime == self.runtime);
    }
}
