//! Servers and networks that fall silent without a word: every call ends in time, and the store
//! works again by itself.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use session_core::{Claim, SessionStore, StoreError};
use store_mongo::{Config, MongoStore};
use tests::{PATIENCE, service::Mongo, wait};
use tokio::task::JoinSet;

use crate::session::{Session, connect, principal, with};

/// What a busy machine needs beyond a deadline.
const GRACE: Duration = Duration::from_millis(400);

/// What is in the store before it falls silent.
async fn kept(store: &MongoStore) -> Session {
    Session::signed_in(store, "bob").await
}

/// Every call ends within the deadline, with an error that may pass. Many at once do, too.
async fn every_call_ends(store: &MongoStore, session: &Session, deadline: Duration) {
    let mut calls = JoinSet::new();
    let mut slowest = Duration::ZERO;
    // More than a store has connections, so that some wait for others.
    for _ in 0..8 {
        macro_rules! begin {
            ($what:literal, |$store:ident, $session:ident| $call:expr) => {{
                let ($store, $session) = (store.clone(), session.clone());
                calls.spawn(async move {
                    let begun = Instant::now();
                    let result: Result<(), StoreError> = $call.await.map(drop);
                    ($what, result, begun.elapsed())
                });
            }};
        }
        begin!("a creation", |store, session| store
            .create(&session.rotated().key, session.record()));
        begin!("a load", |store, session| store.load(&session.key));
        begin!("a commit", |store, session| store.commit(&session.key, session.add("n", 1)));
        begin!("an empty commit", |store, session| store.commit(&session.key, session.commit()));
        begin!("an end", |store, _session| store.delete(&Session::new().key, Claim::Any));
        begin!("an end by its claim", |store, _session| store
            .delete(&Session::new().key, Claim::Generation(1)));
        begin!("a list", |store, _session| store.list(&principal("bob"), None, 10));
        begin!("an end of all", |store, _session| store.delete_all(&principal("nobody"), None));
        begin!("an end of everyone", |store, _session| store.delete_everyone(None, 1));
        begin!("a scan", |store, _session| store.scan(None, 10));
        begin!("a purge", |store, _session| store.delete_expired(10));
        begin!("a ping", |store, _session| store.ping());
    }
    while let Some(ended) = calls.join_next().await {
        let (what, result, took) = ended.expect("no panic");
        let error = result.expect_err(what);
        assert!(error.is_transient(), "{what}: {error:?}");
        assert!(took < deadline + GRACE, "{what} ended only after {took:?}: {error:?}");
        slowest = slowest.max(took);
    }
    // One that waits for no other.
    let begun = Instant::now();
    let refused = store.commit(&session.key, session.renew(&session.rotated())).await;
    assert!(refused.is_err_and(|error| error.is_transient()));
    eprintln!(
        "with a deadline of {deadline:?} the slowest of 96 calls took {slowest:?}, one alone {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < deadline + GRACE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_every_call_ends_in_time_while_a_server_hangs_or_is_gone() {
    let Some(mut mongo) = Mongo::start().await else { return };
    let deadline = Duration::from_millis(300);
    let store = connect(&with(&mongo.url(), "deadline_ms=300")).await;
    let session = kept(&store).await;
    // One that has not been connected to it.
    let stranger =
        MongoStore::new(&Config::new(&with(&mongo.url(), "deadline_ms=300")).expect("a URL"))
            .expect("settings");
    ours!(mongo.freeze().await);
    every_call_ends(&store, &session, deadline).await;
    every_call_ends(&stranger, &session, deadline).await;
    ours!(mongo.thaw().await);
    let thawed = Instant::now();
    for store in [&store, &stranger] {
        wait::until("the store to be of use again", PATIENCE, async || {
            store.load(&session.key).await.ok()
        })
        .await;
    }
    eprintln!("both work again {:?} after the silence", thawed.elapsed());
    assert!(thawed.elapsed() < Duration::from_secs(3), "{:?}", thawed.elapsed());
    ours!(mongo.stop().await);
    every_call_ends(&store, &session, deadline).await;
    every_call_ends(&stranger, &session, deadline).await;
    ours!(mongo.start_again().await);
    let started = Instant::now();
    for store in [&store, &stranger] {
        wait::until("the store to be of use again", PATIENCE, async || {
            store.load(&session.key).await.ok()
        })
        .await;
    }
    eprintln!("both work again {:?} after the server", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// Something listens and takes connections, and never says a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_every_call_ends_in_time_before_what_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("a bound socket has an address").port();
    let url = format!("mongodb://127.0.0.1:{port}/?deadline_ms=300");
    let begun = Instant::now();
    let store = connect(&url).await;
    assert!(
        begun.elapsed() < Duration::from_millis(300) + GRACE,
        "it was opened only after {:?}",
        begun.elapsed()
    );
    every_call_ends(&store, &Session::new(), Duration::from_millis(300)).await;
}

/// The driver's pool serves who has given up before who still waits, so nobody may wait there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_sixty_four_callers_are_served_again_soon_after_a_long_silence() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };
    const CALLERS: usize = 64;
    const SILENCE: Duration = Duration::from_secs(8);
    let Some(mongo) = Mongo::start().await else { return };
    let keeper = connect(&mongo.url()).await;
    let mut sessions = Vec::new();
    for _ in 0..CALLERS {
        sessions.push(Session::anonymous(&keeper).await);
    }
    // The driver notices that its server hangs 12 s after it last heard of it, and clears its queue
    // then. This silence is over before.
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
                    "an answer only after {:?}",
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
    let everybody = async |times: usize| {
        let before: Vec<_> = served.iter().map(|served| served.load(Relaxed)).collect();
        wait::until_true("every caller to be served", PATIENCE, || {
            served
                .iter()
                .zip(&before)
                .all(|(served, before)| served.load(Relaxed) >= before + times)
        })
        .await;
    };
    everybody(1).await;
    assert_eq!(failed.load(Relaxed), 0, "nothing fails while nothing is wrong");
    ours!(mongo.freeze().await);
    tokio::time::sleep(SILENCE).await;
    let during = failed.load(Relaxed);
    ours!(mongo.thaw().await);
    let thawed = Instant::now();
    everybody(5).await;
    let recovery = thawed.elapsed();
    let after = failed.load(Relaxed) - during;
    everybody(5).await;
    stop.store(true, Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller met what may not be");
    }
    eprintln!(
        "{CALLERS} callers, {SILENCE:?} of silence: {during} calls failed in it and {after} after it; all served again {recovery:?} after"
    );
    assert!(during > CALLERS, "a silence is noticed, or the test tests nothing");
    assert!(recovery < Duration::from_secs(5), "all are served again only after {recovery:?}");
}
