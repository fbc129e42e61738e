//! H01 to H03, H05, S02 and S03, by the commands in the profiler of MongoDB and by the stored
//! documents.

use mongodb::{
    Database,
    bson::{Document, doc},
};
use tests::{Browser, Demo, KEY, service::AnyMongo};

use crate::{
    commands::{request_sessionless_route, start_with_open_connections},
    cookies::{forged, random_id, signed},
    forged_cookies::{malformed_cookies, send_cookies},
};

/// A demo with two workers, and a server whose profiler records all commands of the demo.
struct Site {
    demo: Demo,
    mongo: AnyMongo,
    /// The number of profiler entries that were read.
    seen: u64,
}

const NOTHING: [&str; 0] = [];
/// The application name of the demo's connections. The test ignores commands of other clients.
const APP_NAME: &str = "demo";
/// The size of the profiler collection in bytes: room for 10,000 commands.
const PROFILER_SIZE: i64 = 64 << 20;

impl Site {
    /// Starts the demo, opens all connections and creates all indexes. After that only requests
    /// send commands.
    async fn start() -> Option<Self> {
        let mongo = AnyMongo::server().await?;
        let url = mongo.url(&format!("collection=visits&appName={APP_NAME}"));
        let demo = start_with_open_connections("mongo", &url).await;
        let mut site = Self { demo, mongo, seen: 0 };
        let database = site.database().await;
        database
            .create_collection("system.profile")
            .capped(true)
            .size(PROFILER_SIZE.unsigned_abs())
            .await
            .expect("a collection for the profiler");
        database
            .run_command(doc! { "profile": 2, "slowms": 60_000 })
            .await
            .expect("the profiler runs");
        let _ = site.demo.signed_in("visitor").await.post("/logout").await.expect(204);
        assert_eq!(
            site.commands().await,
            ["update", "findAndModify"],
            "the profiler records the commands of the demo"
        );
        Some(site)
    }

    async fn database(&self) -> Database {
        self.mongo.client().await.database(self.mongo.database())
    }

    /// The names of the commands since the last call of this method, in order. The profiler records
    /// a command before the response.
    async fn commands(&mut self) -> Vec<String> {
        let entries = self.database().await.collection::<Document>("system.profile");
        let mut found = entries
            .find(doc! { "appName": APP_NAME })
            .sort(doc! { "$natural": 1 })
            .skip(self.seen)
            .await
            .expect("the server answers");
        let mut commands = Vec::new();
        while found.advance().await.expect("the server answers") {
            let call = found.deserialize_current().expect("a document");
            let command = call
                .get_document("command")
                .ok()
                .and_then(|command| command.keys().next().cloned());
            let of_update = call.get_str("op").is_ok_and(|op| op == "update");
            commands.push(if of_update {
                "update".to_owned()
            } else {
                command.unwrap_or_default()
            });
            self.seen += 1;
        }
        commands
    }

    /// The number of stored sessions.
    async fn sessions(&self) -> u64 {
        self.database()
            .await
            .collection::<Document>("visits")
            .count_documents(doc! {})
            .await
            .expect("the server answers")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_sessionless_route_sends_no_command() {
    let Some(mut site) = Site::start().await else { return };
    let signed_in = site.demo.signed_in("bob").await;
    let _ = site.commands().await;
    request_sessionless_route([site.demo.browser(), signed_in]).await;
    assert_eq!(site.commands().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h02_h03_h05_requests_send_the_minimum_of_commands() {
    let Some(mut site) = Site::start().await else { return };
    let mut browser = site.demo.browser();
    for _ in 0..10 {
        assert!(browser.page().await.is_anonymous());
    }
    assert!(!browser.has_cookie());
    assert_eq!((site.commands().await, site.sessions().await), (Vec::new(), 0));
    assert!(browser.insert("n", "1").await.expect(204).set_cookie().is_some());
    assert_eq!(site.commands().await, ["update"]);
    assert_eq!(site.sessions().await, 1);
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none());
    assert_eq!(site.commands().await, ["find"]);
    let _ = browser.post("/session/n/add?by=1").await.expect(200);
    assert_eq!(site.commands().await, ["findAndModify"]);
    let _ = browser.login("bob").await.expect(200);
    assert_eq!(
        site.commands().await,
        ["find", "findAndModify"],
        "one command changes data, user and id after a load"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_forged_cookies_send_no_command_and_create_no_record() {
    const FORGED: usize = 10_000;
    const SIGNED: usize = 500;
    let Some(mut site) = Site::start().await else { return };
    let mut bob = site.demo.signed_in("bob").await;
    let _ = site.commands().await;
    send_cookies(&site.demo, FORGED, forged).await;
    assert_eq!(site.commands().await, NOTHING);
    // With the signing key an attacker can only cause loads.
    send_cookies(&site.demo, SIGNED, || signed(KEY, &random_id())).await;
    assert!(site.commands().await.len() > SIGNED, "a correctly signed id causes a command");
    assert_eq!(site.sessions().await, 1);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!(
        "s02: {FORGED} forged cookies, 0 commands; {SIGNED} signed ones, 1 session before, 1 after"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_malformed_cookies_send_no_command() {
    let Some(mut site) = Site::start().await else { return };
    let good = site.demo.signed_in("bob").await.cookie().to_owned();
    let _ = site.commands().await;
    let count = malformed_cookies(site.demo.address, &good).await;
    assert_eq!(site.commands().await, NOTHING);
    assert_eq!(
        Browser::holding(site.demo.address, &good).page().await.principal.as_deref(),
        Some("bob")
    );
    println!("s03: {count} malformed cookies, 0 commands");
}
