//! S22: a hostile client cannot stop the owner or disturb other clients.

use std::{
    fs::Permissions,
    io::{ErrorKind, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use session_core::{MemoryStore, SessionStore, StoreError};
use store_ipc::{Config, IpcStore, Owner};
use tempfile::TempDir;

use super::{
    process,
    support::{Served, chain, eventually, eventually_ping, key, mode, record},
};

const HELLO: &[u8; 12] = b"sIPC\x02\0\0\0\0\0\x10\0";
const NOBODY_UID: u32 = 65_534;

/// Connects, sends `bytes`, and waits until the owner closes the connection.
fn send_until_closed(path: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the owner did not close the connection: {error}"),
    }
}

fn hello_and(rest: &[u8]) -> Vec<u8> {
    [HELLO, rest].concat()
}

/// A frame with an arbitrary message.
fn frame(id: u64, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + message.len()).unwrap();
    [&length.to_le_bytes()[..], &id.to_le_bytes(), message].concat()
}

/// Runs `hostile` beside a connected client. Afterwards that client and a new one must work.
async fn harms_no_other_client(served: &Served, hostile: impl FnOnce(&Path)) {
    let (before, kept) = (served.client(), key());
    let _ = before.create(&kept, record(10)).await.unwrap();
    hostile(&served.path());
    assert!(before.load(&kept).await.unwrap().is_some());
    assert!(served.client().load(&kept).await.unwrap().is_some());
}

#[tokio::test]
async fn s22_length_of_four_gib_ends_only_that_connection() {
    let served = Served::memory();
    harms_no_other_client(&served, |path| send_until_closed(path, &hello_and(&[0xff; 4]))).await;
    assert_eq!(served.owner.stats().cut_off, 1);
}

#[tokio::test]
async fn s22_garbage_ends_only_that_connection() {
    let served = Served::memory();
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &hello_and(&frame(1, &[])),
        &hello_and(&frame(1, &[250, 1, 2, 3])),
        // A load whose key claims 2^63 bytes.
        &hello_and(&frame(1, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
        // A ping with a trailing byte.
        &hello_and(&frame(1, &[9, 9])),
    ];
    for bytes in garbage {
        harms_no_other_client(&served, |path| send_until_closed(path, bytes)).await;
    }
    assert_eq!(served.owner.stats().cut_off, 6);
}

/// Everything that this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn s22_log_of_a_disconnect_shows_none_of_the_clients_bytes() {
    let log = Log::default();
    let writer = log.clone();
    // The owner logs on its own thread, so only a global subscriber sees it.
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let served = Served::memory();
    harms_no_other_client(&served, |path| {
        send_until_closed(path, &hello_and(&frame(1, b"\x01\x30precious-key-in-a-broken-request")));
    })
    .await;
    // The connection is closed before the line is written.
    let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    eventually("the warning to be logged", || {
        text().contains("WARN store_ipc::owner::connection: disconnected a client")
    })
    .await;
    assert!(!text().contains("precious"), "{}", text());
}

#[tokio::test]
async fn s22_client_of_another_protocol_version_is_disconnected() {
    let served = Served::memory();
    harms_no_other_client(&served, |path| send_until_closed(path, b"sIPC\x01\0\0\0\0\0\x10\0"))
        .await;
    assert_eq!(served.owner.stats().cut_off, 1);
}

#[tokio::test]
async fn s22_incomplete_hello_ends_only_that_connection() {
    let deadline = Duration::from_millis(200);
    let served =
        Served::store(Arc::new(MemoryStore::new()), |builder| builder.hello_deadline(deadline));
    for bytes in [&HELLO[..0], &HELLO[..11]] {
        let begun = Instant::now();
        harms_no_other_client(&served, |path| send_until_closed(path, bytes)).await;
        assert!(begun.elapsed() >= deadline);
    }
    assert_eq!(served.owner.stats().cut_off, 2);
}

#[tokio::test]
async fn s22_slow_frame_ends_only_that_connection() {
    let served = Served::store(Arc::new(MemoryStore::new()), |builder| {
        builder.frame_deadline(Duration::from_millis(200))
    });
    harms_no_other_client(&served, |path| {
        let mut stream = UnixStream::connect(path).unwrap();
        let bytes = hello_and(&frame(1, &[0; 2_000]));
        stream.write_all(&bytes[..20]).unwrap();
        // One byte each 10 ms would take 20 s.
        let cut_off = bytes[20..].iter().position(|byte| {
            std::thread::sleep(Duration::from_millis(10));
            stream.write_all(&[*byte]).is_err()
        });
        assert!(cut_off.is_some_and(|bytes| bytes >= 2), "{cut_off:?}");
    })
    .await;
    assert_eq!(served.owner.stats().cut_off, 1);
}

#[tokio::test]
async fn s22_client_that_is_idle_between_frames_stays_connected() {
    let deadline = Duration::from_millis(50);
    let served = Served::store(Arc::new(MemoryStore::new()), |builder| {
        builder.frame_deadline(deadline).hello_deadline(deadline)
    });
    let client = served.client();
    client.ping().await.unwrap();
    tokio::time::sleep(deadline * 4).await;
    client.ping().await.unwrap();
    assert_eq!((served.owner.stats().cut_off, served.owner.stats().connections), (0, 1));
}

#[tokio::test]
async fn provided_stream_has_no_hello_deadline() {
    let deadline = Duration::from_millis(50);
    let served =
        Served::store(Arc::new(MemoryStore::new()), |builder| builder.hello_deadline(deadline));
    let (ours, theirs) = UnixStream::pair().unwrap();
    served.owner.serve(theirs).unwrap();
    let client = IpcStore::from_stream(ours).unwrap();
    // Connected after the provided stream, so its deadline is the later one.
    let silent = UnixStream::connect(served.path()).unwrap();
    eventually("the silent client to be disconnected", || served.owner.stats().cut_off == 1).await;
    drop(silent);
    client.ping().await.unwrap();
    assert_eq!((served.owner.stats().cut_off, served.owner.stats().connections), (1, 1));
}

#[tokio::test]
async fn provided_stream_has_no_frame_deadline() {
    let deadline = Duration::from_millis(50);
    let served = Served::store(Arc::new(MemoryStore::new()), |builder| {
        builder.hello_deadline(deadline).frame_deadline(deadline)
    });
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    served.owner.serve(theirs).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ping = hello_and(&frame(1, &[9]));
    for part in [
        &ping[..HELLO.len() - 1],
        &ping[HELLO.len() - 1..HELLO.len() + 6],
        &ping[HELLO.len() + 6..],
    ] {
        ours.write_all(part).unwrap();
        tokio::time::sleep(deadline * 4).await;
    }
    let mut said = [0; HELLO.len() + 13];
    ours.read_exact(&mut said).unwrap();
    assert_eq!(said[HELLO.len()..], frame(1, &[8]), "the reply to the ping");
    assert_eq!((served.owner.stats().cut_off, served.owner.stats().connections), (0, 1));
}

#[tokio::test]
async fn s22_client_killed_mid_frame_harms_no_other_client() {
    let served = Served::memory();
    harms_no_other_client(&served, |path| process::Process::start("half-frame", path).kill()).await;
    eventually("every connection to end", || served.owner.stats().connections == 0).await;
}

#[tokio::test]
async fn s22_client_that_never_reads_takes_bounded_memory() {
    let served = Served::memory();
    let (client, big) = (served.client(), key());
    let _ = client.create(&big, record(60_000)).await.unwrap();
    let mut others = 1;
    // Loads of 60 KB, as many as the socket takes. The client reads no reply.
    let load = frame(1, &[&[1, 16], big.as_str().as_bytes()].concat());
    let mut greedy = UnixStream::connect(served.path()).unwrap();
    greedy.write_all(HELLO).unwrap();
    greedy.set_nonblocking(true).unwrap();
    let mut written = 0;
    // The socket counts as full when it takes nothing during a hundred calls of another client.
    let mut full_for = 0;
    while full_for < 100 {
        match greedy.write(&load[written % load.len()..]) {
            Ok(count) => (written, full_for) = (written + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                full_for += 1;
                client.ping().await.unwrap();
                others += 1;
            }
        }
        assert!(served.owner.stats().requests < others + 1_000, "the owner reads without a limit");
    }
    // 512 KiB of replies wait, one more may exceed the limit, and the socket holds some. So few
    // replies of 60 KB exist, however many the client requested.
    let loads = served.owner.stats().requests - others;
    assert!((1..=40).contains(&loads), "{loads} replies of 60 KB wait");
    assert!(written / load.len() > 100, "only {written} bytes of requests were written");
}

#[tokio::test]
async fn s22_another_user_cannot_open_the_socket() {
    let Some(served) = served_in_an_open_folder() else { return };
    assert_eq!(mode(&served.path()), 0o600);
    assert!(ping_as_nobody(&served.path()).contains("Permission denied"));
}

#[tokio::test]
async fn s22_another_user_with_access_to_the_socket_is_refused() {
    let Some(served) = served_in_an_open_folder() else { return };
    std::fs::set_permissions(served.path(), Permissions::from_mode(0o666)).unwrap();
    harms_no_other_client(&served, |path| {
        let said = ping_as_nobody(path);
        assert!(said.contains("the owner does not serve this process's user"), "{said}");
    })
    .await;
    assert_eq!(served.owner.stats().refused, 1);
}

#[tokio::test]
async fn allowed_user_is_served() {
    if !may_change_user() {
        return;
    }
    let served =
        Served::store(Arc::new(MemoryStore::new()), |builder| builder.allow_uid(NOBODY_UID));
    open_folder(&served);
    std::fs::set_permissions(served.path(), Permissions::from_mode(0o666)).unwrap();
    assert_eq!(ping_as_nobody(&served.path()), "pong\n");
}

/// Listens at `path` as another user and keeps every connection open. Returns a function that
/// counts the bytes that clients have sent.
fn planted(path: &Path) -> (UnixListener, impl Fn() -> usize) {
    let listener = std::thread::scope(|scope| {
        // Linux has a user id for each thread.
        let listens = scope.spawn(|| {
            let (group, user) = (
                rustix::process::Gid::from_raw(NOBODY_UID),
                rustix::process::Uid::from_raw(NOBODY_UID),
            );
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            UnixListener::bind(path).unwrap()
        });
        listens.join().unwrap()
    });
    listener.set_nonblocking(true).unwrap();
    let accepts = listener.try_clone().unwrap();
    let sent = move || {
        let mut bytes = Vec::new();
        while let Ok((mut client, _)) = accepts.accept() {
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = client.read_to_end(&mut bytes);
        }
        bytes.len()
    };
    (listener, sent)
}

#[tokio::test]
async fn s30_client_refuses_a_socket_of_another_user() {
    let Some(folder) = folder_for_all_users() else { return };
    let path = folder.path().join("s.sock");
    let (listener, sent) = planted(&path);
    let store = IpcStore::connect(&path);
    for _ in 0..3 {
        match store.ping().await {
            Err(error @ StoreError::Other { .. }) => {
                let said = "runs as uid 65534, and the owner must run as uid 0 (root); set \
                            owner_uid if uid 65534 is right";
                assert!(
                    chain(&error).ends_with(said) && !error.is_transient(),
                    "{}",
                    chain(&error)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sent(), 0, "the client sends nothing to a foreign socket");
    // An owner of the right user replaces the foreign one, and the same client finds it.
    drop((listener, sent));
    std::fs::remove_file(&path).unwrap();
    let owner =
        Owner::builder(Arc::new(MemoryStore::new())).build().unwrap().spawn_thread().unwrap();
    owner.listen(&path).unwrap();
    eventually_ping(&store).await;
}

#[tokio::test]
async fn s30_client_accepts_the_user_that_its_settings_name() {
    let Some(folder) = folder_for_all_users() else { return };
    let path = folder.path().join("s.sock");
    let (_listener, sent) = planted(&path);
    let url = format!("ipc:{}?owner_uid={NOBODY_UID}&deadline_ms=200", path.display());
    let store = IpcStore::connect_with(&Config::from_url(&url).unwrap()).unwrap();
    assert!(matches!(store.ping().await, Err(StoreError::Timeout { .. })));
    assert_ne!(sent(), 0, "the client sends its hello to the owner that its settings name");
    // A user named in the settings excludes all others, also this user and root.
    let served = Served::memory();
    let store = IpcStore::connect_with(&Config::new(served.path()).owner_uid(NOBODY_UID)).unwrap();
    assert!(chain(&store.ping().await.unwrap_err()).contains("must run as uid 65534 (owner_uid)"));
}

/// An owner in a folder that other users can enter. `None` if the test cannot change its user.
fn served_in_an_open_folder() -> Option<Served> {
    may_change_user().then(|| {
        let served = Served::memory();
        open_folder(&served);
        served
    })
}

fn open_folder(served: &Served) {
    std::fs::set_permissions(served.folder.path(), Permissions::from_mode(0o755)).unwrap();
}

/// A folder in which other users can create sockets. `None` if the test cannot change its user.
fn folder_for_all_users() -> Option<TempDir> {
    may_change_user().then(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        folder
    })
}

/// Only root can start a process of another user. Without root these tests end here, unless all
/// services are required.
#[expect(clippy::print_stderr, reason = "a test that did nothing has to say so")]
fn may_change_user() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|required| required == "all");
        assert!(!required, "REQUIRE_SERVICES=all needs root to start a client of another user");
        eprintln!("skipped: only root can start a client of another user");
    }
    root
}

/// Pings as another user.
fn ping_as_nobody(path: &Path) -> String {
    // Other users may have no access to the build folder.
    let fixture = path.with_file_name("fixture");
    std::fs::copy(process::FIXTURE, &fixture).unwrap();
    std::fs::set_permissions(&fixture, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&fixture)
        .arg("ping")
        .arg(path)
        .uid(NOBODY_UID)
        .gid(NOBODY_UID)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn version_mismatch_error_names_both_versions() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"sIPC\x01\0\0\0\0\0\x10\0").unwrap();
    match IpcStore::from_stream(ours).unwrap().ping().await {
        Err(error @ StoreError::Other { .. }) => {
            let said = chain(&error);
            assert!(said.contains("protocol version 1, this program uses version 2"), "{said}");
        }
        other => panic!("{other:?}"),
    }
}
