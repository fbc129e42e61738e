//! Who is the primary, as Sentinels say.
//!
//! A primary that was cut off or stood still takes itself for one when it is back, until a Sentinel
//! has looked at it for some eight seconds. Who is still connected to it is served meanwhile, and
//! all that is undone. So Sentinels are asked again and again beside the calls, and a connection to
//! a primary that has a successor is given up.
//!
//! A Sentinel can be behind as well: one that was cut off names the former primary. All of them are
//! asked at once, and the highest configuration epoch counts, of which each failover has one of its
//! own. How Sentinels come by it:
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
/// A call waits for the answer if the last one is older than this: it is the first after a long
/// silence. It is more than what passes from one answer to the next while there are calls.
const TOO_OLD: Duration = Duration::from_secs(3);
/// How long it waits at most. Nobody can say then that the primary is another one.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// How long one of them may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How long the others may take when most have answered.
const STRAGGLES_FOR: Duration = Duration::from_millis(50);
/// A lower epoch is believed when most have named it for this long, and nobody one as high as
/// before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The Sentinels of one primary.
pub(crate) struct Sentinels {
    all: Vec<Sentinel>,
    /// What they call it.
    name: String,
    known: Mutex<Known>,
    begun: Instant,
    /// When the last question was begun that ended in time, in milliseconds since then; 0 if none
    /// did.
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

/// The primary that counts.
#[derive(Debug, Default)]
struct Known {
    named: Option<Named>,
    /// Since when most name a lower epoch.
    doubted: Option<Instant>,
}

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
    /// Connects to nothing. A call that may take `deadline` waits a fourth of it at most for an
    /// answer.
    pub(crate) fn new(
        name: &str,
        all: impl IntoIterator<Item = (Host, Client)>,
        deadline: Duration,
    ) -> Self {
        Self {
            all: all
                .into_iter()
                .map(|(host, client)| Sentinel { host, client, idle: Mutex::default() })
                .collect(),
            name: name.to_owned(),
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
    pub(crate) async fn primary(self: &Arc<Self>) -> Result<Primary, ClientError> {
        let begun = self.now();
        let answers = self.ask().await;
        if let Ok(answers) = &answers {
            self.note(|known| known.conclude(answers, self.all.len(), Instant::now()));
        }
        // Also if they did not answer: it is no use to ask them again at once. One that took longer
        // rested with its runtime, and what it heard is old.
        if Duration::from_millis(self.now() - begun) <= ANSWERS_WITHIN + LONGEST_WAIT {
            self.asked.fetch_max(begun, Ordering::Release);
        }
        answers?;
        let known = self.known.lock();
        let named = known.named.as_ref().ok_or(ClientError::Answer("a primary"))?;
        Ok(Primary { host: named.primary.clone(), term: self.term.load(Ordering::Relaxed) })
    }

    /// Whether the primary of this term has a successor, as far as is known. Asks if it is time for
    /// that.
    pub(crate) async fn is_over(self: &Arc<Self>, term: u64) -> bool {
        let age = self.age();
        if age > TOO_OLD {
            // In a box, so that those who do not wait have no room for it.
            let _ = Box::pin(tokio::time::timeout(self.longest_wait, self.answered())).await;
        } else if age > ASK_EVERY {
            drop(self.question(ANSWERS_WITHIN * 2));
        }
        self.term.load(Ordering::Relaxed) != term
    }

    async fn answered(self: &Arc<Self>) {
        self.question(self.longest_wait).await;
        if self.age() > TOO_OLD {
            // The runtime of who began it has ended.
            self.question(self.longest_wait).await;
        }
    }

    /// The question that is on its way, or a new one. It is a task of its own, so that it ends also
    /// if nobody waits for it. One that lasts `longer` may be driven by nobody, because its runtime
    /// rests, and another takes its place.
    fn question(self: &Arc<Self>, longer: Duration) -> Shared<BoxFuture<'static, ()>> {
        let mut question = self.question.lock();
        question
            .take_if(|question| question.task.is_finished() || question.begun.elapsed() > longer);
        let current = question.get_or_insert_with(|| {
            let sentinels = Arc::clone(self);
            // The primary that is known is as good as before if they do not answer: `term` stays as
            // it is.
            let task = tokio::spawn(async move { drop(sentinels.primary().await) });
            Question {
                begun: Instant::now(),
                task: task.abort_handle(),
                ended: task.map(drop).boxed().shared(),
            }
        });
        current.ended.clone()
    }

    /// What they answer: all of them, or most and whoever is nearly as fast. What comes later is
    /// heard as well.
    async fn ask(self: &Arc<Self>) -> Result<Vec<Named>, ClientError> {
        let ask = |which| tokio::spawn(Arc::clone(self).ask_one(which));
        let mut asked: FuturesUnordered<_> = (0..self.all.len()).map(ask).collect();
        let (mut answers, mut why) = (Vec::new(), None);
        loop {
            let next = if are_most(answers.len(), self.all.len()) {
                let Ok(next) = tokio::time::timeout(STRAGGLES_FOR, asked.next()).await else {
                    break;
                };
                next
            } else {
                asked.next().await
            };
            match next {
                Some(Ok(Ok(named))) => answers.push(named),
                Some(Ok(Err(error))) => why = Some(worse(why, error)),
                Some(Err(ended)) => {
                    why = Some(worse(
                        why,
                        ClientError::Lost(format!("a Sentinel was not asked to the end: {ended}")),
                    ))
                }
                None => break,
            }
        }
        match why {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    async fn ask_one(self: Arc<Self>, which: usize) -> Result<Named, ClientError> {
        // Of the time that a call waits, most is left for a new connection.
        let named = self.all[which].ask(&self.name, self.longest_wait / 3).await?;
        self.note(|known| known.hear(&named));
        Ok(named)
    }

    /// Changes what is known, by what says whether that makes another primary.
    fn note(&self, change: impl FnOnce(&mut Known) -> bool) {
        let mut known = self.known.lock();
        if change(&mut known) {
            self.term.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long ago they were asked.
    fn age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.asked.load(Ordering::Acquire)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Known {
    /// Takes what knows of a later failover. Says whether that is another primary.
    fn hear(&mut self, named: &Named) -> bool {
        match &self.named {
            Some(known) if named.epoch < known.epoch => false,
            Some(known) if named.epoch == known.epoch => {
                self.doubted = None;
                false
            }
            _ => self.take(named),
        }
    }

    /// Looks at all answers to a question that were [heard](Self::hear). Of one epoch, what most of
    /// `all` say counts. So does a lower one after a while: then they were set up anew and count
    /// from the start. Says whether that is another primary.
    fn conclude(&mut self, answers: &[Named], all: usize, now: Instant) -> bool {
        let Some(known) = &self.named else { return false };
        let alike = |named: &Named| answers.iter().filter(|other| *other == named).count();
        let Some(best) = answers.iter().max_by_key(|named| (named.epoch, alike(named))) else {
            return false;
        };
        if best.epoch == known.epoch {
            return are_most(alike(best), all) && self.take(best);
        }
        if best.epoch > known.epoch || !are_most(answers.len(), all) {
            return false;
        }
        now.saturating_duration_since(*self.doubted.get_or_insert(now)) > FORGOTTEN_AFTER
            && self.take(best)
    }

    fn take(&mut self, named: &Named) -> bool {
        let other = self.named.as_ref().is_none_or(|known| known.primary != named.primary);
        *self = Self { named: Some(named.clone()), doubted: None };
        other
    }
}

fn are_most(some: usize, all: usize) -> bool {
    some * 2 > all
}

impl Sentinel {
    async fn ask(&self, name: &str, over_idle: Duration) -> Result<Named, ClientError> {
        let failed = |why: String| ClientError::Connect {
            server: format!("the Sentinel {}", self.host),
            why,
        };
        match tokio::time::timeout(ANSWERS_WITHIN, self.ask_patiently(name, over_idle)).await {
            Ok(Err(ClientError::Lost(why) | ClientError::Busy(why))) => Err(failed(why)),
            Ok(Err(ClientError::NoLogin | ClientError::WrongLogin)) => {
                Err(ClientError::SentinelLogin { sentinel: self.host.to_string() })
            }
            Ok(answer) => answer,
            Err(_) => Err(failed(format!("no answer within {ANSWERS_WITHIN:?}"))),
        }
    }

    /// Over the connection of before, if an answer comes in time; it may have fallen silent.
    async fn ask_patiently(&self, name: &str, over_idle: Duration) -> Result<Named, ClientError> {
        let idle = self.idle.lock().take();
        if let Some(mut connection) = idle
            && let Ok(Ok(named)) = tokio::time::timeout(over_idle, ask(&mut connection, name)).await
        {
            self.idle.lock().replace(connection);
            return Ok(named);
        }
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&settings).await?;
        let named = ask(&mut connection, name).await?;
        self.idle.lock().replace(connection);
        Ok(named)
    }
}

/// While a failover goes on, the epoch is the new one before `MASTERS` names the new primary;
/// `GET-MASTER-ADDR-BY-NAME` does at once. Both are sent together, and a Sentinel does nothing else
/// between them.
async fn ask(connection: &mut MultiplexedConnection, name: &str) -> Result<Named, ClientError> {
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).cmd("SENTINEL").arg("MASTERS");
    let mut answers = connection.send_packed_commands(&both, 0, 2).await?.into_iter();
    let mut next = || {
        answers
            .next()
            .ok_or(ClientError::Answer("two answers of a Sentinel"))?
            .extract_error()
            .map_err(ClientError::from)
    };
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
    let (host, port) = (
        text(host).ok_or_else(shape)?,
        text(port).and_then(|port| port.parse().ok()).ok_or_else(shape)?,
    );
    let primaries = list(primaries)?;
    let one =
        primaries.iter().find(|fields| field(fields, "name") == Some(name)).ok_or_else(shape)?;
    let epoch =
        field(one, "config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(shape)?;
    Ok(Named { epoch, primary: Host { name: host.to_owned(), port } })
}

/// Which of two failures is shown: a refused login or an unknown name tells more than who cannot be
/// reached.
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
        assert!(known.hear(&says(1, 1)) && known.hear(&says(2, 2)), "the later failover counts");
        assert!(!known.hear(&says(1, 1)) && !known.hear(&says(2, 2)));
        assert!(!known.hear(&says(3, 2)), "the same primary after another failover");
        assert_eq!(known.named, Some(says(3, 2)));
    }

    #[test]
    fn sentinels_that_were_set_up_anew_are_believed_after_a_while() {
        let (start, few, most) = (Instant::now(), [says(0, 3)], [says(0, 3), says(0, 3)]);
        let late = start + FORGOTTEN_AFTER + Duration::from_millis(1);
        let mut known = Known::default();
        known.hear(&says(2, 2));
        assert!(
            !known.conclude(&few, 3, start) && !known.conclude(&few, 3, late),
            "a few may be behind for long"
        );
        assert!(!known.conclude(&most, 3, start) && !known.conclude(&[], 3, start));
        known.hear(&says(2, 2));
        assert!(!known.conclude(&most, 3, late), "somebody knows better");
        assert!(known.conclude(&most, 3, late + (late - start)));
        assert_eq!(known.named, Some(says(0, 3)));
    }

    #[test]
    fn of_one_epoch_what_most_say_counts() {
        let now = Instant::now();
        let mut known = Known::default();
        known.hear(&says(0, 3));
        assert!(
            !known.conclude(&[says(0, 4), says(0, 3)], 2, now)
                && !known.conclude(&[says(0, 4)], 3, now)
        );
        assert!(known.conclude(&[says(0, 4), says(0, 3), says(0, 4)], 3, now));
        assert_eq!(known.named, Some(says(0, 4)));
    }

    #[test]
    fn an_answer_is_read_in_both_protocols() {
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
            assert_eq!(named("mine", &address, Value::Array(primaries)).unwrap(), says(4, 7));
        }
        assert!(named("mine", &address, Value::Array(vec![map("other")])).is_err());
        assert!(named("mine", &Value::Okay, Value::Array(vec![map("mine")])).is_err());
        let unknown = named("mine", &Value::Nil, Value::Array(Vec::new())).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "the Sentinels know no primary \"mine\"; the URL ends with its name: redis-sentinel://host1,host2,host3/name"
        );
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
        assert!(
            sentinels.question.lock().is_none() && begun.elapsed() < ASK_EVERY,
            "nobody is asked within a second"
        );
    }
}
