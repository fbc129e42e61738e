//! [`MemoryStore`]: capacity limits, counts and the manual clock.
#![expect(clippy::unwrap_used, reason = "test helpers may panic")]

use std::{sync::Arc, time::Duration};

use session_core::{
    Attributes, Change, Claim, Commit, Created, Cursor, Deleted, Json, Limits, ManualClock,
    MemoryStore, Name, NewRecord, Outcome, Principal, Rejection, Rotation, SessionId, SessionStore,
    ShortText, StoreError,
};

const HOUR: Duration = Duration::from_secs(3600);

fn id() -> SessionId {
    SessionId::random().unwrap()
}

async fn create(store: &MemoryStore, id: &SessionId, ttl: Duration) -> Result<Created, StoreError> {
    store.create(&id.key(), NewRecord::new(id.secret_hash(), ttl)).await
}

async fn commit(
    store: &MemoryStore,
    id: &SessionId,
    commit: Commit,
) -> Result<Outcome, StoreError> {
    store.commit(&id.key(), commit).await
}

async fn end(store: &MemoryStore, id: &SessionId) {
    assert_eq!(store.delete(&id.key(), Claim::Any).await.unwrap(), Deleted::Ended);
}

fn set(id: &SessionId, bytes: usize) -> Commit {
    Commit::new(id.secret_hash())
        .change(Name::new("text").unwrap(), Change::Set(Json::encode(&"x".repeat(bytes)).unwrap()))
}

fn is_full<T>(answer: &Result<T, StoreError>, limit: &str) -> bool {
    matches!(
        answer,
        Err(StoreError::Rejected(Rejection::Full { store, what }))
            if &**store == "memory" && what.starts_with(limit)
    )
}

#[tokio::test]
async fn c50_a_full_store_rejects_creates_and_still_deletes() {
    let store = MemoryStore::builder().max_sessions(2).reserved_percent(0).build();
    let ids = [id(), id(), id()];
    for id in &ids[..2] {
        assert_eq!(create(&store, id, HOUR).await.unwrap(), Created::New);
    }
    assert!(is_full(&create(&store, &ids[2], HOUR).await, "max_sessions"));
    assert_eq!(store.load(&ids[2].key()).await.unwrap(), None);
    assert_eq!(
        create(&store, &ids[0], HOUR).await.unwrap(),
        Created::Taken,
        "a full store also returns Taken for a key in use"
    );
    end(&store, &ids[0]).await;
    assert_eq!(create(&store, &ids[2], HOUR).await.unwrap(), Created::New);
}

#[tokio::test]
async fn c50_a_full_store_purges_before_it_rejects_a_create() {
    let clock = ManualClock::new();
    let store =
        MemoryStore::builder().max_sessions(2).reserved_percent(0).clock(clock.clone()).build();
    for ttl in [Duration::from_secs(1), HOUR] {
        assert_eq!(create(&store, &id(), ttl).await.unwrap(), Created::New);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(create(&store, &id(), HOUR).await.unwrap(), Created::New);
    assert_eq!(store.held_sessions(), 2);
}

#[tokio::test]
async fn c50_a_commit_over_max_bytes_is_rejected() {
    let store = MemoryStore::builder().max_bytes(4000).build();
    let id = id();
    assert_eq!(create(&store, &id, HOUR).await.unwrap(), Created::New);
    assert!(matches!(commit(&store, &id, set(&id, 1000)).await.unwrap(), Outcome::Done(_)));
    let before = store.held_bytes();
    let next = id.rotated().unwrap();
    let rotation = Rotation { secret: next.secret_hash(), generation: 1, grace: None };
    assert!(is_full(&commit(&store, &id, set(&id, 4000).rotate(rotation)).await, "max_bytes"));
    assert_eq!(store.held_bytes(), before);
    let record = store.load(&id.key()).await.unwrap().unwrap().into_record();
    assert_eq!((record.data.bytes(), record.secret), (4 + 1002, id.secret_hash()));
    assert!(
        matches!(commit(&store, &id, set(&id, 10)).await.unwrap(), Outcome::Done(_)),
        "a commit that frees space succeeds"
    );
    assert_eq!(store.held_bytes(), before - 990);
}

#[tokio::test]
async fn c50_a_full_store_purges_before_it_rejects_a_commit() {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().max_bytes(5000).clock(clock.clone()).build();
    let (bulky, id) = (id(), id());
    assert_eq!(create(&store, &bulky, Duration::from_secs(1)).await.unwrap(), Created::New);
    assert!(matches!(commit(&store, &bulky, set(&bulky, 2500)).await.unwrap(), Outcome::Done(_)));
    assert_eq!(create(&store, &id, HOUR).await.unwrap(), Created::New);
    assert!(is_full(&commit(&store, &id, set(&id, 2500)).await, "max_bytes"));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(commit(&store, &id, set(&id, 2500)).await.unwrap(), Outcome::Done(_)));
}

#[tokio::test]
async fn c50_every_ended_session_frees_its_space() {
    let (store, clock) = MemoryStore::with_manual_clock();
    let principal = Principal::new("alice").unwrap();
    let ids = [id(), id(), id(), id(), id()];
    for id in &ids {
        let new = NewRecord::new(id.secret_hash(), HOUR).principal(principal.clone());
        assert_eq!(store.create(&id.key(), new).await.unwrap(), Created::New);
        assert!(matches!(commit(&store, id, set(id, 100)).await.unwrap(), Outcome::Done(_)));
    }
    assert_eq!(store.held_sessions(), 5);
    let bytes = store.held_bytes();
    let next = ids[0].rotated().unwrap();
    let rotation = Rotation { secret: next.secret_hash(), generation: 1, grace: None };
    assert!(matches!(
        commit(&store, &ids[0], Commit::new(ids[0].secret_hash()).rotate(rotation)).await.unwrap(),
        Outcome::Done(_)
    ));
    assert_eq!(
        (store.held_sessions(), store.held_bytes()),
        (5, bytes),
        "a rotation takes no space"
    );
    end(&store, &ids[1]).await;
    assert_eq!(store.delete_all(&principal, Some(&ids[0].key())).await.unwrap(), 3);
    assert_eq!(store.held_sessions(), 1);
    clock.advance(HOUR);
    assert_eq!(store.delete_expired(usize::MAX).await.unwrap(), 1);
    assert_eq!((store.held_sessions(), store.held_bytes()), (0, 0));
    for ttl in [HOUR, Duration::from_secs(1)] {
        assert_eq!(create(&store, &id(), ttl).await.unwrap(), Created::New);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.delete_everyone(None, 100).await.unwrap().ended, 1);
    assert_eq!((store.held_sessions(), store.held_bytes()), (0, 0));
}

#[tokio::test]
async fn c08_the_builder_sets_the_limits() {
    let store = MemoryStore::builder().limits(Limits { data_bytes: 16 }).build();
    let id = id();
    assert_eq!(create(&store, &id, HOUR).await.unwrap(), Created::New);
    let answer = commit(&store, &id, set(&id, 16)).await;
    assert!(
        matches!(
            answer,
            Err(StoreError::Rejected(Rejection::DataTooLarge { bytes: 22, limit: 16 }))
        ),
        "{answer:?}"
    );
}

#[tokio::test]
async fn c52_a_cursor_of_another_store_is_an_error() {
    let other = MemoryStore::new();
    for _ in 0..2 {
        assert_eq!(create(&other, &id(), HOUR).await.unwrap(), Created::New);
    }
    let foreign = other.scan(None, 1).await.unwrap().next;
    assert!(foreign.is_some());
    for cursor in [foreign, Some(Cursor::new("elsewhere"))] {
        let answer = MemoryStore::new().scan(cursor, 10).await;
        assert!(matches!(answer, Err(StoreError::Other { store: "memory", .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn c45_debug_shows_counts_and_no_session() {
    let store = Arc::new(MemoryStore::new());
    let id = id();
    assert_eq!(create(&store, &id, HOUR).await.unwrap(), Created::New);
    let text = format!("{store:?}");
    assert!(text.contains("held_sessions: 1"), "{text}");
    assert!(!text.contains(id.key().as_str()) && !text.contains("Entry"), "{text}");
}

#[tokio::test]
async fn c50_attributes_and_the_former_secret_count() {
    let store = MemoryStore::new();
    let session = id();
    let label = ShortText::new("Firefox on Linux").unwrap();
    let labelled = Attributes { label: Some(label), ..Attributes::default() };
    let new = NewRecord::new(session.secret_hash(), HOUR);
    assert_eq!(store.create(&session.key(), new.clone()).await.unwrap(), Created::New);
    let plain = store.held_bytes();
    let done =
        commit(&store, &session, Commit::new(session.secret_hash()).attributes(labelled.clone()));
    assert!(matches!(done.await.unwrap(), Outcome::Done(_)));
    let with_attributes = store.held_bytes();
    assert!(with_attributes > plain + "Firefox on Linux".len());
    let next = session.rotated().unwrap();
    let grace = Some(Duration::from_secs(10));
    let rotation = Rotation { secret: next.secret_hash(), generation: 1, grace };
    let done = commit(&store, &session, Commit::new(session.secret_hash()).rotate(rotation));
    assert!(matches!(done.await.unwrap(), Outcome::Done(_)));
    assert!(store.held_bytes() >= with_attributes + 40, "a hash of 32 bytes and a time");
    let last = next.rotated().unwrap();
    let rotation = Rotation { secret: last.secret_hash(), generation: 2, grace: None };
    let done = commit(&store, &next, Commit::new(next.secret_hash()).rotate(rotation));
    assert!(matches!(done.await.unwrap(), Outcome::Done(_)));
    assert_eq!(store.held_bytes(), with_attributes, "the former secret was dropped");
    let reset = Commit::new(last.secret_hash()).attributes(Attributes::default());
    assert!(matches!(commit(&store, &last, reset).await.unwrap(), Outcome::Done(_)));
    assert_eq!(store.held_bytes(), plain);
    end(&store, &session).await;
    assert_eq!(store.create(&session.key(), new.attributes(labelled)).await.unwrap(), Created::New);
    assert_eq!(store.held_bytes(), with_attributes);
    end(&store, &session).await;
    assert_eq!(store.held_bytes(), 0);
}
