//! The indexes of the collection: when the store creates them, and which collections it rejects.

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

/// A server, its collection, a store, and a session of bob in it.
async fn with_a_session() -> Option<(AnyMongo, Collection<Document>, MongoStore, Session)> {
    let server = AnyMongo::server().await?;
    let sessions = sessions(&server).await;
    let store = connect(&server.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    Some((server, sessions, store, session))
}

async fn names(sessions: &Collection<Document>) -> BTreeSet<String> {
    sessions.list_index_names().await.unwrap_or_default().into_iter().collect()
}

async fn has_all(sessions: &Collection<Document>) -> bool {
    names(sessions).await == ALL.map(str::to_owned).into()
}

/// Checks that every call of the store works.
async fn every_call_works(store: &MongoStore) {
    let session = Session::signed_in(store, "bob").await;
    assert!(store.load(&session.key).await.expect("load succeeds").is_some());
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let next = session.rotated();
    assert!(is_done(&store.commit(&session.key, session.renew(&next)).await));
    assert_eq!(
        store.commit(&session.key, session.add("n", 1)).await.expect("the store responds"),
        Outcome::Superseded
    );
    assert_eq!(
        store.create(&next.key, next.record()).await.expect("the store responds"),
        Created::Taken
    );
    assert_eq!(
        store.list(&principal("bob"), None, 10).await.expect("list succeeds").sessions.len(),
        1
    );
    assert!(
        store
            .scan(None, 1_000)
            .await
            .expect("the page is read")
            .records
            .iter()
            .any(|(key, _)| *key == next.key)
    );
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"), 1);
    let other = Session::anonymous(store).await;
    assert_eq!(
        store.delete(&other.key, Claim::Any).await.expect("delete succeeds"),
        Deleted::Ended
    );
    store.delete_everyone(None, 1_000).await.expect("the page is read");
    assert_eq!(store.delete_expired(10).await.expect("delete_expired succeeds"), 0);
    store.ping().await.expect("the store responds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_connects_create_each_index() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    // Several rounds, because this tests a race.
    for _ in 0..5 {
        sessions.drop().await.expect("the server responds");
        let url = server.url(PATIENT);
        let opened = (0..8).map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let store = MongoStore::connect(&Config::new(&url).expect("a valid URL"))
                    .await
                    .expect("the store connects");
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
                .expect("list succeeds")
                .sessions
                .len(),
            8
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_collection_is_recreated_with_its_indexes() {
    let Some((_server, sessions, store, session)) = with_a_session().await else { return };
    sessions.drop().await.expect("the server responds");
    assert!(store.load(&session.key).await.expect("the store responds").is_none());
    assert_eq!(
        store.commit(&session.key, session.set("a", "1")).await.expect("the store responds"),
        Outcome::Gone
    );
    assert!(
        store
            .list(&principal("bob"), None, 10)
            .await
            .expect("the store responds")
            .sessions
            .is_empty()
    );
    assert_eq!(
        store.delete(&session.key, Claim::Any).await.expect("the store responds"),
        Deleted::Missing
    );
    every_call_works(&store).await;
    assert!(has_all(&sessions).await, "{:?}", names(&sessions).await);

    // A creation as the first call.
    sessions.drop().await.expect("the server responds");
    every_call_works(&store).await;
    assert!(has_all(&sessions).await, "{:?}", names(&sessions).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_indexes_are_recreated_by_the_next_call() {
    let Some((_server, sessions, store, _)) = with_a_session().await else { return };
    for call in 0..3 {
        sessions.drop_indexes().await.expect("the server responds");
        match call {
            0 => assert_eq!(
                store
                    .list(&principal("bob"), None, 10)
                    .await
                    .expect("list succeeds")
                    .sessions
                    .len(),
                1
            ),
            1 => assert_eq!(store.delete_expired(1).await.expect("delete_expired succeeds"), 0),
            _ => assert_eq!(
                store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"),
                1
            ),
        }
        assert!(has_all(&sessions).await, "call {call}: {:?}", names(&sessions).await);
    }
}

/// The actions that the README lists after this text, up to the end of the sentence.
fn listed_after(text: &str) -> Vec<String> {
    let readme = include_str!("../../../store-mongo/README.md").replace('\n', " ");
    let (_, after) = readme.split_once(text).expect("the README lists the privileges");
    let list = after.split('.').next().unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The URL of a new user that has only these privileges on the collection of sessions.
async fn url_of_a_user(server: &AnyMongo, name: &str, actions: &[String]) -> String {
    let database = database(server).await;
    let resource = doc! { "db": server.database(), "collection": "sessions" };
    let privilege = doc! { "resource": resource, "actions": actions };
    let role = doc! { "createRole": name, "privileges": [privilege], "roles": [] };
    database.run_command(role).await.expect("the administrator creates the role");
    let user = doc! { "createUser": name, "pwd": "their-password", "roles": [name] };
    database.run_command(user).await.expect("the administrator creates the user");
    server.url(PATIENT).replace(&format!("app:{PASSWORD}@"), &format!("{name}:their-password@"))
}

fn text(error: &ConnectError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

async fn refusal(url: &str) -> String {
    let error = MongoStore::connect(&Config::new(url).expect("a valid URL"))
        .await
        .expect_err("connect rejects the server");
    eprintln!("{}", text(&error));
    text(&error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_listed_in_the_readme_are_sufficient() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let actions = listed_after("a role with these actions on the collection");
    assert!(
        actions.len() > 4 && actions.iter().any(|action| action == "createIndex"),
        "{actions:?}"
    );
    let store = connect(&url_of_a_user(&server, "maker", &actions).await).await;
    every_call_works(&store).await;
    assert!(has_all(&sessions(&server).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_without_create_index_uses_existing_indexes() {
    let Some(server) = AnyMongo::server_with(&["--setParameter", "ttlMonitorEnabled=false"]).await
    else {
        return;
    };
    let mut actions = listed_after("a role with these actions on the collection");
    actions.retain(|action| !action.starts_with("create"));
    let url = url_of_a_user(&server, "user", &actions).await;
    actions.retain(|action| action != "listIndexes");
    let none = url_of_a_user(&server, "without", &actions).await;
    // First without the collection, then with a collection without indexes.
    for _ in 0..2 {
        for url in [&url, &none] {
            let why = refusal(url).await;
            assert!(why.contains("privilege") && !why.contains("their-password"), "{why}");
        }
        let _ = database(&server).await.create_collection("sessions").await;
    }
    // The indexes that the README tells an administrator to create.
    let index = |keys: Document, name: &str, options: IndexOptions| {
        let options =
            IndexOptions::builder().name(name.to_owned()).expire_after(options.expire_after);
        IndexModel::builder().keys(keys).options(options.build()).build()
    };
    let mut of_a_user =
        index(doc! { "principal": 1, "_id": 1 }, "session_principal", IndexOptions::default());
    of_a_user.options.as_mut().expect("the options are set").partial_filter_expression =
        Some(doc! { "principal": { "$exists": true } });
    let made = [
        of_a_user,
        index(
            doc! { "expires": 1 },
            "session_expiry",
            IndexOptions::builder().expire_after(std::time::Duration::ZERO).build(),
        ),
    ];
    sessions(&server).await.create_indexes(made).await.expect("the server responds");
    every_call_works(&connect(&url).await).await;
    // A store that may create indexes accepts the same ones.
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicting_index_is_rejected_at_connect() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let other = |keys: Document, name: &str, unique: bool| {
        IndexModel::builder()
            .keys(keys)
            .options(IndexOptions::builder().name(name.to_owned()).unique(unique).build())
            .build()
    };
    for conflicting in [
        other(doc! { "something": 1 }, "session_principal", false),
        other(doc! { "expires": 1 }, "session_expiry", false),
        other(doc! { "expires": 1 }, "theirs", false),
    ] {
        sessions.create_index(conflicting.clone()).await.expect("the server responds");
        let why = refusal(&server.url(PATIENT)).await;
        assert!(why.contains("index") && why.contains("remove it"), "{conflicting:?}: {why}");
        sessions.drop().await.expect("the server responds");
    }
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// Sessions lack the fields of the first version's unique index, so the index would reject the
/// second session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collection_of_the_first_version_is_rejected() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let old = doc! {
        "_id": ObjectId::new(),
        "lineage": "AAAA",
        "key": "AAAAold",
        "format": 1,
        "version": 1_i64,
    };
    for (name, keys) in
        [("session_key", doc! { "lineage": 1, "key": 1 }), ("theirs", doc! { "something": 1 })]
    {
        sessions.insert_one(old.clone()).await.expect("the server responds");
        let options = IndexOptions::builder().name(name.to_owned()).unique(true).build();
        let index = IndexModel::builder().keys(keys).options(options).build();
        sessions.create_index(index).await.expect("the server responds");
        let why = refusal(&server.url(PATIENT)).await;
        assert!(
            why.contains(name) && why.contains("drop the collection") && !why.contains("AAAA"),
            "{why}"
        );
        assert_eq!(
            sessions.find_one(doc! {}).await.expect("the server responds"),
            Some(old.clone()),
            "the store changes nothing"
        );
        sessions.drop().await.expect("the server responds");
    }
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// With this collation `bob` and `BOB` would be the same user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collection_with_a_collation_is_rejected() {
    let Some(server) = AnyMongo::server().await else { return };
    let create = doc! { "create": "sessions", "collation": { "locale": "en", "strength": 2 } };
    database(&server).await.run_command(create).await.expect("the server responds");
    let why = refusal(&server.url(PATIENT)).await;
    assert!(why.contains("collation") && why.contains("drop it"), "{why}");
    sessions(&server).await.drop().await.expect("the server responds");
    every_call_works(&connect(&server.url(PATIENT)).await).await;
}

/// The index of `_id` cannot be dropped, so keys stay unique.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_keys_stay_unique_after_the_collection_is_dropped() {
    let Some(server) = AnyMongo::server().await else { return };
    let sessions = sessions(&server).await;
    let stores = [connect(&server.url(PATIENT)).await, connect(&server.url("")).await];
    for round in ["the collection", "the indexes"] {
        if round == "the collection" {
            sessions.drop().await
        } else {
            sessions.drop_indexes().await
        }
        .expect("the server responds");
        let session = Session::new();
        assert_eq!(
            stores[0].create(&session.key, session.record()).await.expect("the store responds"),
            Created::New,
            "{round}"
        );
        assert_eq!(
            stores[1].create(&session.key, session.record()).await.expect("the store responds"),
            Created::Taken,
            "{round}"
        );
    }
}
