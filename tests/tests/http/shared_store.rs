//! Two demos on one store: at the same time on two ports, and one after the end of the other.

use tests::{Browser, Demo, PATIENCE, Setup, process, wait};

on_setup!(
    redis,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);
on_setup!(
    mongo,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);
on_setup!(
    postgres,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);
on_setup!(
    mariadb,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);
on_setup!(
    sqlite,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);
on_setup!(
    redis_cluster,
    servers_with_a_shared_store_share_sessions,
    h18_sessions_survive_the_end_of_all_processes
);

/// How often a server is asked, each time over a connection of its own, so that each of its workers
/// answers.
const ASKED: usize = 10;

async fn is_signed_in_everywhere(demo: &Demo, browser: &Browser, n: i64) {
    for _ in 0..ASKED {
        let page = browser.at(demo.address).page().await;
        assert_eq!(
            (page.principal.as_deref(), page.value("n")),
            (Some("bob"), Some(&serde_json::json!(n)))
        );
    }
}

async fn is_anonymous_everywhere(demo: &Demo, browser: &Browser) {
    for _ in 0..ASKED {
        assert!(browser.at(demo.address).page().await.is_anonymous());
    }
}

async fn servers_with_a_shared_store_share_sessions(setup: &Setup) {
    let flags = ["--workers", "2", "--rotation-grace", "0s", "--deadline", "10s"];
    let (first, second) = tokio::join!(setup.start_with(&flags), setup.start_with(&flags));
    assert_ne!(first.address, second.address);
    let browser = first.signed_in("bob").await;
    // Read and written on either.
    for n in 1..=4 {
        let (writer, reader) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let sum: i64 =
            browser.at(writer.address).post("/session/n/add?by=1").await.expect(200).json();
        assert_eq!(sum, n);
        is_signed_in_everywhere(reader, &browser, n).await;
    }
    // IntoFixture another id on one, the old one is dead on the other.
    let mut renewed = browser.at(second.address);
    let _ = renewed.post("/renew").await.expect(204);
    is_anonymous_everywhere(&first, &browser).await;
    is_signed_in_everywhere(&first, &renewed, 4).await;
    // One list of devices.
    let other = second.signed_in("bob").await;
    let devices: Vec<serde_json::Value> =
        renewed.at(first.address).get("/devices").await.expect(200).json();
    assert_eq!(devices.len(), 2);
    // Signed out on one, dead on the other.
    let _ = renewed.at(second.address).post("/logout").await.expect(204);
    is_anonymous_everywhere(&first, &renewed).await;
    let _ = first.signed_in("bob").await.post("/logout-others").await.expect(200);
    is_anonymous_everywhere(&second, &other).await;
}

/// With SQLite there is no other process that could keep something in its memory.
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
        // Told to end every other time, and killed at once with all its workers in between.
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
        for gone in &signed_out {
            is_anonymous_everywhere(&demo, gone).await;
        }
        let devices: Vec<serde_json::Value> = browser.get("/devices").await.expect(200).json();
        assert_eq!(devices.len(), 1, "those that have signed out are not listed");
    }
}
