//! Servers and networks that fall silent without a word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use session_core::SessionStore;
use store_redis::{Config, RedisStore};
use tests::{
    PATIENCE,
    service::{Redis, RedisCluster},
    wait,
};
use tokio::task::JoinSet;

use crate::{
    network::Network,
    session::{Session, connect, hash, with},
};

/// A call begins this often, whatever became of those before it, as visitors come.
const EVERY: Duration = Duration::from_millis(10);

/// Making a connection takes several round trips. Calls that have waited through a silence have
/// little time left, and behind each of them is another one like it: the connection has to outlive
/// who asked for it, or there never is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_long_queue_of_impatient_calls_gets_its_connection_after_a_silence() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::to(ours!(redis.port()), Duration::from_millis(40)).await;
    let url = format!("redis://{}?deadline_ms=1000&connections=1", network.address);
    let store = RedisStore::connect(&Config::new(&url).expect("a URL"))
        .await
        .expect("a server to connect to");
    let key = Session::anonymous(&store).await.key;

    let answered = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(AtomicUsize::new(0));
    let calls = tokio::spawn({
        let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
        async move {
            let mut clock = tokio::time::interval(EVERY);
            let mut calls = JoinSet::new();
            loop {
                clock.tick().await;
                let (store, key, answered, failed) =
                    (store.clone(), key.clone(), Arc::clone(&answered), Arc::clone(&failed));
                calls.spawn(async move {
                    match store.load(&key).await {
                        Ok(record) => {
                            assert!(record.is_some(), "a silence is no loss");
                            answered.fetch_add(1, Relaxed);
                        }
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            failed.fetch_add(1, Relaxed);
                        }
                    }
                });
                while let Some(ended) = calls.try_join_next() {
                    ended.expect("no call meets what may not be");
                }
            }
        }
    });
    wait::until_true("calls to be answered", PATIENCE, || answered.load(Relaxed) > 50).await;
    network.fall_silent();
    wait::until_true("a queue of calls that were refused one after the other", PATIENCE, || {
        failed.load(Relaxed) > 150
    })
    .await;
    network.recover();
    let (recovered, before) = (Instant::now(), answered.load(Relaxed));
    wait::until_true("calls to be answered again", PATIENCE, || {
        answered.load(Relaxed) > before + 50
    })
    .await;
    eprintln!(
        "one call every {EVERY:?}: answered again {:?} after the silence",
        recovered.elapsed()
    );
    calls.abort();
    assert!(calls.await.is_err_and(|ended| ended.is_cancelled()), "no call met what may not be");
}

/// The connection to a Cluster is one for all its nodes. That one node is silent takes nothing from
/// those who need the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_silent_node_of_a_cluster_holds_up_no_call_to_the_others() {
    // Without this the others stop serving as soon as they notice, which is their own doing.
    let Some(cluster) = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]).await
    else {
        return;
    };
    let store = connect(&with(&cluster.url(), "deadline_ms=1000&connections=1")).await;
    let (silent, others) = by_shard(&cluster, &store).await;
    ours!(cluster.freeze_primary(0).await);
    let frozen = Instant::now();
    let impatient = tokio::spawn({
        let store = store.clone();
        async move {
            // Calls that nobody answers, all the time, so that the connection is to be replaced.
            while frozen.elapsed() < Duration::from_secs(4) {
                let _ = store.load(&silent.key).await;
            }
        }
    });
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    while frozen.elapsed() < Duration::from_secs(4) {
        for session in &others {
            let begun = Instant::now();
            let record = store.load(&session.key).await;
            assert!(
                record.as_ref().is_ok_and(Option::is_some),
                "{:?} after the node fell silent: {record:?}",
                frozen.elapsed()
            );
            slowest = slowest.max(begun.elapsed());
            calls += 1;
        }
        tokio::time::sleep(EVERY).await;
    }
    impatient.await.expect("no panic");
    eprintln!("{calls} calls to the other nodes of a Cluster, the slowest took {slowest:?}");
    // None was refused. The driver holds its calls for a moment while it looks who serves what.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A session that the first primary keeps, and some that others do.
async fn by_shard(cluster: &RedisCluster, store: &RedisStore) -> (Session, Vec<Session>) {
    let first = cluster.primaries().await[0];
    let (mut here, mut elsewhere) = (None, Vec::new());
    while here.is_none() || elsewhere.len() < 4 {
        let session = Session::anonymous(store).await;
        // A node refuses to speak of a key that another one has.
        match cluster.command(first, &["EXISTS", &hash(&session, "session:")]).await {
            Ok(_) => here = Some(session),
            Err(_) => elsewhere.push(session),
        }
    }
    (here.expect("a session of the first primary"), elsewhere)
}
