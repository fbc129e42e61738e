//! The servers that tests are given do what is asked of them.

use std::time::{Duration, Instant};

use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    options::WriteConcern,
};
use tests::{
    PATIENCE,
    service::{Mongo, MongoSet},
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
    let names = mongo.client().await.database(mongo.database()).list_collection_names().await.expect("the server answers");
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn a_stopped_mongo_comes_back_at_the_same_address_with_what_it_held() {
    let Some(mut mongo) = Mongo::start().await else { return };
    let url = mongo.url();
    let kept = things(&mongo.client().await, mongo.database()).insert_one(doc! { "_id": 1 }).write_concern(journaled()).await;
    kept.expect("the server answers");
    ours!(mongo.stop().await);
    mongo.command(doc! { "ping": 1 }).await.expect_err("a stopped server does not answer");
    ours!(mongo.start_again().await);
    assert_eq!(mongo.url(), url);
    let found = things(&mongo.client().await, mongo.database()).count_documents(doc! {}).await.expect("the server answers");
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
    timeout(HANGS_FOR, things.insert_one(doc! {})).await.expect_err("a frozen server does not answer");
    ours!(mongo.thaw().await);
    things.insert_one(doc! {}).await.expect("the server answers");
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

/// The primary once it is another.
async fn elected(set: &MongoSet, before: u16) -> u16 {
    let began = Instant::now();
    let another = async || set.primary().await.ok().filter(|port| *port != before);
    let after = wait::until("another primary", PATIENCE, another).await;
    eprintln!("elected after {:?}", began.elapsed());
    after
}
