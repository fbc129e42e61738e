//! K05: what visitors notice of rolling reloads and of workers that are told to leave.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tests::{
    Browser, Demo, PATIENCE,
    client::{Connection, Request},
    process, wait,
};
use tokio::task::JoinSet;

const WORKERS: usize = 2;
const ROUNDS: usize = 10;
const REQUESTS: usize = 20_000;

/// How a visitor comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visitor {
    /// On a new connection each time.
    New,
    /// On the same one; if it is gone, once more on another.
    Keeping,
    /// On the same one, without another try.
    Insisting,
}

#[derive(Debug, Default)]
struct Visits {
    answered: usize,
    failed: Vec<String>,
    retried: usize,
    longest: Duration,
}

impl Visits {
    fn add(&mut self, more: Self) {
        self.answered += more.answered;
        self.retried += more.retried;
        self.failed.extend(more.failed);
        self.longest = self.longest.max(more.longest);
    }
}

impl Visitor {
    /// Reads the session over and over until it is over.
    async fn visit(self, address: SocketAddr, browser: Browser, over: Arc<AtomicBool>) -> Visits {
        let (mut visits, mut kept) = (Visits::default(), None);
        while !over.load(Relaxed) {
            let begun = Instant::now();
            let mut said = ask(&mut kept, address, &browser).await;
            if said.is_err() && self == Self::Keeping {
                visits.retried += 1;
                said = ask(&mut kept, address, &browser).await;
            }
            match said {
                Ok(()) => visits.answered += 1,
                Err(error) => visits.failed.push(error.to_string()),
            }
            if self == Self::New {
                kept = None;
            }
            visits.longest = visits.longest.max(begun.elapsed());
        }
        visits
    }
}

/// One request, on the connection that was kept if there is one.
async fn ask(
    kept: &mut Option<Connection>,
    address: SocketAddr,
    browser: &Browser,
) -> io::Result<()> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let response = connection.send(&browser.dress(Request::get("/session"))).await?.expect(200);
    assert_eq!(
        response.json::<tests::Page>().principal.as_deref(),
        Some("bob"),
        "the session is the same on every worker"
    );
    *kept = (!response.closes()).then_some(connection);
    Ok(())
}

/// Waits until none of these serves any more, and as many as before do.
async fn replaced(demo: &Demo, old: &[Pid]) {
    wait::until("all workers to be replaced", PATIENCE, async || {
        let now = demo.workers();
        (now.len() == WORKERS && !now.iter().any(|worker| old.contains(worker))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k05_reloads_and_stopped_workers_lose_no_request() {
    let demo = Demo::start(&["--workers", &WORKERS.to_string()]).await;
    let over = Arc::new(AtomicBool::new(false));
    let kinds = [(Visitor::New, 16), (Visitor::Keeping, 8), (Visitor::Insisting, 8)];
    let mut visitors = JoinSet::new();
    for (kind, count) in kinds {
        for _ in 0..count {
            let (address, browser, over) =
                (demo.address, demo.signed_in("bob").await, Arc::clone(&over));
            visitors.spawn(async move { (kind, kind.visit(address, browser, over).await) });
        }
    }
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let old = demo.workers();
        demo.process.signal(Signal::HUP);
        replaced(&demo, &old).await;
        let told = fastrand::choice(demo.workers()).expect("there are workers");
        process::signal(told, Signal::TERM);
        replaced(&demo, &[told]).await;
    }
    let took = begun.elapsed();
    over.store(true, Relaxed);
    let mut all: Vec<(Visitor, Visits)> = kinds.map(|(kind, _)| (kind, Visits::default())).into();
    while let Some(done) = visitors.join_next().await {
        let (kind, visits) = done.expect("every answer is one that a visitor expects");
        all.iter_mut().find(|(of, _)| *of == kind).expect("each kind is counted").1.add(visits);
    }
    println!(
        "k05: {ROUNDS} reloads of {WORKERS} workers and {ROUNDS} workers told to leave in {took:?}"
    );
    for (kind, visits) in &all {
        let Visits { answered, failed, retried, longest } = visits;
        println!(
            "  {kind:?}: {answered} answered, {retried} tried again, {} failed, the longest took {longest:?}",
            failed.len()
        );
        // Who never tries again loses what is on its way just when an idle connection is closed;
        // that is HTTP's, and only counted.
        assert!(*kind == Visitor::Insisting || failed.is_empty(), "{kind:?}: {failed:?}");
    }
    let answered: usize = all.iter().map(|(_, visits)| visits.answered).sum();
    assert!(answered >= REQUESTS, "{answered} requests were too few to say anything");
    assert!(demo.output().matches("reloaded").count() >= ROUNDS, "{}", demo.output());
}
