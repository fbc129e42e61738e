//! The connections of a store: deadlines, limits, retries, and waiting for replicas.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Cmd, Value};
use session_core::{StoreError, observe::retry_after};
use store_support::backoff::backoff;
use tokio::sync::Semaphore;

use super::{
    clock::ServerTime,
    command::{Request, millis},
    connector::Connector,
    decode,
    reconnecting::{Health, LiveConnection, ReconnectingConnection},
    thread_affinity,
};
use crate::{
    config::{Config, Wait},
    error::{ClientError, ConfigError, STORE},
};

/// How often the store sends a command that the server could not execute at the moment.
const MAX_ATTEMPTS: u32 = 5;
/// The most calls that wait for replicas at once.
const MAX_REPLICA_WAITS: u32 = 64;

/// Whether the store may send a command again after its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No: the server may have executed it, and a second execution would change something else.
    Never,
    /// Yes: two executions have the same effect as one.
    IfLost,
}

/// The connections of one store.
pub(crate) struct Connections {
    connector: Arc<Connector>,
    /// Each thread uses one of these.
    shared: Box<[ReconnectingConnection]>,
    /// For commands that wait for replicas, because `WAIT` blocks all commands behind it.
    durable: ReconnectingConnection,
    /// Permits for `durable`: so few that each command is answered within the deadline even if no
    /// replica answers. A call without a permit sends nothing. So the server does not execute
    /// commands late, and its queue does not grow while replicas are away.
    durable_permits: Semaphore,
    durable_permit_timeout: Duration,
    wait: Option<Wait>,
    /// One permit for each call in flight.
    permits: Semaphore,
    deadline: Duration,
}

impl Connections {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let wait = config.wait_settings();
        let within = wait.map_or(config.deadline, |wait| wait.within).max(Duration::from_millis(1));
        // A call has half of the deadline to get a permit. The other half is for the commands of
        // all calls with a permit.
        let durable_permits = u32::try_from(config.deadline.as_millis() / within.as_millis() / 2)
            .unwrap_or(u32::MAX)
            .clamp(1, MAX_REPLICA_WAITS);
        let shared = (0..config.connections.get()).map(|_| ReconnectingConnection::default());
        Ok(Self {
            connector: Arc::new(Connector::new(config)?),
            shared: shared.collect(),
            durable: ReconnectingConnection::default(),
            durable_permits: Semaphore::new(durable_permits as usize),
            durable_permit_timeout: config.deadline.saturating_sub(within * durable_permits),
            wait,
            permits: Semaphore::new(config.max_in_flight.get()),
            deadline: config.deadline,
        })
    }

    /// Runs `call` with a permit and within the deadline. The caller pins it: a future that took
    /// `call` by value would have twice its size.
    pub(crate) async fn within_deadline<T>(
        &self,
        call: Pin<&mut impl Future<Output = Result<T, StoreError>>>,
    ) -> Result<T, StoreError> {
        let with_permit = async {
            // `acquire` fails only on a closed semaphore, and this one is never closed.
            let _permit = self.permits.acquire().await;
            call.await
        };
        match tokio::time::timeout(self.deadline, with_permit).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::Timeout { store: STORE, after: self.deadline }),
        }
    }

    /// Connects once and disconnects again, to check that the servers can be used. It takes none of
    /// the shared connections, because the thread that opens a store often does not serve requests.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let connect = async {
            self.connector.prepare().await;
            Ok(self.connector.connect(&Arc::default()).await.map(drop)?)
        };
        let probed = self.within_deadline(pin!(connect)).await;
        if probed.as_ref().is_err_and(StoreError::is_transient)
            && let Some(mismatch) = self.connector.find_tls_mismatch().await
        {
            return Err(ClientError::Tls(mismatch).into());
        }
        probed
    }

    /// Whether they lead to the nodes of a Cluster.
    pub(crate) fn are_of_cluster(&self) -> bool {
        self.connector.servers().is_cluster()
    }

    /// Whether ends, sign-ins and rotations wait for replicas.
    pub(crate) fn waits_for_replicas(&self) -> bool {
        self.wait.is_some()
    }

    /// The cached time of the server to which this thread's connection leads. `None` in a Cluster,
    /// where each node has its own clock and only the driver knows which node gets a command.
    pub(crate) fn time_for_commit(&self) -> Option<ServerTime> {
        if self.are_of_cluster() {
            None
        } else {
            self.of_this_thread().health()?.clock.for_commit()
        }
    }

    /// Keeps a time that the server has told.
    pub(crate) fn record_time(&self, time: ServerTime) {
        if let Some(health) = self.of_this_thread().health() {
            health.clock.record(time);
        }
    }

    /// Sends over the connection of this thread.
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        retry: Retry,
    ) -> Result<Value, ClientError> {
        self.send_over(self.of_this_thread(), request, retry).await
    }

    fn of_this_thread(&self) -> &ReconnectingConnection {
        &self.shared[thread_affinity::connection_index(self.shared.len())]
    }

    /// Sends a command that ends, signs in or rotates a session, and waits for replicas.
    pub(crate) async fn send_durably(&self, command: Cmd) -> Result<Value, ClientError> {
        let Some(Wait { replicas, within }) = self.wait else {
            return self.send(&Request::Single(&command), Retry::Never).await;
        };
        let permit = self.durable_permits.acquire();
        let Ok(_permit) = tokio::time::timeout(self.durable_permit_timeout, permit).await else {
            return Err(ClientError::Busy(format!(
                "other calls have waited for replicas for {:?}; this call changed nothing",
                self.durable_permit_timeout
            )));
        };
        let mut wait = redis::cmd("WAIT");
        wait.arg(replicas.get()).arg(millis(within));
        let both = [command, wait];
        let answers = decode::list(
            self.send_over(&self.durable, &Request::Pipeline(&both), Retry::Never).await?,
        )?;
        let [answer, acknowledged] = <[Value; 2]>::try_from(answers)
            .map_err(|_| ClientError::UnexpectedAnswer("expected two answers"))?;
        let answer = answer.extract_error()?;
        // From here on the primary has made the change, also if the wait fails.
        let acknowledged =
            acknowledged.extract_error().map(|count| decode::int(&count).unwrap_or(0));
        let acknowledged = match acknowledged.map_err(ClientError::from) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(denied @ ClientError::NoPermission(_)) => return Err(denied),
            Err(_) => 0,
        };
        let wanted = replicas.get();
        if acknowledged < wanted {
            Err(ClientError::NotReplicated { wanted, acknowledged, within })
        } else {
            Ok(answer)
        }
    }

    async fn send_over(
        &self,
        connection: &ReconnectingConnection,
        request: &Request<'_>,
        retry: Retry,
    ) -> Result<Value, ClientError> {
        let mut attempts = 0;
        loop {
            let mut live = connection.connection(&self.connector).await?;
            // Twice, because the connection of an attempt that was under way may lead to the same
            // primary.
            for _ in 0..2 {
                if !self.connector.has_successor(live.health.term).await {
                    break;
                }
                connection.retire(&live.health);
                live = connection.connection(&self.connector).await?;
            }
            let error = match self.send_once(connection, &mut live, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.ends_connection() {
                connection.retire(&live.health);
            }
            if error.is_refused_login() {
                // The server accepted the login of this connection before.
                return Err(self.connector.outage(&error));
            }
            attempts += 1;
            let again = match &error {
                error if error.is_retryable() => attempts < MAX_ATTEMPTS,
                ClientError::Lost(_) => retry == Retry::IfLost && attempts < 2,
                _ => false,
            };
            if !again {
                return Err(error);
            }
            retry_after(backoff(attempts), STORE).await;
        }
    }

    async fn send_once(
        &self,
        connection: &ReconnectingConnection,
        live: &mut LiveConnection,
        request: &Request<'_>,
    ) -> Result<Value, ClientError> {
        let health = Arc::clone(&live.health);
        let mut pending = PendingAnswer {
            connection,
            health: &health,
            answers_before: health.answers(),
            sent_at: Instant::now(),
            connections: self,
            answered: false,
        };
        let sent = request.send(&mut live.connection, &health.clock);
        let answer = if self.are_of_cluster() {
            Box::pin(self.await_cluster(connection, &health, sent)).await
        } else {
            sent.await
        };
        pending.answered = true;
        if !answer.as_ref().is_err_and(redis::RedisError::is_io_error) {
            health.count_answer();
        }
        Ok(answer?)
    }

    /// Waits for an answer of a Cluster. If none comes within a quarter of the deadline, the node
    /// may have lost its role as a primary. Then a new connection is made in the background, which
    /// learns the nodes' roles before the next call.
    async fn await_cluster<T>(
        &self,
        connection: &ReconnectingConnection,
        health: &Arc<Health>,
        sent: impl Future<Output = T>,
    ) -> T {
        let mut sent = pin!(sent);
        if let Ok(answer) = tokio::time::timeout(self.deadline / 4, &mut sent).await {
            return answer;
        }
        connection.replace_in_background(health);
        sent.await
    }
}

/// A call that waits for an answer.
///
/// If the call gives up after half of the deadline and the connection has delivered no answer
/// meanwhile, the connection is replaced. Its peer may have vanished, or may have lost its role as
/// the primary.
struct PendingAnswer<'c> {
    connection: &'c ReconnectingConnection,
    health: &'c Arc<Health>,
    answers_before: u64,
    sent_at: Instant,
    connections: &'c Connections,
    answered: bool,
}

impl Drop for PendingAnswer<'_> {
    fn drop(&mut self) {
        if self.answered || self.sent_at.elapsed() < self.connections.deadline / 2 {
            return;
        }
        // In a Cluster other nodes may answer over the same connection. `await_cluster` replaces
        // it there.
        if !self.connections.are_of_cluster() && self.health.answers() == self.answers_before {
            self.connection.retire(self.health);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("servers", &self.connector.servers().to_string())
            .field("connections", &self.shared.len())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
