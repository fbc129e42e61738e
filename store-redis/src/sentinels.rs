//! Who is the primary, as Sentinels say.
//!
//! A primary that was cut off or stood still takes itself for one when it is back, until a Sentinel has looked at it for some eight seconds. Who is
//! still connected to it is served meanwhile, and all that is undone. So Sentinels are asked again and again beside the calls, and a connection to
//! a primary that has a successor is given up.
//!
//! A Sentinel can be behind as well: one that was cut off names the former primary. All of them are asked at once, and the highest configuration
//! epoch counts, of which each failover has one of its own. How Sentinels come by it:
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
use redis::{AsyncConnectionConfig, Client, Value, aio::MultiplexedConnection};
use tokio::task::AbortHandle;

use crate::{
    address::Host,
    answer::{field, list, text},
    error::ClientError,
};

/// How often they are asked while there are calls.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A call waits for the answer if the last one is older than this: it is the first after a long silence. It is more than what passes from one
/// answer to the next while there are calls.
const TOO_OLD: Duration = Duration::from_secs(3);
/// How long it waits at most. Nobody can say then that the primary is another one.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// How long one of them may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How much of it may pass over a connection of before, which may have fallen silent.
const ANSWERS_AGAIN_WITHIN: Duration = Duration::from_millis(250);
/// How long the others may take when most have answered.
const STRAGGLES_FOR: Duration = Duration::from_millis(50);
/// A lower epoch is believed if none as high as before was heard for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The Sentinels of one primary.
pub(crate) struct Sentinels {
    all: Vec<Arc<Sentinel>>,
    /// What they call it.
    name: Arc<str>,
    known: Mutex<Known>,
    begun: Instant,
    /// When a question ended last, in milliseconds since then; 0 if none did.
    asked: AtomicU64,
    /// How often another primary was named.
    term: AtomicU64,
    question: Mutex<Option<Question>>,
    longest_wait: Duration,
}

/// One of them.
struct Sentinel {
    host: Host,
    client: Client,
    /// The connection, while nobody asks over it.
    idle: Mutex<Option<MultiplexedConnection>>,
}

/// Whom a Sentinel names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    epoch: u64,
    primary: Host,
}

/// The primary that counts, and when an epoch as high as its own was asked for last.
#[derive(Debug, Default)]
struct Known(Option<(Named, Instant)>);

/// A primary, and what becomes another number when it gets a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) host: Host,
    pub(crate) term: u64,
}

/// A question that was begun beside a call.
#[derive(Clone)]
struct Question {
    begun: Instant,
    task: AbortHandle,
    ended: Shared<BoxFuture<'static, ()>>,
}

impl Sentinels {
    /// Connects to nothing. A call that may take `deadline` waits a fourth of it at most for an answer.
    pub(crate) fn new(name: &str, all: impl IntoIterator<Item = (Host, Client)>, deadline: Duration) -> Self {
        Self {
            all: all.into_iter().map(|(host, client)| Arc::new(Sentinel { host, client, idle: Mutex::default() })).collect(),
            name: name.into(),
            known: Mutex::default(),
            begun: Instant::now(),
            asked: AtomicU64::new(0),
            term: AtomicU64::new(0),
            question: Mutex::default(),
            longest_wait: LONGEST_WAIT.min(deadline / 4),
        }
    }

    /// Asks them who is the primary.
    ///
    /// # Errors
    /// If none of them can say it.
    pub(crate) async fn primary(&self) -> Result<Primary, ClientError> {
        let begun = Instant::now();
        let answered = self.ask().await;
        // Also if they did not answer: it is no use to ask them again at once.
        self.asked.store(self.now(), Ordering::Relaxed);
        self.note(&answered?, begun)
    }

    /// Whether the primary of this term has a successor, as far as is known. Asks if it is time for that.
    pub(crate) async fn is_over(self: &Arc<Self>, term: u64) -> bool {
        let age = Duration::from_millis(self.now().saturating_sub(self.asked.load(Ordering::Relaxed)));
        if age > ASK_EVERY {
            let question = self.question();
            if age > TOO_OLD {
                // In a box, so that those who do not wait have no room for it.
                let _ = Box::pin(tokio::time::timeout(self.longest_wait, question)).await;
            }
        }
        self.term.load(Ordering::Relaxed) != term
    }

    /// The question that is on its way, or a new one. It is a task of its own, so that it ends also if nobody waits for it.
    fn question(self: &Arc<Self>) -> Shared<BoxFuture<'static, ()>> {
        let mut question = self.question.lock();
        // One that lasts longer than it may is driven by nobody: its runtime rests.
        question.take_if(|question| question.task.is_finished() || question.begun.elapsed() > ANSWERS_WITHIN * 2);
        let current = question.get_or_insert_with(|| {
            let sentinels = Arc::clone(self);
            // The primary that is known is as good as before if they do not answer: `term` stays as it is.
            let task = tokio::spawn(async move { drop(sentinels.primary().await) });
            Question { begun: Instant::now(), task: task.abort_handle(), ended: task.map(drop).boxed().shared() }
        });
        current.ended.clone()
    }

    /// What they answer: all of them, or most and whoever is nearly as fast.
    async fn ask(&self) -> Result<Vec<Named>, ClientError> {
        // Tasks of their own, so that who comes too late for this answer keeps its connection for the next one.
        let ask = |sentinel: &Arc<Sentinel>| tokio::spawn(Arc::clone(sentinel).ask(Arc::clone(&self.name)));
        let mut asked: FuturesUnordered<_> = self.all.iter().map(ask).collect();
        let (mut answers, mut why) = (Vec::new(), None);
        loop {
            let next = if self.are_most(&answers) {
                let Ok(next) = tokio::time::timeout(STRAGGLES_FOR, asked.next()).await else { break };
                next
            } else {
                asked.next().await
            };
            match next {
                Some(Ok(Ok(named))) => answers.push(named),
                Some(Ok(Err(error))) => why = Some(worse(why, error)),
                Some(Err(ended)) => why = Some(worse(why, ClientError::Lost(format!("a Sentinel was not asked to the end: {ended}")))),
                None => break,
            }
        }
        match why {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    /// Notes whom they name in answer to a question that was begun then.
    fn note(&self, answers: &[Named], begun: Instant) -> Result<Primary, ClientError> {
        let most = self.are_most(answers);
        let mut known = self.known.lock();
        if known.hear(answers, most, begun) {
            self.term.fetch_add(1, Ordering::Relaxed);
        }
        match &known.0 {
            Some((named, _)) => Ok(Primary { host: named.primary.clone(), term: self.term.load(Ordering::Relaxed) }),
            None => Err(ClientError::Answer("a primary")),
        }
    }

    fn are_most(&self, answers: &[Named]) -> bool {
        answers.len() * 2 > self.all.len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Known {
    /// Takes the answer of the highest epoch, of several such the one that most give. Says whether that is another primary.
    ///
    /// Who names a lower epoch than was heard before is behind. If `most` of them do for long, they were set up anew and count from the start.
    fn hear(&mut self, answers: &[Named], most: bool, begun: Instant) -> bool {
        let is_known = |named: &Named| self.0.as_ref().is_some_and(|(known, _)| known.primary == named.primary);
        let alike = |named: &Named| answers.iter().filter(|other| *other == named).count();
        let best = answers.iter().max_by_key(|named| (named.epoch, alike(named), is_known(named)));
        let Some(best) = best.cloned() else { return false };
        if let Some((known, heard)) = &self.0
            && known.epoch > best.epoch
            && !(most && begun.saturating_duration_since(*heard) > FORGOTTEN_AFTER)
        {
            return false;
        }
        let other = !is_known(&best);
        self.0 = Some((best, begun));
        other
    }
}

impl Sentinel {
    async fn ask(self: Arc<Self>, name: Arc<str>) -> Result<Named, ClientError> {
        let failed = |why: String| ClientError::Connect { server: format!("the Sentinel {}", self.host), why };
        match tokio::time::timeout(ANSWERS_WITHIN, self.ask_patiently(&name)).await {
            Ok(Err(ClientError::Lost(why) | ClientError::Busy(why))) => Err(failed(why)),
            Ok(answer) => answer,
            Err(_) => Err(failed(format!("no answer within {ANSWERS_WITHIN:?}"))),
        }
    }

    /// Over the connection of before, if it still works.
    async fn ask_patiently(&self, name: &str) -> Result<Named, ClientError> {
        let idle = self.idle.lock().take();
        if let Some(mut connection) = idle
            && let Ok(Ok(named)) = tokio::time::timeout(ANSWERS_AGAIN_WITHIN, ask(&mut connection, name)).await
        {
            self.idle.lock().replace(connection);
            return Ok(named);
        }
        let settings = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&settings).await?;
        let named = ask(&mut connection, name).await?;
        self.idle.lock().replace(connection);
        Ok(named)
    }
}

/// While a failover goes on, the epoch is the new one before `MASTERS` names the new primary; `GET-MASTER-ADDR-BY-NAME` does at once. Both are
/// sent together, and a Sentinel does nothing else between them.
async fn ask(connection: &mut MultiplexedConnection, name: &str) -> Result<Named, ClientError> {
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).cmd("SENTINEL").arg("MASTERS");
    let mut answers = connection.send_packed_commands(&both, 0, 2).await?.into_iter();
    let mut next = || answers.next().ok_or(ClientError::Answer("two answers of a Sentinel"))?.extract_error().map_err(ClientError::from);
    let (address, primaries) = (next()?, next()?);
    named(name, &address, primaries)
}

fn named(name: &str, address: &Value, primaries: Value) -> Result<Named, ClientError> {
    let shape = || ClientError::Answer("host, port and epoch of a primary from a Sentinel");
    if *address == Value::Nil {
        return Err(ClientError::NoPrimary { name: name.to_owned() });
    }
    let Value::Array(address) = address else { return Err(shape()) };
    let [host, port] = address.as_slice() else { return Err(shape()) };
    let (host, port) = (text(host).ok_or_else(shape)?, text(port).and_then(|port| port.parse().ok()).ok_or_else(shape)?);
    let primaries = list(primaries)?;
    let one = primaries.iter().find(|fields| field(fields, "name") == Some(name)).ok_or_else(shape)?;
    let epoch = field(one, "config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(shape)?;
    Ok(Named { epoch, primary: Host { name: host.to_owned(), port } })
}

/// Which of two failures is shown: a refused login or an unknown name tells more than who cannot be reached.
fn worse(why: Option<ClientError>, error: ClientError) -> ClientError {
    match why {
        Some(why) if !matches!(why, ClientError::Connect { .. }) => why,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> Host {
        Host { name: "10.0.0.1".to_owned(), port }
    }

    fn says(epoch: u64, port: u16) -> Named {
        Named { epoch, primary: host(port) }
    }

    #[test]
    fn h21_who_is_behind_is_not_believed() {
        let mut known = Known::default();
        let start = Instant::now();
        let soon = start + FORGOTTEN_AFTER / 2;
        assert!(known.hear(&[says(1, 1), says(2, 2), says(1, 1)], true, start), "the highest epoch counts, not the many");
        assert!(!known.hear(&[says(1, 1)], false, soon) && !known.hear(&[says(1, 1), says(1, 1)], true, soon), "they are behind");
        assert!(!known.hear(&[], false, soon) && !known.hear(&[says(2, 2)], false, soon));
        assert_eq!(known.0, Some((says(2, 2), soon)));
        assert!(!known.hear(&[says(3, 2)], false, soon), "the same primary after another failover");
        let late = soon + FORGOTTEN_AFTER * 2;
        assert!(!known.hear(&[says(0, 3)], false, late), "a few may be behind for long");
        assert!(known.hear(&[says(0, 3), says(0, 3)], true, late), "all of them were set up anew");
        assert!(
            !known.hear(&[says(0, 3), says(0, 4)], true, late) && !known.hear(&[says(0, 4), says(0, 3)], true, late),
            "a tie changes nothing"
        );
        assert!(known.hear(&[says(0, 4), says(0, 3), says(0, 4)], true, late), "of one epoch, the many count");
    }

    #[test]
    fn an_answer_is_read_in_both_protocols() {
        let line = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let address = Value::Array(vec![line("10.0.0.1"), line("7")]);
        let fields = |name| [("name", name), ("ip", "10.0.0.9"), ("config-epoch", "4")].map(|(name, value)| (line(name), line(value)));
        let map = |name| Value::Map(fields(name).to_vec());
        let flat = |name| Value::Array(fields(name).into_iter().flat_map(|(name, value)| [name, value]).collect());
        for primaries in [vec![map("other"), map("mine")], vec![flat("mine")]] {
            assert_eq!(named("mine", &address, Value::Array(primaries)).unwrap(), says(4, 7));
        }
        assert!(named("mine", &address, Value::Array(vec![map("other")])).is_err());
        assert!(named("mine", &Value::Okay, Value::Array(vec![map("mine")])).is_err());
        let unknown = named("mine", &Value::Nil, Value::Array(Vec::new())).unwrap_err().to_string();
        assert_eq!(unknown, "the Sentinels know no primary \"mine\"; the URL ends with its name: redis-sentinel://host1,host2,host3/name");
    }

    #[tokio::test]
    async fn who_cannot_be_reached_is_named_and_asked_again_in_a_second() {
        let client = || Client::open("redis://127.0.0.1:1").unwrap();
        let all = [1, 2].map(|port| (Host { name: "127.0.0.1".to_owned(), port }, client()));
        let sentinels = Arc::new(Sentinels::new("mine", all, Duration::from_secs(2)));
        let error = sentinels.primary().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to the Sentinel 127.0.0.1:"), "{error}");
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(!sentinels.is_over(0).await, "the primary that is known is as good as before");
        }
        assert!(sentinels.question.lock().is_none() && begun.elapsed() < ASK_EVERY, "nobody is asked within a second");
    }
}
