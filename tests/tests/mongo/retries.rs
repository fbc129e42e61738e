//! The metrics and the log of a store that retries a call.

use mongodb::bson::doc;
use tests::{Demo, PATIENCE, prometheus::Scrape, service::Mongo, wait};

/// Two upserts of one `_id` can collide: the server rejects one of them as a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_colliding_creation_is_retried_and_counted() {
    let Some(mongo) = Mongo::start_with(&["--setParameter", "enableTestCommands=1"]).await else {
        return;
    };
    let url = mongo.url();
    let (demo, metrics) = Demo::counting(&[
        "--workers",
        "2",
        "--store",
        "mongo",
        "--store-url",
        &url,
        "--deadline",
        "20s",
        "--log",
        "debug",
    ])
    .await;
    let retries = async || {
        Scrape::of(metrics).await.value("session_store_retries_total", &[("store", "mongo")])
    };
    let _ = demo.browser().insert("n", "1").await.expect(204);
    assert!(retries().await < 0.5, "no creation collided");
    let duplicate = doc! { "keyPattern": { "_id": 1 }, "keyValue": { "_id": 1 } };
    let fails =
        doc! { "failCommands": ["update"], "errorCode": 11_000, "errorExtraInfo": duplicate };
    let fails = doc! { "configureFailPoint": "failCommand", "mode": { "times": 2 }, "data": fails };
    mongo.command(fails).await.expect("enableTestCommands allows fail points");
    let mut browser = demo.browser();
    let _ = browser.insert("n", "2").await.expect(204);
    let counted = wait::until("both retries to be counted", PATIENCE, async || {
        Some(retries().await).filter(|count| *count > 1.5)
    })
    .await;
    assert!(counted < 2.5, "{counted} retries");
    let traced = || demo.output().matches("session store retry store=\"mongo\"").count();
    wait::until_true("one log line for each retry", PATIENCE, || traced() == 2).await;
}
