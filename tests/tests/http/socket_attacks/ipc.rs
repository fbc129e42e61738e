//! S22: attacks on the socket of the owner process during normal traffic.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tests::{Demo, Owner, PATIENCE, client::Request, wait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

/// The handshake of a correct client: the magic, protocol 1, the verdict "welcome", frames of up to
/// 1 MiB.
const HELLO: &[u8; 12] = b"sIPC\x01\0\0\0\0\0\x10\0";
/// The user id of `nobody`.
const NOBODY_UID: u32 = 65_534;

/// Four clients that add continuously. Every request must get status 200 and be counted.
struct Traffic {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Duration)>>,
}

impl Traffic {
    async fn start(demo: &Demo) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for n in 0..4 {
            let (over, mut browser) =
                (Arc::clone(&over), demo.signed_in(&format!("user{n}")).await);
            clients.push(tokio::spawn(async move {
                let (mut sum, mut longest) = (0, Duration::ZERO);
                while !over.load(Relaxed) {
                    let started = Instant::now();
                    sum += 1;
                    let total: usize = browser.post("/session/n/add?by=1").await.expect(200).json();
                    assert_eq!(total, sum);
                    longest = longest.max(started.elapsed());
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (sum, longest)
            }));
        }
        Self { over, clients }
    }

    /// Stops the clients. Returns the number of requests and the longest duration.
    async fn stop(self) -> (usize, Duration) {
        self.over.store(true, Relaxed);
        let (mut served, mut longest) = (0, Duration::ZERO);
        for client in self.clients {
            let (sum, slowest) = client.await.expect("every request is served");
            served += sum;
            longest = longest.max(slowest);
        }
        assert!(longest < Duration::from_secs(1), "a request waited {longest:?}");
        (served, longest)
    }
}

async fn site() -> (Owner, Demo, Traffic) {
    let owner = Owner::start().await;
    let demo = Demo::start(&["--workers", "2", "--store-url", &owner.url()]).await;
    let traffic = Traffic::start(&demo).await;
    (owner, demo, traffic)
}

/// The resident memory of the owner in KiB.
fn resident(owner: &Owner) -> u64 {
    let pid = owner.process().pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the owner runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Sends bytes and reads until the owner closes the connection. Returns whether it does within
/// `limit`.
async fn is_disconnected(path: &Path, bytes: &[u8], limit: Duration) -> bool {
    let mut stream = UnixStream::connect(path).await.expect("the owner listens");
    // The owner may close the connection during the write.
    let _ = stream.write_all(bytes).await;
    let mut sink = Vec::new();
    timeout(limit, stream.read_to_end(&mut sink)).await.is_ok()
}

fn frame(length: u32, body: &[u8]) -> Vec<u8> {
    [HELLO, length.to_le_bytes().as_slice(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_garbage_and_oversized_lengths_disconnect_only_the_sender() {
    let (mut owner, _demo, traffic) = site().await;
    let before = resident(&owner);
    let path = owner.path();
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(65_536).collect();
    let attacks = [
        noise.clone(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [b"sIPC\xff\xff\0\0\0\0\x10\0".as_slice(), &noise].concat(),
        frame(u32::MAX, &noise),
        frame(u32::MAX, b""),
        frame(1024 * 1024 + 1, b""),
        frame(0, b""),
        frame(7, b"1234567"),
        frame(1_000, &noise[..1_000]),
        frame(65_000, &noise[..65_000]),
    ];
    for round in 0..20 {
        for (n, attack) in attacks.iter().enumerate() {
            assert!(
                is_disconnected(&path, attack, PATIENCE).await,
                "attack {n} of round {round} is still connected"
            );
        }
    }
    let (served, longest) = traffic.stop().await;
    let grown = resident(&owner).saturating_sub(before);
    println!(
        "s22: {} attacks, all disconnected; meanwhile {served} requests served, the longest {longest:?}; the owner grew by {grown} KiB",
        20 * attacks.len()
    );
    assert!(owner.runs());
    assert!(grown < 32 * 1024, "the owner reserved memory for announced lengths: {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_slow_and_silent_clients_are_disconnected() {
    let (mut owner, _demo, traffic) = site().await;
    let path = owner.path();
    let started = Instant::now();
    let slow = (0..50).map(|n| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut stream = UnixStream::connect(path).await.expect("the owner listens");
            // One third sends nothing, one third sends a part of a handshake, one third sends a
            // part of a frame and then single bytes.
            let begun = match n % 3 {
                0 => Vec::new(),
                1 => HELLO[..5].to_vec(),
                _ => frame(1_000, b"12345678"),
            };
            stream.write_all(&begun).await.expect("the owner reads");
            let mut hello = [0; 256];
            loop {
                let drips = n % 3 == 2 && stream.write_all(b"x").await.is_err();
                match timeout(Duration::from_millis(100), stream.read(&mut hello)).await {
                    Ok(Ok(0) | Err(_)) => return Some(started.elapsed()),
                    _ if drips => return Some(started.elapsed()),
                    _ if started.elapsed() > PATIENCE => return None,
                    _ => {}
                }
            }
        })
    });
    let cut: Vec<_> = futures_util::future::join_all(slow.collect::<Vec<_>>())
        .await
        .into_iter()
        .map(|client| client.expect("no panic"))
        .collect();
    let (served, longest) = traffic.stop().await;
    println!(
        "s22: {} of 50 slow clients disconnected, the last after {:?}; meanwhile {served} requests, the longest {longest:?}",
        cut.iter().flatten().count(),
        cut.iter().flatten().max()
    );
    assert!(cut.iter().all(Option::is_some), "a slow client is still connected: {cut:?}");
    assert!(owner.runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_clients_killed_during_a_frame_leak_no_descriptors() {
    let (mut owner, _demo, traffic) = site().await;
    let path = owner.path();
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", owner.process().pid().as_raw_nonzero()))
            .expect("the owner runs")
            .count()
    };
    wait::until_true("the workers to be connected", PATIENCE, || descriptors() > 0).await;
    let before = descriptors();
    for _ in 0..30 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_foreign_user_client"))
            .arg(&path)
            .arg("half")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = [0; 5];
        std::io::Read::read_exact(&mut child.stdout.take().expect("piped"), &mut said)
            .expect("the client reports that half a frame is sent");
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
    }
    for _ in 0..200 {
        let mut stream = UnixStream::connect(&path).await.expect("the owner listens");
        stream.write_all(&frame(1_000, b"half of it")).await.expect("the owner reads");
    }
    wait::until_true("the owner to close the connections of ended clients", PATIENCE, || {
        descriptors() <= before + 2
    })
    .await;
    let (served, longest) = traffic.stop().await;
    println!(
        "s22: 230 clients ended during a frame; meanwhile {served} requests, the longest {longest:?}; {before} descriptors before, {} after",
        descriptors()
    );
    assert!(owner.runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_other_user_is_refused_by_file_mode_and_by_uid() {
    let (mut owner, demo, traffic) = site().await;
    let mode = fs::metadata(owner.path()).expect("the socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // All users can access the folder and run the program, so only the socket refuses them.
    fs::set_permissions(owner.directory(), fs::Permissions::from_mode(0o755))
        .expect("the test owns the file");
    let program = executable_copy(owner.directory());
    let as_other_user = || {
        let output = Command::new(&program)
            .arg(owner.path())
            .uid(NOBODY_UID)
            .gid(NOBODY_UID)
            .current_dir("/")
            .output();
        String::from_utf8_lossy(
            &output.expect("only root can become another user: run this test as root").stdout,
        )
        .into_owned()
    };
    let by_mode = as_other_user();
    assert!(by_mode.starts_with("refused: Permission denied"), "{by_mode}");
    fs::set_permissions(owner.path(), fs::Permissions::from_mode(0o666))
        .expect("the test owns the file");
    let by_name = as_other_user();
    assert!(by_name.starts_with("closed: "), "{by_name}");
    // The handshake of the owner contains the reason. The owner sends nothing else.
    assert!(
        by_name.trim().ends_with(']') && by_name.contains("115, 73, 80, 67, 2, 0, 2, 0"),
        "{by_name}"
    );
    let (served, _) = traffic.stop().await;
    println!(
        "s22: another user: {} / {}; meanwhile {served} requests",
        by_mode.trim(),
        by_name.trim()
    );
    assert!(owner.runs());
    let _ = demo.browser().send(Request::get("/readyz")).await.expect(200);
}

/// A copy of the client program that every user can run.
fn executable_copy(folder: &Path) -> PathBuf {
    let program = folder.join("foreign_user_client");
    fs::copy(env!("CARGO_BIN_EXE_foreign_user_client"), &program).expect("it can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .expect("the test owns the file");
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s22_connection_flood_does_not_displace_the_workers() {
    let (mut owner, demo, traffic) = site().await;
    let path = owner.path();
    let mut held = Vec::new();
    for _ in 0..600 {
        // Above its limit the owner refuses connections, which is also correct.
        if let Ok(mut stream) = UnixStream::connect(&path).await {
            let _ = stream.write_all(HELLO).await;
            held.push(stream);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (served, longest) = traffic.stop().await;
    let _ = demo.browser().send(Request::get("/readyz")).await.expect(200);
    println!(
        "s22: {} connections held; meanwhile {served} requests, the longest {longest:?}",
        held.len()
    );
    assert!(owner.runs());
}
