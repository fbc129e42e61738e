//! The place of one connection: it is made there, serves, and is replaced.

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
use tokio::task::AbortHandle;

use crate::{
    clock::ServerClock,
    error::ClientError,
    opener::{Connection, Opener},
};

/// The pause after the first failed attempt to connect. It doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: a server that came back is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long it may take to connect. It is more than a call may take: one that is given up makes the
/// next one begin again, and servers of which one is silent are found only by waiting for that one.
const OPENS_WITHIN: Duration = Duration::from_secs(3);
/// A connection that is replaced while it serves has served for this long.
const SERVES_FOR: Duration = Duration::from_millis(500);

/// The place of one connection.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Whether what serves is to be replaced.
    stale: bool,
    /// A connection that is being made, for all calls that wait for it.
    opening: Option<Opening>,
    /// Attempts in a row that failed.
    failures: u32,
    /// Until when no attempt is made, and what the last one came to.
    pause: Option<(Instant, ClientError)>,
}

/// A connection that serves.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) connection: Connection,
    pub(crate) health: Arc<Health>,
}

/// What is known of a connection.
pub(crate) struct Health {
    /// Set by the driver when the connection ends, and by the end of the runtime that drives it.
    gone: Arc<AtomicBool>,
    /// How many answers came.
    answers: AtomicU64,
    opened: Instant,
    /// Which primary it leads to, see [`Opener::is_over`].
    pub(crate) term: u64,
    /// What the server said of its time.
    pub(crate) clock: ServerClock,
    watch: AbortHandle,
}

/// What a call has to go on with.
enum Ready {
    Live(Live),
    Opening(Opening),
}

/// A connection that is being made by a task of its own. A call that gives up leaves it to the
/// others: if it ended with the call that began it, each call in a long queue would begin again,
/// with the little time that it has left.
#[derive(Clone)]
struct Opening {
    begun: Instant,
    opened: Shared<BoxFuture<'static, Opened>>,
}

/// What became of an attempt to connect, and when.
#[derive(Clone)]
struct Opened {
    ended: Instant,
    result: Result<Live, ClientError>,
}

impl Slot {
    /// The connection; it is made if there is none.
    pub(crate) async fn connection(&self, opener: &Arc<Opener>) -> Result<Live, ClientError> {
        loop {
            let opening = match self.state.lock().ready(|| Opening::begin(opener))? {
                Ready::Live(live) => return Ok(live),
                Ready::Opening(opening) => opening,
            };
            let became = opening.opened.clone().await;
            let live = became.result.as_ref().ok().cloned();
            // The first of those that waited notes it, or the next call if all have given up.
            self.state.lock().settle(&opening, became);
            if let Some(live) = live {
                return Ok(live);
            }
        }
    }

    /// Takes a connection out, unless another one is in its place already. Calls that wait on it
    /// hold it as long as they do.
    pub(crate) fn retire(&self, health: &Arc<Health>) {
        self.state.lock().live.take_if(|live| Arc::ptr_eq(&live.health, health));
    }

    /// What is known of the connection that serves.
    pub(crate) fn health(&self) -> Option<Arc<Health>> {
        self.state.lock().live.as_ref().map(|live| Arc::clone(&live.health))
    }

    /// Has a connection replaced that goes on serving meanwhile, unless it is new.
    pub(crate) fn renew(&self, health: &Arc<Health>) {
        let mut state = self.state.lock();
        let serves = state.live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.health, health));
        state.stale |= serves && health.opened.elapsed() > SERVES_FOR;
    }
}

impl State {
    /// The connection, or the one that is being made; it is begun if it is time for another
    /// attempt. Else what the last one came to.
    fn ready(&mut self, begin: impl FnOnce() -> Opening) -> Result<Ready, ClientError> {
        self.live.take_if(|live| live.health.gone.load(Ordering::Relaxed));
        if let Some(live) = &self.live
            && !self.stale
        {
            return Ok(Ready::Live(live.clone()));
        }
        if let Some(opening) = self.opening.clone()
            && let Some(became) = opening.opened.peek()
        {
            self.settle(&opening, became.clone());
        }
        // One that lasts longer than it may is driven by nobody: its runtime rests.
        self.opening.take_if(|opening| opening.begun.elapsed() > OPENS_WITHIN * 2);
        let resting = self.pause.as_ref().filter(|(until, _)| Instant::now() < *until);
        match (&self.live, &self.opening, resting) {
            (Some(live), opening, resting) => {
                let live = live.clone();
                if self.stale && opening.is_none() && resting.is_none() {
                    self.opening = Some(begin());
                }
                Ok(Ready::Live(live))
            }
            (None, Some(opening), _) => Ok(Ready::Opening(opening.clone())),
            (None, None, Some((_, error))) => Err(error.clone()),
            (None, None, None) => Ok(Ready::Opening(self.opening.insert(begin()).clone())),
        }
    }

    /// Notes what an attempt came to, once.
    fn settle(&mut self, opening: &Opening, became: Opened) {
        if self.opening.take_if(|current| current.opened.ptr_eq(&opening.opened)).is_none() {
            return;
        }
        match became.result {
            Ok(live) => {
                (self.live, self.stale, self.failures, self.pause) = (Some(live), false, 0, None)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.pause = Some((became.ended + pause(self.failures, fastrand::f64()), error));
            }
        }
    }
}

impl Opening {
    fn begin(opener: &Arc<Opener>) -> Self {
        let opener = Arc::clone(opener);
        let task = tokio::spawn(async move {
            let gone = Arc::new(AtomicBool::new(false));
            let result = match tokio::time::timeout(OPENS_WITHIN, opener.open(&gone)).await {
                Ok(result) => result.map(|(connection, term)| Live {
                    connection,
                    health: Arc::new(Health::of(gone, term)),
                }),
                Err(_) => Err(ClientError::Connect {
                    server: opener.servers().to_string(),
                    why: format!("no answer within {OPENS_WITHIN:?}"),
                }),
            };
            Opened { ended: Instant::now(), result }
        });
        let ended = async move {
            let lost = |_| Opened {
                ended: Instant::now(),
                result: Err(ClientError::Lost("its runtime ended while it was made".to_owned())),
            };
            task.await.unwrap_or_else(lost)
        };
        let ended = ended.boxed().shared();
        // Awaited here as well, so that it comes to its end also if nobody waits for it.
        tokio::spawn(ended.clone());
        Self { begun: Instant::now(), opened: ended }
    }
}

impl Health {
    /// Of a connection that the current runtime drives.
    fn of(gone: Arc<AtomicBool>, term: u64) -> Self {
        let end = SetAtEnd(Arc::clone(&gone));
        // A runtime that ends drops its tasks, this one and the driver's. Nobody would notice
        // before a command was lost.
        let watch = tokio::spawn(async move {
            let _end = end;
            std::future::pending::<()>().await;
        });
        Self {
            gone,
            answers: AtomicU64::new(0),
            opened: Instant::now(),
            term,
            clock: ServerClock::default(),
            watch: watch.abort_handle(),
        }
    }

    /// How many answers came.
    pub(crate) fn count(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

struct SetAtEnd(Arc<AtomicBool>);

impl Drop for SetAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The pause after that many failures in a row: doubling, capped, and between half and the whole of
/// it by `chance` (0 to 1), so that many clients of one server spread out.
pub(crate) fn pause(failures: u32, chance: f64) -> Duration {
    let whole =
        FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        assert_eq!(pause(1, 1.0), FIRST_PAUSE);
        assert_eq!(pause(2, 1.0), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(1, 0.0), FIRST_PAUSE / 2);
    }
}
