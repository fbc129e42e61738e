//! Servers and networks that fall silent without a word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use session_core::{NewRecord, SessionId, SessionStore};
use store_redis::{Config, RedisStore};
use tests::{PATIENCE, service::Redis, wait};
use tokio::task::JoinSet;

use crate::network::Network;

/// A call begins this often, whatever became of those before it, as visitors come.
const EVERY: Duration = Duration::from_millis(10);

/// Making a connection takes several round trips. Calls that have waited through a silence have little time left, and behind each of them is
/// another one like it: the connection has to outlive who asked for it, or there never is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_long_queue_of_impatient_calls_gets_its_connection_after_a_silence() {
    let Some(redis) = Redis::start().await else { return };
    let network = Network::to(ours!(redis.port()), Duration::from_millis(40)).await;
    let url = format!("redis://{}?deadline_ms=1000&connections=1", network.address);
    let store = RedisStore::connect(&Config::new(&url).expect("a URL")).await.expect("a server to connect to");
    let key = SessionId::random().expect("random bytes").store_key();
    let _ = store.create(&key, NewRecord::new(Duration::from_secs(60))).await.expect("an answer");

    let answered = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(AtomicUsize::new(0));
    let calls = tokio::spawn({
        let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
        async move {
            let mut clock = tokio::time::interval(EVERY);
            let mut calls = JoinSet::new();
            loop {
                clock.tick().await;
                let (store, key, answered, failed) = (store.clone(), key.clone(), Arc::clone(&answered), Arc::clone(&failed));
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
    wait::until_true("a queue of calls that were refused one after the other", PATIENCE, || failed.load(Relaxed) > 150).await;
    network.recover();
    let (recovered, before) = (Instant::now(), answered.load(Relaxed));
    wait::until_true("calls to be answered again", PATIENCE, || answered.load(Relaxed) > before + 50).await;
    eprintln!("one call every {EVERY:?}: answered again {:?} after the silence", recovered.elapsed());
    calls.abort();
    assert!(calls.await.is_err_and(|ended| ended.is_cancelled()), "no call met what may not be");
}
