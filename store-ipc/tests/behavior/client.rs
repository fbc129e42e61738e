//! Calls: how many, how long, how large, from where.

use std::{collections::BTreeSet, num::NonZeroUsize, os::unix::net::UnixStream, sync::Arc, time::Duration};

use session_core::{Change, Commit, Limits, MemoryStore, Name, NewRecord, Principal, Rejection, SessionStore, StoreError, StoreKey};
use store_ipc::{Config, IpcStore, Owner};

use super::{LONG, Served, chain, eventually, gate::Gate, key, on_another_runtime, record};

fn number(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

#[tokio::test]
async fn a_late_reply_of_an_abandoned_call_is_ignored() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let deadline = Duration::from_millis(50);
    let client = IpcStore::connect_with(&Config::new(served.path()).deadline(deadline)).unwrap();
    let (mine, other) = (key(), key());
    let _ = client.create(&mine, record(10)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(client.load(&mine).await, Err(StoreError::Timeout { store: "ipc", after }) if after == deadline));
    }
    gate.open();
    // The late replies hold a record; whoever took one for its own would see it here.
    for _ in 0..100 {
        assert_eq!(client.load(&other).await.unwrap(), None);
    }
    assert!(client.load(&mine).await.unwrap().is_some());
    assert_eq!(served.owner.stats().connections, 1, "it is still the first connection");
}

#[tokio::test]
async fn a_store_that_panics_fails_that_call_alone() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let (ours, theirs) = UnixStream::pair().unwrap();
    served.owner.serve(theirs).unwrap();
    let client = IpcStore::from_stream(ours).unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.load(&key()).await }
    });
    gate.reached(1).await;
    // At its first poll, and later, after it waited.
    panicked(client.delete(&key()).await);
    let listing = tokio::spawn({
        let client = client.clone();
        async move { client.list(&Principal::new("alice").unwrap()).await }
    });
    eventually("the list at the gate", || served.owner.stats().requests == 3).await;
    gate.open();
    panicked(listing.await.unwrap());
    assert_eq!(waiting.await.unwrap().unwrap(), None);
    client.ping().await.unwrap();
}

#[track_caller]
fn panicked<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    match answer {
        Err(error @ StoreError::Other { .. }) => {
            assert!(chain(&error).ends_with("the owner's wrapped store says: it panicked"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_connects_needs_a_path() {
    let refused = IpcStore::connect_with(&Config::new("")).unwrap_err();
    assert_eq!(refused.to_string(), r#"path cannot be ""; use an owner's socket, such as /run/app/sessions.sock"#);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(IpcStore::from_stream_with(ours, &Config::new("")).is_ok());
}

#[tokio::test]
async fn c41_dropped_calls_give_their_turn_back() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client = IpcStore::connect_with(&Config::new(served.path()).max_in_flight(number(4))).unwrap();
    for round in 1..=50 {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let client = client.clone();
                    async move { client.load(&key()).await }
                })
            })
            .collect();
        gate.reached(4 * round).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        for call in calls {
            assert!(call.await.unwrap_err().is_cancelled());
        }
    }
    client.ping().await.unwrap();
    gate.open();
    assert_eq!(client.load(&key()).await.unwrap(), None);
}

#[tokio::test]
async fn calls_over_the_cap_in_flight_wait_for_their_turn() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder);
    let client = IpcStore::connect_with(&Config::new(served.path()).max_in_flight(number(4)).deadline(Duration::from_secs(10))).unwrap();
    let calls: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.load(&key()).await }
            })
        })
        .collect();
    gate.reached(4).await;
    // Nothing more can come: the four that are there hold every turn.
    assert_eq!(served.owner.stats().requests, 4);
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn an_owner_takes_no_more_calls_of_a_client_than_its_cap() {
    let gate = Gate::closed();
    let served = Served::store(gate.clone(), |builder| builder.max_in_flight(number(8)));
    let (client, other) = (served.client(), served.client());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.load(&key()).await }
            })
        })
        .collect();
    gate.reached(8).await;
    for _ in 0..100 {
        other.ping().await.unwrap();
    }
    assert_eq!(served.owner.stats().requests, 108);
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn a_list_of_20_000_sessions_arrives_whole() {
    let served = Served::memory();
    let client = IpcStore::connect_with(&Config::new(served.path()).deadline(Duration::from_secs(20))).unwrap();
    let alice = Principal::new("alice").unwrap();
    let mut keys = BTreeSet::new();
    for _ in 0..200 {
        let batch: Vec<StoreKey> = (0..100).map(|_| key()).collect();
        let creates = batch.iter().map(|key| client.create(key, NewRecord::new(LONG).principal(alice.clone())));
        for created in futures_util::future::join_all(creates).await {
            let _ = created.unwrap();
        }
        keys.extend(batch);
    }
    let listed = client.list(&alice).await.unwrap();
    assert_eq!(listed.len(), 20_000);
    assert_eq!(listed.into_iter().map(|listed| listed.key).collect::<BTreeSet<_>>(), keys);
    assert_eq!(client.delete_all(&alice, keys.first()).await.unwrap(), 19_999);
    assert_eq!(client.list(&alice).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_scan_of_big_records_comes_in_pages_that_fit() {
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
        assert!(pages < 1_000, "the scan does not end");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(visited, keys);
    assert!(pages >= 9, "{pages} pages of at most 1 MiB cannot hold 9 MB");
}

#[tokio::test]
async fn a_record_of_many_tiny_values_fits_a_frame() {
    let served = Served::memory();
    let (client, key) = (served.client(), key());
    // The most values that 64 KiB allow: names of two to three bytes and texts of one.
    let names = (0..16_000).map(|at| (Name::new(format!("{at:x}")).unwrap(), session_core::Json::integer(1)));
    let new = NewRecord::new(LONG).data(names.collect());
    assert!(new.check(&key, &Limits { data_bytes: 90_000 }).is_ok());
    let served_more = Served::store(Arc::new(MemoryStore::builder().limits(Limits { data_bytes: 90_000 }).build()), |builder| builder);
    let config = Config::new(served_more.path()).limits(Limits { data_bytes: 90_000 });
    let larger = IpcStore::connect_with(&config).unwrap();
    let _ = larger.create(&key, new.clone()).await.unwrap();
    assert_eq!(larger.load(&key).await.unwrap().unwrap().data, new.data);
    assert!(matches!(client.create(&key, new).await, Err(StoreError::Rejected(Rejection::DataTooLarge { limit: 65_536, .. }))));
}

#[tokio::test]
async fn a_request_over_the_frame_cap_is_rejected_and_sent_to_nobody() {
    let served = Served::memory();
    let config = Config::new(served.path()).frame_bytes(number(16_384)).limits(Limits { data_bytes: 4_096 });
    let (client, key) = (IpcStore::connect_with(&config).unwrap(), key());
    let _ = client.create(&key, NewRecord::new(LONG)).await.unwrap();
    // Removals bring no data, so that only the frame's cap stops them.
    let removals = (0..2_000).fold(Commit::new(), |commit, at| commit.change(Name::new(format!("name-{at}")).unwrap(), Change::Remove));
    let before = served.owner.stats().requests;
    assert!(matches!(client.commit(&key, removals).await, Err(StoreError::Rejected(Rejection::DataTooLarge { limit: 16_384, .. }))));
    assert_eq!(served.owner.stats().requests, before);
    client.ping().await.unwrap();
}

#[tokio::test]
async fn a_reply_over_the_frame_cap_is_an_error_that_says_what_would_do() {
    let served = Served::store(Arc::new(MemoryStore::new()), |builder| builder.frame_bytes(number(100_000)));
    let small = Config::new(served.path()).frame_bytes(number(16_384)).limits(Limits { data_bytes: 4_096 });
    let (large, small, key) = (served.client(), IpcStore::connect_with(&small).unwrap(), key());
    let _ = large.create(&key, record(60_000)).await.unwrap();
    match small.load(&key).await {
        Err(error @ StoreError::Other { .. }) => assert!(chain(&error).contains("raise frame_bytes"), "{}", chain(&error)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(small.scan(None, 10).await, Err(StoreError::Other { .. })));
    small.ping().await.unwrap();
    assert!(large.load(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_is_used_from_many_runtimes_and_outlives_the_first() {
    let served = Served::memory();
    let (ours, theirs) = UnixStream::pair().unwrap();
    served.owner.serve(theirs).unwrap();
    let client = IpcStore::from_stream(ours).unwrap();
    for _ in 0..5 {
        // The runtime of the I/O task ends each time.
        on_another_runtime(async { client.ping().await.unwrap() });
    }
    client.ping().await.unwrap();
    assert_eq!(served.owner.stats().connections, 1);
}

#[test]
fn a_call_that_waits_when_the_io_runtime_ends_gets_its_reply() {
    let gate = Gate::closed();
    let owner = Owner::builder(gate.clone()).build().unwrap().spawn_thread().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    owner.serve(theirs).unwrap();
    let client = IpcStore::from_stream(ours).unwrap();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
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
async fn four_clients_add_without_losing_one() {
    let served = Served::memory();
    let (key, name) = (key(), Name::new("count").unwrap());
    let _ = served.client().create(&key, NewRecord::new(LONG)).await.unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = served.client();
                on_another_runtime(async {
                    for _ in 0..500 {
                        let _ = client.commit(&key, Commit::new().change(name.clone(), Change::Add(1))).await.unwrap();
                    }
                });
            });
        }
    });
    let record = served.client().load(&key).await.unwrap().unwrap();
    assert_eq!(record.data.get("count").unwrap().as_integer(), Some(2_000));
}
