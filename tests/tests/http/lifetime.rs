//! H16 and H17: lifetimes of sessions and of their cookies.

use std::time::{Duration, Instant};

use tests::Setup;

on_every_setup!(
    h16_requests_extend_the_idle_timeout_but_not_the_absolute,
    h17_max_age_of_a_persistent_cookie_follows_the_session,
    h17_max_age_is_at_most_400_days,
    h17_browser_session_cookie_has_neither_max_age_nor_expires,
);

async fn h16_requests_extend_the_idle_timeout_but_not_the_absolute(setup: &Setup) {
    let (idle, absolute) = (Duration::from_secs(2), Duration::from_secs(6));
    let demo = setup.start_with(&["--idle-timeout", "2s", "--absolute-timeout", "6s"]).await;
    let (mut used, mut unused) = (demo.signed_in("bob").await, demo.signed_in("eve").await);
    let started = Instant::now();
    let mut last_seen = Duration::ZERO;
    let died = loop {
        let before = started.elapsed();
        if used.page().await.is_anonymous() {
            break started.elapsed();
        }
        last_seen = before;
        assert!(
            before < absolute + Duration::from_secs(2),
            "the session exists after its absolute timeout"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert!(
        last_seen > 2 * idle,
        "requests extend the idle timeout: last seen after {last_seen:?}"
    );
    assert!(
        last_seen <= absolute + Duration::from_millis(200),
        "the session exists {last_seen:?} after its start"
    );
    assert!(
        died >= absolute.saturating_sub(Duration::from_millis(200)),
        "the session ended early, after {died:?}"
    );
    assert!(unused.page().await.is_anonymous(), "an unused session expires");
    println!(
        "h16: with a request every 0.3 s: alive after {last_seen:?} of {absolute:?}, expired after {died:?}"
    );
}

async fn h17_max_age_of_a_persistent_cookie_follows_the_session(setup: &Setup) {
    let demo = setup.start_with(&["--persistence", "persistent", "--idle-timeout", "6s"]).await;
    let mut browser = demo.browser();
    let issued = browser.login("bob").await.expect(200).set_cookie().expect("a cookie");
    assert!((4..=6).contains(&issued.max_age().expect("Max-Age")), "{:?}", issued.attributes);
    assert!(
        browser.get("/session").await.expect(200).set_cookie().is_none(),
        "a new ttl is not extended"
    );
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    let renewed = browser
        .get("/session")
        .await
        .expect(200)
        .set_cookie()
        .expect("the Max-Age is extended with the ttl");
    assert_eq!(renewed.value, issued.value, "the id stays");
    assert!((4..=6).contains(&renewed.max_age().expect("Max-Age")), "{:?}", renewed.attributes);
}

async fn h17_max_age_is_at_most_400_days(setup: &Setup) {
    let demo = setup
        .start_with(&[
            "--persistence",
            "persistent",
            "--idle-timeout",
            "500d",
            "--absolute-timeout",
            "500d",
        ])
        .await;
    let cookie = demo.browser().login("bob").await.expect(200).set_cookie().expect("a cookie");
    assert_eq!(cookie.max_age(), Some(400 * 86_400));
}

async fn h17_browser_session_cookie_has_neither_max_age_nor_expires(setup: &Setup) {
    let demo = setup.start_with(&["--persistence", "browser"]).await;
    let mut browser = demo.browser();
    for response in [
        browser.insert("n", "1").await.expect(204),
        browser.login("bob").await.expect(200),
        browser.post("/renew").await.expect(204),
    ] {
        let cookie = response.set_cookie().expect("a cookie");
        assert_eq!(cookie.attributes, ["Path=/", "HttpOnly", "SameSite=Lax"]);
    }
}
