//! S17, S23, S25 to S27, S29 and S30: slow clients, output of secrets, foreign files, and pages of
//! other sites.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;

use tests::{
    Demo, KEY, PATIENCE,
    client::{Connection, Request, send},
    process::Process,
    wait,
};

/// The body timeout of the tests, and the limit for a disconnect on a busy machine.
const BODY: &str = "2s";
const CLOSED_WITHIN: Duration = Duration::from_secs(6);

/// A demo with one worker and this limit of open files.
async fn with_files(files: u32, flags: &[&str]) -> Demo {
    let start = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    let demo = tests::demo_server().to_str().expect("a plain path");
    let mut arguments =
        vec!["-c", &start, demo, "--listen", "127.0.0.1:0", "--cookie-key", KEY, "--workers", "1"];
    arguments.extend(flags);
    Demo::start_as(Path::new("/bin/sh"), &arguments, &[]).await
}

fn descriptors(demo: &Demo) -> usize {
    let worker = demo.workers()[0].as_raw_nonzero();
    fs::read_dir(format!("/proc/{worker}/fd")).expect("the worker runs").count()
}

/// Opens connections that send these bytes and then nothing.
async fn unfinished(demo: &Demo, count: usize, sent: &[u8]) -> Vec<Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(demo.address).await.expect("the kernel accepts");
        connection.write(sent).await.expect("the demo reads");
        held.push(connection);
    }
    held
}

/// Waits until the server has closed all of them. Returns the duration.
async fn all_closed(held: Vec<Connection>) -> Duration {
    let started = Instant::now();
    let closed = held
        .into_iter()
        .map(|mut connection| async move { connection.closed(CLOSED_WITHIN).await.is_ok() });
    let closed = futures_util::future::join_all(closed).await;
    let open = closed.iter().filter(|closed| !**closed).count();
    assert_eq!(
        open,
        0,
        "{open} of {} connections are still open after {CLOSED_WITHIN:?}",
        closed.len()
    );
    started.elapsed()
}

/// Requests with an unfinished body: with a handler that reads the body, with one that does not,
/// chunked, and to an unknown route.
const UNFINISHED: [&str; 6] = [
    "PUT /session/n HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n1",
    "PUT /session/n HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n",
    "POST /logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n1",
    "POST /logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n",
    "GET /session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_unfinished_bodies_are_disconnected_at_their_deadline() {
    let demo = Demo::start(&["--workers", "1", "--body-timeout", BODY]).await;
    for sent in UNFINISHED {
        let held = unfinished(&demo, 5, sent.as_bytes()).await;
        println!("s25: 5 × {:?} closed after {:?}", sent.lines().next(), all_closed(held).await);
    }
    let mut late = Connection::open(demo.address).await.expect("the demo accepts");
    late.write(UNFINISHED[0].as_bytes()).await.expect("the demo reads");
    let response = late.response("PUT").await.expect("an answer").expect(408);
    assert!(
        response.closes()
            && response.set_cookie().is_none()
            && response.text().contains("did not arrive in time")
    );
    // The deadline also applies to a body that arrives byte by byte.
    let mut dripping = Connection::open(demo.address).await.expect("the demo accepts");
    let started = Instant::now();
    dripping
        .write(b"PUT /session/n HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .await
        .expect("the demo reads");
    while dripping.write(b"1").await.is_ok()
        && dripping.closed(Duration::from_millis(50)).await.is_err()
    {
        assert!(started.elapsed() < CLOSED_WITHIN, "a slow body is not disconnected");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_body_that_arrives_in_time_is_served() {
    let demo = Demo::start(&["--workers", "1", "--body-timeout", BODY]).await;
    let mut bob = demo.signed_in("bob").await;
    for coding in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut slow = Connection::open(demo.address).await.expect("the demo accepts");
        let cookie = bob.cookie().to_owned();
        let head = format!(
            "PUT /session/n HTTP/1.1\r\nHost: localhost\r\nCookie: id={cookie}\r\n{coding}\r\n\r\n"
        );
        slow.write(head.as_bytes()).await.expect("the demo reads");
        let pieces: &[&str] = if coding.starts_with('C') {
            &["1234", "56789"]
        } else {
            &["4\r\n1234\r\n", "5\r\n56789\r\n0\r\n\r\n"]
        };
        for piece in pieces {
            tokio::time::sleep(Duration::from_millis(300)).await;
            slow.write(piece.as_bytes()).await.expect("the demo reads");
        }
        let response = slow.response("PUT").await.expect("an answer").expect(204);
        assert!(!response.closes(), "the connection is kept");
        assert_eq!(bob.page().await.value("n"), Some(&serde_json::json!(123_456_789)));
        let _ =
            slow.send(&Request::get("/healthz")).await.expect("the connection is kept").expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_other_clients_are_served_during_800_unfinished_bodies() {
    // With 60 s, no body times out during this test.
    let demo = with_files(1_024, &["--body-timeout", "60s"]).await;
    let bob = demo.signed_in("bob").await;
    let held = unfinished(&demo, 800, UNFINISHED[0].as_bytes()).await;
    wait::until_true("the worker to have accepted them", PATIENCE, || descriptors(&demo) > 800)
        .await;
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(bob.clone().page().await.principal.as_deref(), Some("bob"));
        let response =
            send(demo.address, &Request::get("/healthz")).await.expect("an answer").expect(200);
        assert!(response.closes(), "the worker keeps no connection if few are left");
        longest = longest.max(started.elapsed());
    }
    println!(
        "s25: {} unfinished bodies, {} descriptors; 100 requests of other clients served, the longest pair in {longest:?}",
        held.len(),
        descriptors(&demo)
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_unfinished_bodies_free_their_descriptors() {
    let demo = with_files(192, &["--body-timeout", BODY]).await;
    let bob = demo.signed_in("bob").await;
    // The worker has fewer descriptors. The other connections wait in the queue of the kernel.
    let held = unfinished(&demo, 400, UNFINISHED[0].as_bytes()).await;
    let most = descriptors(&demo);
    assert!(most < 192 - 32, "the store and the log still have descriptors: {most}");
    let started = Instant::now();
    // This request is served after those in the queue.
    assert_eq!(bob.clone().page().await.principal.as_deref(), Some("bob"));
    let waited = started.elapsed();
    drop(held);
    let begun = Instant::now();
    wait::until_true("the descriptors to be free again", PATIENCE, || descriptors(&demo) < 64)
        .await;
    println!(
        "s25: 400 unfinished bodies, {most} descriptors in use; another client is served after {waited:?}; all are free {:?} later",
        begun.elapsed()
    );
    assert!(!demo.output().contains("Too many open files"), "{}", demo.output());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_clients_that_never_read_free_their_connections() {
    let demo =
        Demo::start(&["--workers", "1", "--max-connections", "20", "--send-timeout", BODY]).await;
    let mut bob = demo.signed_in("bob").await;
    let _ = bob.insert("n", &format!("\"{}\"", "x".repeat(60_000))).await.expect(204);
    let asked =
        format!("GET /session HTTP/1.1\r\nHost: localhost\r\nCookie: id={}\r\n\r\n", bob.cookie())
            .repeat(100);
    let mut held = Vec::new();
    for _ in 0..24 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2_048).expect("a small buffer");
        let mut stream = socket.connect(demo.address).await.expect("the kernel accepts");
        // The kernel may not accept all bytes, because the client does not read the responses.
        let _ =
            tokio::time::timeout(Duration::from_millis(100), stream.write_all(asked.as_bytes()))
                .await;
        held.push(stream);
    }
    let started = Instant::now();
    let _ = send(demo.address, &Request::get("/healthz")).await.expect("an answer").expect(200);
    println!("s25: 24 clients do not read; another one is served after {:?}", started.elapsed());
    assert!(started.elapsed() < CLOSED_WITHIN * 2, "{:?}", started.elapsed());
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s23_clients_with_an_unfinished_second_head_block_no_others() {
    let demo = with_files(192, &["--body-timeout", BODY]).await;
    let bob = demo.signed_in("bob").await;
    // actix-web has no deadline for the head of a second request. Without a limit for kept
    // connections these would occupy all 64 forever.
    let first_and_a_half =
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: loc";
    let mut held = unfinished(&demo, 100, first_and_a_half).await;
    for _ in 0..20 {
        assert_eq!(bob.clone().page().await.principal.as_deref(), Some("bob"));
    }
    let mut closed = 0;
    for connection in &mut held {
        let _ = connection.response("GET").await.expect("an answer").expect(200);
        closed += usize::from(connection.closed(Duration::from_millis(20)).await.is_ok());
    }
    println!(
        "s23: {closed} of {} clients with an unfinished second head are disconnected; others are served",
        held.len()
    );
    assert!(closed >= held.len() - 49, "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_start_with_a_low_open_file_limit_is_refused() {
    let demo = tests::demo_server().to_str().expect("a plain path");
    let mut process = Process::start(
        Path::new("/bin/sh"),
        &[
            "-c",
            "ulimit -n 100; exec \"$0\" \"$@\"",
            demo,
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
        ],
        &[],
    );
    let status = process.end(PATIENCE).await;
    wait::until_true("the reason", PATIENCE, || process.stderr.text().contains("ulimit -n")).await;
    assert_eq!(status.code(), Some(2));
    let said = process.stderr.text();
    assert!(said.contains("the limit of open files is 100, and a worker needs 144 here"), "{said}");
    assert!(!process.stdout.text().contains("listening"));
}

/// The secret in every setting.
const SECRET: &str = "hunter2swordfish";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_help_shows_no_value_of_any_setting() {
    let shown = Demo::run(&["--print-config"], &[]).await.stdout;
    let names: Vec<String> = shown
        .lines()
        .filter_map(|line| Some(format!("DEMO_{}", line.split_once(" =")?.0.to_uppercase())))
        .collect();
    assert!(names.len() > 20 && names.iter().any(|name| name == "DEMO_STORE_URL"), "{names:?}");
    let mut environment: Vec<_> = names.iter().map(|name| (name.as_str(), SECRET)).collect();
    environment.push(("DEMO_CONFIG", SECRET));
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["owner", "--help"],
        &["ctl", "--help"],
        &["ctl", "status", "--help"],
        &["help"],
        &["ctl"],
    ] {
        let ended = Demo::run(arguments, &environment).await;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("Usage"), "{arguments:?}: {said}");
        assert!(!said.contains(SECRET), "{arguments:?} shows a value of the environment: {said}");
    }
}

/// Settings that contain the secret.
fn with_secrets() -> Vec<(&'static str, String)> {
    let urls = [
        format!("redis://app:{SECRET}@127.0.0.1:1/0"),
        format!("redis://:{SECRET}@127.0.0.1:1"),
        format!("redis://:p@{SECRET}@127.0.0.1:1"),
        format!("redis://:p/{SECRET}@127.0.0.1:1"),
        format!("redis://:p?{SECRET}@127.0.0.1:1"),
        format!("redis://:p#{SECRET}@127.0.0.1:1"),
        format!("redis://127.0.0.1:1?password={SECRET}"),
        format!("redis-sentinel://127.0.0.1:1/main?sentinel_password={SECRET}"),
        format!("unix:/nowhere/redis.sock?password={SECRET}"),
        format!("mongodb://app:{SECRET}@127.0.0.1:1/sessions"),
        format!("mongodb://127.0.0.1:1/?authMechanismProperties=AWS_SESSION_TOKEN:{SECRET}"),
        format!("postgres://app:{SECRET}@127.0.0.1:1/sessions"),
        format!("postgres://127.0.0.1:1/sessions?password={SECRET}"),
        format!("mysql://app:{SECRET}@127.0.0.1:1/sessions"),
        format!("ipc:redis://:{SECRET}@host"),
        format!("memory://:{SECRET}@host"),
        format!("app:{SECRET}@host"),
    ];
    let key = format!("{SECRET}-is-not-a-key");
    urls.into_iter()
        .map(|url| ("store-url", url))
        .chain([("cookie-key", key), ("cookie-key", format!("{KEY},{SECRET}"))])
        .collect()
}

fn store_of(url: &str) -> &'static str {
    match url.split([':', '-']).next() {
        Some("mongodb") => "mongo",
        Some("postgres" | "mysql") => "sql",
        Some("ipc") => "ipc",
        Some("memory") => "memory",
        _ => "redis",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_printed_settings_and_errors_show_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("demo.toml");
    let path = file.to_str().expect("a plain path");
    let mut count = 0;
    for (name, value) in with_secrets() {
        let (flag, variable) = (
            format!("--{name}={value}"),
            format!("DEMO_{}", name.to_uppercase().replace('-', "_")),
        );
        fs::write(&file, format!("{} = \"{value}\"\n", name.replace('-', "_")))
            .expect("a writable file");
        let store = if name == "store-url" { store_of(&value) } else { "ipc" };
        let base = ["--print-config", "--store", store, "--workers", "1"];
        let runs = [
            Demo::run(&[&base[..], &[&flag]].concat(), &[]).await,
            Demo::run(&base, &[(&variable, &value)]).await,
            Demo::run(&[&base[..], &["--config", path]].concat(), &[]).await,
            // With the scheme of another store, and with other wrong settings.
            Demo::run(&["--store", "sqlite", &flag], &[]).await,
            Demo::run(&["--store", store, "--workers", "none", &flag], &[]).await,
            Demo::run(&["owner", &flag], &[]).await,
            // As the value of another setting by mistake.
            Demo::run(&["--store", &value], &[]).await,
            Demo::run(&["--listen", &value], &[]).await,
            Demo::run(&["--trusted-proxy", &value], &[]).await,
            Demo::run(&["--metrics", &value], &[]).await,
        ];
        // A key looks like any other text, so an error quotes it if it is the value of another
        // setting.
        let looked_at = if name == "store-url" { &runs[..] } else { &runs[..6] };
        for run in looked_at {
            assert!(
                !run.stdout.contains(SECRET) && !run.stderr.contains(SECRET),
                "{name}={value}: {}{}",
                run.stdout,
                run.stderr
            );
            count += 1;
        }
    }
    println!("s27: {count} runs with a secret in a setting, none shows it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_worker_arguments_contain_no_setting() {
    let url = format!("redis://:{SECRET}@127.0.0.1:1");
    let demo = Demo::start(&["--workers", "2", "--store", "redis", "--store-url", &url]).await;
    let check = |when: &str| {
        assert_eq!(demo.workers().len(), 2, "{when}");
        for worker in demo.workers() {
            let shown = fs::read_to_string(format!("/proc/{}/cmdline", worker.as_raw_nonzero()))
                .expect("the worker runs");
            assert!(
                !shown.contains(SECRET) && !shown.contains(KEY) && shown.ends_with("\0worker\0"),
                "{when}: {shown:?}"
            );
        }
    };
    check("at first");
    let before = demo.workers();
    demo.process.signal(rustix::process::Signal::HUP);
    wait::until_true("a reload", PATIENCE, || {
        demo.workers().len() == 2 && demo.workers().iter().all(|pid| !before.contains(pid))
    })
    .await;
    check("after a reload");
    assert!(!demo.output().contains(SECRET) && !demo.output().contains(KEY), "{}", demo.output());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_loopback_listener_behind_a_proxy_sets_a_secure_cookie() {
    let login = || Request::post("/login").json(r#"{"user":"bob"}"#);
    let demo = Demo::start(&["--workers", "1", "--trusted-proxy", "127.0.0.0/8"]).await;
    assert!(demo.output().contains("__Host-id, https only"), "{}", demo.output());
    let response = send(demo.address, &login().header("X-Forwarded-Proto", "https"))
        .await
        .expect("an answer")
        .expect(200);
    let cookie = response.set_cookie().expect("a cookie");
    assert_eq!(cookie.name, "__Host-id");
    assert!(cookie.attributes.iter().any(|attribute| attribute == "Secure"), "{cookie:?}");
    let plain = send(demo.address, &login()).await.expect("an answer").expect(403);
    assert!(plain.set_cookie().is_none());
    // An explicit setting overrides the default.
    let demo = Demo::start(&[
        "--workers",
        "1",
        "--trusted-proxy",
        "127.0.0.0/8",
        "--cookie",
        "development",
    ])
    .await;
    let cookie = send(demo.address, &login())
        .await
        .expect("an answer")
        .expect(200)
        .set_cookie()
        .expect("a cookie");
    assert_eq!(cookie.name, "id");
}

/// The status of `GET /metrics` with exactly these header lines.
async fn metrics_status(address: std::net::SocketAddr, target: &str, headers: &str) -> u16 {
    let mut connection = Connection::open(address).await.expect("it listens");
    connection
        .write(format!("GET {target} HTTP/1.1\r\n{headers}\r\n").as_bytes())
        .await
        .expect("it reads");
    let response = connection.response("GET").await.expect("an answer");
    assert_eq!(
        response.status == 200,
        response.text().contains("cluster_workers"),
        "{}",
        response.text()
    );
    response.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_metrics_respond_only_to_configured_host_names() {
    let (_demo, metrics) =
        Demo::counting(&["--workers", "1", "--metrics-host", "metrics.internal,Prom.Example"])
            .await;
    for host in [
        "localhost",
        &metrics.to_string(),
        "127.0.0.1",
        "LOCALHOST:1",
        "metrics.internal",
        "prom.example:443",
    ] {
        assert_eq!(
            metrics_status(metrics, "/metrics", &format!("Host: {host}\r\n")).await,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        &format!("evil.example:{}", metrics.port()),
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.2",
        "",
    ] {
        let forwarded = "X-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n";
        for more in ["", forwarded] {
            assert_eq!(
                metrics_status(metrics, "/metrics", &format!("Host: {host}\r\n{more}")).await,
                421,
                "{host}"
            );
            assert_eq!(
                metrics_status(metrics, "/nowhere", &format!("Host: {host}\r\n{more}")).await,
                421,
                "{host}"
            );
        }
    }
    assert_eq!(
        metrics_status(metrics, "http://evil.example/metrics", "Host: localhost\r\n").await,
        421
    );
    assert_ne!(
        metrics_status(metrics, "/metrics", "Host: localhost\r\nHost: evil.example\r\n").await,
        200
    );
    assert_ne!(metrics_status(metrics, "/metrics", "").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_metrics_server_disconnects_unfinished_bodies() {
    let (mut demo, metrics) = Demo::counting(&["--workers", "1"]).await;
    let mut held = Vec::new();
    // The listener serves 16 connections at once.
    for _ in 0..16 {
        let mut connection = Connection::open(metrics).await.expect("it listens");
        connection
            .write(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await
            .expect("it reads");
        held.push(connection);
    }
    let took = all_closed(held).await;
    assert_eq!(metrics_status(metrics, "/metrics", "Host: localhost\r\n").await, 200);
    println!("s25: 16 unfinished bodies to the metrics closed after {took:?}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s26_session_limits_of_the_settings_apply() {
    for (flags, url) in [
        (&["--max-sessions", "3"][..], "memory:"),
        (&[], "memory:?max_sessions=3"),
        (&["--max-bytes", "3000"], "memory:"),
    ] {
        let demo = Demo::start(
            &[&["--store", "memory", "--workers", "1", "--store-url", url], flags].concat(),
        )
        .await;
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(demo.browser().get("/").await.status);
        }
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert!((1..20).contains(&served) && statuses[19] == 503, "{flags:?} {url}: {statuses:?}");
        assert!(!flags.contains(&"--max-sessions") || served == 3, "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_without_effect_on_the_store_are_refused() {
    let redis = "redis://127.0.0.1:1";
    let cases: [(&[&str], &[&str]); 9] = [
        (
            &["--store", "redis", "--max-bytes", "5"],
            &["--max-bytes has no effect", "the store redis does not have this limit"],
        ),
        (
            &["--store", "mongo", "--max-sessions", "5"],
            &["--max-sessions has no effect", "the store mongo"],
        ),
        (
            &["--store", "sql", "--max-sessions", "1000000"],
            &["--max-sessions has no effect", "the store sql"],
        ),
        (
            &["--store-url", "ipc:/run/x.sock", "--max-bytes", "5"],
            &["--max-bytes has no effect", "demo-server owner"],
        ),
        (
            &[
                "--store",
                "memory",
                "--workers",
                "1",
                "--store-url",
                "memory:?max_bytes=9",
                "--max-bytes",
                "5",
            ],
            &["--max-bytes has no effect", "--store-url has max_bytes"],
        ),
        (
            &[
                "--store",
                "redis",
                "--store-url",
                "redis://127.0.0.1:1?deadline_ms=9",
                "--deadline",
                "1s",
            ],
            &["--deadline has no effect"],
        ),
        (&["--metrics-host", "a.example"], &["--metrics-host has no effect", "--metrics"]),
        (
            &["--store", "memory", "--workers", "1", "--store-url", "memory:?max_byte=9"],
            &["\"max_byte\"", "max_sessions or max_bytes"],
        ),
        (
            &["--store", "memory", "--workers", "2", "--store-url", "memory:?max_bytes=9"],
            &["--workers 1"],
        ),
    ];
    for (flags, words) in cases {
        let ended = Demo::run(flags, &[]).await;
        assert_eq!(ended.status.code(), Some(2), "{flags:?}: {}", ended.stderr);
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{flags:?}: {word:?} is missing in: {}",
                ended.stderr
            );
        }
    }
    let by_variable = Demo::run(&["--store", "redis"], &[("DEMO_MAX_BYTES", "5")]).await;
    assert!(
        by_variable.status.code() == Some(2)
            && by_variable.stderr.contains("DEMO_MAX_BYTES has no effect"),
        "{}",
        by_variable.stderr
    );
    for flags in [
        &["--print-config", "--store", "redis", "--store-url", redis][..],
        &["--print-config", "--max-bytes", "5"],
    ] {
        let ended = Demo::run(flags, &[]).await;
        assert!(ended.status.success(), "{flags:?}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s30_files_and_sockets_of_another_user_are_refused() {
    const OTHER: u32 = 65_533;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    let planted = path("demo.pid");
    fs::write(&planted, "1\n").expect("a file");
    std::os::unix::fs::chown(&planted, Some(OTHER), Some(OTHER))
        .expect("only root can give a file away: run this test as root");
    let ended = Demo::run(&["--listen", "127.0.0.1:0", "--pid-file", &planted], &[]).await;
    assert!(
        !ended.status.success() && ended.stderr.contains(&OTHER.to_string()),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_to_string(&planted).expect("the file"), "1\n", "the file is unchanged");

    // A socket of another user: the demo sends it no request and uses no reply of it.
    let socket = path("owner.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("root");
    let url = format!("ipc:{socket}?owner_uid={OTHER}");
    let demo =
        Demo::start(&["--workers", "1", "--store", "ipc", "--store-url", &url, "--deadline", "1s"])
            .await;
    let response = send(demo.address, &Request::put("/session/n", "1")).await.expect("an answer");
    assert!(response.status >= 500 && response.set_cookie().is_none(), "{}", response.status);
    listener.set_nonblocking(true).expect("a socket");
    let mut connections = 0;
    while let Ok((mut stream, _)) = listener.accept() {
        connections += 1;
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        let mut byte = [0];
        assert!(
            !matches!(std::io::Read::read(&mut stream, &mut byte), Ok(1)),
            "the demo sent bytes to a foreign owner"
        );
    }
    assert!(connections > 0, "the demo connected to the socket");
}
