//! What operators see of a store that tries again, because a session changed under its hands.

use tests::{Demo, PATIENCE, client::Request, prometheus::Scrape, service::Mongo, wait};

/// A sum that does not fit what is there, and fits what is there when the store looks why, is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fits_when_it_is_looked_at_again_is_tried_again_and_counted() {
    let Some(mongo) = Mongo::start().await else { return };
    let url = mongo.url();
    let (demo, metrics) =
        Demo::counting(&["--workers", "2", "--store", "mongo", "--store-url", &url, "--deadline", "20s", "--log", "debug"]).await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let retries = async || Scrape::of(metrics).await.value("session_store_retries_total", &[("store", "mongo")]);
    assert!(retries().await < 0.5, "nobody was in the way");
    assert!(!demo.output().contains("a store tries again"));
    let (mut changing, mut adding) = (browser.clone(), browser.clone());
    let counted = wait::until("a retry to be counted", PATIENCE * 3, async || {
        let change = async {
            for round in 0..40 {
                let _ = changing.insert("n", if round % 2 == 0 { "\"text\"" } else { "1" }).await.expect(204);
            }
        };
        let add = async {
            for _ in 0..40 {
                let status = adding.send(Request::post("/session/n/add?by=1")).await.status;
                assert!(status == 200 || (400..500).contains(&status), "{status}");
            }
        };
        tokio::join!(change, add);
        Some(retries().await).filter(|count| *count > 0.5)
    })
    .await;
    let traced = || f64::from(u32::try_from(demo.output().matches("a store tries again store=\"mongo\"").count()).expect("a few"));
    wait::until_true("one line for each that is counted", PATIENCE, || (traced() - counted).abs() < 0.5).await;
    eprintln!("{}: {counted} retries", mongo.version());
}
