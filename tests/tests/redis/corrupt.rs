//! How each call treats unreadable records, and expired records that are still stored.

use redis::{Value, from_redis_value};
use session_core::{Claim, Created, Deleted, Outcome, SessionStore, StoreError, StoreKey};
use store_redis::RedisStore;
use tests::service::{AnyRedis, Durability};

use crate::session::{LONG, Session, connect, hash, listed, principal};

/// A name, and commands that damage a record. `KEY` stands for the name of its hash.
type Damage = (&'static str, &'static [&'static [&'static str]]);

/// A head of format 2 that consists of ASCII bytes: deadline, creation and authentication in 1970,
/// version, 4 bytes for the size of the data, and 1 for the size of the attributes.
macro_rules! head {
    (far $version:literal $attributes:literal) => {
        head!("\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}" $version $attributes)
    };
    ($deadline:literal $version:literal $attributes:literal) => {
        concat!(
            "\u{2}",
            $deadline,
            "\0\0\0\0\0\u{1}\0\0\0\0\0\u{1}",
            $version,
            "\0\0\0\0",
            $attributes
        )
    };
}

/// Records that every call finds unreadable.
const UNREADABLE: &[Damage] = &[
    ("no head", &[&["HDEL", "KEY", ""]]),
    ("an empty head", &[&["HSET", "KEY", "", ""]]),
    ("a head of words", &[&["HSET", "KEY", "", "no head of any version"]]),
    ("a newer format", &[&["HSET", "KEY", "", "\u{3}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]]),
    ("a head of the first version", &[&["HSET", "KEY", "", "1|1|0|1|9999999999999|"]]),
    ("version 0", &[&["HSET", "KEY", "", head!(far "\0\0\0\0\0\0\0" "\0")]]),
    ("a version above 2^53", &[&["HSET", "KEY", "", head!(far "\u{7f}\0\0\0\0\0\u{1}" "\0")]]),
    ("a head that is cut off", &[&["HSET", "KEY", "", head!(far "\0\0\0\0\0\0\u{1}" "")]]),
    ("a head that is too long", &[&["HSET", "KEY", "", head!(far "\0\0\0\0\0\0\u{1}" "\0\0")]]),
    (
        "attributes that are missing",
        &[&["HSET", "KEY", "", head!(far "\0\0\0\0\0\0\u{1}" "\u{5}")]],
    ),
    ("a text", &[&["DEL", "KEY"], &["SET", "KEY", "text"]]),
    ("a list", &[&["DEL", "KEY"], &["RPUSH", "KEY", "a"]]),
];

/// The same, but a list does not read the damaged part.
const UNREADABLE_SECRETS: &[Damage] = &[
    ("no secret", &[&["HDEL", "KEY", "\u{1}"]]),
    ("a secret of 5 bytes", &[&["HSET", "KEY", "\u{1}", "short"]]),
];

/// Records that a load finds unreadable. A commit works if it does not read the damaged part.
const UNREADABLE_VALUES: &[Damage] = &[
    ("a value that is not JSON", &[&["HSET", "KEY", "broken", "{"]]),
    ("a value without a text", &[&["HSET", "KEY", "broken", ""]]),
    ("a name that is not valid", &[&["HSET", "KEY", "a\nb", "1"]]),
    ("an unknown field", &[&["HSET", "KEY", "\u{5}", "1"]]),
    ("an empty principal", &[&["HSET", "KEY", "\t", ""]]),
    ("no principal", &[&["HDEL", "KEY", "\t"]]),
    ("a generation that is cut off", &[&["HSET", "KEY", "\u{2}", "x"]]),
    (
        "a former secret without an end",
        &[&["HSET", "KEY", "\u{3}", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]],
    ),
    ("attributes that the head does not know", &[&["HSET", "KEY", "\u{4}", "p"]]),
];

/// Expired records that the server still stores, or removes at once.
const EXPIRED: &[Damage] = &[
    (
        "a deadline in the past, on a key without a ttl",
        &[
            &["HSET", "KEY", "", head!("\0\0\0\0\0\u{2}" "\0\0\0\0\0\0\u{1}" "\0")],
            &["PERSIST", "KEY"],
        ],
    ),
    ("a ttl of the key that was shortened", &[&["PEXPIRE", "KEY", "1"]]),
];

async fn damaged(server: &AnyRedis, store: &RedisStore, damage: &Damage, user: &str) -> Session {
    let session = Session::signed_in(store, user).await;
    let hash = hash(&session, "session:");
    for command in damage.1 {
        let words: Vec<_> =
            command.iter().map(|word| if *word == "KEY" { hash.as_str() } else { word }).collect();
        server.ask(&words).await;
    }
    session
}

async fn dump(server: &AnyRedis, session: &Session) -> Option<Vec<u8>> {
    from_redis_value(server.ask(&["DUMP", &hash(session, "session:")]).await)
        .expect("bytes or nothing")
}

fn is_corrupt<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Corrupt { store: "redis", .. }))
}

/// One commit of each kind, also with a wrong secret.
fn commits(session: &Session) -> Vec<session_core::Commit> {
    let mut commits = vec![
        session.set("a", "1"),
        session.add("a", 1),
        session.commit().ttl(LONG),
        session.commit().clear(),
    ];
    commits.extend([
        session.renew(&session.rotated()),
        session.commit(),
        Session::new().commit(),
        Session::new().set("a", "1"),
    ]);
    commits
}

async fn unreadable_records_are_reported_and_unchanged(server: AnyRedis) {
    let store = connect(&server.url("connections=1")).await;
    let (mut sessions, mut values) = (Vec::new(), Vec::new());
    for damage in UNREADABLE.iter().chain(UNREADABLE_SECRETS) {
        sessions.push((damage.0, damaged(&server, &store, damage, damage.0).await));
    }
    for damage in UNREADABLE_VALUES {
        values.push((damage.0, damaged(&server, &store, damage, damage.0).await));
    }
    let whole = Session::anonymous(&store).await;
    assert_eq!(scanned(&store).await, [whole.key], "a scan leaves out unreadable records");
    for (what, session) in sessions {
        let before = dump(&server, &session).await;
        assert!(before.is_some(), "{what}");
        let loaded = store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        for commit in commits(&session) {
            let committed = store.commit(&session.key, commit.clone()).await;
            assert!(is_corrupt(&committed), "{what}: {commit:?}: {committed:?}");
        }
        assert_eq!(
            store.create(&session.key, session.record()).await.expect("an answer"),
            Created::Taken,
            "{what}"
        );
        let is_listed = UNREADABLE_SECRETS.iter().any(|(secret, _)| *secret == what);
        assert_eq!(listed(&store, what).await.len(), usize::from(is_listed), "{what}: a list");
        assert!(dump(&server, &session).await == before, "{what}: the record is unchanged");
        assert_eq!(
            store.delete(&session.key, Claim::Generation(0)).await.expect("an answer"),
            Deleted::Ended,
            "{what}"
        );
        assert!(store.load(&session.key).await.expect("an answer").is_none(), "{what}");
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Missing,
            "{what}"
        );
        assert_eq!(store.delete_all(&principal(what), None).await.expect("an answer"), 0, "{what}");
    }
    for (what, session) in values {
        let loaded = store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        assert_eq!(
            store.create(&session.key, session.record()).await.expect("an answer"),
            Created::Taken,
            "{what}"
        );
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Ended,
            "{what}"
        );
    }
    // A delete of all ends unreadable records that are in the user's index.
    let session = damaged(&server, &store, &UNREADABLE[0], "bob").await;
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an answer"), 1);
    assert!(store.load(&session.key).await.expect("an answer").is_none());
}

async fn expired_records_are_dead_for_every_call(server: AnyRedis) {
    let store = connect(&server.url("connections=1")).await;
    for damage in EXPIRED {
        let what = damage.0;
        let expired = async || {
            let session = damaged(&server, &store, damage, "bob").await;
            // The shortened ttl of one millisecond passes within a few calls.
            let is_gone =
                async || store.load(&session.key).await.expect("an answer").is_none().then_some(());
            tests::wait::until("the end of the session", tests::PATIENCE, is_gone).await;
            session
        };
        let session = expired().await;
        for commit in commits(&session) {
            assert_eq!(
                store.commit(&session.key, commit).await.expect("an answer"),
                Outcome::Gone,
                "{what}"
            );
        }
        assert!(listed(&store, "bob").await.is_empty(), "{what}");
        assert!(scanned(&store).await.is_empty(), "{what}");
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Missing,
            "{what}"
        );
        let _ = expired().await;
        assert_eq!(
            store.delete_all(&principal("bob"), None).await.expect("an answer"),
            0,
            "{what}"
        );
        let session = expired().await;
        assert_eq!(
            store.create(&session.key, session.record()).await.expect("an answer"),
            Created::New,
            "{what}: the key is free"
        );
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("an answer"),
            Deleted::Ended,
            "{what}"
        );
    }
}

/// Records and indexes of the first version have other names, so this version ignores them.
async fn first_version_is_ignored(server: AnyRedis) {
    let store = connect(&server.url("connections=1")).await;
    server.ask(&["HSET", "session:{AbCd}efgh", "", "1|1|0|1|9999999999999|", "\t", "bob"]).await;
    server.ask(&["ZADD", "session:user:bob", "9999999999999", "{AbCd}efgh"]).await;
    let before = server.dump("session:*").await;
    for key in ["AbCdefgh", "{AbCd}efgh"].map(StoreKey::from_text) {
        assert_eq!(store.load(&key).await.expect("an answer"), None);
        assert_eq!(store.delete(&key, Claim::Any).await.expect("an answer"), Deleted::Missing);
    }
    assert!(listed(&store, "bob").await.is_empty() && scanned(&store).await.is_empty());
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an answer"), 0);
    let mut after = None;
    loop {
        let page = store.delete_everyone(after, 1000).await.expect("a page");
        assert_eq!(page.ended, 0);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        server.dump("session:*").await,
        before,
        "the data of the first version is unchanged"
    );
    let _bob = Session::signed_in(&store, "bob").await;
    assert_eq!(
        listed(&store, "bob").await.len(),
        1,
        "the index of the first version does not collide"
    );
}

async fn scanned(store: &RedisStore) -> Vec<session_core::StoreKey> {
    let (mut visited, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(after, 1000).await.expect("a page");
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            return visited;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_server_reports_unreadable_records_unchanged() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    unreadable_records_are_reported_and_unchanged(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_cluster_reports_unreadable_records_unchanged() {
    let Some(server) = AnyRedis::own_cluster(Durability::None).await else { return };
    unreadable_records_are_reported_and_unchanged(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_expired_record_on_a_server_is_dead_for_every_call() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    expired_records_are_dead_for_every_call(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_expired_record_in_a_cluster_is_dead_for_every_call() {
    let Some(server) = AnyRedis::own_cluster(Durability::None).await else { return };
    expired_records_are_dead_for_every_call(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_server_data_of_the_first_version_is_ignored() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    first_version_is_ignored(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_cluster_data_of_the_first_version_is_ignored() {
    let Some(server) = AnyRedis::own_cluster(Durability::None).await else { return };
    first_version_is_ignored(server).await;
}

/// A key of another application has the name of an index.
#[tokio::test]
async fn c34_foreign_key_with_an_indexs_name_fails_the_sign_in() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    let store = connect(&server.url("")).await;
    server.ask(&["SET", "session:u}bob", "foreign"]).await;
    let session = Session::anonymous(&store).await;
    let before = dump(&server, &session).await;
    let signed_in = store.commit(&session.key, session.sign_in("bob", &session.rotated())).await;
    let created =
        store.create(&Session::new().key, session.record().principal(principal("bob"))).await;
    for error in [
        signed_in.expect_err("no list would show the session"),
        created.expect_err("no list would show the session"),
    ] {
        let StoreError::Other { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("delete or rename that key"), "{source}");
    }
    assert!(dump(&server, &session).await == before, "the session is unchanged");
}

/// Commands of the tests are texts, so a script writes the bytes.
#[tokio::test]
async fn c39_value_that_is_not_utf_8_is_corrupt() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    let store = connect(&server.url("")).await;
    let session = Session::anonymous(&store).await;
    let script = "return redis.call('HSET', KEYS[1], 'n', '\\255\\254')";
    assert_eq!(
        server.ask(&["EVAL", script, "1", &hash(&session, "session:")]).await,
        Value::Int(1)
    );
    assert!(is_corrupt(&store.load(&session.key).await));
    let added = store.commit(&session.key, session.add("n", 1)).await;
    assert!(matches!(added, Err(StoreError::Rejected(_))), "{added:?}");
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
}
