//! The connections of a store: a few for each runtime that uses it, or the application's.
//!
//! A connection is driven by the runtime that opened it. A web server's worker with a runtime of
//! its own gets its answers on its own thread, and none depends on a runtime that has ended. The
//! driver's own pool looks at each connection that comes back, which is one more round trip for
//! each call; here only one is looked at that nobody used for a while, or whose last call was given
//! up.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use sqlx::{ConnectOptions, Connection, Database, pool::PoolConnection};
use tokio::{
    runtime::{Handle, Id},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::error::ClientError;

/// Who was not used for so long may lead to a server that is gone.
const FRESH_FOR: Duration = Duration::from_secs(1);

type Options<D> = <<D as Database>::Connection as Connection>::Options;

/// The connections of a store.
pub(crate) enum Pool<D: Database> {
    /// Of its own.
    Own(Own<D>),
    /// That the application made.
    Given(sqlx::Pool<D>),
}

pub(crate) struct Own<D: Database> {
    options: Options<D>,
    most: usize,
    wait: Duration,
    lanes: Arc<RwLock<Vec<Made<D>>>>,
}

/// The connections of one runtime.
struct Lane<D: Database> {
    /// A permit for each connection that there may be.
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Idle<D>>>,
}

struct Idle<D: Database> {
    connection: D::Connection,
    since: Instant,
}

struct Made<D: Database> {
    runtime: Id,
    lane: Arc<Lane<D>>,
    /// Ends the task that waits for the end of the runtime and takes the lane out of the list then.
    _watched: oneshot::Sender<()>,
}

impl<D: Database> Pool<D> {
    /// At most `most` connections for each runtime. Who waits for one longer than `wait` is told
    /// so.
    pub(crate) fn own(options: Options<D>, most: usize, wait: Duration) -> Self {
        Self::Own(Own { options, most, wait, lanes: Arc::default() })
    }

    /// A connection for one call.
    pub(crate) async fn take(&self) -> Result<Taken<D>, ClientError> {
        match self {
            Self::Given(pool) => Ok(Taken::Given(pool.acquire().await?)),
            Self::Own(own) => own.take().await.map(Taken::Own),
        }
    }
}

impl<D: Database> Own<D> {
    async fn take(&self) -> Result<Lent<D>, ClientError> {
        let lane = self.lane(Handle::current().id());
        let Ok(Ok(turn)) = timeout(self.wait, Arc::clone(&lane.turns).acquire_owned()).await else {
            return Err(ClientError::Busy(format!(
                "all connections were in use for {:?}; nothing was done",
                self.wait
            )));
        };
        let idle = lane.idle.lock().pop();
        let Some(Idle { connection, since }) = idle else {
            return self.connect(lane, Some(turn)).await;
        };
        let is_whole = since.elapsed() < FRESH_FOR;
        let mut lent = Lent {
            connection: Some(connection),
            lane: Arc::clone(&lane),
            turn: Some(turn),
            wait: self.wait,
            is_whole,
        };
        // Given up meanwhile, it is closed: the driver of MySQL does not remember that the answer
        // to a ping is still to come, and would take it for the answer to whatever is asked next.
        if is_whole || lent.ping().await.is_ok() {
            lent.is_whole = true;
            return Ok(lent);
        }
        // What it led to is gone, and so is what the others lead to.
        lane.idle.lock().clear();
        let turn = lent.close();
        self.connect(lane, turn).await
    }

    async fn connect(
        &self,
        lane: Arc<Lane<D>>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Lent<D>, ClientError> {
        let connection =
            Box::pin(self.options.connect()).await.map_err(ClientError::of_connecting)?;
        Ok(Lent { connection: Some(connection), lane, turn, wait: self.wait, is_whole: true })
    }

    /// The lane of this runtime.
    fn lane(&self, runtime: Id) -> Arc<Lane<D>> {
        let find = |lanes: &[Made<D>]| {
            lanes.iter().find(|made| made.runtime == runtime).map(|made| Arc::clone(&made.lane))
        };
        if let Some(lane) = find(&self.lanes.read()) {
            return lane;
        }
        let lane =
            Arc::new(Lane { turns: Arc::new(Semaphore::new(self.most)), idle: Mutex::default() });
        let (watched, store_ends) = oneshot::channel();
        {
            let mut lanes = self.lanes.write();
            if let Some(there) = find(&lanes) {
                return there;
            }
            lanes.push(Made { runtime, lane: Arc::clone(&lane), _watched: watched });
        }
        // Without the lock: a runtime that is ending drops the task at once, which takes the lane
        // out again.
        let end = RuntimeEnd { runtime, lanes: Arc::downgrade(&self.lanes) };
        tokio::spawn(async move {
            let _end = end;
            // An error, as nothing is ever sent: the store has ended.
            let _ = store_ends.await;
        });
        lane
    }
}

/// A connection that a call has.
pub(crate) enum Taken<D: Database> {
    Own(Lent<D>),
    Given(PoolConnection<D>),
}

impl<D: Database> Taken<D> {
    /// Gives it back after an answer, so that the next call can use it as it is.
    pub(crate) fn give_back(self) {
        if let Self::Own(mut lent) = self {
            lent.put();
        }
    }

    /// Has it closed unless it is given back after an answer: what is to be done leaves it in
    /// another state until it is whole.
    pub(crate) fn close_unless_done(&mut self) {
        match self {
            Self::Own(lent) => lent.is_whole = false,
            Self::Given(connection) => connection.close_on_drop(),
        }
    }

    /// Gives it back after an error. If that was not the database's answer, or its last word, the
    /// connection is closed, with those that nobody uses.
    pub(crate) fn give_back_after(self, is_answer: bool) {
        match self {
            Self::Own(mut lent) if is_answer => {
                if lent.is_whole {
                    lent.put();
                } else {
                    drop(lent.close());
                }
            }
            Self::Own(mut lent) => {
                lent.lane.idle.lock().clear();
                drop(lent.close());
            }
            // The pool looks at it.
            Self::Given(_) => {}
        }
    }
}

impl<D: Database> Deref for Taken<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        match self {
            Self::Given(connection) => connection,
            Self::Own(lent) => lent
                .connection
                .as_ref()
                .unwrap_or_else(|| unreachable!("it is given back by value")),
        }
    }
}

impl<D: Database> DerefMut for Taken<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        match self {
            Self::Given(connection) => connection,
            Self::Own(lent) => lent
                .connection
                .as_mut()
                .unwrap_or_else(|| unreachable!("it is given back by value")),
        }
    }
}

/// A connection of a lane, and the right to have it.
pub(crate) struct Lent<D: Database> {
    connection: Option<D::Connection>,
    lane: Arc<Lane<D>>,
    turn: Option<OwnedSemaphorePermit>,
    wait: Duration,
    /// Whether it is as good as before once what was sent is answered.
    is_whole: bool,
}

impl<D: Database> Lent<D> {
    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.connection {
            Some(connection) => match timeout(self.wait, connection.ping()).await {
                Ok(answer) => answer,
                Err(_) => Err(sqlx::Error::WorkerCrashed),
            },
            None => Ok(()),
        }
    }

    fn put(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.lane.idle.lock().push(Idle { connection, since: Instant::now() });
        }
        // After that, so that who gets the turn finds it.
        self.turn = None;
    }

    fn close(&mut self) -> Option<OwnedSemaphorePermit> {
        self.connection = None;
        self.turn.take()
    }
}

/// A call was given up. What it sent is still being answered; once that is over the connection is
/// as good as before, unless a transaction or a lock is left on it.
impl<D: Database> Drop for Lent<D> {
    fn drop(&mut self) {
        if !self.is_whole {
            drop(self.close());
            return;
        }
        let (Some(connection), Ok(runtime)) = (self.connection.take(), Handle::try_current())
        else {
            return;
        };
        // A runtime that ends drops the task at once, and then it is closed.
        let mut given_up = Self {
            connection: Some(connection),
            lane: Arc::clone(&self.lane),
            turn: self.turn.take(),
            wait: self.wait,
            is_whole: false,
        };
        runtime.spawn(async move {
            if given_up.ping().await.is_ok() {
                given_up.put();
            } else {
                given_up.close();
            }
        });
    }
}

/// Takes the lane of a runtime out of the list when the runtime ends, which drops all its tasks.
struct RuntimeEnd<D: Database> {
    runtime: Id,
    lanes: Weak<RwLock<Vec<Made<D>>>>,
}

impl<D: Database> Drop for RuntimeEnd<D> {
    fn drop(&mut self) {
        let Some(lanes) = self.lanes.upgrade() else { return };
        let mut list = lanes.write();
        let gone = list
            .iter()
            .position(|made| made.runtime == self.runtime)
            .map(|at| list.swap_remove(at));
        // The connections are closed without the lock.
        drop(list);
        drop(gone);
    }
}
