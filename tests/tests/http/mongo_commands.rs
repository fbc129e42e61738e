//! H01 to H03, H05, S02 and S03 with what a demo really asks its MongoDB for, by the server's own
//! profiler, and what that holds.

use mongodb::{
    Database,
    bson::{Document, doc},
};
use tests::{Browser, Demo, KEY, client::Request, service::AnyMongo};

use crate::{
    cookies::{forged, random_id, signed},
    forged_cookies::{attack, odd_cookies},
};

/// A demo with two workers, and a server that writes down all that the demo asks of its database.
struct Site {
    demo: Demo,
    mongo: AnyMongo,
    /// How much of what it has written down was looked at.
    seen: u64,
}

const WORKERS: usize = 2;
const NOTHING: [&str; 0] = [];
/// What the demo calls itself, so that nobody else's calls count. Servers tell connections apart by
/// it.
const NAME: &str = "demo";
/// Room for what ten thousand calls leave, so that none is forgotten.
const ROOM: i64 = 64 << 20;

impl Site {
    /// Everything is connected and every index made, so that from now on only requests cause calls.
    async fn start() -> Option<Self> {
        let mongo = AnyMongo::server().await?;
        let demo = Demo::start(&[
            "--store",
            "mongo",
            "--workers",
            &WORKERS.to_string(),
            "--store-url",
            &mongo.url(&format!("collection=visits&appName={NAME}")),
        ])
        .await;
        let visitor = demo.signed_in("visitor").await;
        for worker in &mut demo.connections(WORKERS).await {
            let _ = worker
                .send(&visitor.dress(Request::post("/session/n/add")))
                .await
                .expect("an answer")
                .expect(200);
        }
        let _ = visitor.clone().post("/logout").await.expect(204);
        let mut site = Self { demo, mongo, seen: 0 };
        let database = site.database().await;
        database
            .create_collection("system.profile")
            .capped(true)
            .size(ROOM.unsigned_abs())
            .await
            .expect("a collection for the profiler");
        database
            .run_command(doc! { "profile": 2, "slowms": 60_000 })
            .await
            .expect("the profiler runs");
        let _ = site.demo.signed_in("visitor").await.post("/logout").await.expect(204);
        assert_eq!(
            site.heard().await,
            ["update", "findAndModify"],
            "the profiler sees what the demo asks for"
        );
        Some(site)
    }

    async fn database(&self) -> Database {
        self.mongo.client().await.database(self.mongo.database())
    }

    /// The names of the commands since the last time this was asked, in order. A command is written
    /// down before it is answered.
    async fn heard(&mut self) -> Vec<String> {
        let noted = self.database().await.collection::<Document>("system.profile");
        let mut found = noted
            .find(doc! { "appName": NAME })
            .sort(doc! { "$natural": 1 })
            .skip(self.seen)
            .await
            .expect("the server answers");
        let mut heard = Vec::new();
        while found.advance().await.expect("the server answers") {
            let call = found.deserialize_current().expect("a document");
            let command = call
                .get_document("command")
                .ok()
                .and_then(|command| command.keys().next().cloned());
            let of_update = call.get_str("op").is_ok_and(|op| op == "update");
            heard.push(if of_update { "update".to_owned() } else { command.unwrap_or_default() });
            self.seen += 1;
        }
        heard
    }

    /// How many sessions are stored.
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
    let _ = site.heard().await;
    for mut browser in [site.demo.browser(), signed_in] {
        for _ in 0..100 {
            assert!(browser.get("/healthz").await.expect(200).set_cookie().is_none());
        }
    }
    assert_eq!(site.heard().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h02_h03_h05_requests_send_the_minimum_of_commands() {
    let Some(mut site) = Site::start().await else { return };
    let mut browser = site.demo.browser();
    for _ in 0..10 {
        assert!(browser.page().await.is_anonymous());
    }
    assert!(!browser.has_cookie());
    assert_eq!((site.heard().await, site.sessions().await), (Vec::new(), 0));
    assert!(browser.insert("n", "1").await.expect(204).set_cookie().is_some());
    assert_eq!(site.heard().await, ["update"]);
    assert_eq!(site.sessions().await, 1);
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none());
    assert_eq!(site.heard().await, ["find"]);
    let _ = browser.post("/session/n/add?by=1").await.expect(200);
    assert_eq!(site.heard().await, ["findAndModify"]);
    let _ = browser.login("bob").await.expect(200);
    assert_eq!(
        site.heard().await,
        ["find", "findAndModify"],
        "data, user and id change in one step, after a look at the session"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_forged_cookies_send_no_command_and_create_no_record() {
    const FORGED: usize = 10_000;
    const SIGNED: usize = 500;
    let Some(mut site) = Site::start().await else { return };
    let mut bob = site.demo.signed_in("bob").await;
    let _ = site.heard().await;
    attack(&site.demo, FORGED, forged).await;
    assert_eq!(site.heard().await, NOTHING);
    // With the key that signs, an attacker can make the server look, and no more.
    attack(&site.demo, SIGNED, || signed(KEY, &random_id())).await;
    assert!(site.heard().await.len() > SIGNED, "the server is asked for well signed ids");
    assert_eq!(site.sessions().await, 1);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!(
        "s02: {FORGED} made-up cookies, nothing asked of the server; {SIGNED} signed ones, 1 session before, 1 after"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_malformed_cookies_send_no_command() {
    let Some(mut site) = Site::start().await else { return };
    let good = site.demo.signed_in("bob").await.cookie().to_owned();
    let _ = site.heard().await;
    let count = odd_cookies(site.demo.address, &good).await;
    assert_eq!(site.heard().await, NOTHING);
    assert_eq!(
        Browser::holding(site.demo.address, &good).page().await.principal.as_deref(),
        Some("bob")
    );
    println!("s03: {count} odd cookies, nothing asked of the server");
}
