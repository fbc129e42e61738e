//! Unresponsive servers: every call ends within its deadline, and the store recovers by itself.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use session_core::{Claim, SessionStore, StoreError};
use store_mongo::{Config, MongoStore};
use tests::{PATIENCE, service::Mongo, wait};
use tokio::task::JoinSet;

use crate::session::{Session, connect, principal, with};

/// The reserve beyond a deadline for a busy machine.
const GRACE: Duration = Duration::from_millis(400);

/// A session that is stored before the server freezes.
async fn stored(store: &MongoStore) -> Session {
    Session::signed_in(store, "bob").await
}

/// Checks that both stores recover soon after this event.
async fn recover(stores: [&MongoStore; 2], session: &Session, event: &str) {
    let begun = Instant::now();
    for store in stores {
        wait::until("the store to recover", PATIENCE, async || store.load(&session.key).await.ok())
            .await;
    }
    eprintln!("both stores recovered {:?} after {event}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Checks that every call ends within the deadline with a transient error, also many at once.
async fn every_call_ends(store: &MongoStore, session: &Session, deadline: Duration) {
    let mut calls = JoinSet::new();
    let mut slowest = Duration::ZERO;
    // More calls than a store has connections, so that some wait.
    for _ in 0..8 {
        macro_rules! spawn {
            ($what:literal, |$store:ident, $session:ident| $call:expr) => {{
                let ($store, $session) = (store.clone(), session.clone());
                calls.spawn(async move {
                    let begun = Instant::now();
                    let result: Result<(), StoreError> = $call.await.map(drop);
                    ($what, result, begun.elapsed())
                });
            }};
        }
        spawn!("create", |store, session| store.create(&session.rotated().key, session.record()));
        spawn!("load", |store, session| store.load(&session.key));
        spawn!("commit", |store, session| store.commit(&session.key, session.add("n", 1)));
        spawn!("an empty commit", |store, session| store.commit(&session.key, session.commit()));
        spawn!("delete", |store, _session| store.delete(&Session::new().key, Claim::Any));
        spawn!("delete with a generation", |store, _session| store
            .delete(&Session::new().key, Claim::Generation(1)));
        spawn!("list", |store, _session| store.list(&principal("bob"), None, 10));
        spawn!("delete_all", |store, _session| store
            .delete_all(&principal("user-without-sessions"), None));
        spawn!("delete_everyone", |store, _session| store.delete_everyone(None, 1));
        spawn!("scan", |store, _session| store.scan(None, 10));
        spawn!("delete_expired", |store, _session| store.delete_expired(10));
        spawn!("ping", |store, _session| store.ping());
    }
    while let Some(ended) = calls.join_next().await {
        let (what, result, took) = ended.expect("the task does not panic");
        let error = result.expect_err(what);
        assert!(error.is_transient(), "{what}: {error:?}");
        assert!(took < deadline + GRACE, "{what} took {took:?}: {error:?}");
        slowest = slowest.max(took);
    }
    // A call that waits for no other call.
    let begun = Instant::now();
    let refused = store.commit(&session.key, session.renew(&session.rotated())).await;
    assert!(refused.is_err_and(|error| error.is_transient()));
    eprintln!(
        "with a deadline of {deadline:?} the slowest of 96 calls took {slowest:?}, \
         a single call {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < deadline + GRACE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_calls_end_in_time_while_the_server_hangs_or_is_down() {
    let Some(mut mongo) = Mongo::start().await else { return };
    let deadline = Duration::from_millis(300);
    let store = connect(&with(&mongo.url(), "deadline_ms=300")).await;
    let session = stored(&store).await;
    // A store that has not connected yet.
    let unconnected =
        MongoStore::new(&Config::new(&with(&mongo.url(), "deadline_ms=300")).expect("a valid URL"))
            .expect("the settings are valid");
    ours!(mongo.freeze().await);
    every_call_ends(&store, &session, deadline).await;
    every_call_ends(&unconnected, &session, deadline).await;
    ours!(mongo.thaw().await);
    recover([&store, &unconnected], &session, "the thaw").await;
    ours!(mongo.stop().await);
    every_call_ends(&store, &session, deadline).await;
    every_call_ends(&unconnected, &session, deadline).await;
    ours!(mongo.start_again().await);
    recover([&store, &unconnected], &session, "the restart").await;
}

/// A listener that accepts connections and never responds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_calls_end_in_time_if_the_server_never_responds() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = silent.local_addr().expect("a bound socket has an address").port();
    let url = format!("mongodb://127.0.0.1:{port}/?deadline_ms=300");
    let begun = Instant::now();
    let store = connect(&url).await;
    assert!(
        begun.elapsed() < Duration::from_millis(300) + GRACE,
        "connect took {:?}",
        begun.elapsed()
    );
    every_call_ends(&store, &Session::new(), Duration::from_millis(300)).await;
}

/// The driver's pool serves cancelled waiters first, so calls must not wait in the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_64_callers_recover_soon_after_a_long_freeze() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };
    const CALLERS: usize = 64;
    const FREEZE: Duration = Duration::from_secs(8);
    let Some(mongo) = Mongo::start().await else { return };
    let keeper = connect(&mongo.url()).await;
    let mut sessions = Vec::new();
    for _ in 0..CALLERS {
        sessions.push(Session::anonymous(&keeper).await);
    }
    // The driver detects a hanging server 12 s after its last response and then clears its queue.
    // This freeze is shorter.
    let store = connect(&mongo.url()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let served: Arc<Vec<AtomicUsize>> =
        Arc::new((0..CALLERS).map(|_| AtomicUsize::new(0)).collect());
    let failed = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for (number, session) in sessions.into_iter().enumerate() {
        let (store, stop, served, failed) =
            (store.clone(), Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failed));
        callers.spawn(async move {
            while !stop.load(Relaxed) {
                let begun = Instant::now();
                let result = store.commit(&session.key, session.add("n", 1)).await;
                assert!(
                    begun.elapsed() < Duration::from_secs(2) + GRACE,
                    "the call took {:?}",
                    begun.elapsed()
                );
                match result {
                    Ok(_) => drop(served[number].fetch_add(1, Relaxed)),
                    Err(error) => {
                        assert!(error.is_transient(), "{error:?}");
                        failed.fetch_add(1, Relaxed);
                    }
                }
            }
        });
    }
    let all_served = async |times: usize| {
        let before: Vec<_> = served.iter().map(|served| served.load(Relaxed)).collect();
        wait::until_true("every caller to be served", PATIENCE, || {
            served
                .iter()
                .zip(&before)
                .all(|(served, before)| served.load(Relaxed) >= before + times)
        })
        .await;
    };
    all_served(1).await;
    assert_eq!(failed.load(Relaxed), 0, "no call fails before the freeze");
    ours!(mongo.freeze().await);
    tokio::time::sleep(FREEZE).await;
    let during = failed.load(Relaxed);
    ours!(mongo.thaw().await);
    let thawed = Instant::now();
    all_served(5).await;
    let recovery = thawed.elapsed();
    let after = failed.load(Relaxed) - during;
    all_served(5).await;
    stop.store(true, Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller failed an assertion");
    }
    eprintln!(
        "{CALLERS} callers, frozen for {FREEZE:?}: {during} calls failed during the freeze and \
         {after} after it; all callers were served {recovery:?} after the thaw"
    );
    assert!(during > CALLERS, "a freeze makes calls fail, otherwise the test proves nothing");
    assert!(
        recovery < Duration::from_secs(5),
        "the callers were served {recovery:?} after the thaw"
    );
}
