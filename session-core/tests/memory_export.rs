//! Export and import of the sessions of a `MemoryStore`.
#![expect(clippy::unwrap_used, reason = "test helpers may panic")]

use std::time::Duration;

use session_core::{
    Attributes, Change, Claim, Commit, Created, Deleted, Exported, ImportError, Json, ManualClock,
    MemoryStore, Name, NewRecord, Outcome, Persistence, Principal, PrincipalChange, Record,
    Rejection, Rotation, SessionId, SessionStore, StoreError, StoreKey,
};

const MINUTE: Duration = Duration::from_secs(60);

fn id() -> SessionId {
    SessionId::random().unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn bob() -> Principal {
    Principal::new("bob").unwrap()
}

async fn create(store: &MemoryStore, id: &SessionId, ttl: Duration) {
    create_with(store, id, NewRecord::new(id.secret_hash(), ttl)).await;
}

async fn create_with(store: &MemoryStore, id: &SessionId, new: NewRecord) {
    assert_eq!(store.create(&id.key(), new).await.unwrap(), Created::New);
}

async fn commit(store: &MemoryStore, id: &SessionId, commit: Commit) {
    assert!(matches!(store.commit(&id.key(), commit).await.unwrap(), Outcome::Done(_)));
}

async fn load(store: &MemoryStore, id: &SessionId) -> Option<Record> {
    store.load(&id.key()).await.unwrap().map(session_core::Stored::into_record)
}

fn everything(store: &MemoryStore, bytes: usize) -> Vec<Exported> {
    let mut export = store.export();
    std::iter::from_fn(|| Some(export.batch(bytes)).filter(|batch| !batch.is_empty()))
        .flatten()
        .collect()
}

/// Copies all sessions of `from` into `into`, as if the export had started `elapsed` ago. Returns
/// the numbers of imported and expired sessions.
fn copy_sessions(from: &MemoryStore, into: &MemoryStore, elapsed: Duration) -> (usize, usize) {
    let mut import = into.import(from.export().taken_at(), || elapsed);
    for session in everything(from, 1) {
        import.add(session).unwrap();
    }
    (import.sessions(), import.expired())
}

#[tokio::test]
async fn c54_an_import_keeps_all_fields_of_a_session() {
    let (old, clock) = MemoryStore::with_manual_clock();
    let (first, second, visitor) = (id(), id(), id());
    let new = |id: &SessionId| NewRecord::new(id.secret_hash(), 10 * MINUTE);
    create_with(&old, &first, new(&first).principal(bob())).await;
    clock.advance(MINUTE);
    let attributes = Attributes {
        idle_timeout: Some(MINUTE),
        persistence: Some(Persistence::Persistent),
        ..Attributes::default()
    };
    create_with(&old, &second, new(&second).principal(bob()).attributes(attributes)).await;
    create(&old, &visitor, 10 * MINUTE).await;
    let odd = Change::Set(Json::from_text(" -0.0 ").unwrap());
    let changes = Commit::new(first.secret_hash())
        .change(name("visits"), Change::Add(41))
        .change(name("odd"), odd);
    commit(&old, &first, changes).await;
    let (signed_in, renewed) =
        (visitor.rotated().unwrap(), visitor.rotated().unwrap().rotated().unwrap());
    let rotation = |id: &SessionId, grace| Rotation {
        secret: id.secret_hash(),
        generation: id.generation(),
        grace,
    };
    let sign_in = Commit::new(visitor.secret_hash())
        .principal(PrincipalChange::Set(bob()))
        .rotate(rotation(&signed_in, None));
    commit(&old, &visitor, sign_in).await;
    clock.advance(MINUTE);
    let renewal = Commit::new(signed_in.secret_hash()).rotate(rotation(&renewed, Some(MINUTE)));
    commit(&old, &visitor, renewal).await;
    clock.advance(Duration::from_secs(1));

    let (new, new_clock) = MemoryStore::with_manual_clock();
    assert_eq!(copy_sessions(&old, &new, Duration::ZERO), (3, 0));
    for id in [&first, &second, &visitor] {
        let record = load(&old, id).await;
        assert!(record.is_some());
        assert_eq!(load(&new, id).await, record);
    }
    let record = load(&new, &visitor).await.unwrap();
    assert_eq!((record.secret, record.generation, record.since), (renewed.secret_hash(), 2, 1));
    assert_eq!(record.grace.unwrap().secret, signed_in.secret_hash());
    assert_eq!(record.authenticated, Some(MINUTE + Duration::from_secs(1)));
    let superseded = new.commit(&visitor.key(), Commit::new(visitor.secret_hash())).await.unwrap();
    assert_eq!(superseded, Outcome::Superseded, "an imported former secret is superseded");
    let listed = async |store: &MemoryStore| {
        let mut sessions = store.list(&bob(), None, 10).await.unwrap().sessions;
        sessions.sort_by(|a, b| a.key.cmp(&b.key));
        sessions
    };
    assert_eq!(listed(&new).await, listed(&old).await);
    assert_eq!((new.held_sessions(), new.held_bytes()), (old.held_sessions(), old.held_bytes()));
    new_clock.advance(MINUTE);
    assert_eq!(
        load(&new, &visitor).await.unwrap().grace,
        None,
        "the grace ends at the original time"
    );
    assert_eq!(new.delete_all(&bob(), None).await.unwrap(), 3, "the import includes the index");
}

/// The two clocks are independent. The new clock starts at zero.
#[tokio::test]
async fn c54_an_import_extends_no_session_and_revives_none() {
    let (old, old_clock) = MemoryStore::with_manual_clock();
    old_clock.advance(1_000 * MINUTE);
    let (dead, short, long) = (id(), id(), id());
    create(&old, &dead, Duration::from_secs(1)).await;
    old_clock.advance(Duration::from_secs(1));
    create(&old, &short, Duration::from_secs(1)).await;
    create(&old, &long, MINUTE).await;
    let new_clock = ManualClock::new();
    let new = MemoryStore::builder().clock(new_clock.clone()).build();
    assert_eq!(
        copy_sessions(&old, &new, Duration::from_millis(900)),
        (2, 0),
        "an expired session is not exported"
    );
    assert_eq!(load(&new, &short).await.unwrap().ttl, Duration::from_millis(100));
    assert_eq!(load(&new, &long).await.unwrap().age, Duration::from_millis(900));
    new_clock.advance(Duration::from_millis(100));
    assert_eq!(load(&new, &short).await, None);
    assert_eq!(load(&new, &dead).await, None);
    let late = MemoryStore::new();
    assert_eq!(
        copy_sessions(&old, &late, Duration::from_secs(1)),
        (1, 1),
        "a session that expires during the import is skipped"
    );
    assert_eq!(late.held_sessions(), 1);
}

#[tokio::test]
async fn c50_an_import_over_the_limit_ends_and_admits_no_session() {
    let old = MemoryStore::new();
    let ids = [id(), id(), id()];
    for id in &ids {
        create(&old, id, MINUTE).await;
    }
    let new = MemoryStore::builder().max_sessions(2).reserved_percent(0).build();
    assert_eq!(copy_sessions(&old, &new, Duration::ZERO), (3, 0));
    assert_eq!(new.held_sessions(), 3);
    let is_full = async |store: &MemoryStore| {
        let id = id();
        let answer = store.create(&id.key(), NewRecord::new(id.secret_hash(), MINUTE)).await;
        matches!(answer, Err(StoreError::Rejected(Rejection::Full { .. })))
    };
    for id in &ids[..2] {
        assert!(is_full(&new).await);
        assert_eq!(new.delete(&id.key(), Claim::Any).await.unwrap(), Deleted::Ended);
    }
    create(&new, &id(), MINUTE).await;
}

#[tokio::test]
async fn batches_are_bounded_and_complete() {
    let old = MemoryStore::new();
    for _ in 0..500 {
        create(&old, &id(), MINUTE).await;
    }
    // The bytes of four sessions of this kind.
    let most = old.held_bytes() / 500 * 4;
    let mut export = old.export();
    let (mut sessions, mut batches) = (0, 0);
    loop {
        let batch = export.batch(most);
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= 4, "{} sessions in a batch of at most four", batch.len());
        (sessions, batches) = (sessions + batch.len(), batches + 1);
    }
    assert_eq!(sessions, 500);
    assert!(batches >= 125);
    assert!(export.batch(most).is_empty(), "a finished export returns no more batches");
}

#[tokio::test]
async fn c37_a_scan_of_the_old_store_continues_in_the_new_one() {
    let old = MemoryStore::new();
    for _ in 0..200 {
        create(&old, &id(), MINUTE).await;
    }
    let page = old.scan(None, 150).await.unwrap();
    let new = MemoryStore::new();
    let foreign = new.scan(page.next.clone(), 10).await;
    assert!(
        matches!(foreign, Err(StoreError::Other { .. })),
        "a store refuses the cursor of another store"
    );
    copy_sessions(&old, &new, Duration::ZERO);
    let mut seen: std::collections::BTreeSet<_> =
        page.records.into_iter().map(|(key, _)| key).collect();
    let mut next = page.next;
    while let Some(cursor) = next {
        let page = new.scan(Some(cursor), 50).await.unwrap();
        seen.extend(page.records.into_iter().map(|(key, _)| key));
        next = page.next;
    }
    assert_eq!(seen.len(), 200);
}

/// An exported session with arbitrary fields, as another program could write it.
fn forged(key: &str, change: impl FnOnce(&mut serde_json::Value)) -> Exported {
    let second = 1_000_000_000_u64;
    let mut session = serde_json::json!({
        "key": key,
        "data": [],
        "version": 1,
        "secret": vec![7; 32],
        "generation": 0,
        "since": 0,
        "created": 90 * second,
        "rotated": 90 * second,
        "deadline": 160 * second,
        "former": null,
        "user": null,
        "attributes": null
    });
    change(&mut session);
    serde_json::from_value(session).unwrap()
}

#[test]
fn invalid_exported_sessions_are_rejected() {
    let store = MemoryStore::new();
    let mut import = store.import(Duration::from_secs(100), || Duration::ZERO);
    for key in [String::new(), "k".repeat(129), "a\nb".to_owned()] {
        assert_eq!(import.add(forged(&key, |_| ())), Err(ImportError::Key { bytes: key.len() }));
    }
    let mut add = |field: &str, value: u64| {
        import.add(forged("key", |session| session[field] = value.into()))
    };
    assert_eq!(add("version", 0), Err(ImportError::Version));
    assert_eq!(add("version", (1 << 53) + 1), Err(ImportError::Version));
    assert_eq!(add("since", 1), Err(ImportError::Generation));
    assert_eq!(add("created", u64::MAX), Err(ImportError::Times));
    assert_eq!(add("rotated", u64::MAX), Err(ImportError::Times));
    assert_eq!(add("deadline", u64::MAX), Err(ImportError::Times));
    let mut with = |field: &str, value: serde_json::Value| {
        import.add(forged("key", |session| session[field] = value))
    };
    assert_eq!(
        with("user", serde_json::json!({"principal": "bob", "authenticated": u64::MAX})),
        Err(ImportError::Times)
    );
    assert_eq!(
        with("former", serde_json::json!({"secret": vec![7; 32], "until": u64::MAX})),
        Err(ImportError::Times)
    );
    let mut add = |field: &str, value: u64| {
        import.add(forged("key", |session| session[field] = value.into()))
    };
    assert_eq!(add("version", 1), Ok(()));
    assert_eq!(add("version", 1), Err(ImportError::Taken));
    assert_eq!(store.held_sessions(), 1);
    let mut odd = store.import(Duration::MAX, || Duration::MAX);
    let expired =
        forged("other", |session| (session["created"], session["deadline"]) = (0.into(), 0.into()));
    assert!(odd.add(expired).is_ok());
    assert_eq!(odd.expired(), 1);
}

#[tokio::test]
async fn c45_debug_shows_no_key_hash_or_value() {
    let (store, id) = (MemoryStore::new(), id());
    let key = StoreKey::from_text("abcdsecretkey");
    let data = [(name("card"), Json::encode("hunter2").unwrap())].into_iter().collect();
    let new = NewRecord::new(id.secret_hash(), MINUTE).data(data);
    assert_eq!(store.create(&key, new).await.unwrap(), Created::New);
    let printed = format!(
        "{:?} {:?} {:?}",
        store.export(),
        everything(&store, 1),
        store.import(MINUTE, || MINUTE)
    );
    let hash = format!("{:?}", id.secret_hash().as_bytes());
    for hidden in ["hunter2", "secretkey", hash.trim_matches(['[', ']'])] {
        assert!(!printed.contains(hidden), "{printed}");
    }
}
