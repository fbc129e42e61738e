//! One connection that is replaced when it is lost: connecting, serving, back-off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use store_support::backoff::backoff;
use tokio::task::AbortHandle;

use super::{
    clock::ServerClock,
    connector::{Connection, Connector},
};
use crate::error::ClientError;

/// How long an attempt to connect may take after the addresses are known. This is more than the
/// default deadline of a call. An attempt that ends early makes the next one start again, and the
/// driver finds a silent server only by waiting for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The least age at which a connection is replaced while it serves.
const MIN_AGE_TO_REPLACE: Duration = Duration::from_millis(500);

/// A connection that is made when a call needs it, and made again after it is lost.
#[derive(Default)]
pub(crate) struct ReconnectingConnection {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<LiveConnection>,
    /// The live connection serves until a replacement is ready.
    replace: bool,
    /// The attempt that is under way. All calls that need a connection wait for it.
    attempt: Option<ConnectAttempt>,
    /// Failed attempts in a row.
    failures: u32,
    /// The end of the pause before the next attempt, and the error of the last one.
    backoff: Option<(Instant, ClientError)>,
}

/// A connection that serves calls.
#[derive(Clone)]
pub(crate) struct LiveConnection {
    pub(crate) connection: Connection,
    pub(crate) health: Arc<Health>,
}

/// What the store knows about a connection.
pub(crate) struct Health {
    /// Set by the driver when the connection ends, and when the runtime that drives it ends.
    disconnected: Arc<AtomicBool>,
    answers: AtomicU64,
    connected_at: Instant,
    /// The term of the primary, see [`Connector::has_successor`].
    pub(crate) term: u64,
    pub(crate) clock: ServerClock,
    runtime_watch: AbortHandle,
}

/// What a call continues with.
enum Ready {
    Live(LiveConnection),
    Attempt(ConnectAttempt),
}

/// An attempt to connect, in its own task.
///
/// The attempt outlives the call that started it. Otherwise each call of a long queue would start
/// again with the little time that it has left.
#[derive(Clone)]
struct ConnectAttempt {
    started_at: Instant,
    outcome: Shared<BoxFuture<'static, AttemptOutcome>>,
}

#[derive(Clone)]
struct AttemptOutcome {
    ended_at: Instant,
    result: Result<LiveConnection, ClientError>,
}

impl ReconnectingConnection {
    /// Returns the connection, and makes it if there is none.
    pub(crate) async fn connection(
        &self,
        connector: &Arc<Connector>,
    ) -> Result<LiveConnection, ClientError> {
        loop {
            let attempt = match self.state.lock().ready(|| ConnectAttempt::start(connector))? {
                Ready::Live(live) => return Ok(live),
                Ready::Attempt(attempt) => attempt,
            };
            let outcome = attempt.outcome.clone().await;
            let live = outcome.result.as_ref().ok().cloned();
            // The first waiting call records the outcome, or the next call if all have given up.
            self.state.lock().record(&attempt, outcome);
            if let Some(live) = live {
                return Ok(live);
            }
        }
    }

    /// Removes a connection, unless another one has already replaced it. Calls that wait on it keep
    /// it open.
    pub(crate) fn retire(&self, health: &Arc<Health>) {
        self.state.lock().live.take_if(|live| Arc::ptr_eq(&live.health, health));
    }

    /// The health of the connection that serves.
    pub(crate) fn health(&self) -> Option<Arc<Health>> {
        self.state.lock().live.as_ref().map(|live| Arc::clone(&live.health))
    }

    /// Makes a new connection in the background, unless this one is young. This one serves until
    /// the new one is ready.
    pub(crate) fn replace_in_background(&self, health: &Arc<Health>) {
        let mut state = self.state.lock();
        let serves = state.live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.health, health));
        state.replace |= serves && health.connected_at.elapsed() > MIN_AGE_TO_REPLACE;
    }
}

impl State {
    /// The live connection, or the attempt that is under way. Starts an attempt if there is none.
    /// During a back-off the result is the error of the last attempt.
    fn ready(&mut self, start: impl FnOnce() -> ConnectAttempt) -> Result<Ready, ClientError> {
        self.live.take_if(|live| live.health.disconnected.load(Ordering::Relaxed));
        if let Some(live) = &self.live
            && !self.replace
        {
            return Ok(Ready::Live(live.clone()));
        }
        if let Some(attempt) = self.attempt.clone()
            && let Some(outcome) = attempt.outcome.peek()
        {
            self.record(&attempt, outcome.clone());
        }
        // The runtime of an attempt that takes this long does not run at the moment, or a name
        // server is slow. A new attempt waits for the same lookup.
        self.attempt.take_if(|attempt| attempt.started_at.elapsed() > CONNECT_TIMEOUT * 2);
        let backoff = self.backoff.as_ref().filter(|(until, _)| Instant::now() < *until);
        match (&self.live, &self.attempt, backoff) {
            (Some(live), attempt, backoff) => {
                let live = live.clone();
                if self.replace && attempt.is_none() && backoff.is_none() {
                    self.attempt = Some(start());
                }
                Ok(Ready::Live(live))
            }
            (None, Some(attempt), _) => Ok(Ready::Attempt(attempt.clone())),
            (None, None, Some((_, error))) => Err(error.clone()),
            (None, None, None) => Ok(Ready::Attempt(self.attempt.insert(start()).clone())),
        }
    }

    /// Records the outcome of an attempt. Repeated calls for the same attempt do nothing.
    fn record(&mut self, attempt: &ConnectAttempt, outcome: AttemptOutcome) {
        if self.attempt.take_if(|current| current.outcome.ptr_eq(&attempt.outcome)).is_none() {
            return;
        }
        match outcome.result {
            Ok(live) => {
                (self.live, self.replace, self.failures, self.backoff) =
                    (Some(live), false, 0, None);
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let until = outcome.ended_at + backoff(self.failures);
                self.backoff = Some((until, error));
            }
        }
    }
}

impl ConnectAttempt {
    fn start(connector: &Arc<Connector>) -> Self {
        let connector = Arc::clone(connector);
        let task = tokio::spawn(async move {
            connector.prepare().await;
            let disconnected = Arc::new(AtomicBool::new(false));
            let connecting = connector.connect(&disconnected);
            let result = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(result) => result.map(|(connection, term)| LiveConnection {
                    connection,
                    health: Arc::new(Health::new(disconnected, term)),
                }),
                Err(_) => Err(ClientError::Connect {
                    server: connector.servers().to_string(),
                    why: format!("no answer within {CONNECT_TIMEOUT:?}"),
                }),
            };
            AttemptOutcome { ended_at: Instant::now(), result }
        });
        let outcome = async move {
            let cancelled = |_| AttemptOutcome {
                ended_at: Instant::now(),
                result: Err(ClientError::Lost(
                    "the runtime ended during the attempt to connect".to_owned(),
                )),
            };
            task.await.unwrap_or_else(cancelled)
        };
        let outcome = outcome.boxed().shared();
        // This task polls the future to its end even if all waiting calls give up.
        tokio::spawn(outcome.clone());
        Self { started_at: Instant::now(), outcome }
    }
}

impl Health {
    /// The health of a connection that the current runtime drives.
    fn new(disconnected: Arc<AtomicBool>, term: u64) -> Self {
        let set_on_drop = SetOnDrop(Arc::clone(&disconnected));
        // A runtime that ends drops its tasks: this one and the driver's. Without this task the
        // store would notice only when a command is lost.
        let watch = tokio::spawn(async move {
            let _set_on_drop = set_on_drop;
            std::future::pending::<()>().await;
        });
        Self {
            disconnected,
            answers: AtomicU64::new(0),
            connected_at: Instant::now(),
            term,
            clock: ServerClock::default(),
            runtime_watch: watch.abort_handle(),
        }
    }

    /// The number of answers that have arrived.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn count_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.runtime_watch.abort();
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
