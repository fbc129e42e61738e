//! Finds the primary through Sentinels, and notices when it gets a successor.
//!
//! A primary that was cut off or frozen still acts as primary when it is back, until a Sentinel
//! demotes it after about 8 s. Meanwhile it serves the clients that are connected to it, and all of
//! these changes are lost. Therefore the store polls all Sentinels in the background while there
//! are calls. It closes a connection to a primary that has a successor.
//!
//! A Sentinel that was cut off names the former primary. Therefore the store polls all Sentinels at
//! once and trusts the highest configuration epoch. Each failover has its own epoch:
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#configuration-epochs>.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Value, aio::MultiplexedConnection};
use tokio::task::AbortHandle;

use super::{
    address::Host,
    client::Clients,
    decode::{field, list, text},
};
use crate::error::ClientError;

/// How often the store polls the Sentinels while there are calls.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A call waits for a new poll if the last one is older than this: it is the first call after a
/// pause. While there are calls, the time from one poll to the next is shorter.
const MAX_POLL_AGE: Duration = Duration::from_secs(3);
/// How long a call waits for a poll at most. After that it uses the known primary.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// How long one Sentinel may take to answer.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a poll waits for the other Sentinels once a majority has answered.
const STRAGGLER_TIMEOUT: Duration = Duration::from_millis(50);
/// A lower epoch is accepted if a majority has named it for this long, and no Sentinel has named
/// the known one meanwhile.
const LOWER_EPOCH_AFTER: Duration = Duration::from_secs(10);

/// The Sentinels of one primary.
pub(crate) struct Sentinels {
    nodes: Vec<Sentinel>,
    clients: Arc<Clients>,
    primary_name: String,
    known: Mutex<KnownPrimary>,
    created_at: Instant,
    /// When the last poll began that ended in time, in milliseconds since `created_at`. 0 if there
    /// is none.
    polled_at: AtomicU64,
    /// How often another primary was accepted.
    term: AtomicU64,
    poll: Mutex<Option<Poll>>,
    max_wait: Duration,
}

struct Sentinel {
    host: Host,
    /// The connection, except while a poll uses it.
    idle: Mutex<Option<MultiplexedConnection>>,
}

/// The answer of one Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    epoch: u64,
    primary: Host,
}

/// The primary that the store uses.
#[derive(Debug, Default)]
struct KnownPrimary {
    accepted: Option<Report>,
    /// Since when a majority names a lower epoch.
    lower_epoch_since: Option<Instant>,
}

/// A primary and its term: a number that changes when the primary gets a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) host: Host,
    pub(crate) term: u64,
}

/// A poll in the background.
#[derive(Clone)]
struct Poll {
    started_at: Instant,
    task: AbortHandle,
    ended: Shared<BoxFuture<'static, ()>>,
}

impl Sentinels {
    /// Does not connect. A call with this deadline waits a quarter of it for a poll at most.
    pub(crate) fn new(
        primary_name: &str,
        hosts: &[Host],
        clients: Arc<Clients>,
        deadline: Duration,
    ) -> Self {
        let sentinel = |host: &Host| Sentinel { host: host.clone(), idle: Mutex::default() };
        Self {
            nodes: hosts.iter().map(sentinel).collect(),
            clients,
            primary_name: primary_name.to_owned(),
            known: Mutex::default(),
            created_at: Instant::now(),
            polled_at: AtomicU64::new(0),
            term: AtomicU64::new(0),
            poll: Mutex::default(),
            max_wait: MAX_WAIT.min(deadline / 4),
        }
    }

    /// Polls the Sentinels and returns the primary.
    ///
    /// # Errors
    /// If no Sentinel names the primary.
    pub(crate) async fn primary(self: &Arc<Self>) -> Result<Primary, ClientError> {
        let started_at = self.now();
        let reports = self.poll_all().await;
        if let Ok(reports) = &reports {
            self.update(|known| known.settle(reports, self.nodes.len(), Instant::now()));
        }
        // A failed poll counts as well: another one right away would fail too. A poll that took
        // longer was suspended with its runtime, and its answers are old.
        let took = Duration::from_millis(self.now() - started_at);
        if took <= SENTINEL_TIMEOUT + MAX_WAIT {
            self.polled_at.fetch_max(started_at, Ordering::Release);
        }
        reports?;
        let known = self.known.lock();
        let accepted =
            known.accepted.as_ref().ok_or(ClientError::UnexpectedAnswer("expected a primary"))?;
        Ok(Primary { host: accepted.primary.clone(), term: self.term.load(Ordering::Relaxed) })
    }

    /// Whether the primary of this term has a successor, as far as the Sentinels have reported.
    /// Starts a poll if the last one is too old.
    pub(crate) async fn has_successor(self: &Arc<Self>, term: u64) -> bool {
        let age = self.poll_age();
        if age > MAX_POLL_AGE {
            // In a box, so that calls that do not wait have a smaller future.
            let _ = Box::pin(tokio::time::timeout(self.max_wait, self.polled())).await;
        } else if age > POLL_INTERVAL {
            drop(self.background_poll(SENTINEL_TIMEOUT * 2));
        }
        self.term.load(Ordering::Relaxed) != term
    }

    async fn polled(self: &Arc<Self>) {
        self.background_poll(self.max_wait).await;
        if self.poll_age() > MAX_POLL_AGE {
            // The runtime of that poll has ended.
            self.background_poll(self.max_wait).await;
        }
    }

    /// The poll that is under way, or a new one. It is a task, so that it ends even if no call
    /// waits for it. A poll that takes longer than `timeout` may be suspended with its runtime, so
    /// a new one replaces it.
    fn background_poll(self: &Arc<Self>, timeout: Duration) -> Shared<BoxFuture<'static, ()>> {
        let mut poll = self.poll.lock();
        poll.take_if(|poll| poll.task.is_finished() || poll.started_at.elapsed() > timeout);
        let current = poll.get_or_insert_with(|| {
            let sentinels = Arc::clone(self);
            // If the poll fails, the known primary and `term` stay.
            let task = tokio::spawn(async move { drop(sentinels.primary().await) });
            Poll {
                started_at: Instant::now(),
                task: task.abort_handle(),
                ended: task.map(drop).boxed().shared(),
            }
        });
        current.ended.clone()
    }

    /// The reports of all Sentinels, or those of a majority and of the Sentinels that answer soon
    /// after it. Each later report still updates the known primary.
    async fn poll_all(self: &Arc<Self>) -> Result<Vec<Report>, ClientError> {
        let poll = |index| tokio::spawn(Arc::clone(self).poll_one(index));
        let mut polls: FuturesUnordered<_> = (0..self.nodes.len()).map(poll).collect();
        let (mut reports, mut failure) = (Vec::new(), None);
        loop {
            let next = if is_majority(reports.len(), self.nodes.len()) {
                let Ok(next) = tokio::time::timeout(STRAGGLER_TIMEOUT, polls.next()).await else {
                    break;
                };
                next
            } else {
                polls.next().await
            };
            match next {
                Some(Ok(Ok(report))) => reports.push(report),
                Some(Ok(Err(error))) => failure = Some(more_specific(failure, error)),
                Some(Err(ended)) => {
                    let error =
                        ClientError::Lost(format!("the poll of a Sentinel was cancelled: {ended}"));
                    failure = Some(more_specific(failure, error));
                }
                None => break,
            }
        }
        match failure {
            Some(error) if reports.is_empty() => Err(error),
            _ => Ok(reports),
        }
    }

    async fn poll_one(self: Arc<Self>, index: usize) -> Result<Report, ClientError> {
        // Two thirds of the time for which a call waits are left for a new connection.
        let timeout = self.max_wait / 3;
        let report = self.nodes[index].poll(&self.clients, &self.primary_name, timeout).await?;
        self.update(|known| known.update(&report));
        Ok(report)
    }

    /// Changes the known primary. `change` returns whether it is another one now.
    fn update(&self, change: impl FnOnce(&mut KnownPrimary) -> bool) {
        let mut known = self.known.lock();
        if change(&mut known) {
            self.term.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll_age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.polled_at.load(Ordering::Acquire)))
    }

    /// Milliseconds since `created_at`.
    fn now(&self) -> u64 {
        u64::try_from(self.created_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl KnownPrimary {
    /// Accepts a report with a higher epoch. Returns whether it names another primary.
    fn update(&mut self, report: &Report) -> bool {
        match &self.accepted {
            Some(known) if report.epoch < known.epoch => false,
            Some(known) if report.epoch == known.epoch => {
                self.lower_epoch_since = None;
                false
            }
            _ => self.accept(report),
        }
    }

    /// Settles a disagreement in the reports of one poll, each of which went through
    /// [`update`](Self::update) before.
    ///
    /// Of reports with the same epoch, those of a majority of the `total` Sentinels count. A lower
    /// epoch is accepted after a while, because the Sentinels may have been set up anew. Returns
    /// whether another primary was accepted.
    fn settle(&mut self, reports: &[Report], total: usize, now: Instant) -> bool {
        let Some(known) = &self.accepted else { return false };
        let votes = |report: &Report| reports.iter().filter(|other| *other == report).count();
        let Some(best) = reports.iter().max_by_key(|report| (report.epoch, votes(report))) else {
            return false;
        };
        if best.epoch == known.epoch {
            return is_majority(votes(best), total) && self.accept(best);
        }
        if best.epoch > known.epoch || !is_majority(reports.len(), total) {
            return false;
        }
        let since = *self.lower_epoch_since.get_or_insert(now);
        now.saturating_duration_since(since) > LOWER_EPOCH_AFTER && self.accept(best)
    }

    fn accept(&mut self, report: &Report) -> bool {
        let is_other = self.accepted.as_ref().is_none_or(|known| known.primary != report.primary);
        *self = Self { accepted: Some(report.clone()), lower_epoch_since: None };
        is_other
    }
}

fn is_majority(count: usize, total: usize) -> bool {
    count * 2 > total
}

impl Sentinel {
    async fn poll(
        &self,
        clients: &Clients,
        primary: &str,
        idle_timeout: Duration,
    ) -> Result<Report, ClientError> {
        let failed = |why: String| ClientError::Connect {
            server: format!("the Sentinel {}", self.host),
            why,
        };
        let polled = self.poll_without_timeout(clients, primary, idle_timeout);
        match tokio::time::timeout(SENTINEL_TIMEOUT, polled).await {
            Ok(Err(ClientError::Lost(why) | ClientError::Busy(why))) => Err(failed(why)),
            Ok(Err(ClientError::LoginRequired | ClientError::WrongLogin)) => {
                Err(ClientError::SentinelLogin { sentinel: self.host.to_string() })
            }
            Ok(Err(ClientError::NoCommand(_))) => {
                Err(ClientError::WrongMode { found: "not a Sentinel", scheme: "redis://" })
            }
            Ok(report) => report,
            Err(_) => Err(failed(format!("no answer within {SENTINEL_TIMEOUT:?}"))),
        }
    }

    /// Uses the idle connection if it answers in time, and a new one otherwise.
    async fn poll_without_timeout(
        &self,
        clients: &Clients,
        primary: &str,
        idle_timeout: Duration,
    ) -> Result<Report, ClientError> {
        let idle = self.idle.lock().take();
        if let Some(mut connection) = idle
            && let Ok(Ok(report)) =
                tokio::time::timeout(idle_timeout, ask(&mut connection, primary)).await
        {
            self.idle.lock().replace(connection);
            return Ok(report);
        }
        let client = clients.sentinel(&self.host).map_err(|error| ClientError::Connect {
            server: format!("the Sentinel {}", self.host),
            why: error.to_string(),
        })?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_dns_resolver(clients.resolver().clone());
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        let report = ask(&mut connection, primary).await?;
        self.idle.lock().replace(connection);
        Ok(report)
    }
}

/// Asks a Sentinel for the primary and its epoch.
///
/// During a failover `MASTERS` shows the new epoch while it still names the former primary.
/// `GET-MASTER-ADDR-BY-NAME` already names the new one. The store sends both commands together, and
/// a Sentinel executes nothing between them.
async fn ask(connection: &mut MultiplexedConnection, primary: &str) -> Result<Report, ClientError> {
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    both.cmd("SENTINEL").arg("MASTERS");
    let mut answers = connection.send_packed_commands(&both, 0, 2).await?.into_iter();
    let mut next = || {
        answers
            .next()
            .ok_or(ClientError::UnexpectedAnswer("expected two answers of a Sentinel"))?
            .extract_error()
            .map_err(ClientError::from)
    };
    let (address, primaries) = (next()?, next()?);
    report(primary, &address, primaries)
}

fn report(name: &str, address: &Value, primaries: Value) -> Result<Report, ClientError> {
    let shape = || {
        ClientError::UnexpectedAnswer("expected host, port and epoch of a primary from a Sentinel")
    };
    if *address == Value::Nil {
        return Err(ClientError::NoPrimary { name: name.to_owned() });
    }
    let Value::Array(address) = address else { return Err(shape()) };
    let [host, port] = address.as_slice() else { return Err(shape()) };
    let (host, port) = (
        text(host).ok_or_else(shape)?,
        text(port).and_then(|port| port.parse().ok()).ok_or_else(shape)?,
    );
    let primaries = list(primaries)?;
    let one =
        primaries.iter().find(|fields| field(fields, "name") == Some(name)).ok_or_else(shape)?;
    let epoch =
        field(one, "config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(shape)?;
    Ok(Report { epoch, primary: Host { name: host.to_owned(), port } })
}

/// Which of two failures is reported: a refused login or an unknown name says more than a failed
/// connection.
fn more_specific(earlier: Option<ClientError>, error: ClientError) -> ClientError {
    match earlier {
        Some(earlier) if !matches!(earlier, ClientError::Connect { .. }) => earlier,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn host(port: u16) -> Host {
        Host { name: "10.0.0.1".to_owned(), port }
    }

    fn report_of(epoch: u64, port: u16) -> Report {
        Report { epoch, primary: host(port) }
    }

    #[test]
    fn h21_stale_sentinel_epoch_is_ignored() {
        let mut known = KnownPrimary::default();
        assert!(
            known.update(&report_of(1, 1)) && known.update(&report_of(2, 2)),
            "the later failover counts"
        );
        assert!(!known.update(&report_of(1, 1)) && !known.update(&report_of(2, 2)));
        assert!(!known.update(&report_of(3, 2)), "the same primary after another failover");
        assert_eq!(known.accepted, Some(report_of(3, 2)));
    }

    #[test]
    fn lower_epoch_of_a_majority_is_accepted_after_a_while() {
        let (start, minority, majority) =
            (Instant::now(), [report_of(0, 3)], [report_of(0, 3), report_of(0, 3)]);
        let late = start + LOWER_EPOCH_AFTER + Duration::from_millis(1);
        let mut known = KnownPrimary::default();
        known.update(&report_of(2, 2));
        assert!(
            !known.settle(&minority, 3, start) && !known.settle(&minority, 3, late),
            "a minority can be behind for a long time"
        );
        assert!(!known.settle(&majority, 3, start) && !known.settle(&[], 3, start));
        known.update(&report_of(2, 2));
        assert!(!known.settle(&majority, 3, late), "one Sentinel still names the higher epoch");
        assert!(known.settle(&majority, 3, late + (late - start)));
        assert_eq!(known.accepted, Some(report_of(0, 3)));
    }

    #[test]
    fn majority_decides_within_one_epoch() {
        let now = Instant::now();
        let mut known = KnownPrimary::default();
        known.update(&report_of(0, 3));
        assert!(
            !known.settle(&[report_of(0, 4), report_of(0, 3)], 2, now)
                && !known.settle(&[report_of(0, 4)], 3, now)
        );
        assert!(known.settle(&[report_of(0, 4), report_of(0, 3), report_of(0, 4)], 3, now));
        assert_eq!(known.accepted, Some(report_of(0, 4)));
    }

    #[test]
    fn report_is_read_in_both_protocols() {
        let line = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let address = Value::Array(vec![line("10.0.0.1"), line("7")]);
        let fields = |name| {
            [("name", name), ("ip", "10.0.0.9"), ("config-epoch", "4")]
                .map(|(name, value)| (line(name), line(value)))
        };
        let map = |name| Value::Map(fields(name).to_vec());
        let flat = |name| {
            Value::Array(fields(name).into_iter().flat_map(|(name, value)| [name, value]).collect())
        };
        for primaries in [vec![map("other"), map("mine")], vec![flat("mine")]] {
            assert_eq!(report("mine", &address, Value::Array(primaries)).unwrap(), report_of(4, 7));
        }
        assert!(report("mine", &address, Value::Array(vec![map("other")])).is_err());
        assert!(report("mine", &Value::Okay, Value::Array(vec![map("mine")])).is_err());
        let unknown =
            report("mine", &Value::Nil, Value::Array(Vec::new())).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "the Sentinels know no primary with the name \"mine\"; the URL ends with its name: \
             redis-sentinel://host1,host2,host3/name"
        );
    }

    #[tokio::test]
    async fn unreachable_sentinels_are_polled_once_a_second() {
        let hosts = [1, 2].map(|port| Host { name: "127.0.0.1".to_owned(), port });
        let config = Config::new("redis-sentinel://127.0.0.1:1/mine").unwrap();
        let clients = Arc::new(Clients::new(&config));
        let sentinels = Arc::new(Sentinels::new("mine", &hosts, clients, Duration::from_secs(2)));
        let error = sentinels.primary().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to the Sentinel 127.0.0.1:"), "{error}");
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(!sentinels.has_successor(0).await, "the known primary stays");
        }
        assert!(
            sentinels.poll.lock().is_none() && begun.elapsed() < POLL_INTERVAL,
            "no poll starts within a second"
        );
    }
}
