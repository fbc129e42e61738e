//! D09, D10, D12 and D15: several servers with one store, a removed database file, a load balancer
//! in front, a log that is not read.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rustix::{fs::Mode, process::Signal};
use tests::{
    Demo, KEY, PATIENCE,
    client::{Connection, Request, send},
    prometheus::Scrape,
};

/// With random keys each server would refuse the cookies of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_start_without_a_key_is_refused_for_a_shared_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("sqlite:{}/sessions.db", folder.path().display());
    let owner = format!("ipc:{}/owner.sock", folder.path().display());
    // No server listens on port 1, and none is needed to refuse the start.
    for (store, url) in [
        ("redis", "redis://127.0.0.1:1/"),
        ("mongo", "mongodb://127.0.0.1:1/sessions"),
        ("sql", "postgres://127.0.0.1:1/sessions"),
        ("sql", &file),
        ("ipc", &owner),
    ] {
        let arguments = ["--listen", "127.0.0.1:0", "--store", store, "--store-url", url];
        let ended = Demo::run(&arguments, &[]).await;
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        for words in ["--cookie-key", "DEMO_COOKIE_KEY", "openssl rand -base64 48"] {
            assert!(ended.stderr.contains(words), "{store}: {}", ended.stderr);
        }
    }
    let alone = ["--listen", "127.0.0.1:0", "--store", "memory", "--workers", "1"];
    let mut demo = Demo::start_with(&alone, &[]).await;
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_site_serves_during_the_lead_and_is_not_ready() {
    const LEAD: Duration = Duration::from_secs(3);
    let mut demo = Demo::start(&["--workers", "2", "--lead", "3s"]).await;
    let mut bob = demo.signed_in("bob").await;
    let ready = Request::get("/readyz");
    assert_eq!(send(demo.address, &ready).await.expect("a response").status, 200);
    // A worker that is replaced does not make the site unready.
    demo.process.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(send(demo.address, &ready).await.expect("a response").status, 200);

    let began = Instant::now();
    demo.process.signal(Signal::TERM);
    let (mut unready, mut served) = (None, 0);
    while began.elapsed() < LEAD * 3 / 4 {
        // Each on a new connection.
        let response = send(demo.address, &ready).await.expect("a response");
        if response.status == 503 {
            let _ = unready.get_or_insert(began.elapsed());
            assert!(response.text().contains("the site stops"), "{}", response.text());
        }
        assert_eq!(bob.get("/").await.status, 200);
        served += 1;
    }
    let unready = unready.expect("the site reports that it is not ready");
    assert_eq!(demo.process.end(PATIENCE).await.code(), Some(0));
    let took = began.elapsed();
    println!(
        "d12: not ready after {unready:?}, {served} pages in the lead, stopped after {took:?}"
    );
    assert!(unready < Duration::from_secs(1) && served > 10, "{unready:?} {served}");
    assert!(took >= LEAD, "{took:?}");
    assert!(Connection::open(demo.address).await.is_err(), "the port is closed");
}

/// A pipe at `path` that is full and that no process reads.
fn full_pipe(path: &Path) -> File {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).expect("a new pipe");
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .expect("the pipe opens");
    loop {
        match pipe.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return pipe,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_site_serves_and_stops_while_its_log_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let mut pipe = full_pipe(&path);
    let (program, log) = (tests::demo_server(), path.to_str().expect("a plain path"));
    let start = format!("exec \"$0\" \"$@\" 2<>{log}");
    let arguments = [
        "-c",
        &start,
        program.to_str().expect("a plain path"),
        "--listen",
        "127.0.0.1:0",
        "--cookie-key",
        KEY,
        "--workers",
        "1",
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut demo = Demo::start_as(Path::new("/bin/sh"), &arguments, &[]).await;

    // More log lines than may wait: one for each sign-in.
    let signed_in = join_all((0..50).map(|user| {
        let address = demo.address;
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("the demo accepts");
            let body = format!("{{\"user\":\"user{user}\"}}");
            for _ in 0..100 {
                let response = connection
                    .send(&Request::post("/login").json(body.as_str()))
                    .await
                    .expect("the demo answers");
                assert_eq!(response.status, 200, "{}", response.text());
            }
        })
    }));
    for clients in signed_in.await {
        clients.expect("every sign-in succeeds");
    }
    let metrics = demo.process.stdout.after("  metrics  http://").expect("the address");
    let metrics = metrics.trim_end().trim_end_matches("/metrics").parse().expect("an address");
    let scraped = Scrape::of(metrics).await;
    let dropped = scraped.value("demo_server_log_lines_dropped_total", &[]);
    assert!(dropped > 500.0, "{dropped} dropped");

    // Once the log is read again, it tells what is missing.
    let reader = thread::spawn(move || {
        let (mut text, began) = (Vec::new(), Instant::now());
        let mut part = vec![0; 65_536];
        while began.elapsed() < PATIENCE && !contains(&text, b"dropped log lines") {
            match pipe.read(&mut part) {
                Ok(count) => text.extend_from_slice(&part[..count]),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        (pipe, contains(&text, b"dropped log lines"))
    });
    let (pipe, told) = reader.join().expect("no panic");
    assert!(told, "the log tells that lines were dropped");

    // And a stop does not wait for a reader.
    refill(&pipe);
    let began = Instant::now();
    demo.process.signal(Signal::TERM);
    assert_eq!(demo.process.end(PATIENCE).await.code(), Some(0));
    println!("d15: {dropped} lines dropped, stopped after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

fn refill(mut pipe: &File) {
    while pipe.write(&[b'\n'; 4096]).is_ok() {}
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The files of an SQLite database: `sessions.db`, `sessions.db-wal` and others.
fn database_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    entries.filter(|path| path.is_file()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_removed_database_file_is_noticed_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("a folder");
    let url = format!("sqlite:{}/sessions.db", folder.path().display());
    let demo = Demo::start(&["--store", "sql", "--store-url", &url, "--workers", "2"]).await;
    let mut bob = demo.signed_in("bob").await;
    for mut connection in demo.connections(2).await {
        let response = connection.send(&bob.dress(Request::get("/session"))).await;
        assert_eq!(response.expect("an answer").status, 200);
    }

    for replaced in [false, true] {
        for path in database_files(folder.path()) {
            fs::rename(&path, kept.join(path.file_name().expect("a name"))).expect("a rename");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut connections = demo.connections(2).await;
        for connection in &mut connections {
            for target in ["/session", "/readyz"] {
                let response = connection.send(&bob.dress(Request::get(target))).await;
                assert_eq!(response.expect("an answer").status, 503, "{target}");
            }
            let add = bob.dress(Request::post("/session/n/add?by=1"));
            assert_eq!(connection.send(&add).await.expect("an answer").status, 503);
        }
        assert!(!folder.path().join("sessions.db").exists(), "no worker creates another file");
        assert!(demo.output().contains("was removed while the store used it"), "{}", demo.output());

        // The same files come back, and then copies of them, as from a backup.
        for path in database_files(&kept) {
            let back = folder.path().join(path.file_name().expect("a name"));
            if replaced {
                fs::copy(&path, &back).expect("a copy");
            } else {
                fs::rename(&path, &back).expect("a rename");
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for connection in &mut demo.connections(2).await {
            let response = connection.send(&bob.dress(Request::get("/session"))).await;
            let response = response.expect("an answer");
            assert_eq!(response.status, 200, "{replaced}: {}", response.text());
            assert!(response.text().contains("bob"), "{replaced}: {}", response.text());
        }
        assert_eq!(bob.post("/session/n/add?by=1").await.status, 200, "{replaced}");
    }
}
