//! The servers that tests are given do what is asked of them.

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
    PATIENCE,
    service::{AnyMongo, Durability, Mongo, MongoSet, PASSWORD},
    wait,
};
use tokio::time::timeout;

/// How long a server that hangs is given to answer.
const HANGS_FOR: Duration = Duration::from_secs(1);

fn things(client: &Client, database: &str) -> Collection<Document> {
    client.database(database).collection("things")
}

/// A server alone acknowledges what a crash could still take back, unless it is told otherwise.
fn journaled() -> WriteConcern {
    WriteConcern::builder().journal(true).build()
}

#[tokio::test]
async fn a_mongo_is_empty_and_says_its_version() {
    let Some(mongo) = Mongo::start().await else { return };
    let version = mongo.version().strip_prefix("mongo ").expect("a product and its version");
    assert_eq!(version.split('.').count(), 3, "{version}");
    let names = mongo
        .client()
        .await
        .database(mongo.database())
        .list_collection_names()
        .await
        .expect("the server answers");
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn a_stopped_mongo_comes_back_at_the_same_address_with_what_it_held() {
    let Some(mut mongo) = Mongo::start().await else { return };
    let url = mongo.url();
    let kept = things(&mongo.client().await, mongo.database())
        .insert_one(doc! { "_id": 1 })
        .write_concern(journaled())
        .await;
    kept.expect("the server answers");
    ours!(mongo.stop().await);
    mongo.command(doc! { "ping": 1 }).await.expect_err("a stopped server does not answer");
    ours!(mongo.start_again().await);
    assert_eq!(mongo.url(), url);
    let found = things(&mongo.client().await, mongo.database())
        .count_documents(doc! {})
        .await
        .expect("the server answers");
    assert_eq!(found, 1);
    // Both are fine when there is nothing to do.
    ours!(mongo.start_again().await);
    ours!(mongo.stop().await);
    ours!(mongo.stop().await);
}

#[tokio::test]
async fn a_frozen_mongo_hangs_until_it_is_thawed() {
    let Some(mongo) = Mongo::start().await else { return };
    let things = things(&mongo.client().await, mongo.database());
    things.insert_one(doc! {}).await.expect("the server answers");
    ours!(mongo.freeze().await);
    timeout(HANGS_FOR, things.insert_one(doc! {}))
        .await
        .expect_err("a frozen server does not answer");
    ours!(mongo.thaw().await);
    things.insert_one(doc! {}).await.expect("the server answers");
}

#[tokio::test]
async fn a_mongo_has_the_flags_that_were_asked_for() {
    let flags =
        ["--setParameter", "ttlMonitorEnabled=false", "--setParameter", "enableTestCommands=1"];
    let Some(mongo) = Mongo::start_with(&flags).await else { return };
    let set = mongo
        .command(doc! { "getParameter": 1, "ttlMonitorEnabled": 1 })
        .await
        .expect("the server answers");
    assert_eq!(set.get_bool("ttlMonitorEnabled").ok(), Some(false));
    let failing = doc! { "failCommands": ["insert"], "errorCode": 11_601 };
    let point =
        doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": failing };
    mongo.command(point).await.expect("a server for tests has points of failure");
    let things = things(&mongo.client().await, mongo.database());
    things.insert_one(doc! {}).await.expect_err("the first one fails");
    things.insert_one(doc! {}).await.expect("only the first one fails");
}

#[tokio::test]
async fn a_mongo_with_a_password_lets_its_user_write_its_database_and_no_other() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    let port = ours!(mongo.port());
    assert_eq!(
        mongo.url(),
        format!("mongodb://app:{PASSWORD}@127.0.0.1:{port}/{}", mongo.database())
    );
    let app = Client::with_uri_str(mongo.url()).await.expect("a URL");
    things(&app, mongo.database()).insert_one(doc! {}).await.expect("its database");
    things(&app, "another").insert_one(doc! {}).await.expect_err("another database");
    let nobody = Client::with_uri_str(format!("mongodb://127.0.0.1:{port}")).await.expect("a URL");
    things(&nobody, mongo.database()).insert_one(doc! {}).await.expect_err("without the password");
    things(&mongo.client().await, "another")
        .insert_one(doc! {})
        .await
        .expect("the test may do everything");
    assert!(!ours!(mongo.output()).contains(PASSWORD));
}

#[tokio::test]
async fn a_server_holds_after_a_restart_what_it_was_to_keep() {
    for (kept, then) in [(Durability::Full, 1), (Durability::None, 0)] {
        let Some(mut mongo) = AnyMongo::own_server(kept).await else { return };
        stays(&mut mongo, then).await;
    }
}

#[tokio::test]
async fn a_replica_set_holds_after_a_restart_what_it_was_to_keep() {
    for (kept, then) in [(Durability::Full, 1), (Durability::None, 0)] {
        let Some(mut mongo) = AnyMongo::own_set(kept).await else { return };
        stays(&mut mongo, then).await;
    }
}

/// Writes one document, stops and starts the service, and finds this many in it, by the URL that it
/// had before.
async fn stays(mongo: &mut AnyMongo, then: usize) {
    let client = Client::with_uri_str(mongo.url("appName=rig")).await.expect("a URL");
    let written = things(&client, mongo.database())
        .insert_one(doc! { "_id": 1 })
        .write_concern(journaled())
        .await;
    written.expect("the server answers");
    assert_eq!(mongo.dump().await, [doc! { "_id": 1 }]);
    ours!(mongo.stop().await);
    ours!(mongo.start_again().await);
    assert_eq!(mongo.dump().await.len(), then);
    things(&client, mongo.database())
        .insert_one(doc! { "_id": 2 })
        .await
        .expect("the same client still may write");
}

#[tokio::test]
async fn a_dropped_mongo_is_gone() {
    let Some(mongo) = Mongo::start().await else { return };
    let port = ours!(mongo.port());
    drop(mongo);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
}

/// What was started by a test that fails is gone as well.
#[test]
fn a_replica_set_is_gone_after_a_panic() {
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let Some(set) = MongoSet::start().await else { return };
            tell.send(ours!(set.ports())).expect("the test listens");
            panic!("as a test that fails does");
        });
    });
    let ended = test.join();
    // Nothing is told if the test is skipped, and then it has ended without a panic.
    let Ok(ports) = told.recv() else { return ended.expect("there is a server") };
    ended.expect_err("the test panics");
    for port in ports {
        TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
    }
}

#[tokio::test]
async fn a_replica_set_elects_another_primary_after_a_kill_and_takes_the_member_back() {
    let Some(mut set) = MongoSet::start().await else { return };
    let things = things(&set.client().await, set.database());
    things.insert_one(doc! {}).await.expect("the primary answers");
    let killed = ours!(set.kill_primary().await);
    let after = elected(&set, killed).await;
    things.insert_one(doc! {}).await.expect("the new primary answers");
    ours!(set.start_again(killed).await);
    set.complete().await;
    assert_eq!(ours!(set.primary().await), after, "who comes back follows");
}

#[tokio::test]
async fn a_replica_set_elects_another_primary_after_a_freeze_and_takes_the_member_back() {
    let Some(set) = MongoSet::start().await else { return };
    let frozen = ours!(set.freeze_primary().await);
    let after = elected(&set, frozen).await;
    things(&set.client().await, set.database())
        .insert_one(doc! {})
        .await
        .expect("the new primary answers");
    ours!(set.thaw(frozen).await);
    set.complete().await;
    assert_eq!(ours!(set.primary().await), after, "who wakes up follows");
}

#[tokio::test]
async fn a_replica_set_elects_another_primary_when_one_steps_down() {
    let Some(set) = MongoSet::start().await else { return };
    let former = ours!(set.step_down().await);
    elected(&set, former).await;
    set.complete().await;
    let hello = set.command(former, doc! { "hello": 1 }).await.expect("it runs");
    assert_eq!(hello.get_bool("secondary").ok(), Some(true));
}

#[tokio::test]
async fn a_replica_set_can_stop_and_hang_as_a_whole() {
    let Some(mut set) = MongoSet::start().await else { return };
    let things = things(&set.client().await, set.database());
    things.insert_one(doc! { "_id": 1 }).await.expect("the primary answers");
    ours!(set.freeze_all().await);
    timeout(HANGS_FOR, things.insert_one(doc! { "_id": 2 })).await.expect_err("it hangs");
    ours!(set.thaw_all().await);
    set.complete().await;
    ours!(set.stop_all().await);
    let refused = timeout(PATIENCE, things.insert_one(doc! { "_id": 3 }))
        .await
        .expect("it is gone, and does not hang");
    refused.expect_err("it is gone");
    ours!(set.start_all().await);
    things.insert_one(doc! { "_id": 4 }).await.expect("the primary answers");
    things
        .find_one(doc! { "_id": 1 })
        .await
        .expect("the primary answers")
        .expect("what a majority had is kept");
}

/// The primary once it is another.
async fn elected(set: &MongoSet, before: u16) -> u16 {
    let began = Instant::now();
    let another = async || set.primary().await.ok().filter(|port| *port != before);
    let after = wait::until("another primary", PATIENCE, another).await;
    eprintln!("elected after {:?}", began.elapsed());
    after
}
