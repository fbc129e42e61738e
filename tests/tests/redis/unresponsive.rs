//! Servers and networks that stop answering without closing connections.

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

/// The interval between the starts of calls. It does not depend on the earlier calls.
const EVERY: Duration = Duration::from_millis(10);

/// A connection takes several round trips. A call that waited through the silence has little time
/// left, and more such calls follow it. The attempt to connect must outlive the call that started
/// it. Otherwise no attempt would ever succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_long_queue_of_calls_gets_a_connection_after_a_silence() {
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
                            assert!(record.is_some(), "the session survives the silence");
                            answered.fetch_add(1, Relaxed);
                        }
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            failed.fetch_add(1, Relaxed);
                        }
                    }
                });
                while let Some(ended) = calls.try_join_next() {
                    ended.expect("each call succeeds or fails with a transient error");
                }
            }
        }
    });
    wait::until_true("calls to be answered", PATIENCE, || answered.load(Relaxed) > 50).await;
    network.fall_silent();
    wait::until_true("a queue of calls that fail one after the other", PATIENCE, || {
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
        "one call every {EVERY:?}: answers again {:?} after the silence",
        recovered.elapsed()
    );
    calls.abort();
    assert!(
        calls.await.is_err_and(|ended| ended.is_cancelled()),
        "each call succeeded or failed with a transient error"
    );
}

/// One connection object serves all nodes of a Cluster. A silent node does not delay calls to the
/// other nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_silent_cluster_node_does_not_delay_calls_to_others() {
    // With full coverage required, the other nodes would refuse all commands.
    let Some(cluster) = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]).await
    else {
        return;
    };
    let store = connect(&with(&cluster.url(), "deadline_ms=1000&connections=1")).await;
    let (silent, others) = by_shard(&cluster, &store).await;
    ours!(cluster.freeze_primary(0).await);
    let frozen = Instant::now();
    let unanswered = tokio::spawn({
        let store = store.clone();
        async move {
            // Unanswered calls all the time, so that the store replaces the connection.
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
    unanswered.await.expect("no panic");
    eprintln!("{calls} calls to the other nodes of a Cluster; the slowest took {slowest:?}");
    // No call failed. The driver delays calls for a moment while it reads the slots of the nodes.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A session on the first primary, and some on other primaries.
async fn by_shard(cluster: &RedisCluster, store: &RedisStore) -> (Session, Vec<Session>) {
    let first = cluster.primaries().await[0];
    let (mut first_session, mut others) = (None, Vec::new());
    while first_session.is_none() || others.len() < 4 {
        let session = Session::anonymous(store).await;
        // A node refuses commands for a key of another node.
        match cluster.command(first, &["EXISTS", &hash(&session, "session:")]).await {
            Ok(_) => first_session = Some(session),
            Err(_) => others.push(session),
        }
    }
    (first_session.expect("a session on the first primary"), others)
}
