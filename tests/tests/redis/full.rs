//! Full servers: `maxmemory` is reached, and the policy is `noeviction`.

use std::time::Duration;

use redis::from_redis_value;
use session_core::{
    Change, Claim, Created, Data, Deleted, Json, Outcome, PrincipalChange, Rejection, Rotation,
    SessionStore, StoreError,
};
use store_redis::RedisStore;
use tests::{
    Demo, PATIENCE,
    service::{AnyRedis, Redis, RedisCluster},
    wait,
};

use crate::session::{LONG, Session, connect, hash, is_done, listed, loaded, name, principal};

/// Fills a server: reduces `maxmemory` below the memory in use.
async fn fill(server: &AnyRedis) {
    server.ask_all(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    // Below the memory in use, so that a freed buffer does not make room.
    server.ask_all(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    wait::until("every server to be full", PATIENCE, async || {
        let answers = server.try_all(&["SET", "filler", &"x".repeat(100_000)]).await;
        answers
            .into_iter()
            .all(|answer| {
                answer.is_err_and(|error| {
                    error.code() == Some("OOM") || error.code() == Some("MOVED")
                })
            })
            .then_some(())
    })
    .await;
}

async fn make_room(server: &AnyRedis) {
    server.ask_all(&["CONFIG", "SET", "maxmemory", "0"]).await;
}

fn is_full<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Rejected(Rejection::Full { .. })))
}

/// The stored fields of a session and the time at which its key expires.
async fn stored(server: &AnyRedis, session: &Session) -> (Vec<(Vec<u8>, Vec<u8>)>, u64) {
    let hash = hash(session, "session:");
    let fields: Vec<Vec<u8>> =
        from_redis_value(server.ask(&["HGETALL", &hash]).await).expect("bytes");
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
        fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    fields.sort();
    let due = from_redis_value(server.ask(&["PEXPIRETIME", &hash]).await).expect("a time");
    (fields, due)
}

/// Creates a session with values of known sizes.
async fn created(store: &RedisStore, user: Option<&str>) -> Session {
    let session = Session::new();
    let mut new = session.record().data(Data::from(vec![
        (name("a"), Json::from_text("\"0123456789\"").expect("JSON")),
        (name("b"), Json::from_text("\"0123456789\"").expect("JSON")),
        (name("n"), Json::integer(5)),
    ]));
    if let Some(user) = user {
        new = new.principal(principal(user));
    }
    assert_eq!(store.create(&session.key, new).await.expect("a new session"), Created::New);
    session
}

fn rotation(of: &Session, grace: Option<Duration>) -> Rotation {
    let next = of.rotated();
    Rotation { secret: next.secret, generation: next.id.generation(), grace }
}

/// The README: a change that does not make a record larger works. Any other change is rejected and
/// changes nothing.
async fn only_growth_is_rejected(server: &AnyRedis, url: &str) {
    let store = connect(url).await;
    // Scripts, connections and indexes exist before the server is full.
    let (anonymous, bobs, carols, mut renewed, signing, growing) = (
        created(&store, None).await,
        created(&store, Some("bob")).await,
        created(&store, Some("carol")).await,
        created(&store, Some("dave")).await,
        created(&store, None).await,
        created(&store, Some("erin")).await,
    );
    fill(server).await;

    let new = Session::new();
    let refused = store.create(&new.key, new.record().principal(principal("bob"))).await;
    assert!(is_full(&refused), "a create: {refused:?}");
    assert!(store.load(&new.key).await.expect("reads work").is_none());

    let before = stored(server, &growing).await;
    let long = format!("\"{}\"", "y".repeat(200));
    for (what, commit) in [
        ("a longer value", growing.set("a", &long)),
        ("a new value", growing.set("c", "1")),
        (
            "a longer value and a smaller removal",
            growing.set("a", &long).change(name("b"), Change::Remove),
        ),
        ("a longer value with a longer ttl", growing.set("a", &long).ttl(LONG * 2)),
        ("a larger record after a clear", growing.set("a", &long).clear()),
        ("a sum with a digit more", growing.add("n", 5)),
        (
            "a longer value with a new secret",
            growing.set("a", &long).rotate(rotation(&growing, None)),
        ),
    ] {
        let result = store.commit(&growing.key, commit).await;
        assert!(is_full(&result), "{what}: {result:?}");
        assert_eq!(
            stored(server, &growing).await,
            before,
            "{what}: the rejected commit changes nothing"
        );
    }

    for session in [&anonymous, &carols] {
        for (what, commit) in [
            ("a value of the same length", session.set("a", "\"9876543210\"")),
            ("a shorter value", session.set("a", "\"9\"")),
            ("a sum of as many digits", session.add("n", 1)),
            ("a removal", session.commit().change(name("b"), Change::Remove)),
            ("a longer ttl", session.commit().ttl(LONG * 2)),
            ("a smaller record after a clear", session.set("a", "1").clear()),
            ("an empty record", session.commit().clear()),
            ("no principal", session.commit().principal(PrincipalChange::Unset)),
        ] {
            let result = store.commit(&session.key, commit).await;
            assert!(is_done(&result), "{what}: {result:?}");
        }
    }
    assert!(listed(&store, "carol").await.is_empty());

    for grace in [None, Some(Duration::from_secs(10))] {
        let result = store
            .commit(&renewed.key, renewed.commit().rotate(rotation(&renewed, grace)).ttl(LONG))
            .await;
        assert!(is_done(&result), "a rotation: {result:?}");
        renewed = renewed.rotated();
        let stored = loaded(&store, &renewed.key).await;
        renewed.secret = stored.secret;
    }
    assert_eq!(listed(&store, "dave").await.len(), 1, "the index keeps the session");
    let result = store.commit(&signing.key, signing.sign_in("frank", &signing.rotated())).await;
    assert!(is_done(&result), "a sign-in: {result:?}");
    assert_eq!(listed(&store, "frank").await.len(), 1, "the index has the new session");

    assert_eq!(
        store.delete(&anonymous.key, Claim::Any).await.expect("deletes work"),
        Deleted::Ended
    );
    assert_eq!(
        store.delete(&anonymous.key, Claim::Any).await.expect("deletes work"),
        Deleted::Missing
    );
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("deletes work"), 1);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("deletes work"), 0);
    assert!(store.load(&bobs.key).await.expect("reads work").is_none());
    assert!(store.load(&renewed.key).await.expect("reads work").is_some());

    make_room(server).await;
    assert_eq!(
        store.create(&new.key, new.record()).await.expect("the server has memory again"),
        Created::New
    );
    assert!(
        is_done(&store.commit(&growing.key, growing.set("a", &long)).await),
        "the server has memory again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_server_rejects_only_larger_records() {
    let Some(server) = AnyRedis::server_with(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    only_growth_is_rejected(&server, &server.url("connections=1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_cluster_rejects_only_larger_records() {
    let Some(cluster) = RedisCluster::start_with(&["--maxmemory-policy", "noeviction"]).await
    else {
        return;
    };
    let server = AnyRedis::Cluster(cluster);
    only_growth_is_rejected(&server, &server.url("connections=1")).await;
}

/// With `wait_replicas` a delete of a missing session has to write something, even on a full
/// server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_that_wait_for_replicas_need_no_memory() {
    let Some(cluster) = RedisCluster::start_with(&["--maxmemory-policy", "noeviction"]).await
    else {
        return;
    };
    let server = AnyRedis::Cluster(cluster);
    deletes_need_no_memory(&server, &server.url("wait_replicas=1")).await;
    // One server without replicas: the deletes are made, and the calls fail for lack of replicas.
    let Some(server) = AnyRedis::server_with(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    deletes_need_no_memory(&server, &server.url("wait_replicas=1&wait_ms=20")).await;
}

async fn deletes_need_no_memory(server: &AnyRedis, url: &str) {
    // A sign-in would wait for replicas as well, so another store creates the sessions.
    let maker = connect(&server.url("")).await;
    let session = Session::signed_in(&maker, "bob").await;
    let renewed = Session::signed_in(&maker, "carol").await;
    let store = connect(url).await;
    fill(server).await;
    for round in 0..2 {
        for result in [
            store.delete(&session.key, Claim::Any).await.map(drop),
            store.delete_all(&principal("bob"), None).await.map(drop),
            store.delete_all(&principal("nobody"), None).await.map(drop),
            store.commit(&renewed.key, renewed.renew(&renewed.rotated())).await.map(drop),
        ] {
            assert!(!is_full(&result), "round {round}: {result:?}");
        }
    }
    assert_eq!(store.load(&session.key).await.expect("reads work"), None);
    assert_eq!(
        store.commit(&session.key, session.set("a", "1")).await.expect("an answer"),
        Outcome::Gone
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_server_gives_503_and_a_log_line() {
    let Some(redis) = Redis::start_with(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    let demo =
        Demo::start(&["--store", "redis", "--store-url", &redis.url(), "--workers", "2"]).await;
    let mut bob = demo.signed_in("bob").await;
    let _ = bob.insert("theme", "\"dark\"").await.expect(204);
    let server = AnyRedis::Server(redis);
    fill(&server).await;
    let cookie = bob.cookie().to_owned();
    let refused = demo.browser().insert("theme", "\"dark\"").await.expect(503);
    assert!(refused.set_cookie().is_none(), "a rejected session sets no cookie");
    let refused = bob.insert("more", &format!("\"{}\"", "y".repeat(500))).await.expect(503);
    assert!(refused.set_cookie().is_none());
    assert_eq!(bob.cookie(), cookie);
    let _ = bob.insert("theme", "\"grey\"").await.expect(204);
    assert_eq!(bob.page().await.value("theme"), Some(&"grey".into()));
    let _ = bob.post("/renew").await.expect(204);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    let _ = bob.post("/logout").await.expect(204);
    assert!(!bob.has_cookie());
    let log = demo.output();
    assert!(log.contains("the redis store is full (maxmemory)"), "{log}");
}
