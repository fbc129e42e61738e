//! Owners that start, stop and restart.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{MemoryStore, NewRecord, SessionStore, StoreError};
use store_ipc::{Config, ConfigError, IpcStore, Owner, OwnerError, OwnerHandle};

use super::{
    gate::Gate,
    process::{FIXTURE, Process},
    support::{
        SECRET, Served, chain, eventually, eventually_ping, key, mode, record, stream_client,
        unavailable,
    },
};

#[tokio::test]
async fn absent_owner_is_unavailable_and_found_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let client = IpcStore::connect(&path);
    let begun = Instant::now();
    for _ in 0..1_000 {
        unavailable(client.ping().await);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let _owner = Process::start("owner", &path);
    let begun = Instant::now();
    while client.ping().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(1), "the client did not find the owner");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn owner_restart_fails_no_call_of_an_idle_client() {
    let Served { folder, mut owner } = Served::memory();
    let path = folder.path().join("s.sock");
    let client = IpcStore::connect(&path);
    client.ping().await.unwrap();
    for _ in 0..20 {
        // This runtime does not run meanwhile, so the client notices the lost connection only when
        // it writes.
        owner.shutdown();
        owner =
            Owner::builder(Arc::new(MemoryStore::new())).build().unwrap().spawn_thread().unwrap();
        owner.listen(&path).unwrap();
        client.ping().await.unwrap();
    }
}

#[tokio::test]
async fn inherited_stream_ends_with_its_owner() {
    let served = Served::memory();
    let client = stream_client(&served.owner);
    client.ping().await.unwrap();
    served.owner.shutdown();
    for _ in 0..3 {
        unavailable(client.ping().await);
    }
    assert!(matches!(served.owner.serve(UnixStream::pair().unwrap().0), Err(OwnerError::Stopped)));
}

#[tokio::test]
async fn running_owner_keeps_its_path_and_a_dead_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let mut process = Process::start("owner", &path);
    let owner =
        Owner::builder(Arc::new(MemoryStore::new())).build().unwrap().spawn_thread().unwrap();
    let refused = owner.listen(&path).unwrap_err();
    assert!(matches!(refused, OwnerError::AddressInUse { .. }));
    assert_eq!(
        refused.to_string(),
        format!("another owner serves {}; stop it or choose another path", path.display())
    );
    process.freeze();
    assert!(
        matches!(owner.listen(&path), Err(OwnerError::AddressInUse { .. })),
        "a frozen owner keeps its path"
    );
    process.kill();
    assert!(path.exists(), "a killed owner leaves its socket behind");
    owner.listen(&path).unwrap();
    IpcStore::connect(&path).ping().await.unwrap();
    assert!(
        matches!(owner.listen(&path), Err(OwnerError::AddressInUse { .. })),
        "also within one process"
    );
    owner.shutdown();
    assert!(!path.exists(), "an owner that ends removes its socket");
}

#[tokio::test]
async fn listen_leaves_foreign_files_and_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let owner =
        Owner::builder(Arc::new(MemoryStore::new())).build().unwrap().spawn_thread().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(owner.listen(&file), Err(OwnerError::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let foreign = folder.path().join("foreign");
    let _listener = UnixListener::bind(&foreign).unwrap();
    assert!(matches!(owner.listen(&foreign), Err(OwnerError::AddressInUse { .. })));
    assert!(UnixStream::connect(&foreign).is_ok());
    assert!(matches!(
        owner.listen(folder.path().join("missing/s.sock")),
        Err(OwnerError::Bind { .. })
    ));
    assert!(matches!(
        owner.listen(folder.path().join("s".repeat(120))),
        Err(OwnerError::Bind { .. })
    ));
}

#[tokio::test]
async fn socket_mode_is_0600_under_every_umask() {
    let folder = tempfile::tempdir().unwrap();
    for umask in ["000", "077", "777"] {
        let path = folder.path().join(umask);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$0\" owner \"$1\""), FIXTURE])
            .arg(&path);
        let _owner = Process::ready(command);
        assert_eq!(
            (mode(&path), mode(&path.with_extension("lock"))),
            (0o600, 0o600),
            "under umask {umask}"
        );
    }
}

#[tokio::test]
async fn client_sends_nothing_to_an_owner_of_an_unnamed_user() {
    let served = Served::memory();
    let ours = rustix::process::geteuid().as_raw();
    let client = |uid| IpcStore::connect_with(&Config::new(served.path()).owner_uid(uid)).unwrap();
    client(ours).ping().await.unwrap();
    let wary = client(ours + 1);
    for _ in 0..3 {
        match wary.ping().await {
            Err(error @ StoreError::Other { .. }) => {
                let said = format!(
                    "runs as uid {ours}, and the owner must run as uid {} (owner_uid)",
                    ours + 1
                );
                assert!(chain(&error).contains(&said), "{}", chain(&error));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(served.owner.stats().requests, 1);
}

#[tokio::test]
async fn client_over_the_connection_limit_gets_the_reason() {
    let one = std::num::NonZeroUsize::MIN;
    let served =
        Served::store(Arc::new(MemoryStore::new()), |builder| builder.max_connections(one));
    let (first, second) = (served.client(), served.client());
    first.ping().await.unwrap();
    assert!(unavailable(second.ping().await).contains("max_connections"));
    first.ping().await.unwrap();
    drop(first);
    eventually_ping(&second).await;
}

#[tokio::test]
async fn shutdown_answers_the_calls_in_progress() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let (client, held) = (served.client(), key());
    let _ = client.create(&held, record(10)).await.unwrap();
    let load = tokio::spawn({
        let (client, held) = (client.clone(), held.clone());
        async move { client.load(&held).await }
    });
    gate.reached(1).await;
    let shutdown = tokio::task::spawn_blocking({
        let owner = served.owner.clone();
        move || owner.shutdown()
    });
    eventually("the listener to end", || !served.path().exists()).await;
    gate.open();
    assert!(load.await.unwrap().unwrap().is_some());
    shutdown.await.unwrap();
    unavailable(client.ping().await);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_hanging_store() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client = served.client();
    let load = tokio::spawn(async move { client.load(&key()).await });
    gate.reached(1).await;
    let begun = Instant::now();
    served.owner.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    unavailable(load.await.unwrap());
}

#[test]
fn shutdown_does_not_wait_for_a_blocked_store_thread() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (sender, receiver) = std::sync::mpsc::channel();
    let owner = Owner::spawn_thread_with(move || async move {
        tokio::task::spawn_blocking(move || {
            sender.send(()).unwrap();
            // Longer than a shutdown may take. Bounded, so that the test can fail.
            let _ = blocked.recv_timeout(Duration::from_secs(10));
        });
        Ok(Owner::builder(Arc::new(MemoryStore::new())).build()?)
    })
    .unwrap();
    receiver.recv().unwrap();
    let begun = Instant::now();
    owner.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(release);
}

#[test]
fn shutdown_on_the_owners_thread_does_not_deadlock() {
    let (handle_sender, handle) = tokio::sync::oneshot::channel::<OwnerHandle>();
    let (sender, receiver) = std::sync::mpsc::channel();
    let owner = Owner::spawn_thread_with(move || async move {
        tokio::spawn(async move {
            handle.await.unwrap().shutdown();
            sender.send(()).unwrap();
        });
        Ok(Owner::builder(Arc::new(MemoryStore::new())).build()?)
    })
    .unwrap();
    assert!(handle_sender.send(owner.clone()).is_ok());
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    owner.shutdown();
    assert!(matches!(owner.serve(UnixStream::pair().unwrap().0), Err(OwnerError::Stopped)));
}

#[test]
fn durations_out_of_range_are_rejected_by_name() {
    let builder = || Owner::builder(Arc::new(MemoryStore::new()));
    for (refused, key) in [
        (builder().hello_deadline(Duration::MAX), "hello_deadline"),
        (builder().hello_deadline(Duration::ZERO), "hello_deadline"),
        (builder().frame_deadline(Duration::MAX), "frame_deadline"),
        (builder().frame_deadline(Duration::from_micros(999)), "frame_deadline"),
        (builder().sweep(Duration::ZERO), "sweep"),
    ] {
        assert!(
            matches!(refused.build(), Err(ConfigError::Value { key: named, .. }) if named == key),
            "{key}"
        );
    }
    let (least, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
    assert!(builder().hello_deadline(day).frame_deadline(least).sweep(least).build().is_ok());
    assert_eq!(
        builder().frame_deadline(Duration::ZERO).build().unwrap_err().to_string(),
        r#"frame_deadline: "0ns" is not valid; use 1 ms to a day"#
    );
}

#[tokio::test]
async fn longest_durations_work() {
    let day = Duration::from_secs(86_400);
    let served = Served::store(Arc::new(MemoryStore::new()), |builder| {
        builder.hello_deadline(day).frame_deadline(day).sweep(Duration::MAX)
    });
    let client = IpcStore::connect_with(&Config::new(served.path()).deadline(day)).unwrap();
    let longer = Config::new(served.path()).deadline(day + Duration::from_millis(1));
    assert!(IpcStore::connect_with(&longer).is_err());
    // Silent while the owner runs, so that the owner starts its timer.
    let silent = UnixStream::connect(served.path()).unwrap();
    eventually("the silent client to connect", || served.owner.stats().connections == 1).await;
    client.ping().await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn sweep_purges_expired_sessions() {
    let (memory, clock) = MemoryStore::with_manual_clock();
    let memory = Arc::new(memory);
    let served = Served::store(memory.clone(), |builder| builder.sweep(Duration::from_millis(10)));
    let client = served.client();
    for _ in 0..50 {
        let _ =
            client.create(&key(), NewRecord::new(SECRET, Duration::from_secs(1))).await.unwrap();
    }
    assert_eq!(memory.held_sessions(), 50);
    clock.advance(Duration::from_secs(2));
    eventually("the purge", || memory.held_sessions() == 0).await;
}

#[tokio::test]
async fn delete_expired_purges_ten_thousand_sessions_a_call() {
    let (memory, clock) = MemoryStore::with_manual_clock();
    let memory = Arc::new(memory);
    for _ in 0..10_001 {
        let _ =
            memory.create(&key(), NewRecord::new(SECRET, Duration::from_secs(1))).await.unwrap();
    }
    clock.advance(Duration::from_secs(2));
    let served = Served::store(memory, |builder| builder);
    let client = served.client();
    for purged in [10_000, 1, 0] {
        assert_eq!(client.delete_expired(usize::MAX).await.unwrap(), purged);
    }
}

#[tokio::test]
async fn store_open_error_is_reported() {
    let opened = Owner::spawn_thread_with(|| async { Err("no such database".into()) });
    match opened {
        Err(error @ OwnerError::Open(_)) => {
            assert_eq!(chain(&error), "cannot open the owner's store: no such database");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn c43_writes_to_a_frozen_owner_time_out_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let process = Process::start("owner", &path);
    let deadline = Duration::from_millis(300);
    let client = IpcStore::connect_with(&Config::new(&path).deadline(deadline)).unwrap();
    client.ping().await.unwrap();
    process.freeze();
    let new = record(60_000);
    let before = memory_kib();
    // 4 × 500 × 60 KB would take 120 MB without a limit.
    for _ in 0..4 {
        let begun = Instant::now();
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (client, new) = (client.clone(), new.clone());
                tokio::spawn(async move { client.create(&key(), new).await })
            })
            .collect();
        for call in calls {
            assert!(matches!(
                call.await.unwrap(),
                Err(StoreError::Timeout { after, .. }) if after == deadline
            ));
        }
        assert!(begun.elapsed() < deadline * 5, "{:?}", begun.elapsed());
    }
    let grown = memory_kib().saturating_sub(before);
    // 500 waiting callers hold 30 MB of records themselves.
    assert!(grown < 60_000, "{grown} KiB more");
    process.thaw();
    eventually_ping(&client).await;
}

/// The resident memory of this process in KiB.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
