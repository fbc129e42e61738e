//! Ways to a server: what a URL may ask for, and what is said when the way is lost.

use std::{error::Error, sync::Arc, time::Duration};

use mongodb::bson::doc;
use session_core::{Change, Json, NewRecord, SessionStore, StoreError};
use store_mongo::{Config, MongoStore};
use tests::service::{AnyMongo, Mongo, MongoSet};
use tokio::{runtime, time::timeout};

use crate::session::{Session, connect, is_done, name};

/// An error and all that lies below it.
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
async fn c01_what_fewer_members_acknowledge_is_seen_at_once_as_well() {
    let Some(set) = AnyMongo::set().await else { return };
    for concern in ["w=1", "w=2", "w=majority", "journal=true"] {
        let (writer, reader) = (connect(&set.url(concern)).await, connect(&set.url(concern)).await);
        for _ in 0..50 {
            let session = Session::new();
            let _ = writer.create(&session.key, session.record()).await.expect("an answer");
            assert!(
                reader.load(&session.key).await.expect("an answer").is_some(),
                "{concern}: a session that was made is there"
            );
            assert!(is_done(&writer.commit(&session.key, session.add("n", 1)).await), "{concern}");
            let record = reader
                .load(&session.key)
                .await
                .expect("an answer")
                .expect("a live session")
                .into_record();
            assert_eq!(record.version, 2, "{concern}: a change that was made is seen");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_way_to_a_member_of_a_set_is_refused() {
    let Some(set) = MongoSet::start().await else { return };
    let port = ours!(set.primary().await);
    let url = format!("mongodb://127.0.0.1:{port}/direct?directConnection=true");
    let error = MongoStore::connect(&Config::new(&url).expect("a URL"))
        .await
        .expect_err("it may be a secondary soon");
    assert!(
        error.source().is_some_and(|source| source.to_string().contains("replicaSet")),
        "{error:?}"
    );
    let Some(server) = Mongo::start().await else { return };
    assert!(connect(&format!("{}?directConnection=true", server.url())).await.ping().await.is_ok());
}

/// The driver notes what a server said last, which may be the whole document, and says it again in
/// the errors of later calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_no_later_error_quotes_the_document_of_a_write_that_was_not_acknowledged() {
    let Some(set) = MongoSet::start_with(&["--setParameter", "enableTestCommands=1"]).await else {
        return;
    };
    let store = connect(&format!("{}&deadline_ms=400", set.url())).await;
    let session = Session::new();
    let _ = store.create(&session.key, session.record()).await.expect("an answer");
    let port = ours!(set.primary().await);
    let fails = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 4 },
        "data": { "failCommands": ["findAndModify"], "writeConcernError": { "code": 91, "errmsg": "the server is shutting down" } },
    };
    set.command(port, fails).await.expect("a server for tests fails when it is told to");
    let mut errors = Vec::new();
    for _ in 0..6 {
        let commit = session
            .commit()
            .change(name("card"), Change::Set(Json::encode("hunter2").expect("JSON")));
        errors.extend(store.commit(&session.key, commit).await.err());
        errors.extend(store.load(&session.key).await.err());
    }
    assert!(!errors.is_empty(), "a write that is not acknowledged is an error");
    // As the driver writes bytes.
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
fn a_runtime_that_ends_while_its_first_call_begins_holds_up_nobody() {
    let runtime = || {
        runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let main = runtime();
    // A container is removed by the runtime around it.
    let _around = main.enter();
    let Some(mongo) = main.block_on(Mongo::start()) else { return };
    let store = Arc::new(main.block_on(connect(&mongo.url())));
    let session = Session::new();
    let _ = main.block_on(store.create(&session.key, session.record())).expect("an answer");
    for round in 0..20 {
        let (ending, store, key) = (runtime(), Arc::clone(&store), session.key.clone());
        // A task that blocks its thread while the runtime is told to end makes its first call after
        // that.
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
    assert!(loaded.expect("an answer in time").expect("an answer").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c26_an_answer_that_took_long_is_judged_by_when_it_came() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = connect(&mongo.url()).await;
    let session = Session::new();
    let _ = store
        .create(&session.key, NewRecord::new(session.secret, Duration::from_millis(300)))
        .await
        .expect("an answer");
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    // The store has heard the time a moment ago and does not ask again.
    ours!(mongo.freeze().await);
    let slow = tokio::spawn({
        let (store, key) = (store.clone(), session.key.clone());
        async move { store.load(&key).await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    ours!(mongo.thaw().await);
    assert_eq!(
        slow.await.expect("it does not panic").expect("an answer"),
        None,
        "its life was over before the answer came"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_ten_thousand_values_go_in_one_step() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = connect(&mongo.url()).await;
    let session = Session::new();
    let many = |count: usize| (0..count).map(|number| name(&format!("n{number}")));
    let data = many(5_000).map(|name| (name, Json::integer(1))).collect();
    let _ = store.create(&session.key, session.record().data(data)).await.expect("an answer");
    let mut commit = session.commit().change(name("kept"), Change::Set(Json::integer(7)));
    for name in many(10_000) {
        commit = commit.change(name, Change::Remove);
    }
    assert!(is_done(&store.commit(&session.key, commit).await));
    let record =
        store.load(&session.key).await.expect("an answer").expect("a live session").into_record();
    assert_eq!(
        record.data.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        [("kept", "7")]
    );
    // And a few: those go another way.
    let few =
        session.commit().change(name("kept"), Change::Remove).change(name("x$.%"), Change::Remove);
    assert!(is_done(&store.commit(&session.key, few).await));
    assert!(
        store
            .load(&session.key)
            .await
            .expect("an answer")
            .expect("a live session")
            .into_record()
            .data
            .is_empty()
    );
}
