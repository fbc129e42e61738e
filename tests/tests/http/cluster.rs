//! K01 to K04 and K15: death and replacement of workers, stops, and the port, over HTTP.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    Demo, KEY, PATIENCE,
    client::{Connection, Request},
    process::{self, Process, runs},
    wait,
};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k01_all_workers_serve_one_port() {
    const REQUESTS: usize = 2_000;
    let demo = Demo::start(&["--workers", "4"]).await;
    let address = demo.address;
    let mut shares: HashMap<String, usize> = HashMap::new();
    // The kernel chooses the worker of a connection. Under low load a worker may get none.
    for _ in 0..5 {
        let clients = (0..32).map(|_| {
            tokio::spawn(async move {
                let mut workers = Vec::new();
                for _ in 0..REQUESTS / 32 {
                    let response =
                        Connection::open(address).await?.send(&Request::get("/healthz")).await?;
                    workers.push(response.expect(200).worker().to_owned());
                }
                Ok::<_, io::Error>(workers)
            })
        });
        for client in clients.collect::<Vec<_>>() {
            for worker in client.await.expect("no panic").expect("every request is answered") {
                *shares.entry(worker).or_default() += 1;
            }
        }
        if shares.len() == 4 {
            break;
        }
    }
    println!(
        "k01: {} requests on new connections, by worker: {shares:?}",
        shares.values().sum::<usize>()
    );
    assert_eq!(shares.len(), 4);
    let pids: HashSet<String> =
        shares.keys().filter_map(|worker| Some(worker.split_once('/')?.1.to_owned())).collect();
    let children: HashSet<String> =
        demo.workers().iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    assert_eq!(pids, children, "X-Worker names the worker processes");
}

/// A request without a response.
#[derive(Debug, Clone)]
struct Failure {
    /// The text of the error.
    error: String,
    hung: bool,
    from: Instant,
    to: Instant,
}

/// The results of one client, which adds to its own session until the end of the test.
#[derive(Debug, Default)]
struct ClientRecord {
    answered: usize,
    failures: Vec<Failure>,
    refused: Vec<u16>,
    longest: Duration,
    held: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k02_killed_workers_are_replaced_and_lose_only_active_requests() {
    const LASTING: Duration = Duration::from_secs(6);
    let demo = Demo::start(&["--workers", "4"]).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for n in 0..20 {
        let (over, browser, address) =
            (Arc::clone(&over), demo.signed_in(&format!("user{n}")).await, demo.address);
        clients.push(tokio::spawn(async move {
            let mut record = ClientRecord::default();
            let mut kept: Option<Connection> = None;
            let request = browser.dress(Request::post("/session/n/add?by=1"));
            while !over.load(Relaxed) {
                let from = Instant::now();
                // Half of the clients keep their connection. The others open one for each request.
                let sent = async {
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::open(address).await?,
                    };
                    let response = connection.send(&request).await?;
                    Ok::<_, io::Error>((connection, response))
                };
                match sent.await {
                    Ok((connection, response)) => {
                        record.answered += usize::from(response.status == 200);
                        if response.status != 200 {
                            record.refused.push(response.status);
                        }
                        kept = (n % 2 == 0 && !response.closes()).then_some(connection);
                    }
                    Err(error) => {
                        let hung = error.kind() == io::ErrorKind::TimedOut;
                        record.failures.push(Failure {
                            error: error.to_string(),
                            hung,
                            from,
                            to: Instant::now(),
                        });
                    }
                }
                record.longest = record.longest.max(from.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (record, browser)
        }));
    }
    let started = Instant::now();
    let mut kills = Vec::new();
    while started.elapsed() < LASTING {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let workers = demo.workers();
        if let Some(victim) = fastrand::choice(workers) {
            kills.push(Instant::now());
            process::signal(victim, Signal::KILL);
        }
    }
    over.store(true, Relaxed);
    let mut records = Vec::new();
    for (n, client) in clients.into_iter().enumerate() {
        let (mut record, mut browser) = client.await.expect("no panic");
        record.held = wait::until("the session after the kills", PATIENCE, async || {
            let response = browser
                .try_send(Request::get("/session"))
                .await
                .ok()
                .filter(|response| response.status == 200)?;
            let page: tests::Page = response.json();
            assert_eq!(page.principal, Some(format!("user{n}")), "the session still exists");
            page.value("n").and_then(serde_json::Value::as_u64)?.try_into().ok()
        })
        .await;
        records.push(record);
    }
    let back = Instant::now();
    wait::until_true("four workers again", PATIENCE, || demo.workers().len() == 4).await;
    drop(demo.connections(4).await);
    let failures: Vec<_> = records.iter().flat_map(|record| record.failures.clone()).collect();
    let answered: usize = records.iter().map(|record| record.answered).sum();
    let longest = records.iter().map(|record| record.longest).max().unwrap_or_default();
    let ends: HashSet<&str> = failures.iter().map(|failure| failure.error.as_str()).collect();
    println!(
        "k02: {} kills in {LASTING:?}; {answered} answered, {} failed {ends:?}, {} hung, the longest {longest:?}; 4 workers again {:?} later",
        kills.len(),
        failures.len(),
        failures.iter().filter(|failure| failure.hung).count(),
        back.elapsed()
    );
    for record in &records {
        assert_eq!(record.refused, Vec::<u16>::new(), "every response has status 200");
        let most = record.answered + record.failures.len();
        assert!(
            (record.answered..=most).contains(&record.held),
            "{} held, {} answered, {} failed",
            record.held,
            record.answered,
            record.failures.len()
        );
    }
    assert!(!failures.iter().any(|failure| failure.hung), "requests hung: {failures:?}");
    let slack = Duration::from_millis(100);
    for failure in &failures {
        let is_in_flight =
            kills.iter().any(|kill| failure.from <= *kill + slack && *kill <= failure.to);
        assert!(is_in_flight, "a request failed without a kill during it: {failure:?}");
    }
    assert!(failures.len() <= 20 * kills.len());
    assert!(answered > 500, "the clients sent more than 500 requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k03_workers_exit_after_a_killed_primary_and_free_the_port() {
    const LIMIT: Duration = Duration::from_secs(2);
    for in_flight in ["nothing", "a slow handler"] {
        let mut demo = Demo::start(&["--workers", "4"]).await;
        let workers = demo.workers();
        assert_eq!(workers.len(), 4);
        let held = demo.process.hold_children();
        let mut connections = demo.connections(4).await;
        if in_flight != "nothing" {
            for connection in &mut connections {
                connection
                    .write(&Request::get("/slow?ms=10000").to_bytes())
                    .await
                    .expect("the demo reads");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let killed = Instant::now();
        demo.process.signal(Signal::KILL);
        demo.process.end(PATIENCE).await;
        wait::until_true("all workers to end", PATIENCE, || !workers.iter().any(|pid| runs(*pid)))
            .await;
        let took = killed.elapsed();
        println!("k03: with {in_flight} in flight all workers ended {took:?} after the primary");
        assert!(took <= LIMIT, "with {in_flight} in flight it took {took:?}");
        TcpListener::bind(demo.address).expect("the port is free");
        drop(held);
    }
}

/// The results of one client during the stop of the demo.
#[derive(Debug, Default)]
struct ClientLog {
    answered: usize,
    /// Connections that were closed without a response to their second or a later request.
    cut: Vec<String>,
    /// New connections that the kernel accepted and that got no response.
    unanswered: Vec<String>,
}

fn load(address: SocketAddr, keeps: bool) -> JoinHandle<ClientLog> {
    tokio::spawn(async move {
        let mut log = ClientLog::default();
        let mut kept: Option<Connection> = None;
        loop {
            let is_used = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                // Refused: the demo has stopped listening.
                None => match Connection::open(address).await {
                    Ok(connection) => connection,
                    Err(_) => return log,
                },
            };
            match connection.send(&Request::get("/slow?ms=20")).await {
                Ok(response) => {
                    assert_eq!(response.status, 200, "{}", response.text());
                    log.answered += 1;
                    kept = (keeps && !response.closes()).then_some(connection);
                }
                Err(error) if is_used => log.cut.push(error.to_string()),
                Err(error) => log.unanswered.push(error.to_string()),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k04_stop_under_load_fails_no_accepted_request() {
    for signal in [Signal::TERM, Signal::QUIT] {
        stop_under_load(Demo::start(&["--workers", "4"]).await, signal).await;
    }
}

/// Some kernels allow a filter on a socket only to a privileged process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_stop_without_capabilities_fails_no_accepted_request() {
    let demo = tests::demo_server().to_str().expect("a plain path");
    let arguments =
        ["--bounding-set=-all", "--inh-caps=-all", demo, "--listen", "127.0.0.1:0", "--workers"];
    let arguments = [&arguments[..], &["4"]].concat();
    for _ in 0..3 {
        let demo = Demo::start_as(Path::new("setpriv"), &arguments, &[("DEMO_COOKIE_KEY", KEY)]);
        stop_under_load(demo.await, Signal::TERM).await;
    }
}

/// Stops a demo with 4 workers during requests of 16 clients, and checks that each accepted request
/// gets its response. Every second client opens a connection for each request.
async fn stop_under_load(mut demo: Demo, signal: Signal) {
    let idle = demo.connections(4).await;
    let clients: Vec<_> = (0..16).map(|n| load(demo.address, n % 2 == 0)).collect();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let told = Instant::now();
    demo.process.signal(signal);
    let status = demo.process.end(PATIENCE).await;
    let took = told.elapsed();
    let (mut answered, mut cut, mut unanswered) = (0, Vec::new(), Vec::new());
    for client in clients {
        let log = client.await.expect("every response has status 200");
        answered += log.answered;
        cut.extend(log.cut);
        unanswered.extend(log.unanswered);
    }
    drop(idle);
    println!(
        "{signal:?} under load with 4 idle connections: stopped after {took:?}; {answered} responses, {} cut, {} unanswered {unanswered:?}",
        cut.len(),
        unanswered.len()
    );
    assert_eq!(status.code(), Some(0), "{}", demo.process.stderr.text());
    assert!(took < Duration::from_secs(10), "idle connections delayed the stop: {took:?}");
    assert_eq!(cut, Vec::<String>::new(), "a kept connection was closed during a request");
    assert_eq!(unanswered, Vec::<String>::new(), "an accepted connection got no response");
    assert!(answered > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k04_slow_handler_does_not_outlast_the_drain_deadline() {
    let mut demo = Demo::start(&["--workers", "2", "--drain", "2s"]).await;
    let mut connections = demo.connections(2).await;
    for connection in &mut connections {
        connection.write(&Request::get("/slow?ms=10000").to_bytes()).await.expect("the demo reads");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let told = Instant::now();
    demo.process.signal(Signal::TERM);
    let status = demo.process.end(PATIENCE).await;
    println!("k04: with handlers of 10 s and a drain of 2 s it stopped after {:?}", told.elapsed());
    assert_eq!(status.code(), Some(0), "{}", demo.process.stderr.text());
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k04_slow_request_is_finished_before_the_exit() {
    let mut demo = Demo::start(&["--workers", "2"]).await;
    let mut browser = demo.signed_in("bob").await;
    let slow = tokio::spawn(async move { browser.get("/slow?ms=1500").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    demo.process.signal(Signal::TERM);
    assert_eq!(
        slow.await.expect("no panic").status,
        200,
        "the owner of the sessions runs until the last response"
    );
    assert_eq!(demo.process.end(PATIENCE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k04_interrupt_stops_within_three_seconds() {
    let mut demo = Demo::start(&["--workers", "2"]).await;
    let mut connections = demo.connections(2).await;
    for connection in &mut connections {
        connection.write(&Request::get("/slow?ms=10000").to_bytes()).await.expect("the demo reads");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let told = Instant::now();
    let workers = demo.workers();
    demo.process.signal(Signal::INT);
    demo.process.end(PATIENCE).await;
    println!("k04: INT with slow handlers: stopped after {:?}", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    assert!(!workers.iter().any(|pid| runs(*pid)));
}

/// Waits for the end of a demo that cannot start. It must print the reason and leave no process.
async fn cannot_start(mut process: Process, words: &[&str]) {
    let mut seen = HashSet::new();
    let status = wait::until("the demo to end", PATIENCE, async || {
        seen.extend(process.children());
        process.ended()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stderr = process.stderr.text();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {stderr}");
    assert!(!process.stdout.text().contains("listening on"));
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    wait::until_true("its workers to end", Duration::from_secs(2), || {
        !seen.iter().any(|pid| runs(*pid))
    })
    .await;
    println!("k15: {status}: {}", stderr.lines().last().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k15_port_in_use_is_an_error_and_its_owner_keeps_serving() {
    let demo = Demo::start(&["--workers", "2"]).await;
    let address = demo.address.to_string();
    cannot_start(
        Process::start(tests::demo_server(), &["--listen", &address], &[]),
        &[&address, "in use"],
    )
    .await;
    let _ = demo.browser().get("/healthz").await.expect(200);
    assert_eq!(demo.workers().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k15_address_of_another_machine_is_an_error() {
    let flags = ["--listen", "203.0.113.1:3000", "--cookie", "development"];
    cannot_start(
        Process::start(tests::demo_server(), &flags, &[]),
        &["203.0.113.1:3000", "assign"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k15_too_few_file_descriptors_are_an_error() {
    let binary = tests::demo_server().to_str().expect("a plain path");
    let limited = format!("ulimit -n 12 && exec '{binary}' --listen 127.0.0.1:0 --workers 4");
    cannot_start(Process::start(Path::new("/bin/sh"), &["-c", &limited], &[]), &["open files"])
        .await;
}
