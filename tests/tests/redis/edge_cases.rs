//! Edge cases: very large commits, very short sessions, runtimes that end.

use std::time::Duration;

use redis::from_redis_value;
use session_core::{Change, Limits, Outcome, SessionStore};
use store_redis::{Config, RedisStore};
use tests::service::Redis;

use crate::session::{Session, connect, is_done, loaded, name, principal};

/// The answer of a script must not exceed Lua's stack. Otherwise the script would fail after its
/// writes.
#[tokio::test]
async fn c09_commit_of_thousands_of_adds_is_atomic() {
    const ADDS: usize = 9_000;
    let Some(redis) = Redis::start().await else { return };
    let config = Config::new(&redis.url()).expect("a URL").limits(Limits { data_bytes: 1 << 20 });
    let store = RedisStore::connect(&config).await.expect("a server to connect to");
    let session = Session::anonymous(&store).await;
    let commit = (0..ADDS)
        .fold(session.commit(), |commit, n| commit.change(name(&format!("n{n}")), Change::Add(2)));
    let Outcome::Done(done) = store.commit(&session.key, commit).await.expect("an answer") else {
        panic!("the session is live")
    };
    assert_eq!(
        (done.version, done.added.len(), done.added.values().all(|sum| *sum == 2)),
        (2, ADDS, true)
    );
    assert_eq!(loaded(&store, &session.key).await.data.len(), ADDS);
}

/// A user signs in often and is never listed. The index has about as many expired entries as live
/// ones at most.
#[tokio::test]
async fn c33_index_without_lists_stays_small() {
    const LASTING: usize = 4;
    let Some(redis) = Redis::start().await else { return };
    let store = connect(&redis.url()).await;
    // These sessions keep the index, which otherwise ends with its last session.
    for _ in 0..LASTING {
        let _ = Session::signed_in(&store, "bob").await;
    }
    for _ in 0..300 {
        let brief = Session::new();
        let mut record = brief.record().principal(principal("bob"));
        record.ttl = Duration::from_millis(1);
        let _ = store.create(&brief.key, record).await.expect("a new session");
    }
    let held: usize = from_redis_value(
        redis.command(&["ZCARD", "session:u}bob"]).await.expect("the server answers"),
    )
    .expect("a number");
    assert!((LASTING..LASTING + 30).contains(&held), "{held} entries of {LASTING} live sessions");
    assert_eq!(crate::session::listed(&store, "bob").await.len(), LASTING);
}

/// A store works after the end of the runtime that opened its connection.
#[test]
fn store_reconnects_after_the_end_of_its_runtime() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let servers = runtime();
    let Some(redis) = servers.block_on(Redis::start()) else { return };
    let store = RedisStore::new(&Config::new(&redis.url()).expect("a URL")).expect("settings");
    let session = Session::new();
    let created = runtime().block_on(store.create(&session.key, session.record()));
    assert!(created.is_ok(), "{created:?}");
    for _ in 0..5 {
        let changed = runtime().block_on(store.commit(&session.key, session.add("n", 1)));
        assert!(is_done(&changed), "{changed:?}");
    }
    // A container can only be stopped within a runtime.
    servers.block_on(async move { drop(redis) });
}
