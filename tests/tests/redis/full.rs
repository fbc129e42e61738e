//! A server that is full: `maxmemory` is reached, and nothing may be evicted.

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

use crate::session::{LONG, Session, connect, hash, is_done, listed, name, principal};

/// Uses up a server's memory: sets its cap to what it uses.
async fn fill(server: &AnyRedis) {
    server.ask_all(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    // Once more than what is in use now, lest a buffer that goes makes room.
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

/// Everything that is stored of a session: fields and time to live, as the server has them.
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

/// A session with values of known sizes.
async fn kept(store: &RedisStore, user: Option<&str>) -> Session {
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

/// The crate's page: whatever does not make a record larger goes on; what does is refused, and
/// changes nothing.
async fn goes_on_and_is_refused(server: &AnyRedis, url: &str) {
    let store = connect(url).await;
    // Scripts, connections and indexes are there before, as on a server that has run for a while.
    let (anonymous, bobs, carols, mut renewed, signing, growing) = (
        kept(&store, None).await,
        kept(&store, Some("bob")).await,
        kept(&store, Some("carol")).await,
        kept(&store, Some("dave")).await,
        kept(&store, None).await,
        kept(&store, Some("erin")).await,
    );
    fill(server).await;

    let new = Session::new();
    let refused = store.create(&new.key, new.record().principal(principal("bob"))).await;
    assert!(is_full(&refused), "a creation: {refused:?}");
    assert!(store.load(&new.key).await.expect("reads go on").is_none());

    let before = stored(server, &growing).await;
    let long = format!("\"{}\"", "y".repeat(200));
    for (what, commit) in [
        ("a longer value", growing.set("a", &long)),
        ("a new value", growing.set("c", "1")),
        (
            "a longer value and a removal that does not make up for it",
            growing.set("a", &long).change(name("b"), Change::Remove),
        ),
        ("a longer value with a longer life", growing.set("a", &long).ttl(LONG * 2)),
        ("another record that is larger", growing.set("a", &long).clear()),
        ("a sum with a digit more", growing.add("n", 5)),
        (
            "a longer value with a new secret",
            growing.set("a", &long).rotate(rotation(&growing, None)),
        ),
    ] {
        let result = store.commit(&growing.key, commit).await;
        assert!(is_full(&result), "{what}: {result:?}");
        assert_eq!(stored(server, &growing).await, before, "{what}: it is refused whole");
    }

    for session in [&anonymous, &carols] {
        for (what, commit) in [
            ("a value of the same length", session.set("a", "\"9876543210\"")),
            ("a shorter value", session.set("a", "\"9\"")),
            ("a sum of as many digits", session.add("n", 1)),
            ("a removal", session.commit().change(name("b"), Change::Remove)),
            ("a longer life", session.commit().ttl(LONG * 2)),
            ("another record that is smaller", session.set("a", "1").clear()),
            ("nothing left", session.commit().clear()),
            ("nobody signed in", session.commit().principal(PrincipalChange::Unset)),
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
        let stored = store
            .load(&renewed.key)
            .await
            .expect("reads go on")
            .expect("a live session")
            .into_record();
        renewed.secret = stored.secret;
    }
    assert_eq!(listed(&store, "dave").await.len(), 1, "the index stays");
    let result = store.commit(&signing.key, signing.sign_in("frank", &signing.rotated())).await;
    assert!(is_done(&result), "a sign-in: {result:?}");
    assert_eq!(listed(&store, "frank").await.len(), 1, "the index has followed");

    assert_eq!(store.delete(&anonymous.key, Claim::Any).await.expect("ends go on"), Deleted::Ended);
    assert_eq!(
        store.delete(&anonymous.key, Claim::Any).await.expect("ends go on"),
        Deleted::Missing
    );
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("ends go on"), 1);
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("ends go on"), 0);
    assert!(store.load(&bobs.key).await.expect("reads go on").is_none());
    assert!(store.load(&renewed.key).await.expect("reads go on").is_some());

    make_room(server).await;
    assert_eq!(
        store.create(&new.key, new.record()).await.expect("there is room again"),
        Created::New
    );
    assert!(
        is_done(&store.commit(&growing.key, growing.set("a", &long)).await),
        "there is room again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_what_is_larger_and_does_everything_else() {
    let Some(server) = AnyRedis::server_with(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    goes_on_and_is_refused(&server, &server.url("connections=1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_refuses_what_is_larger_and_does_everything_else() {
    let Some(cluster) = RedisCluster::start_with(&["--maxmemory-policy", "noeviction"]).await
    else {
        return;
    };
    let server = AnyRedis::Cluster(cluster);
    goes_on_and_is_refused(&server, &server.url("connections=1")).await;
}

/// With `wait_replicas` an end of what is gone has to write something, and that as well when there
/// is no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_that_wait_for_replicas_need_no_room() {
    let Some(cluster) = RedisCluster::start_with(&["--maxmemory-policy", "noeviction"]).await
    else {
        return;
    };
    let server = AnyRedis::Cluster(cluster);
    ends_need_no_room(&server, &server.url("wait_replicas=1")).await;
    // One server without replicas: the ends are made, and then said to lack them.
    let Some(server) = AnyRedis::server_with(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    ends_need_no_room(&server, &server.url("wait_replicas=1&wait_ms=20")).await;
}

async fn ends_need_no_room(server: &AnyRedis, url: &str) {
    // A sign-in waits for replicas too, so another store makes them.
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
    assert_eq!(store.load(&session.key).await.expect("reads go on"), None);
    assert_eq!(
        store.commit(&session.key, session.set("a", "1")).await.expect("an answer"),
        Outcome::Gone
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_a_full_server_is_503_and_the_log_says_why() {
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
    assert!(refused.set_cookie().is_none(), "no cookie for a session that is not kept");
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
