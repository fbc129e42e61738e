//! Clients of a store that keep it busy while its servers fail, and what became of all they were
//! told.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use session_core::{Claim, Json, Outcome, SessionStore, StoreError, StoreKey};
use store_mongo::MongoStore;
use tests::{PATIENCE, wait};
use tokio::task::JoinHandle;

use crate::session::{Session, principal};

/// How long a call may take: the deadline of 2 s, and what a busy machine needs.
const IN_TIME: Duration = Duration::from_millis(2_800);

/// What a client does after each call, so that the servers keep their time.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients at work. Half of them add to a session of their own, the others sign in and out again
/// and again.
pub(crate) struct Load {
    store: MongoStore,
    logs: Vec<Arc<Mutex<Log>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    /// The session that is added to, for those who do.
    adding_to: Option<StoreKey>,
    /// Adds that were acknowledged.
    added: i64,
    /// Adds of which nobody knows whether they were made.
    uncertain: i64,
    /// The last sum that was acknowledged.
    last: i64,
    signed_out: Vec<StoreKey>,
    /// Calls that were answered as they should be since the last failure.
    in_a_row: usize,
    failures: Vec<Failure>,
    longest: Duration,
}

#[derive(Debug, Clone)]
struct Failure {
    begun: Instant,
    ended: Instant,
    why: String,
}

/// What the clients saw, and what of it the store still knows.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) failed: usize,
    /// When the first call that failed began, and when the last one ended.
    pub(crate) window: Option<(Instant, Instant)>,
    pub(crate) longest: Duration,
    pub(crate) added: i64,
    pub(crate) uncertain: i64,
    /// Uncertain adds that were made.
    pub(crate) made: i64,
    pub(crate) signed_out: usize,
    /// Each kind of failure, and how often it was met.
    pub(crate) failures: std::collections::BTreeMap<String, usize>,
}

impl Load {
    /// Lets `clients` begin.
    pub(crate) async fn begin(store: &MongoStore, clients: usize) -> Self {
        let mut load = Self {
            store: store.clone(),
            logs: Vec::new(),
            stop: Arc::default(),
            tasks: Vec::new(),
        };
        for number in 0..clients {
            let log = Arc::new(Mutex::new(Log::default()));
            let client = Client {
                store: store.clone(),
                log: Arc::clone(&log),
                stop: Arc::clone(&load.stop),
            };
            if number % 2 == 0 {
                let session = Session::signed_in(store, "adder").await;
                log.lock().adding_to = Some(session.key.clone());
                load.tasks.push(tokio::spawn(client.add(session)));
            } else {
                load.tasks.push(tokio::spawn(client.come_and_go(format!("user-{number}"))));
            }
            load.logs.push(log);
        }
        load
    }

    /// Waits until each client had `count` answers in a row, from now on, that were no failure.
    pub(crate) async fn goes_well(&self, count: usize) {
        for log in &self.logs {
            log.lock().in_a_row = 0;
        }
        wait::until("every client to be served again and again", PATIENCE, async || {
            // A client that saw what may not be has ended, and its words are those that count.
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a client gave up");
            self.logs.iter().all(|log| log.lock().in_a_row >= count).then_some(())
        })
        .await;
    }

    /// How many calls have failed by now.
    pub(crate) fn failures(&self) -> usize {
        self.logs.iter().map(|log| log.lock().failures.len()).sum()
    }

    /// Ends it, and compares what the clients were told with what the store holds.
    ///
    /// # Panics
    /// If an add that was acknowledged is lost or was made twice, or if a sign-out was undone.
    pub(crate) async fn end(self) -> Seen {
        self.stop.store(true, Relaxed);
        for ended in join_all(self.tasks).await {
            ended.expect("no client met what may not be");
        }
        let mut seen = Seen::default();
        for log in &self.logs {
            let log = std::mem::take(&mut *log.lock());
            if let Some(key) = &log.adding_to {
                let record = self
                    .store
                    .load(key)
                    .await
                    .expect("the store answers")
                    .expect("no client ended this session")
                    .into_record();
                let sum = record.data.get("n").and_then(Json::as_integer).unwrap_or(0);
                assert!(
                    sum >= log.added,
                    "{} adds were acknowledged, and {} of them are lost",
                    log.added,
                    log.added - sum
                );
                assert!(
                    sum <= log.added + log.uncertain,
                    "{} adds acknowledged, {} uncertain, {sum} made",
                    log.added,
                    log.uncertain
                );
                assert!(sum >= log.last, "a sum of {} was acknowledged, and it is {sum}", log.last);
                seen.made += sum - log.added;
            }
            for key in &log.signed_out {
                let record = self.store.load(key).await.expect("the store answers");
                assert!(record.is_none(), "a sign-out that was acknowledged is undone");
            }
            seen.add(log);
        }
        seen
    }
}

impl Seen {
    fn add(&mut self, log: Log) {
        self.failed += log.failures.len();
        self.longest = self.longest.max(log.longest);
        self.added += log.added;
        self.uncertain += log.uncertain;
        self.signed_out += log.signed_out.len();
        for failure in log.failures {
            let (from, to) = self.window.unwrap_or((failure.begun, failure.ended));
            self.window = Some((from.min(failure.begun), to.max(failure.ended)));
            *self.failures.entry(failure.why).or_default() += 1;
        }
    }
}

struct Client {
    store: MongoStore,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn add(self, session: Session) {
        while !self.stop.load(Relaxed) {
            match self.call(self.store.commit(&session.key, session.add("n", 1))).await {
                Some(Outcome::Done(done)) => {
                    let mut log = self.log.lock();
                    log.added += 1;
                    log.last = done.added.into_values().next().expect("a sum");
                }
                Some(outcome) => panic!("no client ended or rotated this session: {outcome:?}"),
                None => self.log.lock().uncertain += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn come_and_go(self, user: String) {
        while !self.stop.load(Relaxed) {
            let session = Session::new();
            let record = session.record().principal(principal(&user));
            if self.call(self.store.create(&session.key, record)).await.is_none() {
                continue;
            }
            // A call without an answer may have ended it, and so may the driver's second try of it.
            while !self.stop.load(Relaxed) {
                if self.call(self.store.delete(&session.key, Claim::Any)).await.is_some() {
                    self.log.lock().signed_out.push(session.key);
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What it was answered; `None` for a failure that may pass.
    async fn call<T: fmt::Debug>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let answer = call.await;
        let ended = Instant::now();
        let took = ended - begun;
        assert!(took < IN_TIME, "an answer only after {took:?}");
        let mut log = self.log.lock();
        log.longest = log.longest.max(took);
        match answer {
            Ok(answer) => {
                log.in_a_row += 1;
                Some(answer)
            }
            Err(error) => {
                let source =
                    std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(error.is_transient(), "{error}: {source}");
                log.in_a_row = 0;
                log.failures.push(Failure { begun, ended, why: kind(&error, &source) });
                None
            }
        }
    }
}

/// What failed, without the addresses.
fn kind(error: &StoreError, source: &str) -> String {
    let kind = if matches!(error, StoreError::Timeout { .. }) { "timeout" } else { source };
    kind.chars().take(70).collect()
}
