//! The metrics of the primary for Prometheus, and access to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use session_core::SessionId;
use tests::{
    Browser, Demo, OTHER_KEY, PATIENCE,
    client::{Connection, Request, send},
    cookie::id_of,
    process,
    prometheus::Scrape,
    service::Redis,
    wait,
};

use crate::cookies::signed;

/// Adds to the session, once on each of these connections in turn.
async fn add(browser: &Browser, connections: &mut [Connection], times: usize) {
    for at in 0..times {
        let connection = &mut connections[at % connections.len()];
        let response = connection
            .send(&browser.dress(Request::post("/session/n/add?by=1")))
            .await
            .expect("an answer");
        let _ = response.expect(200);
    }
}

fn id(cookie: &str) -> SessionId {
    SessionId::parse(id_of(cookie).as_bytes()).expect("an id")
}

fn assert_is(is: f64, should: f64, what: &str) {
    assert!((is - should).abs() < 0.5, "{what}: {is}, not {should}");
}

/// Waits until `count` workers serve and all workers of `old` have ended.
async fn replaced(demo: &Demo, old: &[rustix::process::Pid], count: usize) {
    wait::until_true("new workers", PATIENCE, || {
        let now = demo.workers();
        now.len() == count && !now.iter().any(|worker| old.contains(worker))
    })
    .await;
    demo.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_of_the_primary_resets_the_metrics_once() {
    const UPGRADES: usize = 4;
    let (mut demo, metrics) = Demo::counting(&["--workers", "2"]).await;
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let (mut last, mut restarts, mut scrapes) = (0.0, 0, 0);
            while !over.load(Relaxed) {
                // A request fails if the old primary stops during it.
                let answer = async {
                    Connection::open(metrics).await?.send(&Request::get("/metrics")).await
                }
                .await;
                let Ok(page) = answer.map(|page| page.text()) else { continue };
                let Some(uptime) = page.lines().find_map(|line| {
                    line.strip_prefix("cluster_uptime_seconds ")?.parse::<f64>().ok()
                }) else {
                    continue;
                };
                restarts += usize::from(uptime < last);
                (last, scrapes) = (uptime, scrapes + 1);
            }
            (restarts, scrapes)
        }
    });
    for _ in 0..UPGRADES {
        demo.upgrade().await;
    }
    over.store(true, Relaxed);
    let (restarts, scrapes) = watcher.await.expect("the watcher reads metrics");
    println!("{scrapes} scrapes during {UPGRADES} upgrades, {restarts} restarts");
    // Two upgrades can be so fast that no request reaches the first successor.
    assert!(
        scrapes > UPGRADES && (1..=UPGRADES).contains(&restarts),
        "{restarts} restarts in {scrapes} scrapes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_summed_over_all_workers() {
    const TIMES: usize = 200;
    let (demo, metrics) = Demo::counting(&["--workers", "3"]).await;
    let first = Scrape::of(metrics).await;
    assert_is(first.calls("ipc", "commit", "done"), 0.0, "commits at the start");
    let mut browser = demo.browser();
    let _ = browser.insert("n", "0").await.expect(204);
    let mut connections = demo.connections(3).await;
    add(&browser, &mut connections, TIMES).await;
    for connection in &mut connections {
        let page =
            connection.send(&browser.dress(Request::get("/session"))).await.expect("an answer");
        assert_eq!(
            page.expect(200).json::<tests::Page>().value("n"),
            Some(&serde_json::json!(TIMES))
        );
    }
    let scrape = Scrape::of(metrics).await;
    scrape.assert_not_below(&first);
    for (operation, outcome, calls) in [
        ("create", "done", 1.0),
        ("commit", "done", 200.0),
        ("load", "done", 3.0),
        ("touch", "done", 0.0),
        ("commit", "conflict", 0.0),
        ("load", "absent", 0.0),
    ] {
        assert_is(
            scrape.calls("ipc", operation, outcome),
            calls,
            &format!("{operation} {outcome}"),
        );
    }
    let took = |suffix: &str| {
        scrape.value(
            &format!("session_store_call_seconds_{suffix}"),
            &[("store", "ipc"), ("operation", "commit")],
        )
    };
    assert_is(took("count"), 200.0, "timed commits");
    assert!(took("sum") > 0.000_1, "200 commits took {} s", took("sum"));
    assert_is(
        scrape.value("session_touches_skipped_total", &[]),
        203.0,
        "skipped extensions of a ttl",
    );
    assert_is(scrape.value("session_store_retries_total", &[("store", "ipc")]), 0.0, "retries");
    for (state, slots) in
        [("serving", 3.0), ("starting", 0.0), ("backing_off", 0.0), ("gave_up", 0.0)]
    {
        assert_is(scrape.value("cluster_slots", &[("state", state)]), slots, state);
    }
    assert_is(scrape.value("cluster_workers", &[]), 3.0, "workers");
    assert_is(
        scrape.value("demo_server_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        1.0,
        "build",
    );
    assert!(scrape.value("cluster_uptime_seconds", &[]) > 0.0);

    // Failures are counted by cause.
    let forged = signed(OTHER_KEY, &id(browser.cookie()));
    for (connection, value) in connections.iter_mut().zip([forged.as_str(), "x"]) {
        let request = Request::get("/session").cookie(format!("id={value}"));
        let _ = connection.send(&request).await.expect("an answer").expect(200);
    }
    let _ = browser.post("/logout").await.expect(204);
    let scrape = Scrape::of(metrics).await;
    assert_is(
        scrape.value("session_cookie_refused_total", &[("cause", "signature")]),
        1.0,
        "signature",
    );
    assert_is(scrape.value("session_cookie_refused_total", &[("cause", "kind")]), 1.0, "kind");
    assert_is(scrape.calls("ipc", "delete", "done"), 1.0, "delete done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_never_decrease_when_workers_crash_stop_or_reload() {
    let (demo, metrics) = Demo::counting(&["--workers", "2", "--allow-crash"]).await;
    let over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let (mut before, mut scrapes) = (Scrape::of(metrics).await, 1);
            while !over.load(Relaxed) {
                let now = Scrape::of(metrics).await;
                now.assert_not_below(&before);
                (before, scrapes) = (now, scrapes + 1);
            }
            scrapes
        }
    });
    let mut browser = demo.browser();
    let _ = browser.insert("n", "0").await.expect(204);
    let commits = async || Scrape::of(metrics).await.calls("ipc", "commit", "done");

    // A crash loses at most the counts since the last scrape.
    let old = demo.workers();
    let mut connections = demo.connections(2).await;
    add(&browser, &mut connections, 50).await;
    assert_is(commits().await, 50.0, "before the crash");
    assert!(
        connections[0].send(&Request::post("/crash")).await.is_err(),
        "the worker crashes before it responds"
    );
    wait::until_true("a crashed worker to be replaced", PATIENCE, || {
        demo.workers().len() == 2 && demo.workers() != old
    })
    .await;
    assert_is(commits().await, 50.0, "after the crash");
    demo.ready().await;

    // A worker that stops reports its last counts, even right after a scrape.
    let old = demo.workers();
    let mut connections = demo.connections(2).await;
    add(&browser, &mut connections, 50).await;
    process::signal(old[0], Signal::TERM);
    replaced(&demo, &old[..1], 2).await;
    assert_is(commits().await, 100.0, "after one worker stopped");

    let old = demo.workers();
    let mut connections = demo.connections(2).await;
    add(&browser, &mut connections, 50).await;
    demo.process.signal(Signal::HUP);
    replaced(&demo, &old, 2).await;
    assert_is(commits().await, 150.0, "after a reload");
    let mut connections = demo.connections(2).await;
    add(&browser, &mut connections, 10).await;
    let scrape = wait::until("the reload to end", PATIENCE, async || {
        let scrape = Scrape::of(metrics).await;
        (scrape.value("cluster_reloads_total", &[("outcome", "done")]) > 0.5).then_some(scrape)
    })
    .await;
    assert_is(scrape.calls("ipc", "commit", "done"), 160.0, "commits after the reload");
    assert_is(
        scrape.value("cluster_worker_exits_total", &[("cause", "signalled")]),
        1.0,
        "exits by a signal",
    );
    assert_is(
        scrape.value("cluster_worker_exits_total", &[("cause", "requested")]),
        3.0,
        "requested exits",
    );
    assert!(scrape.value("cluster_worker_restarts_total", &[]) > 0.5);
    over.store(true, Relaxed);
    let scrapes = watcher.await.expect("no counter decreased");
    println!(
        "metrics: {scrapes} scrapes during a crash, a stop and a reload; no counter decreased"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_counts_of_a_stopping_worker_are_kept() {
    let (demo, metrics) = Demo::counting(&["--workers", "2"]).await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "0").await.expect(204);
    // No scrape takes place between the counts and the end of the worker.
    for (round, signal) in [Signal::TERM, Signal::HUP].into_iter().enumerate() {
        let old = demo.workers();
        let mut connections = demo.connections(2).await;
        add(&browser, &mut connections, 40).await;
        drop(connections);
        if signal == Signal::TERM {
            for worker in &old {
                process::signal(*worker, signal);
            }
        } else {
            demo.process.signal(signal);
        }
        replaced(&demo, &old, 2).await;
        let commits = Scrape::of(metrics).await.calls("ipc", "commit", "done");
        assert_is(commits, [40.0, 80.0][round], "after the workers stopped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unresponsive_worker_does_not_block_the_metrics() {
    let (demo, metrics) = Demo::counting(&["--workers", "2"]).await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "0").await.expect(204);
    let mut connections = demo.connections(2).await;
    add(&browser, &mut connections, 20).await;
    let before = Scrape::of(metrics).await;
    assert_is(before.value("cluster_worker_scrape_failed", &[]), 0.0, "failed scrapes before");
    let worker = demo.workers()[0];
    process::signal(worker, Signal::STOP);
    let asked = Instant::now();
    let scrape = Scrape::of(metrics).await;
    let took = asked.elapsed();
    assert_is(
        scrape.value("cluster_worker_scrape_failed", &[]),
        1.0,
        "failed scrapes with a stopped worker",
    );
    assert_is(scrape.calls("ipc", "commit", "done"), 20.0, "its last reported commits");
    println!("metrics: with a stopped worker, the scrape took {took:?}");
    // The worker has 1 s to answer, and 2 s if a scrape was already in progress. Prometheus waits
    // 10 s.
    assert!(took < Duration::from_secs(5), "{took:?}");
    process::signal(worker, Signal::CONT);
    wait::until("all workers to answer", PATIENCE, async || {
        (Scrape::of(metrics).await.value("cluster_worker_scrape_failed", &[]) < 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_off_by_default_and_local_only() {
    let (demo, metrics) = Demo::counting(&["--workers", "1"]).await;
    assert!(metrics.ip().is_loopback());
    assert_eq!(
        send(demo.address, &Request::get("/metrics")).await.expect("an answer").status,
        404,
        "the port of the demo does not serve metrics"
    );
    for (request, status) in [
        (Request::get("/"), 404),
        (Request::get("/metrics/x"), 404),
        (Request::post("/metrics"), 405),
        (Request::get("/healthz"), 404),
    ] {
        assert_eq!(send(metrics, &request).await.expect("an answer").status, status, "{request:?}");
    }
    // Only the primary listens on the port.
    let taken =
        Demo::run(&["--listen", "127.0.0.1:0", "--metrics", &metrics.to_string()], &[]).await;
    assert_eq!(taken.status.code(), Some(1));
    assert!(
        taken.stderr.contains(&metrics.to_string()) && taken.stderr.contains("--metrics"),
        "{}",
        taken.stderr
    );
    let open = Demo::run(&["--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:0"], &[]).await;
    assert_eq!(open.status.code(), Some(2));
    assert!(open.stderr.contains("loopback"), "{}", open.stderr);
    let silent = Demo::start(&["--workers", "1"]).await;
    assert!(!silent.process.stdout.text().contains("metrics"), "metrics are off by default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_retries_are_counted() {
    let Some(redis) = Redis::start().await else { return };
    let (demo, metrics) =
        Demo::counting(&["--workers", "1", "--store", "redis", "--store-url", &redis.url()]).await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "0").await.expect(204);
    let retries = async || {
        Scrape::of(metrics).await.value("session_store_retries_total", &[("store", "redis")])
    };
    assert_is(retries().await, 0.0, "retries");
    // If the connection of a waiting read is closed, the store sends the read again.
    wait::until("a retry", PATIENCE, async || {
        let (cut, ()) = tokio::join!(
            redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            async {
                for _ in 0..50 {
                    browser.get("/session").await;
                }
            }
        );
        cut.expect("the server answers");
        (retries().await > 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h25_metrics_and_traces_contain_no_secret() {
    let (demo, metrics) = Demo::counting(&["--workers", "2", "--log", "trace"]).await;
    let mut browser = demo.browser();
    let _ = browser.insert("quince-77", "\"swordfish-4711\"").await.expect(204);
    let mut cookies = vec![browser.cookie().to_owned()];
    let handle = browser.page().await.handle.expect("a handle");
    let _ = browser.login("rosebud-1941").await.expect(200);
    cookies.push(browser.cookie().to_owned());
    let _ = browser.post("/session/quince-77/add?by=1").await;
    let _ = browser.get("/devices").await.expect(200);
    let forged = signed(OTHER_KEY, &id(browser.cookie()));
    let _ = send(demo.address, &Request::get("/session").cookie(format!("id={forged}"))).await;
    let _ = browser.post("/logout-everywhere").await.expect(200);
    cookies.push(forged);
    let scrape = Scrape::of(metrics).await;
    assert!(
        scrape.calls("ipc", "create", "done") > 0.5 && scrape.has("session_cookie_refused_total")
    );
    let secrets = cookies.iter().flat_map(|cookie| [cookie.clone(), id_of(cookie).to_owned()]);
    for secret in secrets.chain([
        handle,
        "quince-77".into(),
        "swordfish-4711".into(),
        "rosebud-1941".into(),
        tests::KEY.into(),
    ]) {
        assert!(!scrape.text().contains(&secret), "{secret} is in:\n{}", scrape.text());
    }
    // Only the audit log names users.
    let (audited, traced): (Vec<_>, Vec<_>) =
        demo.output().lines().map(str::to_owned).partition(|line| is_audit(line));
    let traced = traced.join("\n");
    assert!(
        audited.iter().any(|line| line.contains("rosebud-1941")),
        "the audit log names the user"
    );
    assert!(
        audited.iter().all(|line| cookies.iter().all(|cookie| !line.contains(id_of(cookie)))),
        "the audit log contains no id"
    );
    assert!(traced.contains("session store call finished"), "store calls are traced");
    for secret in cookies
        .iter()
        .map(|cookie| id_of(cookie).to_owned())
        .chain(["swordfish-4711".into(), "rosebud-1941".into()])
    {
        assert!(!traced.contains(&secret), "a trace contains {secret}");
    }
}

/// Whether a line belongs to the audit log of the demo.
fn is_audit(line: &str) -> bool {
    ["signed in", "session created", "session id rotated", "session ended"]
        .iter()
        .any(|event| line.contains(&format!("{event} session=")))
}
