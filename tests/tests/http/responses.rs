//! H14 and H22 to H24: effects of responses, errors and disconnects on the session.

use std::time::{Duration, Instant};

use tests::{
    App, Setup,
    client::{Connection, Request},
    wait,
};

on_every_setup!(
    h14_server_error_discards_the_changes,
    h14_every_other_status_saves_the_changes,
    h14_panic_returns_500_and_the_next_request_is_served,
    h22_every_response_is_sent_after_the_commit,
    h22_body_sent_after_the_head_commits_explicitly,
    h23_disconnected_client_leaves_no_partial_state,
    h24_insert_after_destroy_starts_a_new_session,
);

const PATIENCE: Duration = Duration::from_secs(10);

async fn h14_server_error_discards_the_changes(setup: &Setup) {
    let app = App::start(setup).await;
    for route in ["fail", "error"] {
        for status in [500, 501, 503, 599] {
            let mut browser = app.browser();
            assert!(
                browser
                    .post(&format!("/{route}/{status}"))
                    .await
                    .expect(status)
                    .set_cookie()
                    .is_none()
            );
            assert_eq!(app.store.sessions().await, 0);
        }
    }
    let mut browser = app.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let before = browser.cookie().to_owned();
    let _ = browser.post("/fail/500").await.expect(500);
    assert_eq!(browser.cookie(), before);
    let page = browser.page().await;
    assert_eq!((page.principal.as_deref(), page.value("mark")), (None, None));
    assert_eq!(page.value("n"), Some(&serde_json::json!(1)), "earlier values are kept");
}

async fn h14_every_other_status_saves_the_changes(setup: &Setup) {
    let app = App::start(setup).await;
    for status in [200, 201, 204, 302, 303, 304, 400, 404, 409, 418] {
        let mut browser = app.browser();
        assert!(
            browser.post(&format!("/fail/{status}")).await.expect(status).set_cookie().is_some(),
            "{status}"
        );
        let page = browser.page().await;
        assert_eq!(
            (page.principal.as_deref(), page.value("mark")),
            (Some("bob"), Some(&serde_json::json!(1))),
            "{status}"
        );
    }
    let mut browser = app.browser();
    assert!(browser.post("/error/404").await.expect(404).set_cookie().is_some());
    assert!(browser.page().await.value("mark").is_some());
}

async fn h14_panic_returns_500_and_the_next_request_is_served(setup: &Setup) {
    let app = App::start(setup).await;
    let mut browser = app.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    for route in ["/panic", "/panic-at-once"] {
        let mut connection = Connection::open(app.address).await.expect("the server accepts");
        let response = connection
            .send(&browser.dress(Request::post(route)))
            .await
            .expect("a panicking handler gets a response")
            .expect(500);
        assert!(response.set_cookie().is_none());
        assert!(
            !response.text().contains("bug"),
            "the response does not contain the panic message"
        );
        let page: tests::Page = connection
            .send(&browser.dress(Request::get("/session")))
            .await
            .expect("the next request is served")
            .json();
        assert_eq!((page.value("mark"), page.value("n")), (None, Some(&serde_json::json!(1))));
    }
}

async fn h22_every_response_is_sent_after_the_commit(setup: &Setup) {
    let app = App::start(setup).await;
    let websocket = Request::get("/websocket")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (request, method, status) in [
        (Request::get("/stream"), "GET", 200),
        (Request::new("HEAD", "/head"), "HEAD", 200),
        (Request::get("/not-modified"), "GET", 304),
        (Request::get("/redirect"), "GET", 303),
        (websocket, "GET", 101),
        // The body of this response never ends, so only the head is read.
        (Request::get("/endless"), "HEAD", 200),
    ] {
        let mut connection = Connection::open(app.address).await.expect("the server accepts");
        let mut browser = app.browser();
        connection.write(&request.to_bytes()).await.expect("the server reads");
        let response = connection.response(method).await.expect("an answer").expect(status);
        let cookie = response.set_cookie().unwrap_or_else(|| panic!("{request:?} sets a cookie"));
        browser.insert_cookie(&cookie);
        assert!(
            browser.page().await.value("mark").is_some(),
            "{request:?} is committed before its response head"
        );
        if status == 200 && method == "GET" {
            assert_eq!(response.text(), "0\n1\n2\n3\n4\n");
        }
    }
}

async fn h22_body_sent_after_the_head_commits_explicitly(setup: &Setup) {
    let app = App::start(setup).await;
    let mut browser = app.browser();
    assert_eq!(
        browser.get("/late").await.expect(200).text(),
        "refused",
        "a new id cannot be sent after the response head"
    );
    assert_eq!(app.store.sessions().await, 0);
    let _ = browser.insert("n", "1").await.expect(204);
    assert_eq!(browser.get("/late").await.expect(200).text(), "saved");
    assert!(browser.page().await.value("late").is_some());
}

async fn h23_disconnected_client_leaves_no_partial_state(setup: &Setup) {
    let app = App::start(setup).await;
    let mut browser = app.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let hang_up = async |target: String, bytes: usize, after: Duration| {
        let mut connection = Connection::open(app.address).await.expect("the server accepts");
        let request = browser.dress(Request::post(target)).to_bytes();
        connection.write(&request[..request.len().min(bytes)]).await.expect("the server reads");
        tokio::time::sleep(after).await;
    };
    let whole = usize::MAX;
    // The client disconnects between the two inserts of the handler, and during the request head.
    for n in 0..20 {
        hang_up(format!("/gate/a{n}/b{n}"), whole, Duration::from_millis(20)).await;
        hang_up(format!("/gate/c{n}/d{n}"), 40 + n, Duration::ZERO).await;
    }
    let _ = app.gate.send(true);
    // The client disconnects during the commit.
    app.store.slow_writes.store(50, std::sync::atomic::Ordering::SeqCst);
    for n in 0..20_u64 {
        hang_up(format!("/gate/e{n}/f{n}"), whole, Duration::from_millis(5 * n)).await;
    }
    app.store.slow_writes.store(0, std::sync::atomic::Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let page = browser.clone().page().await;
    let (mut both, mut neither) = (0, 0);
    for n in 0..20 {
        for (first, second) in [("a", "b"), ("c", "d"), ("e", "f")] {
            match (page.value(&format!("{first}{n}")), page.value(&format!("{second}{n}"))) {
                (Some(_), Some(_)) => both += 1,
                (None, None) => neither += 1,
                _ => panic!("only a part of request {first}{n} was saved"),
            }
        }
    }
    assert_eq!(page.value("n"), Some(&serde_json::json!(1)));
    println!(
        "h23: 60 clients disconnected: {both} requests saved completely, {neither} not at all, 0 partly"
    );
}

async fn h24_insert_after_destroy_starts_a_new_session(setup: &Setup) {
    let app = App::start(setup).await;
    let mut browser = app.browser();
    let _ = browser.login("bob").await.expect(200);
    let before = browser.clone();
    let response = browser.post("/restart").await.expect(204);
    let cookie = response.set_cookie().expect("one cookie with the new id");
    assert!(!cookie.removes());
    assert_ne!(cookie.value, before.cookie());
    // The new session has a different key, so nothing links it to the old one.
    assert_ne!(tests::cookie::key_of(&cookie.value), tests::cookie::key_of(before.cookie()));
    let page = browser.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("flash")),
        (None, Some(&serde_json::json!("signed out")))
    );
    assert!(before.clone().page().await.is_anonymous());
    assert_eq!(app.store.sessions().await, 1);
}

mod demo {
    use super::*;

    on_every_setup!(h23_disconnects_do_not_affect_other_clients);

    async fn h23_disconnects_do_not_affect_other_clients(setup: &Setup) {
        let demo = setup.start().await;
        let mut browser = demo.signed_in("bob").await;
        let _ = browser.insert("n", "1").await.expect(204);
        for n in 0..20 {
            let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
            let slow = browser.dress(Request::get("/slow?ms=300")).to_bytes();
            connection.write(&slow).await.expect("the demo reads");
            let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
            let put = browser.dress(Request::put("/session/n", "[1,2,3,4,5,6,7,8,9]")).to_bytes();
            // Half of a body is not a complete value.
            connection.write(&put[..put.len() - 1 - n % 15]).await.expect("the demo reads");
        }
        let started = Instant::now();
        wait::until("the demo to become idle", PATIENCE, async || {
            (started.elapsed() > Duration::from_millis(600)).then_some(())
        })
        .await;
        let page = browser.page().await;
        assert_eq!(page.value("n"), Some(&serde_json::json!(1)));
        assert_eq!(page.principal.as_deref(), Some("bob"));
        assert_eq!(demo.workers().len(), setup.workers, "no worker ended");
    }
}
