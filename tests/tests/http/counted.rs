//! H01 to H05, H18 to H21 and S03 with a store that counts its calls and fails on request.

use std::{net::SocketAddr, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tests::{
    App, Browser, Calls, Demo, Outage, Reach, Watched, WatchedOwner,
    client::{Request, send},
};

on_every_reach!(
    h01_a_route_that_never_touches_the_session_costs_nothing,
    h02_an_anonymous_read_makes_no_record_and_no_cookie,
    h03_the_first_insert_is_one_create_and_one_cookie,
    h04_an_equal_value_is_no_write,
    h05_a_read_is_one_load_and_sends_no_cookie,
    h19_a_write_outage_is_never_a_success,
    h20_a_logout_in_an_outage_is_an_error_and_works_later,
    h18_a_store_that_is_down_gives_503_and_leaves_the_cookie,
    h21_a_store_that_hangs_gives_503_in_time,
    s03_odd_cookies_cost_no_store_call,
);

/// A site with a counting store: an application in this process, or a whole demo whose owner is in this process.
struct Site {
    address: SocketAddr,
    store: std::sync::Arc<Watched>,
    _running: Running,
}

enum Running {
    App { _app: App },
    Demo { _demo: Demo, _owner: WatchedOwner },
}

impl Site {
    /// For ipc the demo itself, with two workers; for memory, whose calls nobody outside can count, the application.
    async fn start(reach: Reach) -> Self {
        match reach {
            Reach::Memory => Self::app(reach).await,
            Reach::Ipc => {
                let store = std::sync::Arc::new(Watched::default());
                let owner = WatchedOwner::start(&store);
                let demo = Demo::start(&["--store", "ipc", "--workers", "2", "--store-url", &owner.url()]).await;
                Self { address: demo.address, store, _running: Running::Demo { _demo: demo, _owner: owner } }
            }
        }
    }

    async fn app(reach: Reach) -> Self {
        let app = App::start(reach).await;
        Self { address: app.address, store: std::sync::Arc::clone(&app.store), _running: Running::App { _app: app } }
    }

    fn browser(&self) -> Browser {
        Browser::new(self.address)
    }
}

async fn h01_a_route_that_never_touches_the_session_costs_nothing(reach: Reach) {
    let site = Site::start(reach).await;
    let signed_in = Browser::signed_in(site.address, "bob").await;
    site.store.calls();
    for mut browser in [site.browser(), signed_in] {
        for _ in 0..100 {
            assert!(browser.get("/healthz").await.expect(200).set_cookie().is_none());
        }
    }
    assert_eq!(site.store.calls(), Calls::default());
    println!("h01: 200 requests, 0 store calls, 0 cookies");
}

async fn h02_an_anonymous_read_makes_no_record_and_no_cookie(reach: Reach) {
    let site = Site::start(reach).await;
    let response = site.browser().get("/session").await.expect(200);
    assert!(response.set_cookie().is_none());
    assert!(response.json::<tests::Page>().is_anonymous());
    assert_eq!(site.store.calls(), Calls::default());
    assert_eq!(site.store.sessions().await, 0);
}

async fn h03_the_first_insert_is_one_create_and_one_cookie(reach: Reach) {
    let site = Site::start(reach).await;
    let response = site.browser().insert("n", "1").await.expect(204);
    assert!(response.set_cookie().is_some());
    assert_eq!(site.store.calls(), Calls { creates: 1, ..Calls::default() });
    assert_eq!(site.store.sessions().await, 1);
}

async fn h04_an_equal_value_is_no_write(reach: Reach) {
    // The demo's route inserts without reading; the application's reads first.
    let site = Site::app(reach).await;
    let mut browser = site.browser();
    let _ = browser.insert("n", r#"{"a":[1,2]}"#).await.expect(204);
    site.store.calls();
    assert!(browser.insert("n", r#"{"a":[1,2]}"#).await.expect(204).set_cookie().is_none());
    assert_eq!(site.store.calls(), Calls { loads: 1, ..Calls::default() });
    let _ = browser.insert("n", r#"{"a":[1,3]}"#).await.expect(204);
    assert_eq!(site.store.calls(), Calls { loads: 1, commits: 1, ..Calls::default() });
}

async fn h05_a_read_is_one_load_and_sends_no_cookie(reach: Reach) {
    let site = Site::start(reach).await;
    let mut browser = Browser::signed_in(site.address, "bob").await;
    site.store.calls();
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none());
    assert_eq!(site.store.calls(), Calls { loads: 1, ..Calls::default() });
}

async fn h18_a_store_that_is_down_gives_503_and_leaves_the_cookie(reach: Reach) {
    let site = Site::start(reach).await;
    let mut browser = Browser::signed_in(site.address, "bob").await;
    site.store.fail(Outage::All);
    let response = browser.get("/session").await.expect(503);
    assert!(response.set_cookie().is_none());
    assert!(response.header("retry-after").is_some());
    let _ = browser.get("/healthz").await.expect(200);
    site.store.fail(Outage::None);
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}

async fn h19_a_write_outage_is_never_a_success(reach: Reach) {
    let site = Site::start(reach).await;
    let signed_in = Browser::signed_in(site.address, "bob").await;
    site.store.fail(Outage::Writes);
    for mut browser in [site.browser(), signed_in.clone()] {
        let cookie = browser.has_cookie().then(|| browser.cookie().to_owned());
        for request in
            [Request::put("/session/n", "1"), Request::post("/session/n/add?by=1"), Request::post("/login").json(r#"{"user":"eve"}"#)]
        {
            let response = browser.send(request.clone()).await;
            assert_eq!(response.status, 503, "{request:?}");
            assert!(response.set_cookie().is_none(), "no cookie for what was not saved");
        }
        assert_eq!(browser.has_cookie().then(|| browser.cookie().to_owned()), cookie);
    }
    site.store.fail(Outage::None);
    let page = signed_in.clone().page().await;
    assert_eq!(page.principal.as_deref(), Some("bob"));
    assert!(page.value("n").is_none(), "what was refused did not land");
    assert_eq!(site.store.sessions().await, 1);
}

async fn h20_a_logout_in_an_outage_is_an_error_and_works_later(reach: Reach) {
    let site = Site::start(reach).await;
    let mut browser = Browser::signed_in(site.address, "bob").await;
    for outage in [Outage::Writes, Outage::All] {
        site.store.fail(outage);
        assert!(browser.post("/logout").await.expect(503).set_cookie().is_none());
        site.store.fail(Outage::None);
        assert_eq!(browser.page().await.principal.as_deref(), Some("bob"), "nobody was told otherwise");
    }
    let before = browser.clone();
    assert!(browser.post("/logout").await.expect(204).set_cookie().is_some_and(|cookie| cookie.removes()));
    assert!(before.clone().page().await.is_anonymous());
    assert_eq!(site.store.sessions().await, 0);
}

async fn h21_a_store_that_hangs_gives_503_in_time(reach: Reach) {
    let site = Site::start(reach).await;
    let browser = Browser::signed_in(site.address, "bob").await;
    site.store.fail(Outage::Hung);
    let started = Instant::now();
    let asked = (0..20).map(|_| {
        let mut browser = browser.clone();
        async move { browser.get("/session").await }
    });
    for response in futures_util::future::join_all(asked).await {
        assert!(response.expect(503).set_cookie().is_none());
    }
    println!("h21: 20 requests to a store that hangs, all 503 after {:?}", started.elapsed());
    site.store.fail(Outage::None);
    assert_eq!(browser.clone().page().await.principal.as_deref(), Some("bob"));
}

async fn s03_odd_cookies_cost_no_store_call(reach: Reach) {
    let site = Site::start(reach).await;
    let good = Browser::signed_in(site.address, "bob").await.cookie().to_owned();
    site.store.calls();
    let count = odd_cookies(site.address, &good).await;
    assert_eq!(site.store.calls(), Calls::default());
    println!("s03: {count} odd cookies, 0 store calls");
}

/// Sends cookies that are none, some of them made of a good one. Each is anonymous.
pub(crate) async fn odd_cookies(address: SocketAddr, good: &str) -> usize {
    let unsigned = tests::jar::id_of(good);
    let long = "A".repeat(65_536);
    let other_mac = format!("1.{unsigned}.{}", URL_SAFE_NO_PAD.encode([7; 32]));
    let odd: [&[u8]; 18] = [
        b"",
        b" ",
        b"\"\"",
        b"\"",
        b"1234567",
        b"../../etc/passwd",
        b"%00",
        b"%0d%0aSet-Cookie: id=x",
        b"\xff\xfe",
        "zürich".as_bytes(),
        b"1.",
        b"1..",
        b"null",
        b"-1",
        &good.as_bytes()[..77],
        unsigned.as_bytes(),
        other_mac.as_bytes(),
        long.as_bytes(),
    ];
    for value in odd {
        for method in ["GET", "HEAD"] {
            let request = Request::new(method, "/session").cookie([b"id=", value].concat());
            let response = send(address, &request).await.expect("an answer");
            // `HEAD` has no route of its own everywhere.
            assert!(matches!(response.status, 200) || method == "HEAD" && response.status < 500, "{}", value.escape_ascii());
            assert!(response.set_cookie().is_none());
            if method == "GET" {
                assert!(response.json::<tests::Page>().is_anonymous());
            }
        }
    }
    // NUL and a bare line feed are no header at all: the server refuses the request.
    for value in [&b"id=\0"[..], b"id=a\nb"] {
        let response = send(address, &Request::get("/session").cookie(value)).await.expect("an answer");
        assert_eq!(response.status, 400);
    }
    // A line break smuggles in another header, which is one of the attacker's own request and no more.
    let response = send(address, &Request::get("/session").cookie("id=a\r\nX-Evil: b")).await.expect("an answer");
    assert!(response.expect(200).json::<tests::Page>().is_anonymous());
    2 * odd.len() + 3
}
