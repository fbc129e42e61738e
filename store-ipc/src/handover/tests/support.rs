//! Owners, clients and encoded messages for the handover tests.

use std::{io::Read, os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use session_core::{
    Change, Commit, Created, Data, Json, MemoryStore, Name, NewRecord, Outcome, SecretHash,
    SessionId, SessionStore, StoreError, StoreKey,
};

use crate::{
    Config, HandoverReport, IpcStore, Owner, OwnerHandle,
    wire::{
        frame::{Hello, HelloStatus, WriteBuffer, decode},
        message::{Reply, Request},
    },
};

/// The secret hash of every session in this file.
pub(super) const SECRET: SecretHash = SecretHash::from_bytes([7; SecretHash::BYTES]);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than any step takes on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(60);
/// A time limit that is meant to expire.
pub(super) const SHORT: Duration = Duration::from_millis(200);
pub(super) const MIB: usize = 1024 * 1024;

pub(super) fn pair() -> (StdUnixStream, StdUnixStream) {
    StdUnixStream::pair().unwrap()
}

pub(super) fn key() -> StoreKey {
    SessionId::random().unwrap().key()
}

pub(super) fn owner(store: &Arc<MemoryStore>) -> OwnerHandle {
    Owner::memory(Arc::clone(store)).build().unwrap().spawn_thread().unwrap()
}

pub(super) fn successor_of(stream: StdUnixStream) -> OwnerHandle {
    Owner::memory(Arc::new(MemoryStore::new())).build_successor(stream).unwrap()
}

/// A client of `owner` whose deadline is longer than the test.
pub(super) fn client(owner: &OwnerHandle) -> IpcStore {
    let (ours, theirs) = pair();
    owner.serve(theirs).unwrap();
    IpcStore::from_stream_with(ours, &Config::new("/unused").deadline(LONG)).unwrap()
}

/// A stream to `owner` on which the test itself writes.
pub(super) fn raw(owner: &OwnerHandle) -> StdUnixStream {
    let (ours, theirs) = pair();
    owner.serve(theirs).unwrap();
    ours.set_read_timeout(Some(LONG)).unwrap();
    ours
}

/// A store with one session of this size, and the key of the session.
pub(super) async fn store_with_session(bytes: usize) -> (Arc<MemoryStore>, StoreKey) {
    let store = Arc::new(MemoryStore::new());
    let session = fill(&store, 1, bytes).await.remove(0);
    (store, session)
}

pub(super) async fn fill(store: &MemoryStore, sessions: usize, bytes: usize) -> Vec<StoreKey> {
    let mut keys = Vec::new();
    for _ in 0..sessions {
        let data: Data = [(Name::new("text").unwrap(), Json::encode(&"x".repeat(bytes)).unwrap())]
            .into_iter()
            .collect();
        let key = key();
        assert_eq!(
            store.create(&key, NewRecord::new(SECRET, HOUR).data(data)).await.unwrap(),
            Created::New
        );
        keys.push(key);
    }
    keys
}

pub(super) async fn add(store: &dyn SessionStore, key: &StoreKey) -> i64 {
    let changes = [(Name::new("n").unwrap(), Change::Add(1))].into_iter().collect();
    match store.commit(key, Commit { changes, ..Commit::new(SECRET) }).await.unwrap() {
        Outcome::Done(done) => done.added.values().copied().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn cut_off(client: &IpcStore) {
    let answer = tokio::time::timeout(LONG, client.ping())
        .await
        .expect("a call to a closed connection hung");
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}

pub(super) fn frame(id: u64, request: &Request) -> Vec<u8> {
    let mut buffer = WriteBuffer::default();
    buffer.push(id, request, MIB).unwrap();
    buffer.unwritten().to_vec()
}

pub(super) fn hello() -> [u8; Hello::BYTES] {
    Hello { status: HelloStatus::Accepted, frame_bytes: 1024 * 1024 }.encode()
}

pub(super) fn read_hello(stream: &mut StdUnixStream) {
    let mut received = [0; Hello::BYTES];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(received[..4], *b"sIPC");
}

pub(super) fn read_reply(stream: &mut StdUnixStream) -> (u64, Reply) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    let (id, message) = frame.split_first_chunk::<8>().unwrap();
    (u64::from_le_bytes(*id), decode(message).unwrap())
}

pub(super) async fn handed_over(old: &OwnerHandle, new: &OwnerHandle) -> HandoverReport {
    let handed_over = old.handover(LONG).await.unwrap();
    new.wait_for_handover().await.unwrap();
    handed_over
}

/// A predecessor and its attached successor.
pub(super) fn generations(store: &Arc<MemoryStore>) -> (OwnerHandle, OwnerHandle) {
    let (one, other) = pair();
    let old = owner(store);
    old.attach_successor(one).unwrap();
    (old, successor_of(other))
}
