//! Edge cases: runtimes, strings, sizes, concurrency, pages and lost responses.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use mongodb::bson::{Bson, Document, doc};
use session_core::{
    Change, Claim, Commit, Created, Cursor, Data, Deleted, Json, MemoryStore, Name, NewRecord,
    Outcome, PrincipalChange, Rejection, SecretHash, SessionStore, StoreError, StoreKey,
};
use store_mongo::{Config, MongoStore};
use tests::{
    PATIENCE,
    service::{AnyMongo, Mongo, MongoSet},
    wait,
};

use crate::{
    monitor::Monitor,
    session::{LONG, PATIENT, Session, connect, is_done, loaded, name, principal, with},
};

/// Keeps expired documents until the test deletes them.
const NO_TTL_MONITOR: [&str; 2] = ["--setParameter", "ttlMonitorEnabled=false"];

fn json(text: &str) -> Json {
    Json::from_text(text).expect("valid JSON")
}

fn data(values: impl IntoIterator<Item = (String, String)>) -> Data {
    values.into_iter().map(|(field, value)| (name(&field), json(&value))).collect()
}

/// A runtime with one thread, like that of a web server's worker.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the runtime is built")
}

#[test]
fn store_outlives_the_runtime_that_opened_it() {
    let servers = runtime();
    let Some(mongo) = servers.block_on(Mongo::start()) else { return };
    let store = runtime().block_on(connect(&with(&mongo.url(), PATIENT)));
    let session = Session::new();
    let created = runtime().block_on(store.create(&session.key, session.record()));
    assert_eq!(created.expect("the store responds"), Created::New);
    // Several runtimes at the same time, and several rounds.
    for _ in 0..3 {
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    runtime().block_on(async {
                        for _ in 0..10 {
                            let changed = store.commit(&session.key, session.add("n", 1)).await;
                            assert!(is_done(&changed), "{changed:?}");
                        }
                    });
                });
            }
        });
    }
    let record = runtime().block_on(loaded(&store, &session.key));
    assert_eq!(record.data.get("n").and_then(Json::as_integer), Some(120));
    // Dropping a container needs a runtime.
    servers.block_on(async move { drop(mongo) });
}

#[test]
fn ended_runtimes_leave_no_connection() {
    const RUNTIMES: usize = 40;
    let servers = tokio::runtime::Runtime::new().expect("the runtime is built");
    let Some(mongo) = servers.block_on(Mongo::start()) else { return };
    let watcher = servers.block_on(mongo.client());
    let connections = async || {
        let status = watcher
            .database("admin")
            .run_command(doc! { "serverStatus": 1 })
            .await
            .expect("the server responds");
        status
            .get_document("connections")
            .and_then(|connections| connections.get_i32("current"))
            .expect("the response contains the count")
    };
    let store = servers.block_on(connect(&with(&mongo.url(), PATIENT)));
    let session = Session::new();
    let before = servers.block_on(connections());
    let mut most = before;
    for _ in 0..RUNTIMES {
        runtime().block_on(async {
            let _ = store.create(&session.key, session.record()).await.expect("the store responds");
            for _ in 0..10 {
                assert!(store.load(&session.key).await.expect("the store responds").is_some());
            }
        });
        most = most.max(servers.block_on(connections()));
    }
    eprintln!(
        "connections: {before} before, at most {most} during {RUNTIMES} consecutive runtimes"
    );
    let ended = async || (connections().await <= before + 2).then_some(());
    servers.block_on(wait::until("the connections of ended runtimes to close", PATIENCE, ended));
    // A runtime has one connection for calls and those that the driver uses for monitoring.
    assert!(most <= before + 12, "{most} connections at the same time");
    servers.block_on(async move { drop(mongo) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_use_the_write_concern_of_the_url() {
    let Some(server) = AnyMongo::server_with(&NO_TTL_MONITOR).await else { return };
    for (settings, expected) in
        [("", Bson::from("majority")), ("w=1", 1.into()), ("w=1&journal=true", 1.into())]
    {
        let monitor = Monitor::with(&server, settings).await;
        let store = monitor.store().await;
        let session = Session::signed_in(&store, "bob").await;
        assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
        assert_eq!(
            store.list(&principal("bob"), None, 10).await.expect("list succeeds").sessions.len(),
            1
        );
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("delete succeeds"),
            Deleted::Ended
        );
        assert_eq!(
            store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"),
            0
        );
        let sent = monitor.take_commands();
        let writes: Vec<&Document> =
            sent.iter().filter_map(|command| command.get_document("writeConcern").ok()).collect();
        assert_eq!(writes.len(), 4, "{sent:?}");
        for concern in writes {
            assert_eq!(concern.get("w"), Some(&expected), "{settings}");
            assert_eq!(
                concern.get_bool("j").unwrap_or(false),
                settings.contains("journal"),
                "{settings}"
            );
        }
        // A majority read would not return a write that fewer members acknowledged.
        let expected = if settings.is_empty() { "majority" } else { "local" };
        let levels: Vec<_> =
            sent.iter().filter_map(|command| command.get_document("readConcern").ok()).collect();
        assert!(
            levels.iter().all(|level| level.get_str("level").is_ok_and(|level| level == expected)),
            "{levels:?}"
        );
        assert!(!levels.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_large_record_changes_atomically() {
    let Some(server) = AnyMongo::server().await else { return };
    let store = connect(&server.url(PATIENT)).await;
    let session = Session::new();
    let large = format!("\"{}\"", "é".repeat(30_000));
    let record = session
        .record()
        .data(data([("large".to_owned(), large.clone()), ("n".to_owned(), "1".to_owned())]));
    let bytes = record.data.bytes();
    assert!(bytes > 60_000, "{bytes}");
    assert_eq!(store.create(&session.key, record).await.expect("the store responds"), Created::New);
    for sum in 2..5 {
        let Outcome::Done(done) =
            store.commit(&session.key, session.add("n", 1)).await.expect("the store responds")
        else {
            panic!("the session is alive")
        };
        assert_eq!(done.added.into_values().collect::<Vec<_>>(), [sum]);
    }
    let record = loaded(&store, &session.key).await;
    assert_eq!(
        (record.data.get("large").map(Json::as_str), record.data.bytes()),
        (Some(&*large), bytes)
    );
    // A commit that exceeds the limit, and one that makes the data smaller.
    let over = store
        .commit(&session.key, session.set("more", &format!("\"{}\"", "x".repeat(6_000))))
        .await;
    assert!(matches!(over, Err(StoreError::Rejected(Rejection::DataTooLarge { .. }))), "{over:?}");
    assert!(is_done(&store.commit(&session.key, session.set("large", "1")).await));
    assert_eq!(loaded(&store, &session.key).await.data.bytes(), 5 + 1 + 1 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c07_server_evaluates_no_text_as_an_expression() {
    const TEXTS: [&str; 12] = [
        "$secret",
        "$$NOW",
        "$$ROOT",
        "$$REMOVE",
        "$expires",
        "$",
        "$$",
        "a.b",
        "$data.n",
        "data.n",
        "%24",
        "{ $literal: 1 }",
    ];
    let Some(server) = AnyMongo::server_with(&NO_TTL_MONITOR).await else { return };
    let store = connect(&server.url(PATIENT)).await;
    for text in TEXTS {
        let key = StoreKey::from_text(text);
        let value = Json::encode(text).expect("valid JSON");
        let first =
            data([(text.to_owned(), value.as_str().to_owned()), ("n".to_owned(), "1".to_owned())]);
        let session = Session::new();
        let record = session.record().principal(principal(text)).data(first.clone());
        assert_eq!(
            store.create(&key, record.clone()).await.expect("the store responds"),
            Created::New,
            "{text}"
        );
        assert_eq!(
            store.create(&key, record).await.expect("the store responds"),
            Created::Taken,
            "{text}"
        );
        let read = loaded(&connect(&server.url(PATIENT)).await, &key).await;
        assert_eq!((read.data, read.principal), (first, Some(principal(text))), "{text}");
        assert_eq!(
            store.list(&principal(text), None, 10).await.expect("list succeeds").sessions.len(),
            1,
            "{text}"
        );
        let other = format!("{text}, changed");
        let next = session.rotated();
        let commit = session
            .sign_in(&other, &next)
            .change(name(text), Change::Set(Json::encode(&other).expect("valid JSON")))
            .change(name(&format!("{text}$")), Change::Add(2))
            .change(name("n"), Change::Remove);
        assert!(is_done(&store.commit(&key, commit).await), "{text}");
        let read = loaded(&store, &key).await;
        assert_eq!(read.principal, Some(principal(&other)), "{text}");
        let names: Vec<&str> = read.data.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [text.to_owned(), format!("{text}$")], "{text}");
        assert_eq!(
            read.data
                .get(text)
                .map(|value| value.decode::<String>().expect("the value is a string")),
            Some(other.clone()),
            "{text}"
        );
        assert!(is_done(&store.commit(&key, next.commit().clear()).await), "{text}");
        assert!(loaded(&store, &key).await.data.is_empty(), "{text}");
        assert_eq!(
            store.delete_all(&principal(text), None).await.expect("delete_all succeeds"),
            0,
            "{text}"
        );
        assert_eq!(
            store.delete_all(&principal(&other), None).await.expect("delete_all succeeds"),
            1,
            "{text}"
        );
    }
}

/// The results of the same commit in both stores.
async fn both(
    mongo: &MongoStore,
    memory: &MemoryStore,
    key: &StoreKey,
    commit: Commit,
) -> [Result<String, String>; 2] {
    let text = |outcome: Result<Outcome, StoreError>| match outcome {
        Ok(Outcome::Done(done)) => Ok(format!("version {}, {:?}", done.version, done.added)),
        Ok(other) => Ok(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    };
    [text(mongo.commit(key, commit.clone()).await), text(memory.commit(key, commit).await)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c12_sums_equal_those_of_the_memory_store() {
    let Some(server) = AnyMongo::server().await else { return };
    let (mongo, memory) = (connect(&server.url(PATIENT)).await, MemoryStore::default());
    let texts = [
        "5",
        " 5 ",
        "\t5\r\n",
        "-5",
        "0",
        "-0",
        "5.0",
        "5e0",
        "1e3",
        "0.5",
        "true",
        "null",
        "\"5\"",
        "[5]",
        "{}",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "9007199254740993",
        "1e400",
        "\"\"",
        "\" 5 \"",
        "\"$n\"",
    ];
    for text in texts {
        for by in [1, -1, 0, i64::MAX, i64::MIN] {
            let session = Session::new();
            let key = session.key.clone();
            let record = session.record().data(data([("n".to_owned(), text.to_owned())]));
            assert_eq!(
                mongo.create(&key, record.clone()).await.expect("the store responds"),
                Created::New
            );
            assert_eq!(
                memory.create(&key, record).await.expect("the store responds"),
                Created::New
            );
            let commit = session
                .add("n", by)
                .change(name("m"), Change::Add(by))
                .change(name("a"), Change::Set(json("1")));
            let [here, there] = both(&mongo, &memory, &key, commit).await;
            assert_eq!(here, there, "{text:?} and {by}");
            let (here, there) = (loaded(&mongo, &key).await, loaded(&memory, &key).await);
            assert_eq!((here.data, here.version), (there.data, there.version), "{text:?} and {by}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_one_commit_clears_adds_sets_and_removes() {
    let Some(server) = AnyMongo::server().await else { return };
    let (mongo, memory) = (connect(&server.url(PATIENT)).await, MemoryStore::default());
    let names: [&str; 5] = ["a", "b", "c.d", "$e", "sum0"];
    // Random combinations of three changes, with and without `clear`.
    let changes = [Change::Set(json("\"set\"")), Change::Remove, Change::Add(3)];
    let first = || data(names.iter().map(|field| ((*field).to_owned(), "7".to_owned())));
    for round in 0..40 {
        let session = Session::new();
        let key = session.key.clone();
        let record = || session.record().data(first());
        for created in [mongo.create(&key, record()).await, memory.create(&key, record()).await] {
            assert_eq!(created.expect("the store responds"), Created::New);
        }
        let mut commit = if round % 2 == 0 { session.commit().clear() } else { session.commit() };
        for field in names.iter().chain(&["new", "$new.er"]) {
            if fastrand::u8(..4) > 0 {
                commit = commit.change(name(field), changes[fastrand::usize(..3)].clone());
            }
        }
        let [here, there] = both(&mongo, &memory, &key, commit.clone()).await;
        assert_eq!(here, there, "{commit:?}");
        let (here, there) = (loaded(&mongo, &key).await, loaded(&memory, &key).await);
        assert_eq!(
            (here.data.bytes(), here.data, here.version),
            (there.data.bytes(), there.data, there.version),
            "{commit:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_creation_replaces_an_expired_record() {
    let Some(server) = AnyMongo::server_with(&NO_TTL_MONITOR).await else { return };
    let store = connect(&server.url(PATIENT)).await;
    let session = Session::new();
    let brief =
        NewRecord::new(session.secret, Duration::from_millis(1)).principal(principal("bob"));
    let brief = brief.data(data([("old".to_owned(), "1".to_owned())]));
    for _ in 0..20 {
        assert_eq!(
            store.create(&session.key, brief.clone()).await.expect("the store responds"),
            Created::New
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Of concurrent creations one succeeds, and no value of the expired record remains.
        let creators = join_all((0..8).map(|_| store.create(&session.key, session.record()))).await;
        assert!(creators.iter().all(Result::is_ok), "{creators:?}");
        assert_eq!(
            creators.into_iter().filter(|created| matches!(created, Ok(Created::New))).count(),
            1
        );
        let record = loaded(&store, &session.key).await;
        assert_eq!(
            (record.principal, record.authenticated, record.data.len(), record.version),
            (None, None, 0, 1)
        );
        assert_eq!(
            store.delete(&session.key, Claim::Any).await.expect("the store responds"),
            Deleted::Ended
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_concurrent_creations_of_one_key_have_one_winner() {
    let Some(server) = AnyMongo::server().await else { return };
    let stores = [connect(&server.url(PATIENT)).await, connect(&server.url("")).await];
    for _ in 0..100 {
        let session = Session::new();
        let create = |number: usize| {
            let (store, key) = (stores[number % 2].clone(), session.key.clone());
            let record = session.record().data(data([("creator".to_owned(), number.to_string())]));
            tokio::spawn(async move {
                (number, store.create(&key, record).await.expect("the store responds"))
            })
        };
        let created = join_all((0..8).map(create)).await;
        let winners: Vec<_> = created
            .into_iter()
            .filter_map(|created| {
                Some(created.expect("the task does not panic"))
                    .filter(|(_, created)| *created == Created::New)
            })
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let record = loaded(&stores[0], &session.key).await;
        assert_eq!(
            record.data.get("creator").and_then(Json::as_integer),
            i64::try_from(winners[0].0).ok()
        );
    }
}

/// The driver retries a write with a lost response. The server then returns the stored document and
/// does not evaluate the projection that contains its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_write_with_a_lost_response_is_applied_once() {
    let Some(set) = MongoSet::start_with(&["--setParameter", "enableTestCommands=1"]).await else {
        return;
    };
    let store = connect(&with(&set.url(), PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    let lose_next_response = async || {
        let fails = doc! {
            "configureFailPoint": "onPrimaryTransactionalWrite",
            "mode": { "times": 1 },
            "data": { "closeConnection": true },
        };
        let port = set.primary().await.expect("the replica set has a primary");
        set.command(port, fails).await.expect("enableTestCommands allows fail points");
        // Longer than the store caches the server's time.
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    let created = Session::new();
    lose_next_response().await;
    assert_eq!(
        store.create(&created.key, created.record()).await.expect("the store responds"),
        Created::New
    );
    lose_next_response().await;
    let Outcome::Done(done) =
        store.commit(&session.key, session.add("n", 5)).await.expect("the store responds")
    else {
        panic!("the session is alive")
    };
    assert_eq!((done.version, done.added.into_values().collect::<Vec<_>>()), (2, vec![5]));
    assert!(
        done.age < PATIENCE && done.ttl > LONG.saturating_sub(PATIENCE) && done.ttl <= LONG,
        "{:?} {:?}",
        done.age,
        done.ttl
    );
    let next = session.rotated();
    lose_next_response().await;
    assert!(is_done(&store.commit(&session.key, session.renew(&next)).await));
    assert_eq!(
        store.commit(&session.key, session.add("n", 1)).await.expect("the store responds"),
        Outcome::Superseded
    );
    lose_next_response().await;
    assert_eq!(
        store.delete(&session.key, Claim::Any).await.expect("the store responds"),
        Deleted::Ended
    );
    assert!(store.load(&session.key).await.expect("the store responds").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_claim_ends_a_session_by_its_sign_in_generation() {
    let Some(server) = AnyMongo::server_with(&NO_TTL_MONITOR).await else { return };
    let store = connect(&server.url(PATIENT)).await;
    let anonymous = Session::anonymous(&store).await;
    let signed_in = anonymous.rotated();
    assert!(is_done(&store.commit(&anonymous.key, anonymous.sign_in("bob", &signed_in)).await));
    let renewed = signed_in.rotated();
    assert!(is_done(&store.commit(&anonymous.key, signed_in.renew(&renewed)).await));
    let delete =
        async |claim| store.delete(&anonymous.key, claim).await.expect("the store responds");
    assert_eq!(delete(Claim::Generation(0)).await, Deleted::Superseded);
    assert_eq!(loaded(&store, &anonymous.key).await.since, 1);
    assert_eq!(delete(Claim::Generation(1)).await, Deleted::Ended);
    assert_eq!(delete(Claim::Generation(0)).await, Deleted::Missing);
    // After a sign-out the claim of any generation ends the session.
    let other = Session::anonymous(&store).await;
    let next = other.rotated();
    assert!(is_done(&store.commit(&other.key, other.sign_in("bob", &next)).await));
    assert!(is_done(
        &store.commit(&other.key, next.commit().principal(PrincipalChange::Unset)).await
    ));
    assert_eq!(
        store.delete(&other.key, Claim::Generation(0)).await.expect("the store responds"),
        Deleted::Ended
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c52_pages_contain_each_session_once() {
    let Some(server) = AnyMongo::server_with(&NO_TTL_MONITOR).await else { return };
    let store = connect(&server.url(PATIENT)).await;
    let mut made: Vec<_> = join_all((0..25).map(|_| Session::signed_in(&store, "bob")))
        .await
        .into_iter()
        .map(|session| session.key)
        .collect();
    // A key with special characters, and documents that are not sessions.
    let odd = StoreKey::from_text("a.b %ü");
    let _ = store
        .create(
            &odd,
            NewRecord::new(SecretHash::from_bytes([1; 32]), LONG).principal(principal("bob")),
        )
        .await
        .expect("the store responds");
    made.push(odd);
    let documents =
        server.client().await.database(server.database()).collection::<Document>("sessions");
    let foreign =
        |id: Bson| doc! { "_id": id, "principal": "bob", "expires": mongodb::bson::DateTime::MAX };
    let other_bytes = mongodb::bson::Binary {
        subtype: mongodb::bson::spec::BinarySubtype::UserDefined(130),
        bytes: vec![255; 16],
    };
    documents
        .insert_many([foreign("text".into()), foreign(other_bytes.into())])
        .await
        .expect("the server responds");
    for limit in [0, 1, 7, 26, 1_000_000] {
        let (mut listed, mut scanned) = (Vec::new(), Vec::new());
        let mut after: Option<Cursor> = None;
        loop {
            let page = store.list(&principal("bob"), after, limit).await.expect("the page is read");
            assert!(page.sessions.len() <= limit.max(1));
            listed.extend(page.sessions.into_iter().map(|summary| summary.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = store.scan(after, limit).await.expect("the page is read");
            scanned.extend(page.records.into_iter().map(|(key, _)| key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for mut keys in [listed, scanned] {
            keys.sort();
            made.sort();
            assert!(keys == made, "{limit}: {} of {}", keys.len(), made.len());
        }
    }
    for text in ["", "x", "300.a", "-1.a", "nothing"] {
        let cursor = || Some(Cursor::new(text));
        assert!(
            matches!(
                store.list(&principal("bob"), cursor(), 1).await,
                Err(StoreError::Other { .. })
            ),
            "{text}"
        );
        assert!(matches!(store.scan(cursor(), 1).await, Err(StoreError::Other { .. })), "{text}");
        assert!(
            matches!(store.delete_everyone(cursor(), 1).await, Err(StoreError::Other { .. })),
            "{text}"
        );
    }
    let (mut ended, mut after) = (0, None);
    loop {
        let page = store.delete_everyone(after, 7).await.expect("the page is read");
        ended += page.ended;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // One of the foreign documents has an `_id` of bytes, so it is deleted and counted too.
    assert_eq!(ended, 27);
    assert_eq!(
        documents.count_documents(doc! {}).await.expect("the server responds"),
        1,
        "a document with another `_id` is not a session"
    );
}

/// A deadline that changes during the deletion does not remove a session from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c35_delete_all_ends_sessions_that_are_shortened_meanwhile() {
    let Some(server) = AnyMongo::server().await else { return };
    let stores = [connect(&server.url(PATIENT)).await, connect(&server.url(PATIENT)).await];
    let mut shortened = 0;
    for _ in 0..6 {
        let sessions = join_all((0..150).map(|_| Session::signed_in(&stores[0], "bob"))).await;
        let shorten = join_all(
            sessions
                .iter()
                .rev()
                .map(|session| stores[1].commit(&session.key, session.commit().ttl(LONG / 2))),
        );
        let end = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..8))).await;
            stores[0].delete_all(&principal("bob"), None).await
        };
        let (outcomes, ended) = tokio::join!(shorten, end);
        let ended = ended.expect("delete_all succeeds");
        shortened += outcomes.iter().filter(|outcome| is_done(outcome)).count();
        assert_eq!(ended, 150, "each session is counted once");
        assert!(
            stores[0]
                .list(&principal("bob"), None, 10)
                .await
                .expect("list succeeds")
                .sessions
                .is_empty()
        );
    }
    eprintln!("{shortened} of 900 were shortened before they ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c12_eight_stores_lose_none_of_3000_adds() {
    const ADDS: usize = 3_000;
    const STORES: usize = 8;
    let Some(server) = AnyMongo::server().await else { return };
    let session = Session::anonymous(&connect(&server.url(PATIENT)).await).await;
    let session = Arc::new(session);
    let adders = (0..STORES).map(|_| {
        let (url, session) = (server.url(PATIENT), Arc::clone(&session));
        tokio::spawn(async move {
            let store = connect(&url).await;
            for _ in 0..ADDS / STORES {
                let changed = store.commit(&session.key, session.add("n", 1)).await;
                assert!(is_done(&changed), "{changed:?}");
            }
        })
    });
    assert!(join_all(adders).await.iter().all(Result::is_ok));
    let record = loaded(&connect(&server.url(PATIENT)).await, &session.key).await;
    assert_eq!(record.data.get("n").and_then(Json::as_integer), i64::try_from(ADDS).ok());
    assert_eq!(record.version, 1 + u64::try_from(ADDS).expect("the number fits"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_500_values_change_atomically() {
    const VALUES: usize = 500;
    let Some(server) = AnyMongo::server().await else { return };
    let store = connect(&server.url(PATIENT)).await;
    let session = Session::anonymous(&store).await;
    let field = |n: usize| -> Name { name(&format!("value.{n}$")) };
    let all = |change: Change| {
        (0..VALUES).fold(session.commit(), |commit, n| commit.change(field(n), change.clone()))
    };
    assert!(is_done(&store.commit(&session.key, all(Change::Set(json("1")))).await));
    let Outcome::Done(done) =
        store.commit(&session.key, all(Change::Add(2))).await.expect("the store responds")
    else {
        panic!("the session is alive")
    };
    assert_eq!(
        (done.version, done.added.len(), done.added.values().all(|sum| *sum == 3)),
        (3, VALUES, true)
    );
    assert_eq!(loaded(&store, &session.key).await.data.len(), VALUES);
    let cleared = session.commit().clear().change(field(0), Change::Add(2));
    assert!(is_done(&store.commit(&session.key, cleared).await));
    assert_eq!(loaded(&store, &session.key).await.data.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_works_with_the_client_of_the_application() {
    let Some(server) = AnyMongo::server().await else { return };
    // The application's client reads from secondaries and writes without acknowledgement. The store
    // overrides both.
    let mut options = mongodb::options::ClientOptions::parse(server.url("readPreference=nearest"))
        .await
        .expect("a valid URL");
    options.write_concern = Some(mongodb::options::WriteConcern::nodes(0));
    let client = mongodb::Client::with_options(options).expect("the options are set");
    let config =
        Config::new(&server.url(&format!("{PATIENT}&collection=theirs"))).expect("a valid URL");
    let store = MongoStore::with_client(&client, &config).expect("the settings are valid");
    let session = Session::signed_in(&store, "bob").await;
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    assert!(
        connect(&server.url(PATIENT))
            .await
            .load(&session.key)
            .await
            .expect("the store responds")
            .is_none(),
        "the session is in another collection"
    );
    assert!(
        connect(&server.url(&format!("{PATIENT}&collection=theirs")))
            .await
            .load(&session.key)
            .await
            .expect("the store responds")
            .is_some()
    );
    assert_eq!(
        store.delete(&session.key, Claim::Any).await.expect("delete succeeds"),
        Deleted::Ended
    );
}

/// Nested removals would exceed the server's limit of about 200 levels, or overflow the stack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_hundreds_of_values_are_removed_atomically() {
    let Some(server) = AnyMongo::server().await else { return };
    let store = connect(&server.url(PATIENT)).await;
    for count in [94, 95, 500] {
        let session = Session::new();
        let values = (0..count).map(|n| (format!("value{n}"), "1".to_owned()));
        let _ = store
            .create(&session.key, session.record().data(data(values)))
            .await
            .expect("the session is created");
        let commit = (0..count).fold(session.commit(), |commit, n| {
            commit.change(name(&format!("value{n}")), Change::Remove)
        });
        let outcome = store.commit(&session.key, commit).await;
        assert!(is_done(&outcome), "{count} values: {outcome:?}");
        assert!(loaded(&store, &session.key).await.data.is_empty());
    }
}
