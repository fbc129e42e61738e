//! Handovers between processes.

use std::{
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use session_core::{
    Change, Commit, Created, Data, Json, MemoryStore, Name, NewRecord, Outcome, SessionStore,
    StoreKey,
};
use store_ipc::{HandoverError, Owner, OwnerError, OwnerHandle, TakeoverError};

use super::{
    process::FIXTURE,
    support::{LONG, SECRET, eventually, key, record, stream_client, unavailable},
};

/// Longer than any step takes on a busy machine.
const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// A fixture process whose standard input is a stream. Dropping it kills the process, and its
/// children end when their streams close.
struct FixtureProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl FixtureProcess {
    fn start(arguments: &[&str], stream: UnixStream) -> Self {
        let mut command = Command::new(FIXTURE);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(stream)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for FixtureProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owner(store: &Arc<MemoryStore>) -> OwnerHandle {
    Owner::memory(Arc::clone(store)).build().unwrap().spawn_thread().unwrap()
}

/// A store with the workers' counter. It holds enough other sessions that other tasks of the owner
/// run while it is sent.
async fn with_counter() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    for _ in 0..2_000 {
        assert_eq!(store.create(&key(), record(2_000)).await.unwrap(), Created::New);
    }
    assert_eq!(store.create(&counter(), NewRecord::new(SECRET, LONG)).await.unwrap(), Created::New);
    store
}

fn counter() -> StoreKey {
    StoreKey::from_text("counter")
}

async fn add(store: &dyn SessionStore) -> i64 {
    let changes = [(Name::new("n").unwrap(), Change::Add(1))].into_iter().collect();
    match store.commit(&counter(), Commit { changes, ..Commit::new(SECRET) }).await.unwrap() {
        Outcome::Done(done) => done.added.values().copied().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Lets the successor's workers call through the old owner, which is this process, for a while.
/// Then hands over under that load.
async fn handed_over_under_load(
    old: &OwnerHandle,
    store: &MemoryStore,
    mut successor: FixtureProcess,
) -> Duration {
    assert_eq!(successor.line(), "ready");
    // A worker of the old process, which leaves before the handover.
    let own = stream_client(old);
    let before = old.stats().requests;
    let own_adds = 50;
    for _ in 0..own_adds {
        add(&own).await;
    }
    drop(own);
    // The successor counts the acknowledged adds of its own workers, so the adds of this worker are
    // subtracted.
    let back = [(Name::new("n").unwrap(), Change::Add(-own_adds))].into_iter().collect();
    assert!(matches!(
        store.commit(&counter(), Commit { changes: back, ..Commit::new(SECRET) }).await.unwrap(),
        Outcome::Done(_)
    ));
    eventually("load from the workers", || old.stats().requests > before + 1_000).await;
    let handed_over = old.handover(BUSY_LIMIT).await.unwrap();
    assert_eq!(handed_over.connections, 4);
    old.shutdown();
    let last = successor.line();
    assert!(last.starts_with("exact "), "{last}");
    assert!(successor.child.wait().unwrap().success());
    handed_over.took
}

/// 24 callers in 3 processes add, set, rotate, delete and sign out during a handover between two
/// processes.
#[tokio::test]
async fn handover_under_load_fails_no_call_and_loses_no_write() {
    let store = with_counter().await;
    let old = owner(&store);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    let took =
        handed_over_under_load(&old, &store, FixtureProcess::start(&["successor", "3"], other))
            .await;
    println!("24 callers waited {} µs", took.as_micros());
}

#[tokio::test]
async fn next_successor_takes_over_after_one_is_killed() {
    let store = with_counter().await;
    let old = owner(&store);
    let own = stream_client(&old);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    let mut successor = FixtureProcess::start(&["successor", "3"], other);
    assert_eq!(successor.line(), "ready");
    assert_eq!(old.stats().connections, 5);
    successor.kill();
    eventually("the connections of its workers to end", || old.stats().connections == 1).await;
    assert!(matches!(old.handover(BUSY_LIMIT).await, Err(HandoverError::NoSuccessor(_))));
    // Resets the counter: the adds of the killed workers do not count, those of the next workers
    // do.
    let n = add(&own).await;
    let back = [(Name::new("n").unwrap(), Change::Add(-n))].into_iter().collect();
    assert!(matches!(
        store.commit(&counter(), Commit { changes: back, ..Commit::new(SECRET) }).await.unwrap(),
        Outcome::Done(_)
    ));
    drop(own);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    handed_over_under_load(&old, &store, FixtureProcess::start(&["successor", "3"], other)).await;
}

#[tokio::test]
async fn killed_predecessor_shuts_the_successor_down() {
    let (one, other) = UnixStream::pair().unwrap();
    let mut predecessor = FixtureProcess::start(&["predecessor"], one);
    assert_eq!(predecessor.line(), "ready");
    let new = Owner::memory(Arc::new(MemoryStore::new())).build_successor(other).unwrap();
    let forwarded = stream_client(&new);
    assert_eq!(forwarded.create(&key(), NewRecord::new(SECRET, LONG)).await.unwrap(), Created::New);
    predecessor.kill();
    let error =
        tokio::time::timeout(BUSY_LIMIT, new.wait_for_handover()).await.unwrap().unwrap_err();
    assert!(matches!(error, TakeoverError::PredecessorEnded(_)), "{error:?}");
    unavailable(forwarded.ping().await);
    assert!(matches!(new.serve(UnixStream::pair().unwrap().0), Err(OwnerError::Stopped)));
}

/// Prints how long calls wait. The test does not assert a limit.
#[tokio::test]
async fn handover_transfers_a_hundred_thousand_sessions() {
    let store = Arc::new(MemoryStore::new());
    let mut some = Vec::new();
    for at in 0..100_000 {
        let data: Data = [(Name::new("cart").unwrap(), Json::encode(&"x".repeat(200)).unwrap())]
            .into_iter()
            .collect();
        let key = key();
        let _ = store.create(&key, NewRecord::new(SECRET, LONG).data(data)).await.unwrap();
        if at % 1_000 == 0 {
            some.push(key);
        }
    }
    let (one, other) = UnixStream::pair().unwrap();
    let old = owner(&store);
    old.attach_successor(one).unwrap();
    let new_store = Arc::new(MemoryStore::new());
    let new = Owner::memory(Arc::clone(&new_store)).build_successor(other).unwrap();
    let handed_over = old.handover(BUSY_LIMIT).await.unwrap();
    println!(
        "100,000 sessions of 200 bytes were handed over in {} ms",
        handed_over.took.as_millis()
    );
    new.wait_for_handover().await.unwrap();
    assert_eq!(handed_over.sessions, 100_000);
    assert_eq!(
        (new_store.held_sessions(), new_store.held_bytes()),
        (store.held_sessions(), store.held_bytes())
    );
    let forwarded = stream_client(&new);
    for key in some {
        let [here, there] = [forwarded.load(&key).await, store.load(&key).await]
            .map(|loaded| loaded.unwrap().unwrap().into_record());
        assert_eq!((here.data, here.version), (there.data, there.version));
    }
}

#[tokio::test]
async fn c45_errors_and_debug_texts_show_no_key_or_value() {
    let store = Arc::new(MemoryStore::new());
    let secret = StoreKey::from_text("abcdsecretkey");
    let data: Data =
        [(Name::new("card").unwrap(), Json::encode("hunter2").unwrap())].into_iter().collect();
    let _ = store.create(&secret, NewRecord::new(SECRET, LONG).data(data)).await.unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let old = owner(&store);
    old.attach_successor(one).unwrap();
    // A store that already holds the session. Importing the session into it fails.
    let new = Owner::memory(Arc::clone(&store)).build_successor(other).unwrap();
    let refused = old.handover(BUSY_LIMIT).await.unwrap_err();
    let error = new.wait_for_handover().await.unwrap_err();
    let TakeoverError::Protocol(source) = &error else { panic!("{error:?}") };
    assert!(
        source.source().unwrap().to_string().contains("already holds an imported session"),
        "{source}"
    );
    let shown = format!("{old:?} {new:?} {refused:?} {refused} {error:?} {error} {source}");
    assert!(!shown.contains("hunter2") && !shown.contains("secretkey"), "{shown}");
}
