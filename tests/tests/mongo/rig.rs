//! The rig: the servers of these tests start, stop, freeze and fail over on request.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    options::WriteConcern,
};
use tests::{
    PATIENCE, sent_before_panic,
    service::{AnyMongo, Durability, Mongo, MongoSet, PASSWORD},
    wait,
};
use tokio::time::timeout;

/// A server that does not respond within this time is frozen.
const FREEZE_CHECK: Duration = Duration::from_secs(1);

fn things(client: &Client, database: &str) -> Collection<Document> {
    client.database(database).collection("things")
}

/// The default of a standalone server is to acknowledge a write before the journal has it.
fn journaled() -> WriteConcern {
    WriteConcern::builder().journal(true).build()
}

#[tokio::test]
async fn new_server_is_empty_and_reports_its_version() {
    let Some(mongo) = Mongo::start().await else { return };
    let version = mongo.version().strip_prefix("mongo ").expect("the version names the product");
    assert_eq!(version.split('.').count(), 3, "{version}");
    let names = mongo
        .client()
        .await
        .database(mongo.database())
        .list_collection_names()
        .await
        .expect("the server responds");
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn restarted_server_keeps_address_and_data() {
    let Some(mut mongo) = Mongo::start().await else { return };
    let url = mongo.url();
    let kept = things(&mongo.client().await, mongo.database())
        .insert_one(doc! { "_id": 1 })
        .write_concern(journaled())
        .await;
    kept.expect("the server responds");
    ours!(mongo.stop().await);
    mongo.command(doc! { "ping": 1 }).await.expect_err("a stopped server does not respond");
    ours!(mongo.start_again().await);
    assert_eq!(mongo.url(), url);
    let found = things(&mongo.client().await, mongo.database())
        .count_documents(doc! {})
        .await
        .expect("the server responds");
    assert_eq!(found, 1);
    // Both calls succeed if there is nothing to do.
    ours!(mongo.start_again().await);
    ours!(mongo.stop().await);
    ours!(mongo.stop().await);
}

#[tokio::test]
async fn frozen_server_hangs_until_thawed() {
    let Some(mongo) = Mongo::start().await else { return };
    let things = things(&mongo.client().await, mongo.database());
    things.insert_one(doc! {}).await.expect("the server responds");
    ours!(mongo.freeze().await);
    timeout(FREEZE_CHECK, things.insert_one(doc! {}))
        .await
        .expect_err("a frozen server does not respond");
    ours!(mongo.thaw().await);
    things.insert_one(doc! {}).await.expect("the server responds");
}

#[tokio::test]
async fn server_starts_with_the_given_flags() {
    let flags =
        ["--setParameter", "ttlMonitorEnabled=false", "--setParameter", "enableTestCommands=1"];
    let Some(mongo) = Mongo::start_with(&flags).await else { return };
    let set = mongo
        .command(doc! { "getParameter": 1, "ttlMonitorEnabled": 1 })
        .await
        .expect("the server responds");
    assert_eq!(set.get_bool("ttlMonitorEnabled").ok(), Some(false));
    let failing = doc! { "failCommands": ["insert"], "errorCode": 11_601 };
    let point =
        doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": failing };
    mongo.command(point).await.expect("enableTestCommands allows fail points");
    let things = things(&mongo.client().await, mongo.database());
    things.insert_one(doc! {}).await.expect_err("the first insert fails");
    things.insert_one(doc! {}).await.expect("the second insert succeeds");
}

#[tokio::test]
async fn user_can_write_only_its_own_database() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    let port = ours!(mongo.port());
    assert_eq!(
        mongo.url(),
        format!("mongodb://app:{PASSWORD}@127.0.0.1:{port}/{}", mongo.database())
    );
    let app = Client::with_uri_str(mongo.url()).await.expect("a valid URL");
    things(&app, mongo.database())
        .insert_one(doc! {})
        .await
        .expect("the user may write its database");
    things(&app, "another")
        .insert_one(doc! {})
        .await
        .expect_err("the user may not write another database");
    let anonymous =
        Client::with_uri_str(format!("mongodb://127.0.0.1:{port}")).await.expect("a valid URL");
    things(&anonymous, mongo.database())
        .insert_one(doc! {})
        .await
        .expect_err("an anonymous client may not write");
    things(&mongo.client().await, "another")
        .insert_one(doc! {})
        .await
        .expect("the administrator may write every database");
    assert!(!ours!(mongo.output()).contains(PASSWORD));
}

#[tokio::test]
async fn server_keeps_data_according_to_its_durability() {
    for (durability, remaining) in [(Durability::Full, 1), (Durability::None, 0)] {
        let Some(mut mongo) = AnyMongo::own_server(durability).await else { return };
        check_restart(&mut mongo, remaining).await;
    }
}

#[tokio::test]
async fn replica_set_keeps_data_according_to_its_durability() {
    for (durability, remaining) in [(Durability::Full, 1), (Durability::None, 0)] {
        let Some(mut mongo) = AnyMongo::own_set(durability).await else { return };
        check_restart(&mut mongo, remaining).await;
    }
}

/// Writes one document, restarts the service, and expects `remaining` documents at the same URL.
async fn check_restart(mongo: &mut AnyMongo, remaining: usize) {
    let client = Client::with_uri_str(mongo.url("appName=rig")).await.expect("a valid URL");
    let written = things(&client, mongo.database())
        .insert_one(doc! { "_id": 1 })
        .write_concern(journaled())
        .await;
    written.expect("the server responds");
    assert_eq!(mongo.dump().await, [doc! { "_id": 1 }]);
    ours!(mongo.stop().await);
    ours!(mongo.start_again().await);
    assert_eq!(mongo.dump().await.len(), remaining);
    things(&client, mongo.database())
        .insert_one(doc! { "_id": 2 })
        .await
        .expect("the same client can still write");
}

#[tokio::test]
async fn dropped_server_stops_listening() {
    let Some(mongo) = Mongo::start().await else { return };
    let port = ours!(mongo.port());
    drop(mongo);
    TcpStream::connect(("127.0.0.1", port)).expect_err("the server has stopped listening");
}

/// The rig also stops the servers of a test that fails.
#[test]
fn replica_set_stops_after_a_panic() {
    let ports = sent_before_panic(|sender| async move {
        let Some(set) = MongoSet::start().await else { return };
        sender.send(ours!(set.ports())).expect("the test receives the ports");
        panic!("the test fails");
    });
    let Some(ports) = ports else { return };
    for port in ports {
        TcpStream::connect(("127.0.0.1", port)).expect_err("the server has stopped listening");
    }
}

#[tokio::test]
async fn replica_set_recovers_from_a_killed_primary() {
    let Some(mut set) = MongoSet::start().await else { return };
    let things = things(&set.client().await, set.database());
    things.insert_one(doc! {}).await.expect("the primary responds");
    let killed = ours!(set.kill_primary().await);
    let after = elected(&set, killed).await;
    things.insert_one(doc! {}).await.expect("the new primary responds");
    ours!(set.start_again(killed).await);
    set.complete().await;
    assert_eq!(ours!(set.primary().await), after, "a restarted member is a secondary");
}

#[tokio::test]
async fn replica_set_recovers_from_a_frozen_primary() {
    let Some(set) = MongoSet::start().await else { return };
    let frozen = ours!(set.freeze_primary().await);
    let after = elected(&set, frozen).await;
    things(&set.client().await, set.database())
        .insert_one(doc! {})
        .await
        .expect("the new primary responds");
    ours!(set.thaw(frozen).await);
    set.complete().await;
    assert_eq!(ours!(set.primary().await), after, "a thawed member is a secondary");
}

#[tokio::test]
async fn replica_set_elects_a_primary_after_a_step_down() {
    let Some(set) = MongoSet::start().await else { return };
    let former = ours!(set.step_down().await);
    elected(&set, former).await;
    set.complete().await;
    let hello = set.command(former, doc! { "hello": 1 }).await.expect("the member runs");
    assert_eq!(hello.get_bool("secondary").ok(), Some(true));
}

#[tokio::test]
async fn replica_set_can_stop_and_freeze_as_a_whole() {
    let Some(mut set) = MongoSet::start().await else { return };
    let things = things(&set.client().await, set.database());
    things.insert_one(doc! { "_id": 1 }).await.expect("the primary responds");
    ours!(set.freeze_all().await);
    timeout(FREEZE_CHECK, things.insert_one(doc! { "_id": 2 }))
        .await
        .expect_err("a frozen replica set does not respond");
    ours!(set.thaw_all().await);
    set.complete().await;
    ours!(set.stop_all().await);
    let refused = timeout(PATIENCE, things.insert_one(doc! { "_id": 3 }))
        .await
        .expect("a stopped replica set refuses connections at once");
    refused.expect_err("a stopped replica set refuses connections");
    ours!(set.start_all().await);
    things.insert_one(doc! { "_id": 4 }).await.expect("the primary responds");
    things
        .find_one(doc! { "_id": 1 })
        .await
        .expect("the primary responds")
        .expect("acknowledged documents survive the restart");
}

/// Waits for a primary other than `before`.
async fn elected(set: &MongoSet, before: u16) -> u16 {
    let began = Instant::now();
    let another = async || set.primary().await.ok().filter(|port| *port != before);
    let after = wait::until("another primary", PATIENCE, another).await;
    eprintln!("elected after {:?}", began.elapsed());
    after
}
