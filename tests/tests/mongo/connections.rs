//! Connections: write concerns, direct connections, ended runtimes, slow and lost responses.

use std::{error::Error, sync::Arc, time::Duration};

use mongodb::bson::doc;
use session_core::{Change, Json, NewRecord, SessionStore, StoreError};
use store_mongo::{Config, MongoStore};
use tests::service::{AnyMongo, Mongo, MongoSet};
use tokio::{runtime, time::timeout};

use crate::session::{PATIENT, Session, connect, is_done, loaded, name, with};

/// The texts of an error and all its sources.
fn chain(error: &StoreError) -> String {
    let mut texts = vec![format!("{error} {error:?}")];
    let mut source = error.source();
    while let Some(below) = source {
        texts.push(format!("{below} {below:?}"));
        source = below.source();
    }
    texts.join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_writes_are_visible_at_once_for_every_write_concern() {
    let Some(set) = AnyMongo::set().await else { return };
    for concern in ["w=1", "w=2", "w=majority", "journal=true"] {
        let (writer, reader) = (connect(&set.url(concern)).await, connect(&set.url(concern)).await);
        for _ in 0..50 {
            let session = Session::new();
            let _ =
                writer.create(&session.key, session.record()).await.expect("the store responds");
            assert!(
                reader.load(&session.key).await.expect("the store responds").is_some(),
                "{concern}: a new session is visible"
            );
            assert!(is_done(&writer.commit(&session.key, session.add("n", 1)).await), "{concern}");
            let record = loaded(&reader, &session.key).await;
            assert_eq!(record.version, 2, "{concern}: a change is visible");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_connection_to_a_set_member_is_rejected() {
    let Some(set) = MongoSet::start().await else { return };
    let port = ours!(set.primary().await);
    let url = format!("mongodb://127.0.0.1:{port}/direct?directConnection=true");
    let error = MongoStore::connect(&Config::new(&url).expect("a valid URL"))
        .await
        .expect_err("connect rejects a direct connection");
    assert!(
        error.source().is_some_and(|source| source.to_string().contains("replicaSet")),
        "{error:?}"
    );
    let Some(server) = Mongo::start().await else { return };
    assert!(connect(&format!("{}?directConnection=true", server.url())).await.ping().await.is_ok());
}

/// The driver keeps the last response of a server, which may contain the whole document, and quotes
/// it in the errors of later calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_later_errors_do_not_quote_an_unacknowledged_document() {
    let Some(set) = MongoSet::start_with(&["--setParameter", "enableTestCommands=1"]).await else {
        return;
    };
    let store = connect(&format!("{}&deadline_ms=400", set.url())).await;
    let session = Session::new();
    let _ = store.create(&session.key, session.record()).await.expect("the store responds");
    let port = ours!(set.primary().await);
    let fails = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 4 },
        "data": {
            "failCommands": ["findAndModify"],
            "writeConcernError": { "code": 91, "errmsg": "the server is shutting down" },
        },
    };
    set.command(port, fails).await.expect("enableTestCommands allows fail points");
    let mut errors = Vec::new();
    for _ in 0..6 {
        let commit = session
            .commit()
            .change(name("card"), Change::Set(Json::encode("hunter2").expect("valid JSON")));
        errors.extend(store.commit(&session.key, commit).await.err());
        errors.extend(store.load(&session.key).await.err());
    }
    assert!(!errors.is_empty(), "an unacknowledged write is an error");
    // The driver shows bytes in hexadecimal.
    let hex = "68756e74657232";
    for error in &errors {
        let text = chain(error);
        assert!(error.is_transient(), "{text}");
        for secret in ["hunter2", hex, session.key.as_str()] {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{text}");
        }
    }
}

#[test]
fn runtime_that_ends_during_its_first_call_blocks_no_other() {
    let runtime = || {
        runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the runtime is built")
    };
    let main = runtime();
    // Dropping a container needs a runtime.
    let _around = main.enter();
    let Some(mongo) = main.block_on(Mongo::start()) else { return };
    let store = Arc::new(main.block_on(connect(&mongo.url())));
    let session = Session::new();
    let _ =
        main.block_on(store.create(&session.key, session.record())).expect("the store responds");
    for round in 0..20 {
        let (ending, store, key) = (runtime(), Arc::clone(&store), session.key.clone());
        // The task blocks its thread while the runtime starts to shut down, and makes its first
        // call afterwards.
        ending.spawn(async move {
            std::thread::sleep(Duration::from_millis(10 + round));
            let _ = store.load(&key).await;
        });
        std::thread::sleep(Duration::from_millis(5));
        let (ended, has_ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(ending);
            let _ = ended.send(());
        });
        has_ended.recv_timeout(Duration::from_secs(5)).expect("the runtime ends");
    }
    let loaded =
        main.block_on(async { timeout(Duration::from_secs(3), store.load(&session.key)).await });
    assert!(loaded.expect("the store responds in time").expect("the store responds").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c26_slow_response_is_judged_by_its_arrival_time() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = connect(&mongo.url()).await;
    let session = Session::new();
    let _ = store
        .create(&session.key, NewRecord::new(session.secret, Duration::from_millis(300)))
        .await
        .expect("the store responds");
    assert!(store.load(&session.key).await.expect("the store responds").is_some());
    // The store has cached the server's time and does not ask for it.
    ours!(mongo.freeze().await);
    let slow = tokio::spawn({
        let (store, key) = (store.clone(), session.key.clone());
        async move { store.load(&key).await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    ours!(mongo.thaw().await);
    assert_eq!(
        slow.await.expect("the task does not panic").expect("the store responds"),
        None,
        "the session expired before the response arrived"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_10000_values_are_removed_atomically() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = connect(&with(&mongo.url(), PATIENT)).await;
    let session = Session::new();
    let many = |count: usize| (0..count).map(|number| name(&format!("n{number}")));
    let data = many(5_000).map(|name| (name, Json::integer(1))).collect();
    let _ =
        store.create(&session.key, session.record().data(data)).await.expect("the store responds");
    let mut commit = session.commit().change(name("kept"), Change::Set(Json::integer(7)));
    for name in many(10_000) {
        commit = commit.change(name, Change::Remove);
    }
    let outcome = store.commit(&session.key, commit).await;
    assert!(is_done(&outcome), "{outcome:?}");
    let record = loaded(&store, &session.key).await;
    assert_eq!(
        record.data.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        [("kept", "7")]
    );
    // A few removals use another expression.
    let few =
        session.commit().change(name("kept"), Change::Remove).change(name("x$.%"), Change::Remove);
    assert!(is_done(&store.commit(&session.key, few).await));
    assert!(loaded(&store, &session.key).await.data.is_empty());
}
