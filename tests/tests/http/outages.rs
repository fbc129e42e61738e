//! H18, H20 and H21 with the server that keeps the sessions stopped and frozen.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Browser, Demo, PATIENCE, Setup, client::Request, wait};

/// The store's deadline in these tests.
const DEADLINE: &str = "700ms";
/// A call has to end within this: the deadline, and what a busy machine needs.
const IN_TIME: Duration = Duration::from_millis(2_200);

/// 503 in time, the cookie untouched.
async fn refused(browser: &mut Browser, request: Request) -> Duration {
    let started = Instant::now();
    let response = browser.send(request.clone()).await;
    assert_eq!(response.status, 503, "{request:?}");
    assert!(response.set_cookie().is_none(), "the cookie stays untouched: {response:?}");
    assert!(started.elapsed() < IN_TIME, "503 only after {:?}", started.elapsed());
    started.elapsed()
}

/// Routes that need no session are served as ever.
async fn untouched_routes_are_served(demo: &Demo) {
    let mut browser = demo.browser();
    let _ = browser.get("/healthz").await.expect(200);
    assert!(browser.page().await.is_anonymous(), "nobody asks the store without a cookie");
}

mod ipc {
    use super::*;

    const SETUP: &Setup = &Setup::IPC;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn h18_a_stopped_store_gives_503_and_its_return_needs_no_restart() {
        let (mut service, demo) = SETUP.start_with_service(&["--deadline", DEADLINE]).await;
        let mut browser = demo.signed_in("bob").await;
        let workers = demo.workers();
        service.stop();
        let longest = longest_refusal(&demo, &browser).await;
        untouched_routes_are_served(&demo).await;
        let _ = browser.get("/readyz").await.expect(503);
        service.restart().await;
        demo.ready().await;
        let back = Instant::now();
        wait::until("every worker to reach the store again", PATIENCE, async || {
            for _ in 0..20 {
                let response = browser.get("/session").await;
                if response.status != 200 {
                    return None;
                }
                assert!(response.set_cookie().is_none());
            }
            Some(())
        })
        .await;
        if service.keeps_sessions() {
            assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
        }
        let mut fresh = demo.signed_in("eve").await;
        assert_eq!(fresh.page().await.principal.as_deref(), Some("eve"));
        assert_eq!(demo.workers(), workers, "no worker was restarted");
        println!("h18: 503 within {longest:?} while stopped; every worker back {:?} after the first", back.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn h18_h21_a_frozen_store_gives_503_in_time_and_the_same_cookie_is_signed_in_afterwards() {
        let (service, demo) = SETUP.start_with_service(&["--deadline", DEADLINE]).await;
        let browser = demo.signed_in("bob").await;
        service.freeze();
        let longest = longest_refusal(&demo, &browser).await;
        untouched_routes_are_served(&demo).await;
        service.thaw();
        demo.ready().await;
        assert_eq!(browser.clone().page().await.principal.as_deref(), Some("bob"));
        println!("h21: 40 requests to a frozen store, all 503 within {longest:?}, deadline {DEADLINE}");
    }

    /// 40 requests at once, of every kind.
    async fn longest_refusal(demo: &Demo, browser: &Browser) -> Duration {
        let asked = (0..40).map(|n| {
            let mut browser = browser.clone();
            let request = match n % 4 {
                0 => Request::get("/session"),
                1 => Request::put("/session/n", "1"),
                2 => Request::post("/login").json(r#"{"user":"eve"}"#),
                _ => Request::get("/devices"),
            };
            async move { refused(&mut browser, request).await }
        });
        let longest = futures_util::future::join_all(asked).await.into_iter().max().unwrap_or_default();
        // Without a cookie too: what cannot be saved is not promised.
        refused(&mut demo.browser(), Request::put("/session/n", "1")).await;
        longest
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn h20_a_logout_in_an_outage_is_an_error_and_a_retry_works() {
        let (mut service, demo) = SETUP.start_with_service(&["--deadline", DEADLINE]).await;
        let mut browser = demo.signed_in("bob").await;
        service.freeze();
        refused(&mut browser, Request::post("/logout")).await;
        service.thaw();
        demo.ready().await;
        let before = browser.clone();
        assert!(browser.post("/logout").await.expect(204).set_cookie().is_some_and(|cookie| cookie.removes()));
        assert!(before.clone().page().await.is_anonymous());
        let mut browser = demo.signed_in("bob").await;
        service.stop();
        refused(&mut browser, Request::post("/logout")).await;
        refused(&mut browser, Request::post("/logout-everywhere")).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn h21_a_frozen_primary_that_owns_the_sessions_gives_503_in_time() {
        let demo = SETUP.start_with(&["--deadline", DEADLINE]).await;
        let mut browser = demo.signed_in("bob").await;
        let mut workers = demo.connections(SETUP.workers).await;
        let pids = demo.workers();
        demo.process.signal(Signal::STOP);
        let mut longest = Duration::ZERO;
        for worker in &mut workers {
            let started = Instant::now();
            let response = worker.send(&browser.dress(Request::get("/session"))).await.expect("an answer").expect(503);
            assert!(response.set_cookie().is_none());
            assert!(started.elapsed() < IN_TIME, "503 only after {:?}", started.elapsed());
            longest = longest.max(started.elapsed());
        }
        untouched_routes_are_served(&demo).await;
        demo.process.signal(Signal::CONT);
        demo.ready().await;
        assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
        assert_eq!(demo.workers(), pids, "nobody was killed for it");
        println!("h21: every worker of a frozen primary answered 503 within {longest:?}, deadline {DEADLINE}");
    }
}
