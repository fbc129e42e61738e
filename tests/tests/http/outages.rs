//! H18 to H21: the server of the sessions is stopped, frozen or unable to write.

use std::time::{Duration, Instant};

use tests::{
    Browser, Demo, PATIENCE, Service, Setup,
    client::Request,
    service::{AnyMongo, AnySql, Durability, MongoSet},
    wait,
};

/// The deadline of the store in these tests.
const DEADLINE: &str = "1500ms";
/// The limit for a response: the deadline, and 2 s more for a busy machine.
const IN_TIME: Duration = Duration::from_millis(3_500);

on_own_setup!(
    ipc = Setup::ipc_owner(),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    redis = Setup::own_redis(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h19_full_server_serves_reads_and_sign_outs,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    redis_cluster = Setup::own_redis_cluster(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h19_full_server_serves_reads_and_sign_outs,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    mongo = Setup::own_mongo(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    mongo_set = Setup::own_mongo_set(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_set_without_a_majority_serves_reads_and_rejects_writes,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    postgres = Setup::own_postgres(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    mariadb = Setup::own_mariadb(Durability::Full),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);
on_own_setup!(
    sqlite = Setup::own_sqlite(),
    h18_stopped_store_gives_503_until_it_is_back,
    h18_writer_killed_during_a_commit_does_not_block_others,
    h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session,
    h19_read_only_store_serves_reads_and_rejects_writes,
    h20_logout_during_an_outage_fails_and_a_retry_works,
);

/// Servers that restart empty.
mod volatile {
    use super::*;

    on_own_setups!(
        h18_stopped_store_gives_503_until_it_is_back;
        redis = Setup::own_redis(Durability::None),
        mongo = Setup::own_mongo(Durability::None),
    );
}

async fn start(setup: &Setup) -> Demo {
    let demo = setup.start_with(&["--deadline", DEADLINE, "--rotation-grace", "0s"]).await;
    demo.settle().await;
    demo
}

/// Expects 503 in time and an unchanged cookie. Returns the duration.
async fn expect_503(browser: &mut Browser, request: Request) -> Duration {
    let started = Instant::now();
    let response = browser.send(request.clone()).await;
    assert_eq!(response.status, 503, "{request:?}");
    assert!(response.set_cookie().is_none(), "the cookie stays untouched: {response:?}");
    assert!(started.elapsed() < IN_TIME, "503 only after {:?}", started.elapsed());
    started.elapsed()
}

/// Sends 40 concurrent requests of every kind. Returns the longest duration.
async fn longest_refusal(demo: &Demo, browser: &Browser) -> Duration {
    let asked = (0..40).map(|n| {
        let (mut visitor, mut browser) = (demo.browser(), browser.clone());
        async move {
            match n % 4 {
                0 => expect_503(&mut browser, Request::get("/session")).await,
                1 => expect_503(&mut browser, Request::put("/session/n", "1")).await,
                // From a client without a cookie. A frozen server may execute a received command
                // later. With a cookie it would change the id of that session.
                2 => {
                    expect_503(&mut visitor, Request::post("/login").json(r#"{"user":"eve"}"#))
                        .await
                }
                _ => expect_503(&mut browser, Request::get("/devices")).await,
            }
        }
    });
    let longest = futures_util::future::join_all(asked).await.into_iter().max().unwrap_or_default();
    // A write that cannot be saved is refused.
    expect_503(&mut demo.browser(), Request::put("/session/n", "1")).await;
    longest
}

/// Routes that need no session are served normally.
async fn sessionless_routes_are_served(demo: &Demo) {
    let mut browser = demo.browser();
    let _ = browser.get("/healthz").await.expect(200);
    assert!(browser.page().await.is_anonymous(), "a request without a cookie makes no store call");
}

/// Waits until every worker reaches the store again. Returns the time between the first and the
/// last worker.
async fn until_reconnected(demo: &Demo, browser: &Browser) -> Duration {
    demo.ready().await;
    let first = Instant::now();
    wait::until("every worker to reach the store again", PATIENCE, async || {
        for worker in &mut demo.connections(demo.workers().len()).await {
            let response =
                worker.send(&browser.dress(Request::get("/session"))).await.expect("an answer");
            if response.status != 200 {
                return None;
            }
            assert!(response.set_cookie().is_none());
        }
        Some(())
    })
    .await;
    first.elapsed()
}

async fn h18_stopped_store_gives_503_until_it_is_back(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    let workers = demo.workers();
    setup.service().stop().await;
    let longest = longest_refusal(&demo, &browser).await;
    sessionless_routes_are_served(&demo).await;
    let _ = browser.get("/readyz").await.expect(503);
    setup.service().restart().await;
    let later = until_reconnected(&demo, &browser).await;
    let page = browser.page().await;
    match setup.service().keeps() {
        Durability::Full => assert_eq!(page.principal.as_deref(), Some("bob")),
        Durability::None => assert!(page.is_anonymous()),
    }
    let mut fresh = demo.signed_in("eve").await;
    assert_eq!(fresh.page().await.principal.as_deref(), Some("eve"));
    assert_eq!(demo.workers(), workers, "no worker was restarted");
    println!(
        "h18: 503 within {longest:?} while stopped; every worker back {later:?} after the first"
    );
}

async fn h18_h21_frozen_store_gives_503_in_time_and_keeps_the_session(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    setup.service().freeze().await;
    let longest = longest_refusal(&demo, &browser).await;
    sessionless_routes_are_served(&demo).await;
    setup.service().thaw().await;
    let later = until_reconnected(&demo, &browser).await;
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
    println!(
        "h21: 40 requests to a frozen store, all 503 within {longest:?}, deadline {DEADLINE}; every worker back {later:?} after the first"
    );
}

/// SQLite has no server. A process of the site that stops during a commit replaces the frozen
/// server. Here it is killed, and the other processes continue without a cleanup.
async fn h18_writer_killed_during_a_commit_does_not_block_others(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    let _ = browser.insert("n", "1").await.expect(204);
    setup.service().freeze().await;
    expect_503(&mut browser, Request::get("/session")).await;
    match setup.service() {
        Service::Sql(sql, _) => match &**sql {
            AnySql::Sqlite(sqlite) => sqlite.die().await,
            AnySql::Postgres(_) | AnySql::MariaDb(_) => {
                panic!("only SQLite writes in the process of the demo")
            }
        },
        Service::IpcOwner(_) | Service::Redis(..) | Service::Mongo(..) => {
            panic!("only SQLite writes in the process of the demo")
        }
    }
    until_reconnected(&demo, &browser).await;
    let page = browser.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("n")),
        (Some("bob"), Some(&serde_json::json!(1)))
    );
    let _ = browser.insert("n", "2").await.expect(204);
    assert_eq!(browser.page().await.value("n"), Some(&serde_json::json!(2)));
}

/// Requests that change a session or create one.
fn first_writes() -> [Request; 4] {
    [
        Request::put("/session/n", "2"),
        Request::post("/session/n/add?by=1"),
        Request::post("/session/n/update"),
        Request::post("/login").json(r#"{"user":"eve"}"#),
    ]
}

/// Requests that only change an existing session.
fn writes_to_a_session() -> [Request; 3] {
    [Request::delete("/session/n"), Request::post("/renew"), Request::post("/logout")]
}

async fn h19_read_only_store_serves_reads_and_rejects_writes(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    let _ = browser.insert("n", "1").await.expect(204);
    setup.service().take_no_writes().await;
    for request in first_writes() {
        expect_503(&mut demo.browser(), request).await;
    }
    for request in first_writes().into_iter().chain(writes_to_a_session()) {
        expect_503(&mut browser, request).await;
        let page = browser.page().await;
        assert_eq!(
            (page.principal.as_deref(), page.value("n")),
            (Some("bob"), Some(&serde_json::json!(1)))
        );
    }
    setup.service().take_writes().await;
    let _ = browser.insert("n", "2").await.expect(204);
    assert_eq!(browser.page().await.value("n"), Some(&serde_json::json!(2)));
}

async fn h19_full_server_serves_reads_and_sign_outs(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    let _ = browser.insert("n", "1").await.expect(204);
    configure(setup, "maxmemory", "1").await;
    expect_503(&mut browser, Request::put("/session/more", r#""and more""#)).await;
    expect_503(&mut demo.browser(), Request::put("/session/n", "1")).await;
    expect_503(&mut demo.browser(), Request::post("/login").json(r#"{"user":"eve"}"#)).await;
    let before = browser.clone();
    assert!(
        browser.post("/renew").await.expect(204).set_cookie().is_some(),
        "a full server still renews an id"
    );
    let page = browser.page().await;
    assert_eq!(
        (page.principal.as_deref(), page.value("n"), page.value("more")),
        (Some("bob"), Some(&serde_json::json!(1)), None)
    );
    assert!(before.clone().page().await.is_anonymous());
    sign_out(&mut browser).await;
    configure(setup, "maxmemory", "0").await;
    assert_eq!(demo.signed_in("eve").await.page().await.principal.as_deref(), Some("eve"));
}

async fn h19_set_without_a_majority_serves_reads_and_rejects_writes(setup: &mut Setup) {
    let demo = start(setup).await;
    let (mut bob, mut eve, mut mallory) =
        (demo.signed_in("bob").await, demo.signed_in("eve").await, demo.signed_in("mallory").await);
    for browser in [&mut bob, &mut eve] {
        let _ = browser.insert("n", "1").await.expect(204);
    }
    let set = replica_set(setup);
    let primary = set.primary().await.expect("the set belongs to the test");
    set.outlive_followers(primary).await;
    for follower in followers(set, primary) {
        set.freeze(follower).await.expect("the set belongs to the test");
    }
    for request in first_writes() {
        expect_503(&mut demo.browser(), request).await;
    }
    // The order matters. After a renewal that only the primary has, a logout with the old id must
    // not be reported as done.
    for request in first_writes().into_iter().chain(writes_to_a_session()) {
        expect_503(&mut bob, request.clone()).await;
        let page = bob.page().await;
        let seen = (page.principal.as_deref(), page.value("n"));
        assert_eq!(
            seen,
            (Some("bob"), Some(&serde_json::json!(1))),
            "reads show no unsaved change, after {request:?}"
        );
    }
    expect_503(&mut mallory, Request::post("/logout-everywhere")).await;
    assert_eq!(mallory.page().await.principal.as_deref(), Some("mallory"), "no session was ended");
    sessionless_routes_are_served(&demo).await;
    let set = replica_set(setup);
    for follower in followers(set, primary) {
        set.thaw(follower).await.expect("the set belongs to the test");
    }
    set.complete().await;
    until_reconnected(&demo, &eve).await;
    assert_eq!(
        eve.page().await.value("n"),
        Some(&serde_json::json!(1)),
        "a session without requests is unchanged"
    );
    let _ = eve.insert("n", "2").await.expect(204);
    assert_eq!(eve.page().await.value("n"), Some(&serde_json::json!(2)));
    // A refused request may have taken effect. The repeated request succeeds.
    sign_out(&mut mallory).await;
    // The sign-in of Bob may have taken effect too. Until it settles, a sign-out with the earlier
    // id is a conflict.
    let before = bob.clone();
    let signed_out = async || (bob.post("/logout").await.status == 204).then_some(());
    wait::until("a sign-out", PATIENCE, signed_out).await;
    assert!(before.clone().page().await.is_anonymous());
}

/// The replica set that stores the sessions.
fn replica_set(setup: &mut Setup) -> &MongoSet {
    match setup.service() {
        Service::Mongo(mongo, _) => match &**mongo {
            AnyMongo::Set(set) => set,
            AnyMongo::Server(_) => panic!("a single server has no followers"),
        },
        Service::IpcOwner(_) | Service::Redis(..) | Service::Sql(..) => {
            panic!("only MongoDB has replica sets")
        }
    }
}

fn followers(set: &MongoSet, primary: u16) -> impl Iterator<Item = u16> {
    let ports = set.ports().expect("the set belongs to the test");
    ports.into_iter().filter(move |port| *port != primary)
}

/// Changes a setting of the Redis server, or of each primary.
async fn configure(setup: &mut Setup, name: &str, value: &str) {
    let Service::Redis(redis, _) = setup.service() else {
        panic!("only Redis is configured at run time")
    };
    redis.ask_all(&["CONFIG", "SET", name, value]).await;
}

async fn h20_logout_during_an_outage_fails_and_a_retry_works(setup: &mut Setup) {
    let demo = start(setup).await;
    let mut browser = demo.signed_in("bob").await;
    setup.service().freeze().await;
    expect_503(&mut browser, Request::post("/logout")).await;
    setup.service().thaw().await;
    until_reconnected(&demo, &browser).await;
    sign_out(&mut browser).await;
    let mut browser = demo.signed_in("bob").await;
    setup.service().stop().await;
    expect_503(&mut browser, Request::post("/logout")).await;
    expect_503(&mut browser, Request::post("/logout-everywhere")).await;
    setup.service().restart().await;
    until_reconnected(&demo, &browser).await;
    if setup.service().keeps() == Durability::Full {
        assert_eq!(
            browser.page().await.principal.as_deref(),
            Some("bob"),
            "the user is still signed in"
        );
    }
    sign_out(&mut browser).await;
}

/// Signs out, and expects that the old cookie is anonymous afterwards.
pub(crate) async fn sign_out(browser: &mut Browser) {
    let before = browser.clone();
    assert!(
        browser
            .post("/logout")
            .await
            .expect(204)
            .set_cookie()
            .is_some_and(|cookie| cookie.removes())
    );
    assert!(before.clone().page().await.is_anonymous());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_frozen_owner_process_gives_503_in_time() {
    let setup = Setup::ipc().await.expect("ipc needs no server");
    let demo = start(&setup).await;
    let mut browser = demo.signed_in("bob").await;
    let mut workers = demo.connections(setup.workers).await;
    let pids = demo.workers();
    demo.process.freeze();
    let mut longest = Duration::ZERO;
    for worker in &mut workers {
        let started = Instant::now();
        let response = worker
            .send(&browser.dress(Request::get("/session")))
            .await
            .expect("an answer")
            .expect(503);
        assert!(response.set_cookie().is_none());
        assert!(started.elapsed() < IN_TIME, "503 only after {:?}", started.elapsed());
        longest = longest.max(started.elapsed());
    }
    sessionless_routes_are_served(&demo).await;
    demo.process.thaw();
    demo.ready().await;
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
    assert_eq!(demo.workers(), pids, "no worker was killed");
    println!(
        "h21: every worker of a frozen primary answered 503 within {longest:?}, deadline {DEADLINE}"
    );
}
