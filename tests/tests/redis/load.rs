//! Visitors who keep a demo busy while its servers fail, and what became of all they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tests::{Browser, Demo, PATIENCE, Page, client::Request, wait};
use tokio::task::JoinHandle;

/// How long the answer to a request may take: the store's deadline of 2 s twice, for a request may
/// make two calls, and what a busy machine needs.
const IN_TIME: Duration = Duration::from_millis(5_500);

/// How many sums each visitor keeps. An attempt meets a sum that the last few attempts did not, so
/// that one which was made twice shows.
const SUMS: usize = 32;

/// Visitors at work, each signed in as somebody else.
#[derive(Debug)]
pub(crate) struct Load {
    visitors: Vec<Arc<Visitor>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Browser>>,
}

#[derive(Debug)]
struct Visitor {
    user: String,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// By the name of a sum: the last that was acknowledged, and the attempts without an answer
    /// that says so.
    sums: BTreeMap<String, (i64, i64)>,
    acknowledged: u64,
    /// Requests that were answered as they should be since the last failure.
    in_a_row: usize,
    failures: Vec<Failure>,
    longest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    begun: Instant,
    ended: Instant,
}

/// What the visitors saw, and what of it the store still knows.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) failed: usize,
    /// When the first request that failed began, and when the last one ended.
    pub(crate) window: Option<(Instant, Instant)>,
    pub(crate) longest: Duration,
    pub(crate) acknowledged: u64,
    /// Acknowledged adds that are not in the store.
    pub(crate) lost: i64,
    /// Adds that are in the store and that nobody asked for.
    pub(crate) doubled: i64,
    /// Visitors whose session is gone.
    pub(crate) signed_out: usize,
}

impl Load {
    /// Signs `visitors` in and lets them begin.
    pub(crate) async fn begin(demo: &Demo, visitors: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { visitors: Vec::new(), stop, tasks: Vec::new() };
        for number in 0..visitors {
            let user = format!("visitor-{number}");
            let browser = demo.signed_in(&user).await;
            let visitor = Arc::new(Visitor { user, log: Mutex::default() });
            load.tasks.push(tokio::spawn(work(
                browser,
                Arc::clone(&visitor),
                Arc::clone(&load.stop),
            )));
            load.visitors.push(visitor);
        }
        load
    }

    /// Waits until each visitor had `count` answers in a row, from now on, that were no failure.
    pub(crate) async fn goes_well(&self, count: usize) {
        for visitor in &self.visitors {
            visitor.log.lock().in_a_row = 0;
        }
        wait::until("every visitor to be served again and again", PATIENCE, async || {
            // A visitor who saw what may not be has ended, and its words are those that count.
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a visitor gave up");
            self.visitors.iter().all(|visitor| visitor.log.lock().in_a_row >= count).then_some(())
        })
        .await;
    }

    /// How many requests have failed by now.
    pub(crate) fn failures(&self) -> usize {
        self.visitors.iter().map(|visitor| visitor.log.lock().failures.len()).sum()
    }

    /// Ends it, and compares what the visitors were told with what the store holds.
    pub(crate) async fn end(self) -> Seen {
        self.stop.store(true, Relaxed);
        let browsers = join_all(self.tasks).await;
        let mut seen = Seen::default();
        for (browser, visitor) in browsers.into_iter().zip(&self.visitors) {
            let page = browser.expect("a visitor ends when told").page().await;
            seen.add(visitor, &page);
        }
        seen
    }
}

impl Seen {
    fn add(&mut self, visitor: &Visitor, page: &Page) {
        let log = visitor.log.lock();
        self.failed += log.failures.len();
        for failure in &log.failures {
            let (from, to) = self.window.unwrap_or((failure.begun, failure.ended));
            self.window = Some((from.min(failure.begun), to.max(failure.ended)));
        }
        self.longest = self.longest.max(log.longest);
        self.acknowledged += log.acknowledged;
        if page.principal.as_deref() != Some(&visitor.user) {
            self.signed_out += 1;
        }
        for (name, (sum, unanswered)) in &log.sums {
            let stored = page.value(name).and_then(serde_json::Value::as_i64).unwrap_or(0);
            self.lost += (sum - stored).max(0);
            self.doubled += (stored - sum - unanswered).max(0);
        }
    }
}

/// Adds and reads in turn until told to stop.
///
/// # Panics
/// If an answer is neither what was asked for nor a 503 that leaves the cookie alone.
async fn work(mut browser: Browser, visitor: Arc<Visitor>, stop: Arc<AtomicBool>) -> Browser {
    for attempt in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let name = format!("sum-{}", attempt % SUMS);
        if let Some(text) =
            visitor.ask(&mut browser, Request::post(format!("/session/{name}/add?by=1"))).await
        {
            let sum = text.parse().expect("a sum");
            let mut log = visitor.log.lock();
            log.acknowledged += 1;
            log.sums.entry(name).or_default().0 = sum;
        } else {
            visitor.log.lock().sums.entry(name).or_default().1 += 1;
        }
        let _ = visitor.ask(&mut browser, Request::get("/session")).await;
    }
    browser
}

impl Visitor {
    /// The body of a 200; `None` for a 503.
    async fn ask(&self, browser: &mut Browser, request: Request) -> Option<String> {
        let begun = Instant::now();
        let response = browser.send(request).await;
        let ended = Instant::now();
        let took = ended - begun;
        assert!(took < IN_TIME, "{}: an answer only after {took:?}", self.user);
        let mut log = self.log.lock();
        log.longest = log.longest.max(took);
        if response.status == 200 {
            log.in_a_row += 1;
            return Some(response.text());
        }
        assert_eq!(response.status, 503, "{}: {response:?}", self.user);
        assert!(
            response.set_cookie().is_none(),
            "{}: a failure leaves the cookie alone: {response:?}",
            self.user
        );
        log.in_a_row = 0;
        log.failures.push(Failure { begun, ended });
        None
    }
}
