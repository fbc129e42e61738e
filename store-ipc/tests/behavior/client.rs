//! Calls of a client: limits of number, time and size, and runtimes.

use std::{
    collections::BTreeSet, num::NonZeroUsize, os::unix::net::UnixStream, sync::Arc, time::Duration,
};

use session_core::{
    Attributes, Change, Claim, Commit, Cursor, Limits, MemoryStore, Name, NewRecord, Outcome,
    Persistence, Principal, PrincipalChange, Rejection, Rotation, SecretHash, SessionStore,
    ShortText, StoreError, StoreKey, Stored,
};
use store_ipc::{Config, IpcStore, Owner};
use tokio::task::JoinHandle;

use super::{
    gate::Gate,
    support::{
        LONG, SECRET, Served, chain, eventually, key, on_another_runtime, record, stream_client,
    },
};

fn number(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

type Load = JoinHandle<Result<Option<Stored>, StoreError>>;

/// Starts this number of loads of sessions that do not exist.
fn spawn_loads(client: &IpcStore, count: usize) -> Vec<Load> {
    let load = |_| {
        let client = client.clone();
        tokio::spawn(async move { client.load(&key()).await })
    };
    (0..count).map(load).collect()
}

async fn assert_nothing_found(loads: Vec<Load>) {
    for load in loads {
        assert_eq!(load.await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn late_reply_of_a_timed_out_call_is_ignored() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let deadline = Duration::from_millis(50);
    let client = IpcStore::connect_with(&Config::new(served.path()).deadline(deadline)).unwrap();
    let (mine, other) = (key(), key());
    let _ = client.create(&mine, record(10)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(
            client.load(&mine).await,
            Err(StoreError::Timeout { store: "ipc", after }) if after == deadline
        ));
    }
    gate.open();
    // The late replies contain a record. A call that took one of them for its own reply would fail
    // here.
    for _ in 0..100 {
        assert_eq!(client.load(&other).await.unwrap(), None);
    }
    assert!(client.load(&mine).await.unwrap().is_some());
    assert_eq!(served.owner.stats().connections, 1, "the client keeps its first connection");
}

#[tokio::test]
async fn panicking_store_fails_only_that_call() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client = stream_client(&served.owner);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.load(&key()).await }
    });
    gate.reached(1).await;
    // One panic at the first poll, and one after a wait.
    panicked(client.delete(&key(), Claim::Any).await);
    let listing = tokio::spawn({
        let client = client.clone();
        async move { client.list(&Principal::new("alice").unwrap(), None, 10).await }
    });
    eventually("the list to reach the gate", || served.owner.stats().requests == 3).await;
    gate.open();
    panicked(listing.await.unwrap());
    assert_eq!(waiting.await.unwrap().unwrap(), None);
    client.ping().await.unwrap();
}

#[track_caller]
fn panicked<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    match answer {
        Err(error @ StoreError::Other { .. }) => {
            assert!(
                chain(&error).ends_with("the owner's wrapped store failed: it panicked"),
                "{error:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn connecting_client_needs_a_path() {
    let error = IpcStore::connect_with(&Config::new("")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "path: \"\" is not valid; use the path of an owner's socket, such as \
         /run/app/sessions.sock"
    );
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(IpcStore::from_stream_with(ours, &Config::new("")).is_ok());
}

#[tokio::test]
async fn c41_dropped_calls_release_their_permits() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client =
        IpcStore::connect_with(&Config::new(served.path()).max_in_flight(number(4))).unwrap();
    for round in 1..=50 {
        let calls = spawn_loads(&client, 4);
        gate.reached(4 * round).await;
        calls.iter().for_each(JoinHandle::abort);
        for call in calls {
            assert!(call.await.unwrap_err().is_cancelled());
        }
    }
    client.ping().await.unwrap();
    gate.open();
    assert_eq!(client.load(&key()).await.unwrap(), None);
}

#[tokio::test]
async fn calls_over_the_limit_in_flight_wait() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client = IpcStore::connect_with(
        &Config::new(served.path()).max_in_flight(number(4)).deadline(Duration::from_secs(10)),
    )
    .unwrap();
    let calls = spawn_loads(&client, 40);
    gate.reached(4).await;
    // The four calls hold every permit, so no further call can arrive.
    assert_eq!(served.owner.stats().requests, 4);
    gate.open();
    assert_nothing_found(calls).await;
}

#[tokio::test]
async fn owner_limits_the_calls_in_flight_of_a_client() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder.max_in_flight(number(8)));
    let (client, other) = (served.client(), served.client());
    let calls = spawn_loads(&client, 100);
    gate.reached(8).await;
    for _ in 0..100 {
        other.ping().await.unwrap();
    }
    assert_eq!(served.owner.stats().requests, 108);
    gate.open();
    assert_nothing_found(calls).await;
}

/// The smallest frames and the largest summaries.
#[tokio::test]
async fn list_pages_fit_the_smallest_frame() {
    let served = Served::memory();
    let config =
        Config::new(served.path()).frame_bytes(number(16_384)).limits(Limits { data_bytes: 4_096 });
    let (client, alice) =
        (IpcStore::connect_with(&config).unwrap(), Principal::new("alice").unwrap());
    let text = || Some(ShortText::new("x".repeat(ShortText::MAX_BYTES)).unwrap());
    let timeout = Some(Limits::LONGEST_TTL);
    let persistence = Some(Persistence::Persistent);
    let attributes = Attributes {
        idle_timeout: timeout,
        absolute_timeout: timeout,
        persistence,
        acr: text(),
        label: text(),
        ..Attributes::default()
    };
    let mut keys = BTreeSet::new();
    for at in 0..500 {
        let key = StoreKey::from_text(format!("{at:0>128}"));
        let age = Limits::LONGEST_AGE;
        let new = NewRecord::new(SECRET, Limits::LONGEST_TTL)
            .principal(alice.clone())
            .attributes(attributes.clone());
        let _ =
            client.create(&key, NewRecord { age, authenticated: Some(age), ..new }).await.unwrap();
        keys.insert(key);
    }
    let (listed, pages) = walk(&client, &alice, usize::MAX).await;
    assert_eq!((listed.len(), listed.into_iter().collect::<BTreeSet<_>>()), (500, keys.clone()));
    assert!((10..=20).contains(&pages), "{pages} pages");
    assert_eq!(walk(&client, &alice, 7).await.1, 72, "a lower limit applies");
    assert_eq!(client.list(&alice, None, 0).await.unwrap().sessions.len(), 1);
    assert_eq!(client.delete_all(&alice, keys.first()).await.unwrap(), 499);
    assert_eq!(walk(&client, &alice, 7).await.0, [keys.pop_first().unwrap()]);
}

async fn walk(client: &IpcStore, principal: &Principal, limit: usize) -> (Vec<StoreKey>, usize) {
    let (mut keys, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = client.list(principal, after, limit).await.unwrap();
        assert!(page.sessions.len() <= limit.max(1));
        keys.extend(page.sessions.into_iter().map(|summary| summary.key));
        (pages, after) = (pages + 1, page.next);
        if after.is_none() {
            return (keys, pages);
        }
    }
}

#[tokio::test]
async fn delete_everyone_ends_ten_thousand_sessions_a_page() {
    let memory = Arc::new(MemoryStore::new());
    for _ in 0..25_000 {
        let _ = memory.create(&key(), NewRecord::new(SECRET, LONG)).await.unwrap();
    }
    let served = Served::store(memory.clone(), |builder| builder);
    let (client, mut after, mut ended) = (served.client(), None, 0);
    for last in [false, false, true] {
        let page = client.delete_everyone(after, usize::MAX).await.unwrap();
        assert!(page.ended <= 10_000 && page.next.is_none() == last, "{page:?}");
        (after, ended) = (page.next, ended + page.ended);
    }
    assert_eq!((ended, memory.held_sessions()), (25_000, 0));
}

#[tokio::test]
async fn foreign_cursor_fails_only_that_call() {
    let served = Served::memory();
    let client = served.client();
    for text in ["another store's".to_owned(), "x".repeat(2 << 20)] {
        let cursor = || Some(Cursor::new(text.clone()));
        assert!(matches!(
            client.list(&Principal::new("alice").unwrap(), cursor(), 1).await,
            Err(StoreError::Other { .. })
        ));
        assert!(matches!(client.delete_everyone(cursor(), 1).await, Err(StoreError::Other { .. })));
        assert!(matches!(client.scan(cursor(), 1).await, Err(StoreError::Other { .. })));
    }
    client.ping().await.unwrap();
}

#[tokio::test]
async fn c50_owner_full_of_visitors_still_admits_users() {
    let memory = Arc::new(MemoryStore::builder().max_sessions(100).build());
    let served = Served::store(memory, |builder| builder);
    let client = served.client();
    let mut visitors = Vec::new();
    while let Ok(created) = client.create(&key(), NewRecord::new(SECRET, LONG)).await {
        assert_eq!(created, session_core::Created::New);
        visitors.push(());
        assert!(visitors.len() <= 80, "20 % are reserved for users by default");
    }
    assert_eq!(visitors.len(), 80);
    let full = |answer| match answer {
        Err(StoreError::Rejected(Rejection::Full { store, what })) => (store, what),
        other => panic!("{other:?}"),
    };
    let (store, what) = full(client.create(&key(), NewRecord::new(SECRET, LONG)).await);
    assert_eq!((&*store, &*what), ("memory", "max_sessions for sessions without a principal = 80"));
    let alice = || Principal::new("alice").unwrap();
    for _ in 0..20 {
        let _ =
            client.create(&key(), NewRecord::new(SECRET, LONG).principal(alice())).await.unwrap();
    }
    assert_eq!(
        full(client.create(&key(), NewRecord::new(SECRET, LONG).principal(alice())).await).1,
        "max_sessions = 100".into()
    );
}

/// A sign-in needs no new record, and its place in the share of the visitors becomes free.
#[tokio::test]
async fn c50_visitor_signs_in_at_a_full_owner() {
    let memory = Arc::new(MemoryStore::builder().max_sessions(100).reserved_percent(40).build());
    let served = Served::store(memory, |builder| builder);
    let (client, visitor) = (served.client(), key());
    let _ = client.create(&visitor, NewRecord::new(SECRET, LONG)).await.unwrap();
    for _ in 1..60 {
        let _ = client.create(&key(), NewRecord::new(SECRET, LONG)).await.unwrap();
    }
    assert!(
        client.create(&key(), NewRecord::new(SECRET, LONG)).await.is_err(),
        "40 % are reserved"
    );
    let rotation = Rotation { secret: SecretHash::from_bytes([8; 32]), generation: 1, grace: None };
    let sign_in = Commit::new(SECRET)
        .principal(PrincipalChange::Set(Principal::new("alice").unwrap()))
        .rotate(rotation);
    assert!(matches!(client.commit(&visitor, sign_in).await.unwrap(), Outcome::Done(_)));
    let _ = client.create(&key(), NewRecord::new(SECRET, LONG)).await.unwrap();
}

#[tokio::test]
async fn scan_pages_of_big_records_fit_a_frame() {
    let served = Served::memory();
    let client = served.client();
    let mut keys = BTreeSet::new();
    for _ in 0..150 {
        let key = key();
        let _ = client.create(&key, record(60_000)).await.unwrap();
        keys.insert(key);
    }
    let (mut visited, mut after, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = client.scan(after, 1_000).await.unwrap();
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        pages += 1;
        assert!(pages < 1_000, "the scan did not end");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(visited, keys);
    assert!(pages >= 9, "{pages} pages of at most 1 MiB cannot hold 9 MB");
}

#[tokio::test]
async fn record_of_many_tiny_values_fits_a_frame() {
    let served = Served::memory();
    let (client, key) = (served.client(), key());
    // More values than 64 KiB of data allow: names of at most four bytes and texts of one byte.
    let names = (0..16_000)
        .map(|at| (Name::new(format!("{at:x}")).unwrap(), session_core::Json::integer(1)));
    let new = NewRecord::new(SECRET, LONG).data(names.collect());
    assert!(new.check(&key, &Limits { data_bytes: 90_000 }).is_ok());
    let served_more = Served::store(
        Arc::new(MemoryStore::builder().limits(Limits { data_bytes: 90_000 }).build()),
        |builder| builder,
    );
    let config = Config::new(served_more.path()).limits(Limits { data_bytes: 90_000 });
    let larger = IpcStore::connect_with(&config).unwrap();
    let _ = larger.create(&key, new.clone()).await.unwrap();
    assert_eq!(larger.load(&key).await.unwrap().unwrap().into_record().data, new.data);
    assert!(matches!(
        client.create(&key, new).await,
        Err(StoreError::Rejected(Rejection::DataTooLarge { limit: 65_536, .. }))
    ));
}

#[tokio::test]
async fn request_over_the_frame_limit_is_rejected_unsent() {
    let served = Served::memory();
    let config =
        Config::new(served.path()).frame_bytes(number(16_384)).limits(Limits { data_bytes: 4_096 });
    let (client, key) = (IpcStore::connect_with(&config).unwrap(), key());
    let _ = client.create(&key, NewRecord::new(SECRET, LONG)).await.unwrap();
    // Removals carry no data, so only the frame limit stops them.
    let removals = (0..2_000).fold(Commit::new(SECRET), |commit, at| {
        commit.change(Name::new(format!("name-{at}")).unwrap(), Change::Remove)
    });
    let before = served.owner.stats().requests;
    assert!(matches!(
        client.commit(&key, removals).await,
        Err(StoreError::Rejected(Rejection::DataTooLarge { limit: 16_384, .. }))
    ));
    assert_eq!(served.owner.stats().requests, before);
    client.ping().await.unwrap();
}

#[tokio::test]
async fn reply_over_the_frame_limit_is_an_error_with_a_remedy() {
    let served =
        Served::store(Arc::new(MemoryStore::new()), |builder| builder.frame_bytes(number(100_000)));
    let small =
        Config::new(served.path()).frame_bytes(number(16_384)).limits(Limits { data_bytes: 4_096 });
    let (large, small, key) = (served.client(), IpcStore::connect_with(&small).unwrap(), key());
    let _ = large.create(&key, record(60_000)).await.unwrap();
    match small.load(&key).await {
        Err(error @ StoreError::Other { .. }) => {
            assert!(chain(&error).contains("raise frame_bytes"), "{}", chain(&error));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(small.scan(None, 10).await, Err(StoreError::Other { .. })));
    small.ping().await.unwrap();
    assert!(large.load(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn store_works_from_many_runtimes_and_outlives_the_first() {
    let served = Served::memory();
    let client = stream_client(&served.owner);
    for _ in 0..5 {
        // The runtime of the I/O task ends each time.
        on_another_runtime(async { client.ping().await.unwrap() });
    }
    client.ping().await.unwrap();
    assert_eq!(served.owner.stats().connections, 1);
}

#[test]
fn waiting_call_gets_its_reply_after_the_io_runtime_ends() {
    let gate = Gate::closed();
    let owner = Owner::builder(gate.clone()).build().unwrap().spawn_thread().unwrap();
    let client = stream_client(&owner);
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    first.block_on(client.ping()).unwrap();
    let load = second.spawn({
        let client = client.clone();
        async move { client.load(&key()).await }
    });
    second.block_on(gate.reached(1));
    drop(first);
    gate.open();
    assert_eq!(second.block_on(load).unwrap().unwrap(), None);
}

#[tokio::test]
async fn four_clients_lose_no_add() {
    let served = Served::memory();
    let (key, name) = (key(), Name::new("count").unwrap());
    let _ = served.client().create(&key, NewRecord::new(SECRET, LONG)).await.unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = served.client();
                on_another_runtime(async {
                    for _ in 0..500 {
                        let _ = client
                            .commit(&key, Commit::new(SECRET).change(name.clone(), Change::Add(1)))
                            .await
                            .unwrap();
                    }
                });
            });
        }
    });
    let record = served.client().load(&key).await.unwrap().unwrap().into_record();
    assert_eq!(record.data.get("count").unwrap().as_integer(), Some(2_000));
}
