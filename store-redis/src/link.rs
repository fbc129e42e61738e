//! The connections of a store, made again when they are lost.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
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
use redis::Value;
use session_core::StoreError;
use tokio::sync::Semaphore;

use crate::{
    STORE,
    command::Request,
    config::{Config, Wait},
    error::{ClientError, ConfigError},
    opener::{Connection, Opener},
    thread,
};

/// The pause after the first failed attempt to connect. It doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause: a server that came back is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often a command is sent that the server did not execute because it could not serve just then.
const TRIES: u32 = 5;
/// The most calls that wait for replicas at once.
const MOST_WAITING: u32 = 64;
/// How long it may take to connect. It is more than a call may take: one that is given up makes the next one begin again, and servers of which
/// one is silent are found only by waiting for that one.
const OPENS_WITHIN: Duration = Duration::from_secs(3);
/// A connection to a Cluster is replaced at most this often because one of its nodes is silent.
const CLUSTER_LIFE: Duration = Duration::from_secs(1);

/// Whether a command may be sent again if its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It may have been executed, and a second time would be one too many.
    Never,
    /// Executing it twice is as good as once.
    Once,
}

/// The connections of one store.
pub(crate) struct Links {
    opener: Arc<Opener>,
    slots: Box<[Slot]>,
    /// For commands that wait for replicas: `WAIT` holds up everything behind it on its connection.
    waiting: Slot,
    /// So few that what is sent is answered within the deadline also when no replica answers. A call whose turn does not come is not sent, so
    /// that it is not executed late, and the server's queue does not grow while the replicas are away.
    waiting_turns: Semaphore,
    turn_within: Duration,
    wait: Option<Wait>,
    /// One permit for each call that may wait for an answer.
    turns: Semaphore,
    deadline: Duration,
}

/// The place of one connection.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// A connection that is being made, for all calls that wait for it.
    opening: Option<Opening>,
    /// Attempts in a row that failed.
    failures: u32,
    /// Until when no attempt is made, and what the last one came to.
    pause: Option<(Instant, ClientError)>,
}

#[derive(Clone)]
struct Live {
    connection: Connection,
    health: Arc<Health>,
}

/// A connection that is being made by a task of its own. A call that gives up leaves it to the others: if it ended with the call that began
/// it, each call in a long queue would begin again, with the little time that it has left.
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

struct Health {
    /// Set by the driver when the connection ends.
    gone: Arc<AtomicBool>,
    /// How many answers came.
    answers: AtomicU64,
    opened: Instant,
}

impl Links {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let within = config.wait.map_or(config.deadline, |wait| wait.within).max(Duration::from_millis(1));
        // Half of the deadline to get a turn, half of it for all that have one.
        let waiting_turns = u32::try_from(config.deadline.as_millis() / within.as_millis() / 2).unwrap_or(u32::MAX).clamp(1, MOST_WAITING);
        Ok(Self {
            opener: Arc::new(Opener::new(config)?),
            slots: (0..config.connections.get()).map(|_| Slot::default()).collect(),
            waiting: Slot::default(),
            waiting_turns: Semaphore::new(waiting_turns as usize),
            turn_within: config.deadline.saturating_sub(within * waiting_turns),
            wait: config.wait,
            turns: Semaphore::new(config.max_in_flight.get()),
            deadline: config.deadline,
        })
    }

    /// Does `work` in its turn and within the deadline. It is pinned, because whatever took it by value would have room for it twice.
    pub(crate) async fn within<T>(&self, work: Pin<&mut impl Future<Output = Result<T, StoreError>>>) -> Result<T, StoreError> {
        let in_turn = async {
            // Only `close` makes it fail, and nobody calls that.
            let _turn = self.turns.acquire().await;
            work.await
        };
        match tokio::time::timeout(self.deadline, in_turn).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::Timeout { store: STORE, after: self.deadline }),
        }
    }

    /// Connects once and lets go again: whether the servers can be reached and used. It takes no thread's connection, because the thread
    /// that opens a store is often not one that serves.
    pub(crate) async fn reach(&self) -> Result<(), StoreError> {
        self.within(pin!(async { Ok(self.opener.open(&Arc::default()).await.map(drop)?) })).await
    }

    /// Whether ends and rotations wait for replicas.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// Sends over the connection of this thread.
    pub(crate) async fn send(&self, request: &Request, repeat: Repeat) -> Result<Value, ClientError> {
        self.send_over(&self.slots[thread::connection(self.slots.len())], request, repeat).await
    }

    /// Sends what ends or moves a session, and waits for replicas if that is asked for.
    pub(crate) async fn send_durably(&self, request: &Request) -> Result<Value, ClientError> {
        let Some(Wait { replicas, within }) = self.wait else {
            return self.send(request, Repeat::Never).await;
        };
        let Ok(_turn) = tokio::time::timeout(self.turn_within, self.waiting_turns.acquire()).await else {
            return Err(ClientError::Busy(format!("others have waited for replicas for {:?}; nothing was done", self.turn_within)));
        };
        let answers = self.send_over(&self.waiting, &request.and_wait(replicas.get(), within), Repeat::Never).await?;
        let Value::Array(answers) = answers else { return Err(ClientError::Answer("a pipeline answers with a list")) };
        let (Some(answer), Some(Value::Int(acknowledged))) = (answers.first().cloned(), answers.get(1)) else {
            return Err(ClientError::Answer("WAIT answers with a number"));
        };
        let answer = answer.extract_error()?;
        let wanted = replicas.get();
        if usize::try_from(*acknowledged).unwrap_or(0) < wanted {
            return Err(ClientError::Replicas { wanted, acknowledged: *acknowledged, within });
        }
        Ok(answer)
    }

    async fn send_over(&self, slot: &Slot, request: &Request, repeat: Repeat) -> Result<Value, ClientError> {
        let mut tries = 0;
        loop {
            let mut live = self.connection(slot).await?;
            let error = match self.send_once(slot, &mut live, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.ends_connection() {
                slot.retire(&live);
            }
            tries += 1;
            let again = match &error {
                busy if busy.is_worth_another_try() => tries < TRIES,
                ClientError::Lost(_) => repeat == Repeat::Once && tries < 2,
                _ => false,
            };
            if !again {
                return Err(error);
            }
            tokio::time::sleep(pause(tries, fastrand::f64())).await;
        }
    }

    async fn send_once(&self, slot: &Slot, live: &mut Live, request: &Request) -> Result<Value, ClientError> {
        let health = Arc::clone(&live.health);
        let mut waiting = Waiting { slot, health: &health, answers: health.count(), begun: Instant::now(), links: self, answered: false };
        let answer = request.send(&mut live.connection).await;
        waiting.answered = true;
        if !answer.as_ref().is_err_and(redis::RedisError::is_io_error) {
            health.answers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer?)
    }

    async fn connection(&self, slot: &Slot) -> Result<Live, ClientError> {
        loop {
            let opening = match slot.ready(|| Opening::begin(&self.opener))? {
                Ready::Live(live) => return Ok(live),
                Ready::Opening(opening) => opening,
            };
            let opened = opening.opened.clone().await;
            slot.settle(&opening, opened);
        }
    }
}

/// What a call has to go on with.
enum Ready {
    Live(Live),
    Opening(Opening),
}

impl Slot {
    /// The connection, or the one that is being made; it is begun if it is time for another attempt. Else what the last one came to.
    fn ready(&self, begin: impl FnOnce() -> Opening) -> Result<Ready, ClientError> {
        let mut state = self.state.lock();
        state.live.take_if(|live| live.health.gone.load(Ordering::Relaxed));
        if let Some(live) = &state.live {
            return Ok(Ready::Live(live.clone()));
        }
        // One that lasts longer than it may is driven by nobody: its runtime rests.
        state.opening.take_if(|opening| opening.begun.elapsed() > OPENS_WITHIN * 2);
        if let Some(opening) = &state.opening {
            return Ok(Ready::Opening(opening.clone()));
        }
        match &state.pause {
            Some((until, error)) if Instant::now() < *until => Err(error.clone()),
            _ => Ok(Ready::Opening(state.opening.insert(begin()).clone())),
        }
    }

    /// Notes what an attempt came to. The first of those that waited does it, or the next call if all have given up.
    fn settle(&self, opening: &Opening, opened: Opened) {
        let mut state = self.state.lock();
        if state.opening.take_if(|current| current.opened.ptr_eq(&opening.opened)).is_none() {
            return;
        }
        match opened.result {
            Ok(live) => {
                (state.failures, state.pause) = (0, None);
                state.live = Some(live);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.pause = Some((opened.ended + pause(state.failures, fastrand::f64()), error));
            }
        }
    }

    /// Takes a connection out, unless another one is in its place already. Calls that wait on it hold it as long as they do.
    fn retire(&self, live: &Live) {
        self.retire_where(&live.health);
    }

    fn retire_where(&self, health: &Arc<Health>) {
        self.state.lock().live.take_if(|live| Arc::ptr_eq(&live.health, health));
    }
}

impl Opening {
    fn begin(opener: &Arc<Opener>) -> Self {
        let opener = Arc::clone(opener);
        let task = tokio::spawn(async move {
            let gone = Arc::new(AtomicBool::new(false));
            let result = match tokio::time::timeout(OPENS_WITHIN, opener.open(&gone)).await {
                Ok(result) => result.map(|connection| Live {
                    connection,
                    health: Arc::new(Health { gone, answers: AtomicU64::new(0), opened: Instant::now() }),
                }),
                Err(_) => {
                    Err(ClientError::Connect { server: opener.servers().to_string(), why: format!("no answer within {OPENS_WITHIN:?}") })
                }
            };
            Opened { ended: Instant::now(), result }
        });
        let ended = async {
            let lost =
                |_| Opened { ended: Instant::now(), result: Err(ClientError::Lost("its runtime ended while it was made".to_owned())) };
            task.await.unwrap_or_else(lost)
        };
        Self { begun: Instant::now(), opened: ended.boxed().shared() }
    }
}

impl Health {
    fn count(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// A call that waits for an answer. One that gives up after it has waited long, on a connection that answered nobody meanwhile, has that
/// connection replaced: the peer may have vanished without a word, or be a primary that is none any more.
struct Waiting<'c> {
    slot: &'c Slot,
    health: &'c Arc<Health>,
    answers: u64,
    begun: Instant,
    links: &'c Links,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered || self.begun.elapsed() < self.links.deadline / 2 {
            return;
        }
        let silent = if self.links.opener.servers().is_cluster() {
            // Other nodes answer over the same connection.
            self.health.opened.elapsed() > CLUSTER_LIFE
        } else {
            self.health.count() == self.answers
        };
        if silent {
            self.slot.retire_where(self.health);
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("servers", &self.opener.servers().to_string())
            .field("connections", &self.slots.len())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The pause after that many failures in a row: doubling, capped, and between half and the whole of it by `chance` (0 to 1), so that
/// many clients of one server spread out.
fn pause(failures: u32, chance: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
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
