//! Start with `--store mongo`: wrong URLs and unusable servers. Each mistake gets an error that
//! names the input and the remedy, without a password.

use mongodb::{
    Client, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};
use tests::{
    Ended, Setup,
    service::{AnyMongo, Durability, PASSWORD},
};

use crate::startup::{
    Mistake, SECRET, assert_refused, assert_settings_hide_the_password,
    assert_startup_message_hides_the_password, assert_wrong_urls_are_refused,
    demo_starts_while_its_servers_are_down_and_serves_later, run_with, start,
};

const MISTAKES: &[Mistake] = &[
    ("ipc:/run/hunter2.sock", &["DEMO_STORE_URL", "mongodb:", "--store ipc"]),
    ("redis://:hunter2@host/0", &["DEMO_STORE_URL", "mongodb:", "--store redis"]),
    ("postgres://app:hunter2@host/shop", &["DEMO_STORE_URL", "mongodb:", "postgres"]),
    ("mongo://app:hunter2@host", &["DEMO_STORE_URL", "mongodb:", "its scheme is mongo"]),
    ("hunter2@host", &["DEMO_STORE_URL", "mongodb:", "none"]),
    ("mongodb:hunter2", &["mongodb://"]),
    ("mongodb://app:hunter2@", &["hostname", "empty"]),
    ("mongodb://app:hunter2@host:99999", &["port", "1 to 65535"]),
    ("mongodb://app:hunter2@host:port", &["port", "1 to 65535"]),
    ("mongodb://app:hunter2", &["port", "user and password end with an @"]),
    ("mongodb://app:hunt@er2hunter2@host/shop", &["percent-encoded"]),
    ("mongodb://app:hunter2:hunter2@host/shop", &["percent-encoded"]),
    ("mongodb://app:hunter2@host/a.b", &["database", "\"a.b\"", "1 to 63"]),
    ("mongodb://app:hunter2@host/%ff", &["database", "UTF-8"]),
    ("mongodb://app:hunter2@host/?nonsense=1", &["nonsense"]),
    ("mongodb://app:hunter2@host/?prefix=a", &["prefix"]),
    ("mongodb://app:hunter2@host/?deadline_ms=soon", &["deadline_ms", "\"soon\""]),
    ("mongodb://app:hunter2@host/?deadline_ms=0", &["deadline_ms", "1 or more"]),
    ("mongodb://app:hunter2@host/?data_bytes=99999999", &["data_bytes", "\"99999999\"", "at most"]),
    ("mongodb://app:hunter2@host/?collection=a$b", &["collection", "a$b", "dollar"]),
    ("mongodb://app:hunter2@host/?collection=system.users", &["collection", "system."]),
    ("mongodb://app:hunter2@host/?w=0", &["w=0", "w=majority"]),
    ("mongodb://app:hunter2@host/?readPreference=secondary", &["readPreference", "primary"]),
    ("mongodb://app:hunter2@host/?authMechanism=hunter2", &["authMechanism", "SCRAM-SHA-256"]),
];

/// Passwords with a character that is not percent-encoded, so that the URL is split within the
/// password.
const UNENCODED: &[&str] = &[
    "mongodb://app:hunter2/hunter2@127.0.0.1:1/shop",
    "mongodb://app:1/hunter2@127.0.0.1",
    "mongodb://127.0.0.1:1/hunter2@host",
    "mongodb://app:1/hunter2@host.example.com/shop",
    "mongodb://app:hunter2?hunter2@host/shop",
    "mongodb://app:1?hunter2=x@host/shop",
    "mongodb://app:hunter2#hunter2@host/shop",
    "mongodb://app:hunter2%hunter2@host/shop",
    "mongodb://app:[hunter2@host/shop",
];

async fn run(url: &str) -> Ended {
    run_with("mongo", url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_urls_are_named_with_the_allowed_values() {
    assert_wrong_urls_are_refused(
        "mongo",
        MISTAKES,
        UNENCODED,
        &["DEMO_STORE_URL"],
        "mongodb://app:hunter2@host",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_settings_and_startup_message_show_no_password() {
    let urls = [
        "mongodb://app:hunter2@host:7000/shop?replicaSet=rs",
        "mongodb://app:hunter2@a,b,c/shop",
        "mongodb+srv://app:hunter2@cluster.example.net/shop",
        "mongodb://app:hunter2@host/?tls=true&tlsCertificateKeyFile=/a.pem",
    ];
    assert_settings_hide_the_password("mongo", &urls).await;
    let Some(mongo) = AnyMongo::server().await else { return };
    let url = mongo.url("collection=greeting");
    assert_startup_message_hides_the_password("mongo", &url, "mongodb://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_rejected_login_ends_the_start_without_showing_the_password() {
    let Some(mongo) = AnyMongo::own_server(Durability::None).await else { return };
    let url = mongo.url("");
    for (wrong, words) in [
        (url.replace(PASSWORD, SECRET), "rejected the login; check user, password and authSource"),
        (url.replace("app:", "nobody:"), "rejected the login; check user, password and authSource"),
        (
            format!("{url}authSource=admin"),
            "rejected the login; check user, password and authSource",
        ),
        (url.replace(&format!("app:{PASSWORD}@"), ""), LACKS),
    ] {
        assert_ne!(wrong, url);
        assert_refused(&run(&wrong).await, 1, &["127.0.0.1:", words]);
    }
}

/// The message for a user without the needed privileges.
const LACKS: &str = "lacks a privilege that sessions need";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_privileges_end_the_start_with_a_reason() {
    let Some(mongo) = AnyMongo::own_server(Durability::None).await else { return };
    let database = mongo.client().await.database(mongo.database());
    for (user, role) in [
        ("reader", doc! { "role": "read", "db": mongo.database() }),
        ("stranger", doc! { "role": "readWrite", "db": "elsewhere" }),
    ] {
        let words = doc! { "createUser": user, "pwd": SECRET, "roles": [role] };
        database.run_command(words).await.expect("an administrator creates users");
        let url = mongo
            .url("collection=visits")
            .replace(&format!("app:{PASSWORD}"), &format!("{user}:{SECRET}"));
        assert_refused(&run(&url).await, 1, &["127.0.0.1:", LACKS]);
    }
    assert!(mongo.dump().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicting_index_ends_the_start_with_its_name() {
    let Some(mongo) = AnyMongo::own_server(Durability::None).await else { return };
    let client = mongo.client().await;
    let url = mongo.url("collection=visits");
    for (keys, options) in [
        // The same name with other fields, the same fields with another name, and both with other
        // options.
        (doc! { "other": 1 }, IndexOptions::builder().name("session_principal".to_owned()).build()),
        (doc! { "expires": 1 }, IndexOptions::builder().name("mine".to_owned()).build()),
        (doc! { "expires": 1 }, IndexOptions::builder().name("session_expiry".to_owned()).build()),
    ] {
        let name = options.name.clone().expect("a name");
        make_index(&client, mongo.database(), keys, options).await;
        assert_refused(
            &run(&url).await,
            1,
            &["127.0.0.1:", "an index of the collection", "remove it"],
        );
        let visits = client.database(mongo.database()).collection::<Document>("visits");
        visits.drop_index(name).await.expect("the index can be dropped");
    }
    // An index of the first version.
    let unique = IndexOptions::builder().name("session_key".to_owned()).unique(true).build();
    make_index(&client, mongo.database(), doc! { "lineage": 1, "key": 1 }, unique).await;
    assert_refused(&run(&url).await, 1, &["127.0.0.1:", "session_key", "drop the collection"]);
    let visits = client.database(mongo.database()).collection::<Document>("visits");
    visits.drop().await.expect("the collection can be dropped");
    let demo = start("mongo", &url).await;
    assert_eq!(
        demo.signed_in("bob").await.page().await.principal.as_deref(),
        Some("bob"),
        "the demo starts without the index"
    );
}

async fn make_index(client: &Client, database: &str, keys: Document, options: IndexOptions) {
    let index = IndexModel::builder().keys(keys).options(options).build();
    client
        .database(database)
        .collection::<Document>("visits")
        .create_index(index)
        .await
        .expect("an administrator creates indexes");
}

on_own_setups!(
    demo_starts_while_its_servers_are_down_and_serves_later;
    mongo = Setup::own_mongo(Durability::None),
    mongo_set = Setup::own_mongo_set(Durability::None),
);
