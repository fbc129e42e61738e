//! Two demos with the same store: at the same time on two ports, and one after the other.

use tests::{Browser, Demo, PATIENCE, Setup, process, wait};

on_every_server!(
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes,
);

/// Requests to one server. Each uses its own connection, so that every worker answers some.
const REQUESTS: usize = 10;

async fn is_signed_in_everywhere(demo: &Demo, browser: &Browser, n: i64) {
    for _ in 0..REQUESTS {
        let page = browser.at(demo.address).page().await;
        assert_eq!(
            (page.principal.as_deref(), page.value("n")),
            (Some("bob"), Some(&serde_json::json!(n)))
        );
    }
}

async fn is_anonymous_everywhere(demo: &Demo, browser: &Browser) {
    for _ in 0..REQUESTS {
        assert!(browser.at(demo.address).page().await.is_anonymous());
    }
}

async fn servers_with_a_shared_store_share_sessions(setup: &Setup) {
    let flags = ["--workers", "2", "--rotation-grace", "0s", "--deadline", "10s"];
    let (first, second) = tokio::join!(setup.start_with(&flags), setup.start_with(&flags));
    assert_ne!(first.address, second.address);
    let browser = first.signed_in("bob").await;
    // Both servers read and write the session.
    for n in 1..=4 {
        let (writer, reader) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let sum: i64 =
            browser.at(writer.address).post("/session/n/add?by=1").await.expect(200).json();
        assert_eq!(sum, n);
        is_signed_in_everywhere(reader, &browser, n).await;
    }
    // After a renewal on one server the old id is invalid on the other.
    let mut renewed = browser.at(second.address);
    let _ = renewed.post("/renew").await.expect(204);
    is_anonymous_everywhere(&first, &browser).await;
    is_signed_in_everywhere(&first, &renewed, 4).await;
    // Both servers list the same devices.
    let other = second.signed_in("bob").await;
    let devices: Vec<serde_json::Value> =
        renewed.at(first.address).get("/devices").await.expect(200).json();
    assert_eq!(devices.len(), 2);
    // After a sign-out on one server the session has ended on the other.
    let _ = renewed.at(second.address).post("/logout").await.expect(204);
    is_anonymous_everywhere(&first, &renewed).await;
    let _ = first.signed_in("bob").await.post("/logout-others").await.expect(200);
    is_anonymous_everywhere(&second, &other).await;
}

/// With SQLite, no other process can keep a session in memory.
async fn h18_sessions_survive_the_end_of_all_processes(setup: &Setup) {
    let flags = ["--workers", "2"];
    let mut demo = setup.start_with(&flags).await;
    let mut browser = demo.signed_in("bob").await;
    let mut signed_out = Vec::new();
    for n in 1..=4 {
        let sum: i64 = browser.post("/session/n/add?by=1").await.expect(200).json();
        assert_eq!(sum, n);
        let mut other = demo.signed_in("bob").await;
        signed_out.push(other.clone());
        let _ = other.post("/logout").await.expect(204);
        let workers = demo.workers();
        assert_eq!(workers.len(), 2);
        // The demo is stopped every second time, and killed with all workers otherwise.
        if n % 2 == 0 {
            demo.stop().await;
        } else {
            demo.kill().await;
        }
        wait::until_true("the end of its workers", PATIENCE, || {
            !workers.iter().any(|worker| process::runs(*worker))
        })
        .await;
        demo = setup.start_with(&flags).await;
        browser = browser.at(demo.address);
        is_signed_in_everywhere(&demo, &browser, n).await;
        for ended in &signed_out {
            is_anonymous_everywhere(&demo, ended).await;
        }
        let devices: Vec<serde_json::Value> = browser.get("/devices").await.expect(200).json();
        assert_eq!(devices.len(), 1, "sessions that were signed out are not listed");
    }
}
