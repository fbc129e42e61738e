//! A server is killed or frozen under load, and recovers.
//!
//! Meanwhile requests fail with 503 and do not change cookies. Afterwards the same workers serve
//! all visitors. No acknowledged add is lost, and none is executed twice.

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
use tests::{
    Browser, Demo, PATIENCE, Page,
    client::{Request, Response},
    service::AnySql,
    session::assert_sum,
    wait,
};
use tokio::task::JoinHandle;

use crate::locks::for_each_server;

const VISITORS: usize = 16;

/// The demo's deadline for a call.
const DEADLINE: &str = "1000ms";

/// The longest time for a request: two calls of the store, and what a busy machine needs.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(4);

/// The pause of a visitor after each request, so that the machine is not overloaded.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a server is down. It is frozen for twice as long.
const OUTAGE: Duration = Duration::from_secs(1);

/// The number of successful answers in a row that shows that a visitor is served.
const SUCCESSES: usize = 8;

for_each_server!(
    h18_acknowledged_changes_survive_a_killed_server,
    h21_acknowledged_changes_survive_a_frozen_server,
);

#[derive(Debug, Default)]
struct Log {
    /// Adds that were acknowledged.
    added: i64,
    /// Adds that were answered with 503. The server may have executed them.
    uncertain: i64,
    /// The last sum that was acknowledged or read.
    last: i64,
    read: usize,
    refused: BTreeMap<&'static str, usize>,
    in_a_row: usize,
    longest: Duration,
}

impl Log {
    fn take(&mut self, response: &Response, adds: bool, user: &str, took: Duration) {
        self.longest = self.longest.max(took);
        match response.status {
            200 if adds => {
                let sum: i64 = response.json();
                assert!(sum > self.last, "{sum} after {}", self.last);
                self.last = sum;
                self.added += 1;
                self.in_a_row += 1;
            }
            200 => {
                let page: Page = response.json();
                assert_eq!(page.principal.as_deref(), Some(user), "the user stays signed in");
                let sum = page.value("n").and_then(serde_json::Value::as_i64).unwrap_or(0);
                assert!(sum >= self.last, "{sum} is read after {}", self.last);
                self.last = sum;
                self.read += 1;
                self.in_a_row += 1;
            }
            503 => {
                self.in_a_row = 0;
                self.uncertain += i64::from(adds);
                *self.refused.entry(if adds { "adds" } else { "reads" }).or_default() += 1;
            }
            status => panic!("{status}: {}", response.text()),
        }
    }
}

/// Visitors that alternately add to a value of their session and read it.
struct Load {
    logs: Vec<Arc<Mutex<Log>>>,
    visitors: Vec<JoinHandle<Browser>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn begin(demo: &Demo) -> Self {
        let mut load = Self { logs: Vec::new(), visitors: Vec::new(), stop: Arc::default() };
        for number in 0..VISITORS {
            let user = format!("user-{number}");
            let browser = demo.signed_in(&user).await;
            let log = Arc::new(Mutex::new(Log::default()));
            load.visitors.push(tokio::spawn(visit(
                browser,
                user,
                Arc::clone(&log),
                Arc::clone(&load.stop),
            )));
            load.logs.push(log);
        }
        load
    }

    /// Waits until each visitor has received some successful answers in a row.
    async fn wait_until_all_are_served(&self) {
        for log in &self.logs {
            log.lock().in_a_row = 0;
        }
        wait::until("every visitor to be served several times", PATIENCE, async || {
            // A visitor ends only if one of its assertions fails.
            assert!(self.visitors.iter().all(|visitor| !visitor.is_finished()), "a visitor failed");
            self.logs.iter().all(|log| log.lock().in_a_row >= SUCCESSES).then_some(())
        })
        .await;
    }

    fn refused(&self) -> usize {
        self.logs.iter().map(|log| log.lock().refused.values().sum::<usize>()).sum()
    }

    /// Stops the visitors, and compares the answers that they received with the stored values.
    async fn end(self) -> String {
        self.stop.store(true, Relaxed);
        let (mut sum, mut all) = (0, Log::default());
        for (ended, log) in join_all(self.visitors).await.into_iter().zip(&self.logs) {
            let mut browser = ended.expect("no assertion of a visitor fails");
            let made =
                browser.page().await.value("n").and_then(serde_json::Value::as_i64).expect("a sum");
            let log = log.lock();
            assert_sum(made, log.added, log.uncertain);
            assert!(
                made >= log.last,
                "a visitor saw the sum {}, but the stored sum is {made}",
                log.last
            );
            sum += made;
            all.added += log.added;
            all.uncertain += log.uncertain;
            all.read += log.read;
            all.longest = all.longest.max(log.longest);
            for (what, count) in &log.refused {
                *all.refused.entry(what).or_default() += count;
            }
        }
        let made = sum - all.added;
        format!(
            "{} adds acknowledged, {} uncertain, of which {made} were executed; {} reads; 503 to \
             {:?}; the slowest took {:?}",
            all.added, all.uncertain, all.read, all.refused, all.longest
        )
    }
}

async fn visit(
    mut browser: Browser,
    user: String,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
) -> Browser {
    let cookie = browser.cookie().to_owned();
    let mut adds = true;
    while !stop.load(Relaxed) {
        let begun = Instant::now();
        let request =
            if adds { Request::post("/session/n/add?by=1") } else { Request::get("/session") };
        let response = browser.send(request).await;
        let took = begun.elapsed();
        assert!(took < MAX_REQUEST_TIME, "a request took {took:?}");
        assert!(
            response.set_cookie().is_none() && browser.cookie() == cookie,
            "the cookie does not change: {response:?}"
        );
        log.lock().take(&response, adds, &user, took);
        adds = !adds;
        tokio::time::sleep(PAUSE).await;
    }
    browser
}

async fn start(sql: &AnySql) -> Demo {
    let url = sql.url("table=visits");
    Demo::start(&["--store", "sql", "--workers", "4", "--store-url", &url, "--deadline", DEADLINE])
        .await
}

/// A demo with its workers, and a load of which every visitor was served.
async fn start_under_load(sql: &AnySql) -> (Demo, Vec<rustix::process::Pid>, Load) {
    let demo = start(sql).await;
    let workers = demo.workers();
    let load = Load::begin(&demo).await;
    load.wait_until_all_are_served().await;
    assert_eq!(load.refused(), 0, "no request fails before the outage");
    (demo, workers, load)
}

async fn h18_acknowledged_changes_survive_a_killed_server(mut sql: AnySql) {
    let (demo, workers, load) = start_under_load(&sql).await;
    ours!(sql.stop().await);
    tokio::time::sleep(OUTAGE).await;
    ours!(sql.start_again().await);
    let started = Instant::now();
    load.wait_until_all_are_served().await;
    settle(&sql, &demo, load, workers, started, "killed").await;
}

async fn h21_acknowledged_changes_survive_a_frozen_server(sql: AnySql) {
    let (demo, workers, load) = start_under_load(&sql).await;
    ours!(sql.freeze().await);
    // Longer than the deadline.
    tokio::time::sleep(2 * OUTAGE).await;
    ours!(sql.thaw().await);
    let thawed = Instant::now();
    load.wait_until_all_are_served().await;
    settle(&sql, &demo, load, workers, thawed, "frozen").await;
}

async fn settle(
    sql: &AnySql,
    demo: &Demo,
    load: Load,
    workers: Vec<rustix::process::Pid>,
    back: Instant,
    outage: &str,
) {
    let later = back.elapsed();
    let refused = load.refused();
    let seen = load.end().await;
    eprintln!(
        "{}, {outage}: all {VISITORS} visitors served {later:?} after the recovery; {seen}",
        sql.version()
    );
    assert!(refused > 0, "some requests fail during the outage");
    assert_eq!(demo.workers(), workers, "no worker restarts");
    assert_eq!(demo.signed_in("eve").await.page().await.principal.as_deref(), Some("eve"));
}
