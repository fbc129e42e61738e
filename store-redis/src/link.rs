//! The connections of a store, made again when they are lost.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Cmd, Value};
use session_core::{StoreError, observe::retry_after};
use tokio::sync::Semaphore;

use crate::{
    STORE, answer,
    clock::ServerTime,
    command::{Request, millis},
    config::{Config, Wait},
    error::{ClientError, ConfigError},
    opener::Opener,
    slot::{Health, Live, Slot, pause},
    thread,
};

/// How often a command is sent that the server did not execute because it could not serve just
/// then.
const TRIES: u32 = 5;
/// The most calls that wait for replicas at once.
const MOST_WAITING: u32 = 64;
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
    /// So few that what is sent is answered within the deadline also when no replica answers. A
    /// call whose turn does not come is not sent, so that it is not executed late, and the server's
    /// queue does not grow while the replicas are away.
    waiting_turns: Semaphore,
    turn_within: Duration,
    wait: Option<Wait>,
    /// One permit for each call that may wait for an answer.
    turns: Semaphore,
    deadline: Duration,
}

impl Links {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let within = config
            .waits()
            .map_or(config.deadline, |wait| wait.within)
            .max(Duration::from_millis(1));
        // Half of the deadline to get a turn, half of it for all that have one.
        let waiting_turns = u32::try_from(config.deadline.as_millis() / within.as_millis() / 2)
            .unwrap_or(u32::MAX)
            .clamp(1, MOST_WAITING);
        Ok(Self {
            opener: Arc::new(Opener::new(config)?),
            slots: (0..config.connections.get()).map(|_| Slot::default()).collect(),
            waiting: Slot::default(),
            waiting_turns: Semaphore::new(waiting_turns as usize),
            turn_within: config.deadline.saturating_sub(within * waiting_turns),
            wait: config.waits(),
            turns: Semaphore::new(config.max_in_flight.get()),
            deadline: config.deadline,
        })
    }

    /// Does `work` in its turn and within the deadline. It is pinned, because whatever took it by
    /// value would have room for it twice.
    pub(crate) async fn within<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, StoreError>>>,
    ) -> Result<T, StoreError> {
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

    /// Connects once and lets go again: whether the servers can be reached and used. It takes no
    /// thread's connection, because the thread that opens a store is often not one that serves.
    pub(crate) async fn reach(&self) -> Result<(), StoreError> {
        self.within(pin!(async { Ok(self.opener.open(&Arc::default()).await.map(drop)?) })).await
    }

    /// Whether ends, sign-ins and rotations wait for replicas.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// What the one server that this thread's connection leads to said of its time. Nodes of a
    /// Cluster have clocks of their own, and the driver alone knows which node a command goes to.
    pub(crate) fn time_for_commit(&self) -> Option<ServerTime> {
        if self.opener.servers().is_cluster() {
            None
        } else {
            self.slot().health()?.clock.for_commit()
        }
    }

    /// Notes what the server said of its time.
    pub(crate) fn note_time(&self, time: ServerTime) {
        if let Some(health) = self.slot().health() {
            health.clock.note(time);
        }
    }

    /// Sends over the connection of this thread.
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        repeat: Repeat,
    ) -> Result<Value, ClientError> {
        self.send_over(self.slot(), request, repeat).await
    }

    fn slot(&self) -> &Slot {
        &self.slots[thread::connection(self.slots.len())]
    }

    /// Sends what ends, signs in or rotates a session, and waits for replicas.
    pub(crate) async fn send_durably(&self, command: Cmd) -> Result<Value, ClientError> {
        let Some(Wait { replicas, within }) = self.wait else {
            return self.send(&Request::One(&command), Repeat::Never).await;
        };
        let Ok(_turn) = tokio::time::timeout(self.turn_within, self.waiting_turns.acquire()).await
        else {
            return Err(ClientError::Busy(format!(
                "others have waited for replicas for {:?}; nothing was done",
                self.turn_within
            )));
        };
        let mut wait = redis::cmd("WAIT");
        wait.arg(replicas.get()).arg(millis(within));
        let answers = answer::list(
            self.send_over(&self.waiting, &Request::All(&[command, wait]), Repeat::Never).await?,
        )?;
        let [answer, acknowledged] =
            <[Value; 2]>::try_from(answers).map_err(|_| ClientError::Answer("two answers"))?;
        let answer = answer.extract_error()?;
        // By now the change is made, whatever becomes of the wait.
        let acknowledged =
            acknowledged.extract_error().map(|count| answer::int(&count).unwrap_or(0));
        let acknowledged = match acknowledged.map_err(ClientError::from) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(right @ ClientError::NoRight(_)) => return Err(right),
            Err(_) => 0,
        };
        let wanted = replicas.get();
        if acknowledged < wanted {
            Err(ClientError::Replicas { wanted, acknowledged, within })
        } else {
            Ok(answer)
        }
    }

    async fn send_over(
        &self,
        slot: &Slot,
        request: &Request<'_>,
        repeat: Repeat,
    ) -> Result<Value, ClientError> {
        let mut tries = 0;
        loop {
            let mut live = slot.connection(&self.opener).await?;
            // Twice, because a connection that was on its way may lead there as well.
            for _ in 0..2 {
                if !self.opener.is_over(live.health.term).await {
                    break;
                }
                slot.retire(&live.health);
                live = slot.connection(&self.opener).await?;
            }
            let error = match self.send_once(slot, &mut live, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.ends_connection() {
                slot.retire(&live.health);
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
            retry_after(pause(tries, fastrand::f64()), STORE).await;
        }
    }

    async fn send_once(
        &self,
        slot: &Slot,
        live: &mut Live,
        request: &Request<'_>,
    ) -> Result<Value, ClientError> {
        let health = Arc::clone(&live.health);
        let mut waiting = Waiting {
            slot,
            health: &health,
            answers: health.count(),
            begun: Instant::now(),
            links: self,
            answered: false,
        };
        let sent = request.send(&mut live.connection, &health.clock);
        let answer = if self.opener.servers().is_cluster() {
            Box::pin(self.impatient(slot, &health, sent)).await
        } else {
            sent.await
        };
        waiting.answered = true;
        if !answer.as_ref().is_err_and(redis::RedisError::is_io_error) {
            health.answered();
        }
        Ok(answer?)
    }
}

impl Links {
    /// Waits for an answer of a Cluster. If it does not come soon, the node may be a primary that
    /// is none any more, so somebody else is asked meanwhile who serves what: by the time the next
    /// call comes, there is a connection that knows.
    async fn impatient<T>(
        &self,
        slot: &Slot,
        health: &Arc<Health>,
        sent: impl Future<Output = T>,
    ) -> T {
        let mut sent = pin!(sent);
        if let Ok(answer) = tokio::time::timeout(self.deadline / 4, &mut sent).await {
            return answer;
        }
        slot.renew(health);
        sent.await
    }
}

/// A call that waits for an answer. One that gives up after it has waited long, on a connection
/// that answered nobody meanwhile, has that connection replaced: the peer may have vanished without
/// a word, or be a primary that is none any more.
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
        // Other nodes of a Cluster may answer over the same connection. It serves until there is
        // another one, see `impatient`.
        if !self.links.opener.servers().is_cluster() && self.health.count() == self.answers {
            self.slot.retire(self.health);
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
