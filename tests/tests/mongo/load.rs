//! Load on a store while its servers fail: clients record the responses, and the end compares them
//! with the stored sessions.

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
use tests::{PATIENCE, session::assert_sum, wait};
use tokio::task::JoinHandle;

use crate::session::{Session, principal};

/// The most time of a call: the deadline of 2 s, and a reserve for a busy machine.
const MAX_CALL_TIME: Duration = Duration::from_millis(2_800);

/// The pause of a client after each call, which leaves the servers time for their heartbeats.
const PAUSE: Duration = Duration::from_millis(5);

/// Running clients. Half of them add to one session each, the others sign in and out repeatedly.
pub(crate) struct Load {
    store: MongoStore,
    logs: Vec<Arc<Mutex<Log>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    /// The session that this client adds to, if it adds.
    adding_to: Option<StoreKey>,
    /// Acknowledged adds.
    added: i64,
    /// Failed adds that may have been applied.
    uncertain: i64,
    /// The last acknowledged sum.
    last: i64,
    signed_out: Vec<StoreKey>,
    /// Consecutive successes since the last failure.
    successes: usize,
    failures: Vec<Failure>,
    longest: Duration,
}

#[derive(Debug, Clone)]
struct Failure {
    begun: Instant,
    ended: Instant,
    why: String,
}

/// What the clients recorded, compared with the stored sessions.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failed: usize,
    /// Start of the first failed call and end of the last one.
    pub(crate) window: Option<(Instant, Instant)>,
    pub(crate) longest: Duration,
    pub(crate) added: i64,
    pub(crate) uncertain: i64,
    /// Uncertain adds that were applied.
    pub(crate) applied: i64,
    pub(crate) signed_out: usize,
    /// How often each kind of failure happened.
    pub(crate) failures: std::collections::BTreeMap<String, usize>,
}

impl Load {
    /// Starts `clients` clients.
    pub(crate) async fn start(store: &MongoStore, clients: usize) -> Self {
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
                load.tasks.push(tokio::spawn(client.sign_in_and_out(format!("user-{number}"))));
            }
            load.logs.push(log);
        }
        load
    }

    /// Waits until each client has had `count` consecutive successes from now on.
    pub(crate) async fn wait_for_successes(&self, count: usize) {
        for log in &self.logs {
            log.lock().successes = 0;
        }
        wait::until("consecutive successes of every client", PATIENCE, async || {
            // A client ends only if one of its assertions failed.
            assert!(
                self.tasks.iter().all(|task| !task.is_finished()),
                "a client failed an assertion"
            );
            self.logs.iter().all(|log| log.lock().successes >= count).then_some(())
        })
        .await;
    }

    /// Number of failed calls so far.
    pub(crate) fn failures(&self) -> usize {
        self.logs.iter().map(|log| log.lock().failures.len()).sum()
    }

    /// Stops the clients and compares their records with the stored sessions.
    ///
    /// # Panics
    /// If an acknowledged add is lost or was applied twice, or if a sign-out was undone.
    pub(crate) async fn end(self) -> Report {
        self.stop.store(true, Relaxed);
        for ended in join_all(self.tasks).await {
            ended.expect("no client failed an assertion");
        }
        let mut report = Report::default();
        for log in &self.logs {
            let log = std::mem::take(&mut *log.lock());
            if let Some(key) = &log.adding_to {
                let record = self
                    .store
                    .load(key)
                    .await
                    .expect("the store responds")
                    .expect("the session still exists")
                    .into_record();
                let sum = record.data.get("n").and_then(Json::as_integer).unwrap_or(0);
                assert_sum(sum, log.added, log.uncertain);
                assert!(
                    sum >= log.last,
                    "the acknowledged sum {} is greater than the stored {sum}",
                    log.last
                );
                report.applied += sum - log.added;
            }
            for key in &log.signed_out {
                let record = self.store.load(key).await.expect("the store responds");
                assert!(record.is_none(), "an acknowledged sign-out is undone");
            }
            report.add(log);
        }
        report
    }
}

impl Report {
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
                    log.last =
                        done.added.into_values().next().expect("the response contains the sum");
                }
                Some(outcome) => panic!("unexpected outcome of an add: {outcome:?}"),
                None => self.log.lock().uncertain += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn sign_in_and_out(self, user: String) {
        while !self.stop.load(Relaxed) {
            let session = Session::new();
            let record = session.record().principal(principal(&user));
            if self.call(self.store.create(&session.key, record)).await.is_none() {
                continue;
            }
            // A failed call may have deleted the session, and so may the driver's retry.
            while !self.stop.load(Relaxed) {
                if self.call(self.store.delete(&session.key, Claim::Any)).await.is_some() {
                    self.log.lock().signed_out.push(session.key);
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Records the call and returns its result. `None` for a transient failure.
    async fn call<T: fmt::Debug>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let answer = call.await;
        let ended = Instant::now();
        let took = ended - begun;
        assert!(took < MAX_CALL_TIME, "the call took {took:?}");
        let mut log = self.log.lock();
        log.longest = log.longest.max(took);
        match answer {
            Ok(answer) => {
                log.successes += 1;
                Some(answer)
            }
            Err(error) => {
                let source =
                    std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(error.is_transient(), "{error}: {source}");
                log.successes = 0;
                log.failures.push(Failure { begun, ended, why: kind(&error, &source) });
                None
            }
        }
    }
}

/// The kind of a failure, without addresses.
fn kind(error: &StoreError, source: &str) -> String {
    let kind = if matches!(error, StoreError::Timeout { .. }) { "timeout" } else { source };
    kind.chars().take(70).collect()
}
