//! Owners of different processes, one after the other.

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
use store_ipc::{HandoverError, IpcStore, Owner, OwnerError, OwnerHandle, TakeoverError};

use super::{LONG, SECRET, eventually, key, process::FIXTURE, record, unavailable};

/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the fixture whose standard input is a stream; killed when it is dropped, and its
/// children end with their streams.
struct Relative {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Relative {
    fn start(arguments: &[&str], stream: UnixStream) -> Self {
        let mut command = Command::new(FIXTURE);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(stream)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Relative {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owner(store: &Arc<MemoryStore>) -> OwnerHandle {
    Owner::memory(Arc::clone(store)).build().unwrap().spawn_thread().unwrap()
}

fn client(owner: &OwnerHandle) -> IpcStore {
    let (ours, theirs) = UnixStream::pair().unwrap();
    owner.serve(theirs).unwrap();
    IpcStore::from_stream(ours).unwrap()
}

/// A store with the workers' counter, and with so much beside it that the owner's other tasks have
/// their turn while it is sent.
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

/// Lets the new process's workers call for a while through the old owner, which this process is,
/// and hands over in the middle of it.
async fn handed_over_under_load(
    old: &OwnerHandle,
    store: &MemoryStore,
    mut heir: Relative,
) -> Duration {
    assert_eq!(heir.line(), "ready");
    // A worker of the old process, which has left before the end.
    let own = client(old);
    let before = old.stats().requests;
    let own_adds = 50;
    for _ in 0..own_adds {
        add(&own).await;
    }
    drop(own);
    // The heir counts what its workers were told, so what this one was told is taken out again.
    let back = [(Name::new("n").unwrap(), Change::Add(-own_adds))].into_iter().collect();
    assert!(matches!(
        store.commit(&counter(), Commit { changes: back, ..Commit::new(SECRET) }).await.unwrap(),
        Outcome::Done(_)
    ));
    eventually("a load of the workers", || old.stats().requests > before + 1_000).await;
    let handed_over = old.handover(PATIENCE).await.unwrap();
    assert_eq!(handed_over.connections, 4);
    old.shutdown();
    let last = heir.line();
    assert!(last.starts_with("exact "), "{last}");
    assert!(heir.child.wait().unwrap().success());
    handed_over.took
}

/// Adds, sets, rotations, deletions and sign-outs of 24 callers in 3 processes, while the sessions
/// go from one process to another.
#[tokio::test]
async fn no_call_fails_and_no_write_is_lost_while_the_sessions_change_hands() {
    let store = with_counter().await;
    let old = owner(&store);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    let took = handed_over_under_load(&old, &store, Relative::start(&["heir", "3"], other)).await;
    println!("24 callers waited {} µs", took.as_micros());
}

#[tokio::test]
async fn a_successor_that_is_killed_costs_nothing_and_the_next_one_takes_over() {
    let store = with_counter().await;
    let old = owner(&store);
    let own = client(&old);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    let mut heir = Relative::start(&["heir", "3"], other);
    assert_eq!(heir.line(), "ready");
    assert_eq!(old.stats().connections, 5);
    heir.kill();
    eventually("the end of its workers' connections", || old.stats().connections == 1).await;
    assert!(matches!(old.handover(PATIENCE).await, Err(HandoverError::NoSuccessor(_))));
    // What its workers did before they ended is theirs; the next ones count from here.
    let n = add(&own).await;
    let back = [(Name::new("n").unwrap(), Change::Add(-n))].into_iter().collect();
    assert!(matches!(
        store.commit(&counter(), Commit { changes: back, ..Commit::new(SECRET) }).await.unwrap(),
        Outcome::Done(_)
    ));
    drop(own);
    let (one, other) = UnixStream::pair().unwrap();
    old.attach_successor(one).unwrap();
    handed_over_under_load(&old, &store, Relative::start(&["heir", "3"], other)).await;
}

#[tokio::test]
async fn a_predecessor_that_is_killed_takes_the_sessions_with_it() {
    let (one, other) = UnixStream::pair().unwrap();
    let mut predecessor = Relative::start(&["predecessor"], one);
    assert_eq!(predecessor.line(), "ready");
    let new = Owner::memory(Arc::new(MemoryStore::new())).build_successor(other).unwrap();
    let guest = client(&new);
    assert_eq!(guest.create(&key(), NewRecord::new(SECRET, LONG)).await.unwrap(), Created::New);
    predecessor.kill();
    let error = tokio::time::timeout(PATIENCE, new.wait_for_handover()).await.unwrap().unwrap_err();
    assert!(matches!(error, TakeoverError::PredecessorEnded(_)), "{error:?}");
    unavailable(guest.ping().await);
    assert!(matches!(new.serve(UnixStream::pair().unwrap().0), Err(OwnerError::Stopped)));
}

/// Prints how long calls wait; nothing is asserted of it.
#[tokio::test]
async fn a_hundred_thousand_sessions_come_whole() {
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
    let handed_over = old.handover(PATIENCE).await.unwrap();
    println!(
        "100,000 sessions of 200 bytes changed hands within {} ms",
        handed_over.took.as_millis()
    );
    new.wait_for_handover().await.unwrap();
    assert_eq!(handed_over.sessions, 100_000);
    assert_eq!(
        (new_store.held_sessions(), new_store.held_bytes()),
        (store.held_sessions(), store.held_bytes())
    );
    let guest = client(&new);
    for key in some {
        let [here, there] = [guest.load(&key).await, store.load(&key).await]
            .map(|loaded| loaded.unwrap().unwrap().into_record());
        assert_eq!((here.data, here.version), (there.data, there.version));
    }
}

#[tokio::test]
async fn c45_nothing_that_is_shown_holds_a_key_or_a_value() {
    let store = Arc::new(MemoryStore::new());
    let secret = StoreKey::from_text("abcdsecretkey");
    let data: Data =
        [(Name::new("card").unwrap(), Json::encode("hunter2").unwrap())].into_iter().collect();
    let _ = store.create(&secret, NewRecord::new(SECRET, LONG).data(data)).await.unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let old = owner(&store);
    old.attach_successor(one).unwrap();
    // A store that holds the session already, which no session can be brought into.
    let new = Owner::memory(Arc::clone(&store)).build_successor(other).unwrap();
    let refused = old.handover(PATIENCE).await.unwrap_err();
    let error = new.wait_for_handover().await.unwrap_err();
    let TakeoverError::Protocol(source) = &error else { panic!("{error:?}") };
    assert!(source.source().unwrap().to_string().contains("twice"), "{source}");
    let shown = format!("{old:?} {new:?} {refused:?} {refused} {error:?} {error} {source}");
    assert!(!shown.contains("hunter2") && !shown.contains("secretkey"), "{shown}");
}
