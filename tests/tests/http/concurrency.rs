//! H06 to H09: concurrent reads and writes of one session.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tests::{
    Browser, Setup,
    client::{Connection, Request},
};

const CONNECTIONS: usize = 50;
const INCREMENTS: usize = 2_000;

on_every_setup_and_a_set!(
    h06_write_is_visible_to_every_worker_at_once,
    h06_idle_workers_still_reach_the_sessions,
    h07_2000_concurrent_adds_are_all_counted,
    h09_concurrent_inserts_of_different_names_are_all_kept,
);

mod updates {
    use super::*;

    on_every_setup!(h08_2000_concurrent_updates_are_all_counted);
    on_setup!(mongo_set, h08_concurrent_updates_of_12_clients_are_all_counted);

    async fn h08_2000_concurrent_updates_are_all_counted(setup: &Setup) {
        increments(setup, "h08", CONNECTIONS, INCREMENTS, "/session/n/update").await;
    }

    /// Each update waits for two of three members on this machine. 2,000 updates take a minute on a
    /// busy machine.
    async fn h08_concurrent_updates_of_12_clients_are_all_counted(setup: &Setup) {
        increments(setup, "h08", 12, 600, "/session/n/update").await;
    }
}

async fn h06_write_is_visible_to_every_worker_at_once(setup: &Setup) {
    let demo = setup.start().await;
    let browser = demo.signed_in("bob").await;
    let mut workers = demo.connections(setup.workers).await;
    // Four more connections reach other threads of the processes.
    for _ in 0..4 {
        workers.push(Connection::open(demo.address).await.expect("the demo accepts"));
    }
    let mut reads = 0;
    for round in 0..50 {
        let writer = round % workers.len();
        let write = browser.dress(Request::put("/session/n", round.to_string()));
        let _ = workers[writer].send(&write).await.expect("an answer").expect(204);
        for reader in &mut workers {
            let response = reader
                .send(&browser.dress(Request::get("/session")))
                .await
                .expect("an answer")
                .expect(200);
            let page: tests::Page = response.json();
            assert_eq!(
                page.value("n").expect("the session has n"),
                &serde_json::json!(round),
                "read by worker {}",
                response.worker()
            );
            reads += 1;
        }
    }
    println!(
        "h06: {reads} reads after 50 writes, 0 stale, {} connections, {} workers",
        workers.len(),
        setup.workers
    );
}

async fn h06_idle_workers_still_reach_the_sessions(setup: &Setup) {
    // Longer than every deadline of a store for a call or for a handshake.
    const IDLE: Duration = Duration::from_secs(7);
    let demo = setup.start().await;
    for since in ["since its start", "since its last request"] {
        tokio::time::sleep(IDLE).await;
        let browser = demo.signed_in("bob").await;
        for worker in &mut demo.connections(setup.workers).await {
            let response =
                worker.send(&browser.dress(Request::get("/session"))).await.expect("an answer");
            assert_eq!(
                response.status,
                200,
                "worker {} was idle {since}: {}",
                response.worker(),
                response.text()
            );
            assert_eq!(response.json::<tests::Page>().principal.as_deref(), Some("bob"));
        }
    }
}

async fn h07_2000_concurrent_adds_are_all_counted(setup: &Setup) {
    increments(setup, "h07", CONNECTIONS, INCREMENTS, "/session/n/add?by=1").await;
}

/// `clients` concurrent clients send `count` increments of one value. Each gets status 200 and a
/// different sum, and all are counted.
async fn increments(setup: &Setup, line: &str, clients: usize, count: usize, target: &'static str) {
    let demo = setup.start().await;
    let browser = Arc::new(demo.signed_in("bob").await);
    let taken = Arc::new(AtomicUsize::new(0));
    // The first connections reach every worker.
    let mut connections = demo.connections(setup.workers).await;
    while connections.len() < clients {
        connections.push(Connection::open(demo.address).await.expect("the demo accepts"));
    }
    let started = Instant::now();
    let clients = connections.into_iter().map(|mut connection| {
        let (browser, taken) = (Arc::clone(&browser), Arc::clone(&taken));
        tokio::spawn(async move {
            let request = browser.dress(Request::post(target));
            let mut answers = Vec::new();
            while taken.fetch_add(1, Relaxed) < count {
                let response = connection.send(&request).await.expect("an answer").expect(200);
                answers.push((response.json::<i64>(), response.worker().to_owned()));
            }
            answers
        })
    });
    let answers: Vec<_> = futures_util::future::join_all(clients)
        .await
        .into_iter()
        .flat_map(|client| client.expect("no panic"))
        .collect();
    let elapsed = started.elapsed();
    let sums: HashSet<i64> = answers.iter().map(|(sum, _)| *sum).collect();
    let workers: HashSet<&str> = answers.iter().map(|(_, worker)| worker.as_str()).collect();
    let page = browser.as_ref().clone().page().await;
    let held = page.value("n").and_then(serde_json::Value::as_i64).expect("a number");
    println!(
        "{line}: {} of {count} answered 200, {held} held, {} workers, {:.1} s",
        answers.len(),
        workers.len(),
        elapsed.as_secs_f64()
    );
    assert_eq!(usize::try_from(held).expect("positive"), count, "lost updates");
    assert_eq!(answers.len(), count);
    assert_eq!(sums.len(), count, "two requests got the same sum");
    assert_eq!(workers.len(), setup.workers, "every worker served requests");
}

async fn h09_concurrent_inserts_of_different_names_are_all_kept(setup: &Setup) {
    const NAMES: usize = 100;
    let demo = setup.start().await;
    let browser = demo.signed_in("bob").await;
    let inserts = (0..NAMES).map(|n| {
        let mut browser: Browser = browser.clone();
        async move { browser.insert(&format!("name{n}"), &n.to_string()).await.expect(204) }
    });
    let answers = futures_util::future::join_all(inserts).await;
    let page = browser.clone().page().await;
    for n in 0..NAMES {
        assert_eq!(page.value(&format!("name{n}")), Some(&serde_json::json!(n)));
    }
    let workers: HashSet<_> = answers.iter().map(tests::client::Response::worker).collect();
    println!("h09: {NAMES} of {NAMES} names found, written by {} workers", workers.len());
}
