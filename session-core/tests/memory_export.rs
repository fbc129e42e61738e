//! What a `MemoryStore` keeps of sessions that it takes over from another.
#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

use std::time::Duration;

use session_core::{
    Change, Commit, Created, Exported, ImportError, Json, Lifetime, ManualClock, MemoryStore, Name, NewRecord, Outcome, Persistence,
    Principal, Rejection, SessionId, SessionStore, StoreError, StoreKey,
};

const MINUTE: Duration = Duration::from_secs(60);

fn key() -> StoreKey {
    SessionId::random().unwrap().store_key()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn bob() -> Principal {
    Principal::new("bob").unwrap()
}

async fn create(store: &MemoryStore, key: &StoreKey, new: NewRecord) {
    assert_eq!(store.create(key, new).await.unwrap(), Created::New);
}

async fn commit(store: &MemoryStore, key: &StoreKey, commit: Commit) {
    assert!(matches!(store.commit(key, commit).await.unwrap(), Outcome::Done(_)));
}

fn everything(store: &MemoryStore, bytes: usize) -> Vec<Exported> {
    let mut export = store.export();
    std::iter::from_fn(|| Some(export.batch(bytes)).filter(|batch| !batch.is_empty())).flatten().collect()
}

/// All of `from` into `into`, as if the export had begun `elapsed` ago.
fn hand_over(from: &MemoryStore, into: &MemoryStore, elapsed: Duration) -> (usize, usize) {
    let mut import = into.import(from.export().taken_at(), || elapsed);
    for session in everything(from, 1) {
        import.add(session).unwrap();
    }
    (import.sessions(), import.expired())
}

#[tokio::test]
async fn everything_of_a_session_is_kept() {
    let (old, clock) = MemoryStore::with_manual_clock();
    let (first, second, moved) = (key(), key(), SessionId::random().unwrap());
    create(&old, &first, NewRecord::new(10 * MINUTE).principal(bob())).await;
    clock.advance(MINUTE);
    let lifetime = Lifetime { idle_timeout: Some(MINUTE), persistence: Some(Persistence::Persistent), absolute_timeout: None };
    create(&old, &second, NewRecord::new(10 * MINUTE).principal(bob()).lifetime(lifetime)).await;
    create(&old, &moved.store_key(), NewRecord::new(10 * MINUTE)).await;
    let changes = [(name("visits"), Change::Add(41)), (name("odd"), Change::Set(Json::from_text(" -0.0 ").unwrap()))].into_iter().collect();
    commit(&old, &first, Commit { changes, ..Commit::new() }).await;
    let target = moved.successor().unwrap().store_key();
    commit(&old, &moved.store_key(), Commit { move_to: Some(target.clone()), ..Commit::new() }).await;

    let (new, _) = MemoryStore::with_manual_clock();
    assert_eq!(hand_over(&old, &new, Duration::ZERO), (3, 0));
    for key in [&first, &second, &target] {
        let record = old.load(key).await.unwrap();
        assert!(record.is_some());
        assert_eq!(new.load(key).await.unwrap(), record);
    }
    assert_eq!(new.load(&moved.store_key()).await.unwrap(), None, "a key that was rotated away came back");
    assert_eq!(new.list(&bob()).await.unwrap(), old.list(&bob()).await.unwrap());
    assert_eq!((new.held_sessions(), new.held_bytes()), (old.held_sessions(), old.held_bytes()));
    assert_eq!(new.delete_all(&bob(), None).await.unwrap(), 2, "the index came along");
}

/// The clocks' readings have nothing to do with each other, and the new one stands at its beginning.
#[tokio::test]
async fn no_session_lives_longer_and_expired_ones_stay_dead() {
    let (old, old_clock) = MemoryStore::with_manual_clock();
    old_clock.advance(1_000 * MINUTE);
    let (dead, short, long) = (key(), key(), key());
    create(&old, &dead, NewRecord::new(Duration::from_secs(1))).await;
    old_clock.advance(Duration::from_secs(1));
    create(&old, &short, NewRecord::new(Duration::from_secs(1))).await;
    create(&old, &long, NewRecord::new(MINUTE)).await;
    let new_clock = ManualClock::new();
    let new = MemoryStore::builder().clock(new_clock.clone()).build();
    assert_eq!(hand_over(&old, &new, Duration::from_millis(900)), (2, 0), "an expired session is not sent");
    assert_eq!(new.load(&short).await.unwrap().unwrap().ttl, Duration::from_millis(100));
    assert_eq!(new.load(&long).await.unwrap().unwrap().age, Duration::from_millis(900));
    new_clock.advance(Duration::from_millis(100));
    assert_eq!(new.load(&short).await.unwrap(), None);
    assert_eq!(new.load(&dead).await.unwrap(), None);
    let late = MemoryStore::new();
    assert_eq!(hand_over(&old, &late, Duration::from_secs(1)), (1, 1), "what expires on the way is left out");
    assert_eq!(late.held_sessions(), 1);
}

#[tokio::test]
async fn caps_that_are_too_small_end_no_session_and_admit_none() {
    let old = MemoryStore::new();
    let keys = [key(), key(), key()];
    for key in &keys {
        create(&old, key, NewRecord::new(MINUTE)).await;
    }
    let new = MemoryStore::builder().max_sessions(2).build();
    assert_eq!(hand_over(&old, &new, Duration::ZERO), (3, 0));
    assert_eq!(new.held_sessions(), 3);
    let full = |result| matches!(result, Err(StoreError::Rejected(Rejection::Full { .. })));
    assert!(full(new.create(&key(), NewRecord::new(MINUTE)).await));
    assert!(new.delete(&keys[0]).await.unwrap());
    assert!(full(new.create(&key(), NewRecord::new(MINUTE)).await));
    assert!(new.delete(&keys[1]).await.unwrap());
    create(&new, &key(), NewRecord::new(MINUTE)).await;
}

#[tokio::test]
async fn batches_are_bounded_and_miss_nothing() {
    let old = MemoryStore::new();
    for _ in 0..500 {
        create(&old, &key(), NewRecord::new(MINUTE)).await;
    }
    let mut export = old.export();
    let (mut sessions, mut batches) = (0, 0);
    loop {
        let batch = export.batch(4_000);
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= 13, "{} sessions of more than 319 bytes", batch.len());
        (sessions, batches) = (sessions + batch.len(), batches + 1);
    }
    assert_eq!(sessions, 500);
    assert!(batches >= 500 / 13);
    assert!(export.batch(4_000).is_empty(), "the end stays the end");
}

#[tokio::test]
async fn c37_a_scan_that_was_begun_at_the_old_store_misses_nothing_at_the_new_one() {
    let old = MemoryStore::new();
    for _ in 0..200 {
        create(&old, &key(), NewRecord::new(MINUTE)).await;
    }
    let page = old.scan(None, 150).await.unwrap();
    let new = MemoryStore::new();
    let stray = new.scan(page.next.clone(), 10).await;
    assert!(matches!(stray, Err(StoreError::Other { .. })), "a cursor of another store is none of this one's");
    hand_over(&old, &new, Duration::ZERO);
    let mut seen: std::collections::BTreeSet<_> = page.records.into_iter().map(|(key, _)| key).collect();
    let mut next = page.next;
    while let Some(cursor) = next {
        let page = new.scan(Some(cursor), 50).await.unwrap();
        seen.extend(page.records.into_iter().map(|(key, _)| key));
        next = page.next;
    }
    assert_eq!(seen.len(), 200);
}

/// A session as another program could write it down.
fn forged(key: &str, version: u64, created: u64, deadline: u64) -> Exported {
    let session = serde_json::json!({
        "key": key, "data": [], "version": version, "created": created, "deadline": deadline, "principal": null,
        "lifetime": { "idle_timeout": null, "absolute_timeout": null, "persistence": null }
    });
    serde_json::from_value(session).unwrap()
}

#[test]
fn what_no_store_can_have_held_is_refused() {
    let store = MemoryStore::new();
    let second = 1_000_000_000;
    let mut import = store.import(Duration::from_secs(100), || Duration::ZERO);
    let mut add = |key: &str, version, created, deadline| import.add(forged(key, version, created, deadline));
    let (past, soon) = (90 * second, 160 * second);
    assert_eq!(add("", 1, past, soon), Err(ImportError::Key { bytes: 0 }));
    assert_eq!(add(&"k".repeat(129), 1, past, soon), Err(ImportError::Key { bytes: 129 }));
    assert_eq!(add("a\nb", 1, past, soon), Err(ImportError::Key { bytes: 3 }));
    assert_eq!(add("key", 0, past, soon), Err(ImportError::Version));
    assert_eq!(add("key", 1, u64::MAX, soon), Err(ImportError::Times));
    assert_eq!(add("key", 1, past, u64::MAX), Err(ImportError::Times));
    assert_eq!(add("key", 1, past, soon), Ok(()));
    assert_eq!(add("key", 1, past, soon), Err(ImportError::Taken));
    assert_eq!(store.held_sessions(), 1);
    let mut odd = store.import(Duration::MAX, || Duration::MAX);
    assert!(odd.add(forged("other", 1, 0, 0)).is_ok());
    assert_eq!(odd.expired(), 1);
}

#[tokio::test]
async fn c45_debug_shows_neither_key_nor_value() {
    let store = MemoryStore::new();
    let secret = StoreKey::from_text("abcdsecretkey");
    let data = [(name("card"), Json::encode("hunter2").unwrap())].into_iter().collect();
    create(&store, &secret, NewRecord::new(MINUTE).data(data)).await;
    let shown = format!("{:?} {:?} {:?}", store.export(), everything(&store, 1), store.import(MINUTE, || MINUTE));
    assert!(!shown.contains("hunter2") && !shown.contains("secretkey"), "{shown}");
}
