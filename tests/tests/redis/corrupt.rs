//! Records that cannot be read, and records that are dead and lie about: what each call makes of them.

use redis::{Value, from_redis_value};
use session_core::{Commit, Created, NewRecord, Outcome, SessionStore, StoreError};
use store_redis::RedisStore;
use tests::service::AnyRedis;

use crate::session::{LONG, Session, add, connect, principal, renew, set};

/// How a record is spoilt: commands, in which `KEY` is its name.
type Spoiling = (&'static str, &'static [&'static [&'static str]]);

/// What cannot be read, whichever value is asked for.
const UNREADABLE: &[Spoiling] = &[
    ("no head", &[&["HDEL", "KEY", ""]]),
    ("an empty head", &[&["HSET", "KEY", "", ""]]),
    ("a head of words", &[&["HSET", "KEY", "", "no head of any version"]]),
    ("another format", &[&["HSET", "KEY", "", "2|1|0|1|9999999999999|"]]),
    ("a version that is no number", &[&["HSET", "KEY", "", "1|x|0|1|9999999999999|"]]),
    ("a version beyond all numbers", &[&["HSET", "KEY", "", "1|99999999999999999999|0|1|9999999999999|"]]),
    ("a size that is no number", &[&["HSET", "KEY", "", "1|1|-3|1|9999999999999|"]]),
    ("a deadline that is no number", &[&["HSET", "KEY", "", "1|1|0|1|soon|"]]),
    ("a deadline beyond all numbers", &[&["HSET", "KEY", "", "1|1|0|1|99999999999999999999|"]]),
    ("a head that is cut off", &[&["HSET", "KEY", "", "1|1|0|1"]]),
    ("a nonsensical lifetime", &[&["HSET", "KEY", "", "1|1|0|1|9999999999999|nonsense"]]),
    ("a lifetime with a word too many", &[&["HSET", "KEY", "", "1|1|0|1|9999999999999|i60000 x"]]),
    ("a text", &[&["DEL", "KEY"], &["SET", "KEY", "text"]]),
    ("a list", &[&["DEL", "KEY"], &["RPUSH", "KEY", "a"]]),
];

/// What cannot be read as a whole; a commit that does not read it goes on.
const UNREADABLE_VALUES: &[Spoiling] = &[
    ("a value that is no JSON", &[&["HSET", "KEY", "broken", "{"]]),
    ("a value without a text", &[&["HSET", "KEY", "broken", ""]]),
    ("a name that is none", &[&["HSET", "KEY", "a\nb", "1"]]),
    ("an empty principal", &[&["HSET", "KEY", "\t", ""]]),
];

/// What is dead, though the server still has it.
const DEAD: &[Spoiling] = &[
    ("a deadline that has passed, on a key that stays", &[&["HSET", "KEY", "", "1|1|0|1|2|"], &["PERSIST", "KEY"]]),
    ("a time to live that was cut short by hand", &[&["PEXPIRE", "KEY", "1"]]),
];

async fn spoilt(server: &AnyRedis, store: &RedisStore, spoiling: &Spoiling, user: &str) -> Session {
    let session = Session::signed_in(store, user).await;
    let hash = session.hash("session:");
    for command in spoiling.1 {
        let words: Vec<_> = command.iter().map(|word| if *word == "KEY" { hash.as_str() } else { word }).collect();
        server.ask(&words).await;
    }
    session
}

async fn dump(server: &AnyRedis, session: &Session) -> Option<Vec<u8>> {
    from_redis_value(server.ask(&["DUMP", &session.hash("session:")]).await).expect("bytes or nothing")
}

fn is_corrupt<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Corrupt { store: "redis", .. }))
}

async fn is_reported_and_left_alone(server: AnyRedis) {
    let store = connect(&server.url("connections=1")).await;
    let (mut sessions, mut values) = (Vec::new(), Vec::new());
    for spoiling in UNREADABLE {
        sessions.push((spoiling.0, spoilt(&server, &store, spoiling, spoiling.0).await));
    }
    for spoiling in UNREADABLE_VALUES {
        values.push((spoiling.0, spoilt(&server, &store, spoiling, spoiling.0).await));
    }
    let whole = Session::anonymous(&store).await;
    assert_eq!(scanned(&store).await, [whole.key], "a scan leaves out what it cannot read");
    for (what, session) in sessions {
        let before = dump(&server, &session).await;
        assert!(before.is_some(), "{what}");
        let loaded = store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        for commit in
            [set("a", "1"), add("a", 1), Commit::new().ttl(LONG), Commit::new().clear(), renew(&session.successor()), Commit::new()]
        {
            let committed = store.commit(&session.key, commit).await;
            assert!(is_corrupt(&committed), "{what}: a commit: {committed:?}");
        }
        assert_eq!(store.create(&session.key, NewRecord::new(LONG)).await.expect("an answer"), Created::Taken, "{what}");
        assert!(store.list(&principal(what)).await.expect("an answer").is_empty(), "{what}: it is nobody's");
        assert!(dump(&server, &session).await == before, "{what}: it is left as it is");
        assert!(store.delete(&session.key).await.expect("an answer"), "{what}: it can be deleted");
        assert!(store.load(&session.key).await.expect("an answer").is_none(), "{what}");
        assert!(!store.delete(&session.key).await.expect("an answer"), "{what}");
        assert_eq!(store.delete_all(&principal(what), None).await.expect("an answer"), 0, "{what}");
    }
    for (what, session) in values {
        let loaded = store.load(&session.key).await;
        assert!(is_corrupt(&loaded), "{what}: a load: {loaded:?}");
        assert_eq!(store.create(&session.key, NewRecord::new(LONG)).await.expect("an answer"), Created::Taken, "{what}");
        assert!(store.delete(&session.key).await.expect("an answer"), "{what}: it can be deleted");
    }
    // An end of all takes along what the index says is the user's and nobody can read.
    let session = spoilt(&server, &store, &UNREADABLE[0], "bob").await;
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an answer"), 1);
    assert!(store.load(&session.key).await.expect("an answer").is_none());
}

async fn is_dead_for_every_call(server: AnyRedis) {
    let store = connect(&server.url("connections=1")).await;
    for spoiling in DEAD {
        let what = spoiling.0;
        let session = spoilt(&server, &store, spoiling, "bob").await;
        if spoiling.1.len() == 1 {
            // Its millisecond has passed when the next commands have been asked and answered.
            tests::wait::until("its end", tests::PATIENCE, async || dump(&server, &session).await.is_none().then_some(())).await;
        }
        assert!(store.load(&session.key).await.expect("an answer").is_none(), "{what}");
        let target = session.successor();
        for commit in [set("a", "1"), add("a", 1), Commit::new().ttl(LONG), Commit::new().clear(), renew(&target), Commit::new()] {
            assert_eq!(store.commit(&session.key, commit).await.expect("an answer"), Outcome::Gone, "{what}");
        }
        assert!(store.load(&target.key).await.expect("an answer").is_none(), "{what}");
        assert!(store.list(&principal("bob")).await.expect("an answer").is_empty(), "{what}");
        assert!(scanned(&store).await.is_empty(), "{what}");
        assert!(!store.delete(&session.key).await.expect("an answer"), "{what}: a dead session is none to end");
        let session = spoilt(&server, &store, spoiling, "bob").await;
        tests::wait::until("its end", tests::PATIENCE, async || store.load(&session.key).await.expect("an answer").is_none().then_some(()))
            .await;
        assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an answer"), 0, "{what}");
        let session = spoilt(&server, &store, spoiling, "bob").await;
        tests::wait::until("its end", tests::PATIENCE, async || store.load(&session.key).await.expect("an answer").is_none().then_some(()))
            .await;
        assert_eq!(store.create(&session.key, NewRecord::new(LONG)).await.expect("an answer"), Created::New, "{what}: its key is free");
        assert!(store.delete(&session.key).await.expect("an answer"));
    }
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
async fn c39_on_a_server_what_cannot_be_read_is_reported_and_left_alone() {
    let Some(server) = AnyRedis::server().await else { return };
    is_reported_and_left_alone(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_in_a_cluster_what_cannot_be_read_is_reported_and_left_alone() {
    let Some(server) = AnyRedis::cluster().await else { return };
    is_reported_and_left_alone(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_on_a_server_what_is_dead_is_dead_for_every_call() {
    let Some(server) = AnyRedis::server().await else { return };
    is_dead_for_every_call(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_in_a_cluster_what_is_dead_is_dead_for_every_call() {
    let Some(server) = AnyRedis::cluster().await else { return };
    is_dead_for_every_call(server).await;
}

/// A value of other bytes than UTF-8 cannot be written with words, so the server's own script does it.
#[tokio::test]
async fn c39_a_value_that_is_no_utf_8_is_corrupt() {
    let Some(server) = AnyRedis::server().await else { return };
    let store = connect(&server.url("")).await;
    let session = Session::anonymous(&store).await;
    let script = "return redis.call('HSET', KEYS[1], 'n', '\\255\\254')";
    assert_eq!(server.ask(&["EVAL", script, "1", &session.hash("session:")]).await, Value::Int(1));
    assert!(is_corrupt(&store.load(&session.key).await));
    let added = store.commit(&session.key, add("n", 1)).await;
    assert!(matches!(added, Err(StoreError::Rejected(_))), "{added:?}");
    assert!(store.delete(&session.key).await.expect("it can be deleted"));
}
