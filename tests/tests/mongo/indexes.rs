//! The indexes that sessions need: who makes them, when they come back, and what is said if they
//! cannot be made.

use std::{collections::BTreeSet, error::Error};

use futures_util::future::join_all;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{Document, doc, oid::ObjectId},
    options::IndexOptions,
};
use session_core::{Claim, Created, Deleted, Outcome, SessionStore};
use store_mongo::{Config, ConnectError, MongoStore};
use tests::service::{AnyMongo, PASSWORD};

use crate::session::{PATIENT, Session, connect, is_done, principal};

const ALL: [&str; 3] = ["_id_", "session_expiry", "session_principal"];

async fn database(server: &AnyMongo) -> Database {
    server.client().await.database(server.database())
}

async fn sessions(server: &AnyMongo) -> Collection<Document> {
    database(server).await.collection("sessions")
}

async fn names(sessions: &Collection<Document>) -> BTreeSet<String> {
    sessions.list_index_names().await.unwrap_or_default().into_iter().collect()
}

async fn has_all(sessions: &Collection<Document>) -> bool {
    names(sessions).await == ALL.map(str::to_owned).into()
}

/// Every call of a store does what it is for.
async fn every_call_works(store: &MongoStore) {
    let session = Session::signed_in(store, "bob").await;
    assert!(store.load(&session.key).await.expect("a load").is_some());
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let next = session.rotated();
    assert!(is_done(&store.commit(&session.key, session.renew(&next)).await));
    assert_eq!(
        store.commit(&session.key, session.add("n", 1)).await.expect("an answer"),
        Outcome::Superseded
    );
    assert_eq!(store.create(&next.key, next.record()).await.expect("an answer"), Created::Taken);
    assert_eq!(store.list(&principal("bob"), None, 10).await.expect("a list").sessions.len(), 1);
    assert!(
        store
            .scan(None, 1_000)
            .await
            .expect("a page")
            .records
            .iter()
            .any(|(key, _)| *key == next.key)
    );
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("an end of all"), 1);
    let other = Session::anonymous(store).await;
    assert_eq!(store.delete(&other.key, Claim::Any).await.expect("an end"), Deleted::Ended);
    store.delete_everyone(None, 1_000).await.expect("a page");
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    store.ping().await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_stores_opened_at_once_find_each_index_made() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    // Several times, because it is a race.
    for _ in 0..5 {
        sessions.drop().await.expect("the server answers");
        let url = server.url(PATIENT);
        let opened = (0..8).map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let store = MongoStore::connect(&Config::new(&url).expect("a URL"))
                    .await
                    .expect("a server to connect to");
                Session::signed_in(&store, "bob").await
            })
        });
        let made = join_all(opened).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        assert!(has_all(&sessions).await, "{:?}", names(&sessions).await);
        assert_eq!(
            connect(&url)
                .await
                .list(&principal("bob"), None, 10)
                .await
                .expect("a list")
                .sessions
                .len(),
            8
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_was_dropped_comes_back_with_its_indexes() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let store = connect(&server.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    sessions.drop().await.expect("the server answers");
    assert!(store.load(&session.key).await.expect("an answer").is_none());
    assert_eq!(
        store.commit(&session.key, session.set("a", "1")).await.expect("an answer"),
        Outcome::Gone
    );
    assert!(store.list(&principal("bob"), None, 10).await.expect("an answer").sessions.is_empty());
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Missing);
    every_call_works(&store).await;
    assert!(has_all(&sessions).await, "{:?}", names(&sessions).await);

    // With a creation as the first call.
    sessions.drop().await.expect("the server answers");
    every_call_works(&store).await;
    assert!(has_all(&sessions).await, "{:?}", names(&sessions).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_were_dropped_come_back_with_the_next_call_that_needs_one() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let store = connect(&server.url(PATIENT)).await;
    let _ = Session::signed_in(&store, "bob").await;
    for call in 0..3 {
        sessions.drop_indexes().await.expect("the server answers");
        match call {
            0 => assert_eq!(
                store.list(&principal("bob"), None, 10).await.expect("a list").sessions.len(),
                1
            ),
            1 => assert_eq!(store.delete_expired(1).await.expect("a purge"), 0),
            _ => assert_eq!(
                store.delete_all(&principal("bob"), None).await.expect("an end of all"),
                1
            ),
        }
        assert!(has_all(&sessions).await, "call {call}: {:?}", names(&sessions).await);
    }
}

/// The actions that the crate's page lists after these words, up to the end of the sentence.
fn listed_after(words: &str) -> Vec<String> {
    let page = include_str!("../../../store-mongo/README.md").replace('\n', " ");
    let (_, after) = page.split_once(words).expect("the page says what a user needs");
    let list = after.split('.').next().unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The URL of a user who may do this with the collection of sessions, and nothing else.
async fn url_of_a_user(server: &AnyMongo, name: &str, actions: &[String]) -> String {
    let database = database(server).await;
    let resource = doc! { "db": server.database(), "collection": "sessions" };
    let role = doc! { "createRole": name, "privileges": [{ "resource": resource, "actions": actions }], "roles": [] };
    database.run_command(role).await.expect("who may do everything makes a role");
    let user = doc! { "createUser": name, "pwd": "their-password", "roles": [name] };
    database.run_command(user).await.expect("who may do everything makes a user");
    server.url(PATIENT).replace(&format!("app:{PASSWORD}@"), &format!("{name}:their-password@"))
}

fn words(error: &ConnectError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

async fn refusal(url: &str) -> String {
    let error = MongoStore::connect(&Config::new(url).expect("a URL"))
        .await
        .expect_err("the server cannot be used");
    eprintln!("{}", words(&error));
    words(&error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_its_own_needs_no_more_than_the_page_says() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let actions = listed_after("or on the collection");
    assert!(
        actions.len() > 4 && actions.iter().any(|action| action == "createIndex"),
        "{actions:?}"
    );
    let store = connect(&url_of_a_user(&server, "maker", &actions).await).await;
    every_call_works(&store).await;
    assert!(has_all(&sessions(&server).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_make_no_index_uses_those_that_somebody_made() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let mut actions = listed_after("or on the collection");
    actions.retain(|action| !action.starts_with("create"));
    let url = url_of_a_user(&server, "user", &actions).await;
    actions.retain(|action| action != "listIndexes");
    let none = url_of_a_user(&server, "without", &actions).await;
    // Without the collection, and with one that has no index.
    for _ in 0..2 {
        for url in [&url, &none] {
            let why = refusal(url).await;
            assert!(why.contains("right") && !why.contains("their-password"), "{why}");
        }
        let _ = database(&server).await.create_collection("sessions").await;
    }
    // As the crate's page tells an administrator to.
    let index = |keys: Document, name: &str, options: IndexOptions| {
        let options =
            IndexOptions::builder().name(name.to_owned()).expire_after(options.expire_after);
        IndexModel::builder().keys(keys).options(options.build()).build()
    };
    let mut of_a_user =
        index(doc! { "principal": 1, "_id": 1 }, "session_principal", IndexOptions::default());
    of_a_user.options.as_mut().expect("options").partial_filter_expression =
        Some(doc! { "principal": { "$exists": true } });
    let made = [
        of_a_user,
        index(
            doc! { "expires": 1 },
            "session_expiry",
            IndexOptions::builder().expire_after(std::time::Duration::ZERO).build(),
        ),
    ];
    sessions(&server).await.create_indexes(made).await.expect("the server answers");
    every_call_works(&connect(&url).await).await;
    // Those made like that are those that a store makes.
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_in_the_way_is_said_at_once() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let other = |keys: Document, name: &str, unique: bool| {
        IndexModel::builder()
            .keys(keys)
            .options(IndexOptions::builder().name(name.to_owned()).unique(unique).build())
            .build()
    };
    for in_the_way in [
        other(doc! { "something": 1 }, "session_principal", false),
        other(doc! { "expires": 1 }, "session_expiry", false),
        other(doc! { "expires": 1 }, "theirs", false),
    ] {
        sessions.create_index(in_the_way.clone()).await.expect("the server answers");
        let why = refusal(&server.url(PATIENT)).await;
        assert!(why.contains("index") && why.contains("remove it"), "{in_the_way:?}: {why}");
        sessions.drop().await.expect("the server answers");
    }
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// With the first version's unique index the second creation would fail: all sessions lack its
/// fields.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_of_the_first_version_is_refused_with_what_to_do() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let old = doc! { "_id": ObjectId::new(), "lineage": "AAAA", "key": "AAAAold", "format": 1, "version": 1_i64 };
    for (name, keys) in
        [("session_key", doc! { "lineage": 1, "key": 1 }), ("theirs", doc! { "something": 1 })]
    {
        sessions.insert_one(old.clone()).await.expect("the server answers");
        let options = IndexOptions::builder().name(name.to_owned()).unique(true).build();
        let index = IndexModel::builder().keys(keys).options(options).build();
        sessions.create_index(index).await.expect("the server answers");
        let why = refusal(&server.url(PATIENT)).await;
        assert!(
            why.contains(name) && why.contains("drop the collection") && !why.contains("AAAA"),
            "{why}"
        );
        assert_eq!(
            sessions.find_one(doc! {}).await.expect("the server answers"),
            Some(old.clone()),
            "nothing is changed"
        );
        sessions.drop().await.expect("the server answers");
    }
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// By such a collation `bob` and `BOB` would be one user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_with_a_collation_is_refused() {
    let Some(server) = AnyMongo::server().await else { return };
    let create = doc! { "create": "sessions", "collation": { "locale": "en", "strength": 2 } };
    database(&server).await.run_command(create).await.expect("the server answers");
    let why = refusal(&server.url(PATIENT)).await;
    assert!(why.contains("collation") && why.contains("drop it"), "{why}");
    sessions(&server).await.drop().await.expect("the server answers");
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// The index of `_id` cannot be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_a_key_is_given_once_also_after_the_collection_was_dropped() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let stores = [connect(&server.url(PATIENT)).await, connect(&server.url("")).await];
    for round in ["the collection", "the indexes"] {
        if round == "the collection" {
            sessions.drop().await
        } else {
            sessions.drop_indexes().await
        }
        .expect("the server answers");
        let session = Session::new();
        assert_eq!(
            stores[0].create(&session.key, session.record()).await.expect("an answer"),
            Created::New,
            "{round}"
        );
        assert_eq!(
            stores[1].create(&session.key, session.record()).await.expect("an answer"),
            Created::Taken,
            "{round}"
        );
    }
}
