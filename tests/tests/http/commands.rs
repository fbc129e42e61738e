//! The demo of the tests that count the commands to a server.

use tests::{Browser, Demo, client::Request};

/// The workers of the demo.
const WORKERS: usize = 2;

/// Starts a demo with two workers and opens all connections of its store. A session was created,
/// changed and removed on each connection, so afterwards only requests send commands.
pub(crate) async fn start_with_open_connections(store: &str, url: &str) -> Demo {
    let workers = WORKERS.to_string();
    let demo = Demo::start(&["--store", store, "--workers", &workers, "--store-url", url]).await;
    let visitor = demo.signed_in("visitor").await;
    for worker in &mut demo.connections(WORKERS).await {
        let _ = worker
            .send(&visitor.dress(Request::post("/session/n/add")))
            .await
            .expect("an answer")
            .expect(200);
    }
    let _ = visitor.clone().post("/logout").await.expect(204);
    demo
}

/// Requests a route that does not use the session a hundred times with each browser.
pub(crate) async fn request_sessionless_route(browsers: [Browser; 2]) {
    for mut browser in browsers {
        for _ in 0..100 {
            assert!(browser.get("/healthz").await.expect(200).set_cookie().is_none());
        }
    }
}
