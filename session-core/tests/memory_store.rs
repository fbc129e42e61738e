//! What [`MemoryStore`] promises beyond the contract: caps, counts, a clock for tests.
#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

use std::{sync::Arc, time::Duration};

use session_core::{
    Change, Commit, Created, Json, Limits, ManualClock, MemoryStore, Name, NewRecord, Outcome, Principal, Rejection, SessionId,
    SessionStore, StoreError, StoreKey,
};

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> StoreKey {
    SessionId::random().unwrap().store_key()
}

fn set(bytes: usize) -> Commit {
    Commit::new().change(Name::new("text").unwrap(), Change::Set(Json::encode(&"x".repeat(bytes)).unwrap()))
}

fn is_full<T>(answer: &Result<T, StoreError>, cap: &str) -> bool {
    matches!(answer, Err(StoreError::Rejected(Rejection::Full { store, what })) if &**store == "memory" && what.starts_with(cap))
}

#[tokio::test]
async fn a_full_store_refuses_creates_and_still_deletes() {
    let store = MemoryStore::builder().max_sessions(2).build();
    let keys = [key(), key(), key()];
    assert_eq!(store.create(&keys[0], NewRecord::new(HOUR)).await.unwrap(), Created::New);
    assert_eq!(store.create(&keys[1], NewRecord::new(HOUR)).await.unwrap(), Created::New);
    assert!(is_full(&store.create(&keys[2], NewRecord::new(HOUR)).await, "max_sessions = 2"));
    assert_eq!(store.load(&keys[2]).await.unwrap(), None);
    assert!(store.delete(&keys[0]).await.unwrap());
    assert_eq!(store.create(&keys[2], NewRecord::new(HOUR)).await.unwrap(), Created::New);
}

#[tokio::test]
async fn a_full_store_purges_expired_sessions_before_it_refuses() {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().max_sessions(2).clock(clock.clone()).build();
    for ttl in [Duration::from_secs(1), HOUR] {
        assert_eq!(store.create(&key(), NewRecord::new(ttl)).await.unwrap(), Created::New);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.create(&key(), NewRecord::new(HOUR)).await.unwrap(), Created::New);
    assert_eq!(store.held_sessions(), 2);
}

#[tokio::test]
async fn a_commit_that_grows_beyond_the_bytes_is_refused_and_changes_nothing() {
    let store = MemoryStore::builder().max_bytes(4000).build();
    let key = key();
    assert_eq!(store.create(&key, NewRecord::new(HOUR)).await.unwrap(), Created::New);
    assert!(matches!(store.commit(&key, set(1000)).await.unwrap(), Outcome::Done(_)));
    let before = store.held_bytes();
    assert!(is_full(&store.commit(&key, set(4000)).await, "max_bytes = 4000"));
    assert_eq!(store.held_bytes(), before);
    assert_eq!(store.load(&key).await.unwrap().unwrap().data.bytes(), 4 + 1002);
    assert!(matches!(store.commit(&key, set(10)).await.unwrap(), Outcome::Done(_)), "shrinking always works");
    assert_eq!(store.held_bytes(), before - 990);
}

#[tokio::test]
async fn a_commit_in_a_full_store_purges_before_it_is_refused() {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().max_bytes(4000).clock(clock.clone()).build();
    let key = key();
    let bulky = [(Name::new("text").unwrap(), Json::encode(&"x".repeat(2500)).unwrap())].into_iter().collect();
    assert_eq!(store.create(&self::key(), NewRecord::new(Duration::from_secs(1)).data(bulky)).await.unwrap(), Created::New);
    assert_eq!(store.create(&key, NewRecord::new(HOUR)).await.unwrap(), Created::New);
    assert!(is_full(&store.commit(&key, set(2500)).await, "max_bytes"));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(store.commit(&key, set(2500)).await.unwrap(), Outcome::Done(_)));
}

#[tokio::test]
async fn every_way_out_gives_its_room_back() {
    let (store, clock) = MemoryStore::with_manual_clock();
    let principal = Principal::new("alice").unwrap();
    let id = SessionId::random().unwrap();
    let keys = [id.store_key(), key(), key(), key()];
    for key in &keys {
        assert_eq!(store.create(key, NewRecord::new(HOUR).principal(principal.clone())).await.unwrap(), Created::New);
        assert!(matches!(store.commit(key, set(100)).await.unwrap(), Outcome::Done(_)));
    }
    assert_eq!(store.held_sessions(), 4);
    let successor = id.successor().unwrap().store_key();
    assert!(matches!(store.commit(&keys[0], Commit::new().move_to(successor.clone())).await.unwrap(), Outcome::Done(_)));
    assert!(store.delete(&keys[1]).await.unwrap());
    assert_eq!(store.delete_all(&principal, Some(&successor)).await.unwrap(), 2);
    assert_eq!(store.held_sessions(), 1);
    clock.advance(HOUR);
    assert_eq!(store.delete_expired(usize::MAX).await.unwrap(), 1);
    assert_eq!((store.held_sessions(), store.held_bytes()), (0, 0));
}

#[tokio::test]
async fn moving_onto_an_expired_leftover_replaces_it() {
    let (store, clock) = MemoryStore::with_manual_clock();
    let id = SessionId::random().unwrap();
    let (old, new) = (id.store_key(), id.successor().unwrap().store_key());
    assert_eq!(store.create(&new, NewRecord::new(Duration::from_secs(1))).await.unwrap(), Created::New);
    assert_eq!(store.create(&old, NewRecord::new(HOUR)).await.unwrap(), Created::New);
    clock.advance(Duration::from_secs(1));
    assert!(matches!(store.commit(&old, Commit::new().move_to(new.clone())).await.unwrap(), Outcome::Done(_)));
    assert_eq!(store.held_sessions(), 1);
    assert_eq!(store.load(&new).await.unwrap().unwrap().age, Duration::from_secs(1));
}

#[tokio::test]
async fn limits_are_the_builders() {
    let store = MemoryStore::builder().limits(Limits { data_bytes: 16 }).build();
    let key = key();
    assert_eq!(store.create(&key, NewRecord::new(HOUR)).await.unwrap(), Created::New);
    let answer = store.commit(&key, set(16)).await;
    assert!(matches!(answer, Err(StoreError::Rejected(Rejection::DataTooLarge { bytes: 22, limit: 16 }))), "{answer:?}");
}

#[tokio::test]
async fn a_cursor_of_another_store_is_an_error() {
    let answer = MemoryStore::new().scan(Some(session_core::Cursor("elsewhere".into())), 10).await;
    assert!(matches!(answer, Err(StoreError::Other { store: "memory", .. })), "{answer:?}");
}

#[tokio::test]
async fn c45_debug_shows_counts_and_no_session() {
    let store = Arc::new(MemoryStore::new());
    let key = key();
    assert_eq!(store.create(&key, NewRecord::new(HOUR)).await.unwrap(), Created::New);
    let text = format!("{store:?}");
    assert!(text.contains("held_sessions: 1"), "{text}");
    assert!(!text.contains(key.as_str()) && !text.contains("Entry"), "{text}");
}
