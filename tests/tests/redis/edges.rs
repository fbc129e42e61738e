//! Sizes and lives at the edge of what a store is asked for.

use std::time::Duration;

use redis::Value;
use session_core::{Change, Commit, Limits, NewRecord, Outcome, SessionStore};
use store_redis::{Config, RedisStore};
use tests::{PATIENCE, service::Redis, wait};

use crate::session::{LONG, Session, add, connect, is_done, name, principal};

/// What a script answers with has to fit its stack, or it fails after everything is written.
#[tokio::test]
async fn c09_a_commit_of_thousands_of_adds_is_one_step() {
    const ADDS: usize = 9_000;
    let Some(redis) = Redis::start().await else { return };
    let config = Config::new(&redis.url()).expect("a URL").limits(Limits { data_bytes: 1 << 20 });
    let store = RedisStore::connect(&config).await.expect("a server to connect to");
    let session = Session::anonymous(&store).await;
    let commit = (0..ADDS).fold(Commit::new(), |commit, n| commit.change(name(&format!("n{n}")), Change::Add(2)));
    let Outcome::Done(done) = store.commit(&session.key, commit).await.expect("an answer") else { panic!("the session lives") };
    assert_eq!((done.version, done.added.len(), done.added.values().all(|sum| *sum == 2)), (2, ADDS, true));
    assert_eq!(store.load(&session.key).await.expect("an answer").expect("a live session").data.len(), ADDS);
}

/// A user who signs in day after day and is never listed leaves no trail.
#[tokio::test]
async fn c33_an_index_loses_what_is_over_without_being_read() {
    let Some(redis) = Redis::start().await else { return };
    let store = connect(&redis.url()).await;
    // With it the index itself lives on, which would otherwise end with its last session.
    let _lasting = Session::signed_in(&store, "bob").await;
    for _ in 0..50 {
        let brief = NewRecord::new(Duration::from_millis(50)).principal(principal("bob"));
        let _ = store.create(&Session::new().key, brief).await.expect("a new session");
    }
    let held = async || redis.command(&["ZCARD", "session:user:bob"]).await.expect("the server answers");
    wait::until("a sign-in to find the others over", PATIENCE, async || {
        let brief = NewRecord::new(Duration::from_millis(1)).principal(principal("bob"));
        let _ = store.create(&Session::new().key, brief).await.expect("a new session");
        (held().await == Value::Int(2)).then_some(())
    })
    .await;
}

/// A store outlives the runtimes that it is used from, as in a program with one for each test.
#[test]
fn a_store_goes_on_when_the_runtime_of_its_connection_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let servers = runtime();
    let Some(redis) = servers.block_on(Redis::start()) else { return };
    let store = RedisStore::new(&Config::new(&redis.url()).expect("a URL")).expect("settings");
    let session = Session::new();
    let created = runtime().block_on(store.create(&session.key, NewRecord::new(LONG)));
    assert!(created.is_ok(), "{created:?}");
    for _ in 0..5 {
        let changed = runtime().block_on(store.commit(&session.key, add("n", 1)));
        assert!(is_done(&changed), "{changed:?}");
    }
    // A container is let go within a runtime.
    servers.block_on(async move { drop(redis) });
}
