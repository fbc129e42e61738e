//! Upgrades of the primary under load. The sessions in its memory move to the new primary.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    Browser, Demo, PATIENCE, Page,
    client::{Connection, Request},
    demo_server, wait,
};
use tokio::task::JoinSet;

const CLIENTS: usize = 16;
const UPGRADES: usize = 3;

/// Adds one on a new connection each time, until the test ends. Returns the number of acknowledged
/// adds and the failures.
async fn count(
    browser: Browser,
    address: std::net::SocketAddr,
    over: Arc<AtomicBool>,
) -> (Browser, i64, Vec<String>, Duration) {
    let (mut added, mut failed, mut longest) = (0, Vec::new(), Duration::ZERO);
    while !over.load(Relaxed) {
        let begun = Instant::now();
        let request = browser.dress(Request::post("/session/n/add?by=1"));
        let answer = async { Connection::open(address).await?.send(&request).await }.await;
        match answer {
            Ok(response) if response.status == 200 => added += 1,
            Ok(response) => failed.push(format!("{}: {}", response.status, response.text())),
            Err(error) => failed.push(error.to_string()),
        }
        longest = longest.max(begun.elapsed());
    }
    (browser, added, failed, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_of_the_primary_loses_no_session_and_no_request() {
    // Without a configured key the first primary generates one. The last primary must have it too.
    let mut demo =
        Demo::start_with(&["--listen", "127.0.0.1:0", "--workers", "2", "--store", "ipc"], &[])
            .await;
    let first = demo.process.pid();
    let mut carol = demo.signed_in("carol").await;
    let with_carols_cookie = carol.dress(Request::get("/session"));
    assert!(
        carol
            .send(Request::post("/logout"))
            .await
            .expect(204)
            .set_cookie()
            .is_some_and(|cookie| cookie.removes())
    );
    let over = Arc::new(AtomicBool::new(false));
    let mut visitors = JoinSet::new();
    for n in 0..CLIENTS {
        visitors.spawn(count(
            demo.signed_in(&format!("user{n}")).await,
            demo.address,
            Arc::clone(&over),
        ));
    }
    let mut primaries = HashSet::from([first]);
    for _ in 0..UPGRADES {
        demo.upgrade().await;
        assert!(primaries.insert(demo.process.pid()), "every upgrade starts another process");
    }
    over.store(true, Relaxed);
    let (mut sum, mut longest) = (0, Duration::ZERO);
    while let Some(done) = visitors.join_next().await {
        let (mut browser, added, failed, slowest) = done.expect("every client runs until the end");
        assert!(failed.is_empty(), "{failed:?}");
        let page: Page = browser.send(Request::get("/session")).await.expect(200).json();
        assert_eq!(
            page.data.unwrap_or_default().get("n").and_then(serde_json::Value::as_i64),
            Some(added),
            "every acknowledged add is counted once"
        );
        (sum, longest) = (sum + added, longest.max(slowest));
    }
    assert!(sum > 0);
    let mut connection = Connection::open(demo.address).await.expect("the demo accepts");
    let page: Page =
        connection.send(&with_carols_cookie).await.expect("the demo answers").expect(200).json();
    assert_eq!(page.principal, None, "a session that was signed out stays ended");
    println!(
        "{UPGRADES} upgrades of the primary: {sum} additions by {CLIENTS} clients, 0 failed, 0 lost, the longest took {longest:?}"
    );
    assert_eq!(demo.workers().len(), 2);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_upgrade_loses_no_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("demo-server");
    let lead_to = |there: &Path| {
        let link = folder.path().join("link");
        symlink(there, &link).and_then(|()| fs::rename(&link, &program)).expect("a link");
    };
    lead_to(demo_server());
    let demo = Demo::start_as(
        &program,
        &["--listen", "127.0.0.1:0", "--workers", "2", "--store", "ipc"],
        &[],
    )
    .await;
    let mut bob = demo.signed_in("bob").await;
    let workers = demo.workers();
    // A build that ends at once.
    lead_to(Path::new("/bin/false"));
    demo.process.signal(Signal::USR2);
    wait::until("the primary to continue", PATIENCE, async || {
        demo.output().contains("upgrade of the primary failed").then_some(())
    })
    .await;
    let page: Page = bob.send(Request::get("/session")).await.expect(200).json();
    assert_eq!(page.principal.as_deref(), Some("bob"));
    assert_eq!(demo.workers(), workers);
}
