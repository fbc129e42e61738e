//! The connections of a store: a pool for each runtime that uses it, or the application's pool.
//!
//! The runtime that opened a connection also drives it. So each tokio runtime has its own pool. A
//! worker of a web server that has its own runtime gets its answers on its own thread, and no
//! connection depends on a runtime that has ended.
//!
//! The driver's own pool checks each connection that is returned, which costs one more round trip
//! for each call. This pool checks a connection only if it was idle for a while, or if its last
//! call was cancelled.
//!
//! A separate task opens each connection. A call that gives up does not end the attempt, so a
//! server that takes longer to connect than a call may take is reached by a later call.
//!
//! A pool opens one connection after the other. If the server has none left, a pool without any
//! keeps trying, and a pool with several gives one back. So many processes that share the limit
//! of a server each get their first connection, and calls wait instead of failing.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use sqlx::{Connection, pool::PoolConnection};
use store_support::{backoff::backoff, runtime_entries::remove_entry};
use tokio::{
    runtime::{Handle, Id},
    sync::oneshot,
    time::{interval, sleep, timeout},
};

use super::connector::{ConnectOver, Connector};
use crate::error::ClientError;

/// A connection that was idle for longer is checked before its next use, because its server may be
/// gone.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A connection that was idle for longer is closed, unless it is the last one of its runtime.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// The same for the last one. The next call after it has to connect.
const LAST_IDLE_LIMIT: Duration = Duration::from_mins(5);

/// How often idle connections are looked at.
const IDLE_CHECKS: Duration = Duration::from_secs(2);

/// How long an attempt to connect may take. Calls end sooner, and find the connection later.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// How long a pool that has connections opens no others after the server refused one. In this time
/// a pool without any gets the next connection that the server has.
const GROWTH_PAUSE: Duration = Duration::from_secs(10);

/// The connections of a store.
pub(crate) enum Pool<D: ConnectOver> {
    /// The store's own.
    Own(OwnPool<D>),
    /// The application's.
    Application(sqlx::Pool<D>),
}

/// A pool for each runtime.
pub(crate) struct OwnPool<D: ConnectOver> {
    connector: Connector<D>,
    max_connections: usize,
    wait: Duration,
    entries: Arc<RwLock<Vec<Entry<D>>>>,
}

struct Entry<D: ConnectOver> {
    runtime: Id,
    pool: Arc<RuntimePool<D>>,
    /// Ends the task that removes this entry when the runtime ends.
    _store_alive: oneshot::Sender<()>,
}

/// The connections of one runtime.
struct RuntimePool<D: ConnectOver> {
    connector: Connector<D>,
    max_connections: usize,
    wait: Duration,
    state: Mutex<State<D>>,
}

struct State<D: ConnectOver> {
    /// The connection that was used last is at the end, and is used first.
    idle: Vec<Idle<D>>,
    /// The calls that wait for a connection. There are none while a connection is idle.
    waiting: VecDeque<oneshot::Sender<Offer<D>>>,
    /// The connections that exist, in use or idle.
    open: usize,
    /// When each attempt to connect began that has not ended.
    attempts: Vec<Instant>,
    /// The last refusal because the server has too many connections, and when it came.
    refusal: Option<(Instant, ClientError)>,
    /// Whether the pool has to give a connection back to the server.
    gives_back: bool,
    /// Connections that were opened in an earlier generation are closed after their call.
    generation: u64,
}

struct Idle<D: ConnectOver> {
    connection: D::Connection,
    since: Instant,
}

/// What a waiting call gets.
type Offer<D> = Result<PooledConnection<D>, ClientError>;

impl<D: ConnectOver> Pool<D> {
    /// A pool with at most `max_connections` connections for each runtime. A call waits at most
    /// `wait` for a connection.
    pub(crate) fn own(connector: Connector<D>, max_connections: usize, wait: Duration) -> Self {
        Self::Own(OwnPool { connector, max_connections, wait, entries: Arc::default() })
    }

    /// Closes all connections: those in use after their call. The application's pool keeps its
    /// connections.
    #[cfg(feature = "sqlite")]
    pub(crate) fn close_connections(&self) {
        let Self::Own(own) = self else { return };
        for entry in &*own.entries.read() {
            let mut state = entry.pool.state.lock();
            state.generation += 1;
            state.close_idle();
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

impl<D: ConnectOver> OwnPool<D> {
    async fn acquire(&self) -> Result<PooledConnection<D>, ClientError> {
        let pool = self.runtime_pool(Handle::current().id());
        let idle = pool.state.lock().take_idle();
        if let Some((Idle { connection, since }, generation)) = idle {
            let mut connection = PooledConnection::new(&pool, connection, generation);
            connection.is_clean = since.elapsed() < FRESH_FOR;
            // If the call is cancelled during this ping, the connection is closed: the MySQL driver
            // forgets that the answer to the ping is outstanding, and would take it for the answer
            // to the next statement.
            if connection.is_clean || connection.ping().await.is_ok() {
                connection.is_clean = true;
                return Ok(connection);
            }
            // The server is gone, so the other idle connections are lost too.
            pool.state.lock().close_idle();
        }
        pool.wait_for_connection().await
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
            connector: self.connector.clone(),
            max_connections: self.max_connections,
            wait: self.wait,
            state: Mutex::new(State {
                idle: Vec::new(),
                waiting: VecDeque::new(),
                open: 0,
                attempts: Vec::new(),
                refusal: None,
                gives_back: false,
                generation: 0,
            }),
        });
        let (store_alive, mut store_ends) = oneshot::channel();
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
        let weak = Arc::downgrade(&pool);
        tokio::spawn(async move {
            let _end = end;
            let mut checks = interval(IDLE_CHECKS);
            loop {
                tokio::select! {
                    // This returns an error when the store ends, because nothing is ever sent.
                    _ = &mut store_ends => return,
                    _ = checks.tick() => {
                        let Some(pool) = weak.upgrade() else { return };
                        pool.close_unused().await;
                    }
                }
            }
        });
        pool
    }
}

impl<D: ConnectOver> RuntimePool<D> {
    async fn wait_for_connection(self: &Arc<Self>) -> Result<PooledConnection<D>, ClientError> {
        let (sender, offer) = oneshot::channel();
        {
            let mut state = self.state.lock();
            // A connection may have been returned in the meantime.
            if let Some((idle, generation)) = state.take_idle() {
                return Ok(PooledConnection::new(self, idle.connection, generation));
            }
            state.waiting.push_back(sender);
            self.start_next(state);
        }
        match timeout(self.wait, offer).await {
            Ok(Ok(offer)) => offer,
            // The sender is dropped only with the pool, or with the runtime.
            Ok(Err(_)) => Err(ClientError::Lost("the runtime ends".to_owned())),
            Err(_) => Err(self.state.lock().why_none(self.wait)),
        }
    }

    /// Starts the next attempt to connect, if calls wait for one. A runtime that is shutting down
    /// has no calls that wait.
    fn start_next(self: &Arc<Self>, mut state: MutexGuard<'_, State<D>>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let attempt = self.next_attempt(&mut state);
        // A runtime that is shutting down drops the task at once, and that drop takes the lock.
        drop(state);
        if let Some(attempt) = attempt {
            runtime.spawn(attempt.run());
        }
    }

    /// The next attempt to connect, if calls wait for one.
    fn next_attempt(self: &Arc<Self>, state: &mut State<D>) -> Option<Attempt<D>> {
        state.waiting.retain(|call| !call.is_closed());
        let now = Instant::now();
        // An attempt that takes longer may be stuck, for example after a packet was lost.
        let is_under_way = state.attempts.iter().any(|began| now - *began < self.wait);
        let is_refused = state.open > 0
            && state.refusal.as_ref().is_some_and(|(at, _)| now - *at < GROWTH_PAUSE);
        let starts = !state.waiting.is_empty()
            && !is_under_way
            && !is_refused
            && state.open + state.attempts.len() < self.max_connections;
        starts.then(|| {
            state.attempts.push(now);
            Attempt { pool: Arc::clone(self), began: now, generation: state.generation }
        })
    }

    /// Closes the connections that were idle for too long.
    async fn close_unused(&self) {
        let unused = {
            let mut state = self.state.lock();
            let open = state.open;
            let is_unused = |&(at, idle): &(usize, &Idle<D>)| {
                let limit = if at + 1 == open { LAST_IDLE_LIMIT } else { IDLE_LIMIT };
                idle.since.elapsed() > limit
            };
            // The one that was idle for the longest time is the first.
            let count = state.idle.iter().enumerate().take_while(is_unused).count();
            state.open -= count;
            state.idle.drain(..count).collect::<Vec<_>>()
        };
        for idle in unused {
            // Tells the server about the end, which some servers count as an error otherwise. A
            // failure means that the connection is closed already.
            let _ = timeout(self.wait, idle.connection.close()).await;
        }
    }
}

impl<D: ConnectOver> State<D> {
    /// The idle connection that was used last, and its generation.
    fn take_idle(&mut self) -> Option<(Idle<D>, u64)> {
        self.idle.pop().map(|idle| (idle, self.generation))
    }

    fn close_idle(&mut self) {
        self.open -= self.idle.len();
        self.idle.clear();
    }

    /// Gives a waiting call what it waits for. Returns the offer if no call waits.
    fn offer(&mut self, mut offer: Offer<D>) -> Option<Offer<D>> {
        while let Some(call) = self.waiting.pop_front() {
            match call.send(offer) {
                Ok(()) => return None,
                // That call has given up.
                Err(returned) => offer = returned,
            }
        }
        Some(offer)
    }

    /// Why a call got no connection.
    fn why_none(&self, wait: Duration) -> ClientError {
        match &self.refusal {
            Some((_, error)) if self.open == 0 => error.clone(),
            _ if self.open == 0 => ClientError::Unreachable(format!(
                "connecting takes longer than {wait:?}; it continues, and a later call can use the \
                 connection"
            )),
            _ => ClientError::Busy(format!(
                "all connections were in use for {wait:?}; nothing was sent"
            )),
        }
    }
}

/// An attempt to open a connection, in a separate task.
struct Attempt<D: ConnectOver> {
    pool: Arc<RuntimePool<D>>,
    began: Instant,
    generation: u64,
}

impl<D: ConnectOver> Attempt<D> {
    async fn run(self) {
        let pool = Arc::clone(&self.pool);
        self.end().await;
        pool.start_next(pool.state.lock());
    }

    /// Connects, and gives the result to the calls that wait.
    async fn end(self) {
        let mut refusals = 0;
        loop {
            let connecting = Box::pin(self.pool.connector.connect());
            let result = timeout(CONNECT_LIMIT, connecting).await.unwrap_or_else(|_| {
                Err(ClientError::Unreachable(format!("no answer within {CONNECT_LIMIT:?}")))
            });
            match result {
                Ok(connection) => return self.opened(connection),
                Err(error @ ClientError::TooManyConnections(_)) => {
                    refusals += 1;
                    if !self.tries_again(error) {
                        return;
                    }
                    sleep(backoff(refusals)).await;
                }
                Err(error) => return self.failed(&error),
            }
        }
    }

    fn opened(self, connection: D::Connection) {
        let mut state = self.pool.state.lock();
        state.open += 1;
        if state.refusal.as_ref().is_some_and(|(at, _)| at.elapsed() >= GROWTH_PAUSE) {
            state.refusal = None;
        }
        drop(state);
        PooledConnection::new(&self.pool, connection, self.generation).put_back();
    }

    /// Notes the refusal. Without a connection the calls depend on this attempt. Otherwise they
    /// wait for one that is in use.
    fn tries_again(&self, error: ClientError) -> bool {
        let mut state = self.pool.state.lock();
        state.refusal = Some((Instant::now(), error));
        state.gives_back = state.open > 1;
        state.waiting.retain(|call| !call.is_closed());
        state.open == 0 && !state.waiting.is_empty()
    }

    fn failed(&self, error: &ClientError) {
        let waiting = std::mem::take(&mut self.pool.state.lock().waiting);
        for call in waiting {
            // It fails if that call has given up.
            let _ = call.send(Err(error.clone()));
        }
    }
}

impl<D: ConnectOver> Drop for Attempt<D> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        if let Some(index) = state.attempts.iter().position(|began| *began == self.began) {
            state.attempts.swap_remove(index);
        }
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
pub(crate) enum Checkout<D: ConnectOver> {
    Own(PooledConnection<D>),
    Application(PoolConnection<D>),
}

impl<D: ConnectOver> Checkout<D> {
    /// Returns the connection after an answer. The next call can use it without a check.
    pub(crate) fn release(self) {
        if let Self::Own(connection) = self {
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
            Self::Own(connection) if state == AfterError::Usable => {
                if connection.is_clean {
                    connection.put_back();
                }
            }
            Self::Own(mut connection) => {
                connection.is_clean = false;
                connection.pool.state.lock().close_idle();
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

impl<D: ConnectOver> Deref for Checkout<D> {
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

impl<D: ConnectOver> DerefMut for Checkout<D> {
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

/// A connection of a runtime's pool that is in use. It counts as open until it is dropped.
pub(crate) struct PooledConnection<D: ConnectOver> {
    connection: Option<D::Connection>,
    generation: u64,
    pool: Arc<RuntimePool<D>>,
    /// Whether the connection can be used again once the outstanding answers have arrived.
    is_clean: bool,
}

impl<D: ConnectOver> PooledConnection<D> {
    fn new(pool: &Arc<RuntimePool<D>>, connection: D::Connection, generation: u64) -> Self {
        Self { connection: Some(connection), generation, pool: Arc::clone(pool), is_clean: true }
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.connection {
            Some(connection) => match timeout(self.pool.wait, connection.ping()).await {
                Ok(answer) => answer,
                Err(_) => Err(sqlx::Error::WorkerCrashed),
            },
            None => Ok(()),
        }
    }

    /// Gives the connection to a waiting call, or makes it idle.
    fn put_back(mut self) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.state.lock();
        let is_given_back = state.gives_back && state.open > 1;
        state.gives_back = false;
        if is_given_back || self.generation != state.generation {
            drop(state);
            self.is_clean = false;
            return;
        }
        self.is_clean = true;
        if let Some(Ok(mut unused)) = state.offer(Ok(self))
            && let Some(connection) = unused.connection.take()
        {
            state.idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the connection. Waiting calls may need another one.
    fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        drop(connection);
        let mut state = self.pool.state.lock();
        state.open -= 1;
        self.pool.start_next(state);
    }
}

/// A drop without release means that the call was cancelled. The database is still answering its
/// statement. After the answer the connection can be used again, unless a transaction or a lock is
/// left on it.
impl<D: ConnectOver> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        if self.connection.is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return self.close() };
        if !self.is_clean {
            return self.close();
        }
        // A runtime that is shutting down drops the task at once. `is_clean` is false, so that this
        // drop closes the connection.
        let mut cancelled = Self {
            connection: self.connection.take(),
            generation: self.generation,
            pool: Arc::clone(&self.pool),
            is_clean: false,
        };
        runtime.spawn(async move {
            if cancelled.ping().await.is_ok() {
                cancelled.put_back();
            }
        });
    }
}

/// Removes the pool of a runtime when the runtime ends and drops all its tasks.
struct RuntimeEnd<D: ConnectOver> {
    runtime: Id,
    entries: Weak<RwLock<Vec<Entry<D>>>>,
}

impl<D: ConnectOver> Drop for RuntimeEnd<D> {
    fn drop(&mut self) {
        remove_entry(&self.entries, |entry| entry.runtime == self.runtime);
    }
}
