//! H01 to H03, H05, S02 and S03, by the commands that the demo sends to Redis and by the stored
//! keys.

use tests::{
    Browser, Demo, KEY,
    service::{AnyRedis, RoundTrip, Tap},
};

use crate::{
    commands::{request_sessionless_route, start_with_open_connections},
    cookies::{forged, random_id, signed},
    forged_cookies::{malformed_cookies, send_cookies},
};

/// A demo with two workers, and a proxy that records its commands to Redis.
struct Site {
    demo: Demo,
    tap: Tap,
    redis: AnyRedis,
    prefix: String,
}

const NOTHING: &[RoundTrip] = &[];

impl Site {
    /// Starts the demo, opens all connections and loads all scripts. After that only requests send
    /// commands.
    async fn start() -> Option<Self> {
        let redis = AnyRedis::server().await?;
        let prefix = format!("wire-{:016x}:", fastrand::u64(..));
        let tap = Tap::before(&redis.url(&format!("prefix={prefix}"))).await;
        let demo = start_with_open_connections("redis", tap.url()).await;
        let site = Self { demo, tap, redis, prefix };
        assert!(!site.tap.heard().is_empty(), "the proxy records commands");
        Some(site)
    }

    /// The number of stored sessions.
    async fn sessions(&self) -> usize {
        self.redis.dump(&format!("{}s}}*", self.prefix)).await.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h01_sessionless_route_sends_no_command() {
    let Some(site) = Site::start().await else { return };
    let signed_in = site.demo.signed_in("bob").await;
    let _ = site.tap.heard();
    request_sessionless_route([site.demo.browser(), signed_in]).await;
    assert_eq!(site.tap.heard(), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h02_h03_h05_requests_send_the_minimum_of_commands() {
    let Some(site) = Site::start().await else { return };
    let mut browser = site.demo.browser();
    for _ in 0..10 {
        assert!(browser.page().await.is_anonymous());
    }
    assert!(!browser.has_cookie());
    assert_eq!((site.tap.heard().as_slice(), site.sessions().await), (NOTHING, 0));
    assert!(browser.insert("n", "1").await.expect(204).set_cookie().is_some());
    assert_eq!(site.tap.heard(), [["EVALSHA"]]);
    assert_eq!(site.sessions().await, 1);
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none());
    // The response to the creation contained the server's time, which is valid for 20 ms.
    let load = site.tap.heard();
    assert!(load == [vec!["HGETALL"]] || load == [vec!["HGETALL", "TIME"]], "{load:?}");
    let _ = browser.post("/session/n/add?by=1").await.expect(200);
    assert_eq!(site.tap.heard(), [["EVALSHA"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_forged_cookies_send_no_command_and_create_no_record() {
    const FORGED: usize = 10_000;
    const SIGNED: usize = 500;
    let Some(site) = Site::start().await else { return };
    let mut bob = site.demo.signed_in("bob").await;
    let _ = site.tap.heard();
    send_cookies(&site.demo, FORGED, forged).await;
    assert_eq!(site.tap.heard(), NOTHING);
    // With the signing key an attacker can only cause loads.
    send_cookies(&site.demo, SIGNED, || signed(KEY, &random_id())).await;
    assert!(
        site.tap.heard().iter().flatten().count() > SIGNED,
        "a correctly signed id causes a command"
    );
    assert_eq!(site.sessions().await, 1);
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    println!(
        "s02: {FORGED} forged cookies, 0 commands; {SIGNED} signed ones, 1 session before, 1 after"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_malformed_cookies_send_no_command() {
    let Some(site) = Site::start().await else { return };
    let good = site.demo.signed_in("bob").await.cookie().to_owned();
    let _ = site.tap.heard();
    let count = malformed_cookies(site.demo.address, &good).await;
    assert_eq!(site.tap.heard(), NOTHING);
    assert_eq!(
        Browser::holding(site.demo.address, &good).page().await.principal.as_deref(),
        Some("bob")
    );
    println!("s03: {count} malformed cookies, 0 commands");
}
