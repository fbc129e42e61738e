//! Load on a demo while its servers fail, and a comparison of all answers with the store.

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

/// How long a request may take: twice the store's deadline of 2 s, because a request can make two
/// calls, and some time for a busy machine.
const MAX_RESPONSE_TIME: Duration = Duration::from_millis(5_500);

/// The number of sums of each visitor. Successive adds use different sums, so that an add that was
/// made twice is visible.
const SUMS: usize = 32;

/// Running visitors. Each is signed in as another user.
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
    /// For each sum: its last acknowledged value, and the number of adds without an answer.
    sums: BTreeMap<String, (i64, i64)>,
    acknowledged: u64,
    /// Successful requests since the last failure.
    in_a_row: usize,
    failures: Vec<Failure>,
    longest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    begun: Instant,
    ended: Instant,
}

/// What the visitors observed, compared with the store.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) failed: usize,
    /// The start of the first failed request, and the end of the last one.
    pub(crate) window: Option<(Instant, Instant)>,
    pub(crate) longest: Duration,
    pub(crate) acknowledged: u64,
    /// Acknowledged adds that are not in the store.
    pub(crate) lost: i64,
    /// Adds that are in the store and were not requested.
    pub(crate) doubled: i64,
    /// Visitors whose session is gone.
    pub(crate) signed_out: usize,
}

impl Load {
    /// Signs this many visitors in and starts them.
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

    /// Waits until each visitor has had `count` successful answers in a row, from now on.
    pub(crate) async fn succeeds(&self, count: usize) {
        for visitor in &self.visitors {
            visitor.log.lock().in_a_row = 0;
        }
        wait::until("successful answers for every visitor", PATIENCE, async || {
            // A visitor that observes a wrong answer panics, and its message is the important one.
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a visitor has ended early");
            self.visitors.iter().all(|visitor| visitor.log.lock().in_a_row >= count).then_some(())
        })
        .await;
    }

    /// The number of failed requests so far.
    pub(crate) fn failures(&self) -> usize {
        self.visitors.iter().map(|visitor| visitor.log.lock().failures.len()).sum()
    }

    /// Ends the load and compares the answers with the store.
    pub(crate) async fn end(self) -> Observed {
        self.stop.store(true, Relaxed);
        let browsers = join_all(self.tasks).await;
        let mut observed = Observed::default();
        for (browser, visitor) in browsers.into_iter().zip(&self.visitors) {
            let page = browser.expect("the visitor did not panic").page().await;
            observed.add(visitor, &page);
        }
        observed
    }
}

impl Observed {
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

/// Adds and reads in turn until `stop` is set.
///
/// # Panics
/// If an answer is neither successful nor a 503 without a cookie.
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
        assert!(took < MAX_RESPONSE_TIME, "{}: an answer took {took:?}", self.user);
        let mut log = self.log.lock();
        log.longest = log.longest.max(took);
        if response.status == 200 {
            log.in_a_row += 1;
            return Some(response.text());
        }
        assert_eq!(response.status, 503, "{}: {response:?}", self.user);
        assert!(
            response.set_cookie().is_none(),
            "{}: a failure must not change the cookie: {response:?}",
            self.user
        );
        log.in_a_row = 0;
        log.failures.push(Failure { begun, ended });
        None
    }
}
