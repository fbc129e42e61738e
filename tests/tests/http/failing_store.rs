//! H18 to H21 with a store that fails on request.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tests::{App, Browser, Demo, Outage, Setup, Watched, WatchedOwner, client::Request};

use crate::outages::sign_out;

on_setup!(
    ipc,
    h18_unavailable_store_gives_503_and_keeps_the_cookie,
    h19_failed_write_is_never_reported_as_success,
    h20_logout_during_an_outage_fails_and_works_later,
    h21_hung_store_gives_503_in_time,
);
on_setup!(
    memory,
    h18_unavailable_store_gives_503_and_keeps_the_cookie,
    h19_failed_write_is_never_reported_as_success,
    h20_logout_during_an_outage_fails_and_works_later,
    h21_hung_store_gives_503_in_time,
);

/// A site whose store fails on request. For ipc it is a demo whose owner runs in this process. For
/// memory it is an application in this process.
struct Site {
    address: SocketAddr,
    store: Arc<Watched>,
    _running: Running,
}

enum Running {
    App { _app: App },
    Demo { _demo: Demo, _owner: WatchedOwner },
}

impl Site {
    async fn start(setup: &Setup) -> Self {
        if setup.store() == "memory" {
            let app = App::start(setup).await;
            return Self {
                address: app.address,
                store: Arc::clone(&app.store),
                _running: Running::App { _app: app },
            };
        }
        let store = Arc::new(Watched::default());
        let owner = WatchedOwner::start(&store);
        let demo = setup.start_with(&["--workers", "2", "--store-url", &owner.url()]).await;
        Self {
            address: demo.address,
            store,
            _running: Running::Demo { _demo: demo, _owner: owner },
        }
    }

    fn browser(&self) -> Browser {
        Browser::new(self.address)
    }
}

async fn h18_unavailable_store_gives_503_and_keeps_the_cookie(setup: &Setup) {
    let site = Site::start(setup).await;
    let mut browser = Browser::signed_in(site.address, "bob").await;
    site.store.fail(Outage::All);
    let response = browser.get("/session").await.expect(503);
    assert!(response.set_cookie().is_none());
    assert!(response.header("retry-after").is_some());
    let _ = browser.get("/healthz").await.expect(200);
    site.store.fail(Outage::None);
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}

async fn h19_failed_write_is_never_reported_as_success(setup: &Setup) {
    let site = Site::start(setup).await;
    let signed_in = Browser::signed_in(site.address, "bob").await;
    site.store.fail(Outage::Writes);
    for mut browser in [site.browser(), signed_in.clone()] {
        let cookie = browser.has_cookie().then(|| browser.cookie().to_owned());
        for request in [
            Request::put("/session/n", "1"),
            Request::post("/session/n/add?by=1"),
            Request::post("/login").json(r#"{"user":"eve"}"#),
        ] {
            let response = browser.send(request.clone()).await;
            assert_eq!(response.status, 503, "{request:?}");
            assert!(response.set_cookie().is_none(), "a failed write sets no cookie");
        }
        assert_eq!(browser.has_cookie().then(|| browser.cookie().to_owned()), cookie);
    }
    site.store.fail(Outage::None);
    let page = signed_in.clone().page().await;
    assert_eq!(page.principal.as_deref(), Some("bob"));
    assert!(page.value("n").is_none(), "the refused write had no effect");
    assert_eq!(site.store.sessions().await, 1);
}

async fn h20_logout_during_an_outage_fails_and_works_later(setup: &Setup) {
    let site = Site::start(setup).await;
    let mut browser = Browser::signed_in(site.address, "bob").await;
    for outage in [Outage::Writes, Outage::All] {
        site.store.fail(outage);
        assert!(browser.post("/logout").await.expect(503).set_cookie().is_none());
        site.store.fail(Outage::None);
        assert_eq!(
            browser.page().await.principal.as_deref(),
            Some("bob"),
            "the user is still signed in"
        );
    }
    sign_out(&mut browser).await;
    assert_eq!(site.store.sessions().await, 0);
}

async fn h21_hung_store_gives_503_in_time(setup: &Setup) {
    let site = Site::start(setup).await;
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
    println!("h21: 20 requests to a hung store, all 503 after {:?}", started.elapsed());
    site.store.fail(Outage::None);
    assert_eq!(browser.clone().page().await.principal.as_deref(), Some("bob"));
}
