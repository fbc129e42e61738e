//! H10 to H13 and H15: sign-in, renewal, sign-out, and slow requests during them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tests::{
    Browser, Demo, Page, Setup,
    client::{Connection, Request, Response},
};

on_every_setup_and_a_set!(
    h10_sign_in_replaces_the_id_on_every_worker,
    h11_renewal_changes_the_id_and_keeps_user_data_and_age,
    h11_renewal_without_grace_ends_the_old_id_at_once,
    h11_renewal_does_not_extend_the_absolute_timeout,
    h12_logout_ends_the_session_and_removes_its_cookie,
    h13_slow_write_does_not_restore_a_signed_out_session,
    h13_slow_write_does_not_restore_a_revoked_session,
    h13_slow_write_does_not_restore_an_expired_session,
    h15_request_after_a_sign_in_finds_the_user,
);

/// The page that the browser receives over this connection.
async fn page_from(worker: &mut Connection, browser: &Browser) -> Page {
    let request = browser.dress(Request::get("/session"));
    worker.send(&request).await.expect("an answer").expect(200).json()
}

async fn h10_sign_in_replaces_the_id_on_every_worker(setup: &Setup) {
    let demo = setup.start().await;
    let mut browser = demo.browser();
    let _ = browser.insert("basket", r#"["tea"]"#).await.expect(204);
    let before = browser.clone();
    let mut workers = demo.connections(setup.workers).await;
    for worker in &mut workers {
        let page = page_from(worker, &before).await;
        assert!(!page.is_anonymous(), "every worker finds the session before the sign-in");
    }
    let _ = browser.login("bob").await.expect(200);
    assert_ne!(before.cookie(), browser.cookie());
    for worker in &mut workers {
        let old = page_from(worker, &before).await;
        assert!(old.is_anonymous(), "the old id is invalid");
        let new = page_from(worker, &browser).await;
        assert_eq!(new.principal.as_deref(), Some("bob"));
        assert_eq!(new.value("basket"), Some(&serde_json::json!(["tea"])));
    }
}

async fn h11_renewal_changes_the_id_and_keeps_user_data_and_age(setup: &Setup) {
    let demo = setup.start().await;
    let mut browser = demo.signed_in("bob").await;
    let _ = browser.insert("n", "7").await.expect(204);
    let before = browser.clone();
    let handle = browser.page().await.handle;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let _ = browser.post("/renew").await.expect(204);
    assert_ne!(before.cookie(), browser.cookie());
    assert_eq!(
        before.clone().page().await.principal.as_deref(),
        Some("bob"),
        "the former id reads during the grace"
    );
    let page = browser.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("n")),
        (Some("bob"), Some(&serde_json::json!(7)))
    );
    assert_eq!(page.handle, handle, "the handle stays the same");
    assert!(page.age.expect("a session has an age") >= 1.0, "the age is kept: {page:?}");
}

async fn h11_renewal_without_grace_ends_the_old_id_at_once(setup: &Setup) {
    let demo = setup.start_with(&["--rotation-grace", "0s"]).await;
    let mut browser = demo.signed_in("bob").await;
    let before = browser.clone();
    let _ = browser.post("/renew").await.expect(204);
    for worker in &mut demo.connections(setup.workers).await {
        let old = page_from(worker, &before).await;
        assert!(old.is_anonymous(), "the old id is invalid on every worker");
    }
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}

async fn h11_renewal_does_not_extend_the_absolute_timeout(setup: &Setup) {
    let demo = setup.start_with(&["--idle-timeout", "4s", "--absolute-timeout", "4s"]).await;
    let mut browser = demo.signed_in("bob").await;
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _ = browser.post("/renew").await.expect(204);
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
    tokio::time::sleep(Duration::from_millis(4_300).saturating_sub(started.elapsed())).await;
    assert!(browser.page().await.is_anonymous(), "a renewal does not extend the absolute timeout");
}

async fn h12_logout_ends_the_session_and_removes_its_cookie(setup: &Setup) {
    let https = ["--cookie", "secure", "--trusted-proxy", "127.0.0.1/32"];
    for flags in [&[][..], &https] {
        let demo = setup.start_with(flags).await;
        let mut browser = demo.browser();
        if !flags.is_empty() {
            browser = browser.always("X-Forwarded-Proto", "https");
        }
        let set = browser.login("bob").await.expect(200).set_cookie().expect("a cookie");
        let signed_in = browser.clone();
        let removal = browser.post("/logout").await.expect(204).set_cookie().expect("a removal");
        assert!(removal.removes() && removal.value.is_empty(), "{removal:?}");
        assert_eq!(removal.name, set.name);
        let kept: Vec<_> = removal
            .attributes
            .iter()
            .filter(|attribute| !attribute.starts_with("Max-Age="))
            .collect();
        assert_eq!(kept, set.attributes.iter().collect::<Vec<_>>());
        assert!(!browser.has_cookie());
        assert!(signed_in.clone().page().await.is_anonymous());
        let _ = browser.post("/logout").await.expect(204);
        let _ = signed_in.clone().post("/logout").await.expect(204);
    }
}

/// The number of sessions that end during a write.
const TRIES: usize = 200;

/// Starts `/slow` with every browser and ends the sessions with `end` during these requests. Every
/// request must get a conflict, and no session may exist afterwards.
async fn end_while_slow(browsers: Vec<Browser>, slow: Duration, end: impl AsyncFnOnce()) {
    let writers: Vec<_> =
        browsers.iter().map(|browser| tokio::spawn(write_slowly(browser.clone(), slow))).collect();
    // The slow handlers have read the session, and respond much later.
    tokio::time::sleep(slow / 2).await;
    end().await;
    for writer in writers {
        let (response, after) = writer.await.expect("no panic");
        is_refused(&response, after).await;
    }
    all_have_ended(&browsers).await;
}

async fn write_slowly(mut browser: Browser, slow: Duration) -> (Response, Browser) {
    (browser.get(&format!("/slow?ms={}", slow.as_millis())).await, browser)
}

async fn is_refused(response: &Response, after: Browser) {
    let cookie = response.set_cookie();
    assert_eq!(response.status, 409, "{} {cookie:?}", response.text());
    assert!(cookie.is_none_or(|cookie| cookie.removes()), "an ended session gets no new id");
    assert!(!after.has_cookie() || after.clone().page().await.is_anonymous());
}

async fn all_have_ended(browsers: &[Browser]) {
    let pages = join_all(browsers.iter().map(|browser| {
        let mut browser = browser.clone();
        async move { browser.page().await }
    }));
    assert!(pages.await.iter().all(Page::is_anonymous), "a session exists again");
}

async fn sessions(demo: &Demo, user: impl Fn(usize) -> String, count: usize) -> Vec<Browser> {
    join_all((0..count).map(|n| {
        let user = user(n);
        async move { demo.signed_in(&user).await }
    }))
    .await
}

async fn h13_slow_write_does_not_restore_a_signed_out_session(setup: &Setup) {
    let demo = setup.start().await;
    for _ in 0..2 {
        let browsers = sessions(&demo, |n| format!("user{n}"), TRIES / 2).await;
        let ended = browsers.clone();
        end_while_slow(browsers, Duration::from_secs(4), async || {
            let logouts = ended
                .into_iter()
                .map(|mut browser| async move { browser.post("/logout").await.status });
            assert!(join_all(logouts).await.iter().all(|status| *status == 204));
        })
        .await;
    }
    println!("h13: {TRIES} of {TRIES} slow writes got 409, 0 sessions exist again");
}

async fn h13_slow_write_does_not_restore_a_revoked_session(setup: &Setup) {
    let demo = setup.start().await;
    let browsers = sessions(&demo, |_| "bob".to_owned(), TRIES).await;
    let mut other = demo.signed_in("bob").await;
    end_while_slow(browsers, Duration::from_secs(3), async || {
        let ended: serde_json::Value = other.post("/logout-everywhere").await.expect(200).json();
        assert_eq!(ended["ended"], serde_json::json!(TRIES + 1));
    })
    .await;
    println!("h13: {TRIES} of {TRIES} slow writes to revoked sessions got 409");
}

async fn h13_slow_write_does_not_restore_an_expired_session(setup: &Setup) {
    let demo = setup.start_with(&["--idle-timeout", "3s"]).await;
    let visits = (0..TRIES / 4).map(|n| {
        let (demo, user) = (&demo, format!("user{n}"));
        async move {
            // Each client sends its slow request at once. If the session expired before the read,
            // the write would start a new session.
            let browser = demo.signed_in(&user).await;
            let (response, after) = write_slowly(browser.clone(), Duration::from_secs(6)).await;
            is_refused(&response, after).await;
            browser
        }
    });
    all_have_ended(&join_all(visits).await).await;
    println!("h13: {0} of {0} slow writes to expired sessions got 409", TRIES / 4);
}

async fn h15_request_after_a_sign_in_finds_the_user(setup: &Setup) {
    const SIGN_INS: usize = 1_000;
    let demo = setup.start().await;
    let address = demo.address;
    let clients = (0..8).map(|client| {
        tokio::spawn(async move {
            for n in 0..SIGN_INS / 8 {
                let user = format!("user{client}-{n}");
                // Every request of a browser has its own connection, so another worker may serve
                // the second one.
                let mut browser = Browser::signed_in(address, &user).await;
                assert_eq!(browser.page().await.principal, Some(user));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("every client finds its user");
    }
    println!("h15: {SIGN_INS} of {SIGN_INS} requests after a sign-in found the user");
}
