//! H01 to H05 and the three-quarter rule of H16, by the counted store calls of the demo.

use std::time::Duration;

use tests::{Calls, Counting, Setup};

on_every_setup!(
    h01_sessionless_route_makes_no_store_call,
    h02_h03_h05_requests_make_the_minimum_of_store_calls,
    h04_insert_of_an_equal_value_writes_nothing,
    h16_ttl_is_extended_only_below_three_quarters,
);

async fn h01_sessionless_route_makes_no_store_call(setup: &Setup) {
    let site = Counting::start(setup, &[]).await;
    let signed_in = site.demo.signed_in("bob").await;
    site.calls().await;
    for mut browser in [site.demo.browser(), signed_in] {
        for _ in 0..100 {
            assert!(browser.get("/healthz").await.expect(200).set_cookie().is_none());
        }
    }
    assert_eq!(site.calls().await, Calls::default());
    println!("h01: 200 requests, 0 store calls, 0 cookies");
}

async fn h02_h03_h05_requests_make_the_minimum_of_store_calls(setup: &Setup) {
    let site = Counting::start(setup, &[]).await;
    // The records of a store outside the demo are counted. For other stores the calls must suffice.
    let stored = async || setup.server_content().await.map(|stored| stored.sessions.len());
    let before = stored().await;
    let mut browser = site.demo.browser();
    for _ in 0..10 {
        let response = browser.get("/session").await.expect(200);
        assert!(response.set_cookie().is_none());
        assert!(response.json::<tests::Page>().is_anonymous());
    }
    assert_eq!((site.calls().await, stored().await), (Calls::default(), before));
    assert!(browser.insert("n", "1").await.expect(204).set_cookie().is_some());
    assert_eq!(
        (site.calls().await, stored().await),
        (Calls { creates: 1, ..Calls::default() }, before.map(|before| before + 1))
    );
    assert!(browser.get("/session").await.expect(200).set_cookie().is_none());
    assert_eq!(site.calls().await, Calls { loads: 1, ..Calls::default() });
}

/// The route `/slow` reads a number and inserts the next integer. It inserts the greatest integer
/// again.
async fn h04_insert_of_an_equal_value_writes_nothing(setup: &Setup) {
    let site = Counting::start(setup, &[]).await;
    let mut browser = site.demo.browser();
    let _ = browser.insert("slow", &(i64::MAX - 1).to_string()).await.expect(204);
    site.calls().await;
    let last = format!("slow:{}\n", i64::MAX);
    assert_eq!(browser.get("/slow?ms=0").await.expect(200).text(), last);
    assert_eq!(site.calls().await, Calls { loads: 1, commits: 1, ..Calls::default() });
    for _ in 0..3 {
        let response = browser.get("/slow?ms=0").await.expect(200);
        assert!(response.set_cookie().is_none());
        assert_eq!(response.text(), last);
        assert_eq!(site.calls().await, Calls { loads: 1, ..Calls::default() });
    }
}

async fn h16_ttl_is_extended_only_below_three_quarters(setup: &Setup) {
    let site =
        Counting::start(setup, &["--idle-timeout", "14s", "--persistence", "persistent"]).await;
    let mut browser = site.demo.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let fresh = browser.get("/session").await.expect(200);
    assert_eq!(
        site.calls().await,
        Calls { creates: 1, loads: 1, ..Calls::default() },
        "a new session is only read"
    );
    assert!(fresh.set_cookie().is_none());
    tokio::time::sleep(Duration::from_millis(3_700)).await;
    let due = browser.get("/session").await.expect(200);
    assert_eq!(
        site.calls().await,
        Calls { loads: 1, commits: 1, ..Calls::default() },
        "a quarter of the idle timeout is over, so the ttl is extended"
    );
    assert!(due.set_cookie().is_some());
    let ttl = browser.page().await.ttl.expect("a session has a ttl");
    assert!(ttl > 10.5, "{ttl}");
}
