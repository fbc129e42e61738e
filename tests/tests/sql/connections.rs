//! The store's connections: after a cancelled call, after a lost connection, after a server became
//! read-only, and after the end of their runtime.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_core::{Claim, Deleted, SessionStore};
use tests::{
    PATIENCE,
    service::AnySql,
    session::{Session, is_done, principal},
    with_sources,
};
use tokio::{
    runtime::Builder,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::locks::{PATIENT, connect, counter, for_each_server, listed, number, within_polls};

for_each_server!(
    c41_cancelled_calls_leak_no_connection,
    c41_cancelled_ping_mixes_up_no_answers,
    c41_end_of_a_runtime_ends_its_calls,
    c42_first_call_after_an_idle_restart_succeeds,
    c42_read_succeeds_after_its_connection_was_cut,
);

/// A connection that was idle for so long is checked before its next use.
const IDLE: Duration = Duration::from_millis(1_050);

/// The number of connections of the store's user.
async fn connections(sql: &AnySql) -> i64 {
    let statement = match sql {
        AnySql::Postgres(_) => "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'",
        _ => "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'",
    };
    number(sql, statement).await
}

async fn c41_cancelled_calls_leak_no_connection(sql: AnySql) {
    const CALLS: u64 = 200;
    let store = connect(&sql.url(&format!("connections=2&{PATIENT}"))).await;
    let session = Session::signed_in(&store, "bob").await;
    // Both connections are open before the first call is cancelled.
    join_all((0..8).map(|_| store.load(&session.key))).await;
    let bob = principal("bob");
    let (mut cancelled, mut done, mut most) = (0, 0, 0);
    for n in 0..CALLS {
        let (one, two) = tokio::join!(
            within_polls(fastrand::u32(1..8), store.commit(&session.key, session.add("n", 1))),
            within_polls(fastrand::u32(1..8), store.list(&bob, None, 10))
        );
        match one {
            Some(outcome) => {
                assert!(is_done(&outcome), "{outcome:?}");
                done += 1;
            }
            None => cancelled += 1,
        }
        if let Some(list) = two {
            assert_eq!(list.expect("a list").sessions.len(), 1);
        }
        if n % 20 == 0 {
            most = most.max(connections(&sql).await);
        }
    }
    for _ in 0..20 {
        assert!(is_done(&store.commit(&session.key, session.add("m", 1)).await));
    }
    let n = counter(&store, &session).await;
    assert!(
        (done..=done + cancelled).contains(&n),
        "{done} acknowledged, {cancelled} cancelled, {n} executed"
    );
    let left = connections(&sql).await;
    assert!(left <= 2 && most <= 2, "{left} connections, {most} at most");
    eprintln!(
        "{}: {cancelled} of {CALLS} cancelled, {} of them executed; {most} connections at most",
        sql.version(),
        n - done
    );
    assert!(
        cancelled > 10 && done > 10,
        "some calls are cancelled and some are not: {cancelled} of {CALLS}"
    );
}

async fn c42_first_call_after_an_idle_restart_succeeds(mut sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    // The concurrent calls open several connections to the server before the restart.
    for _ in 0..2 {
        for outcome in
            join_all((0..6).map(|_| store.commit(&session.key, session.add("n", 1)))).await
        {
            assert!(is_done(&outcome), "{outcome:?}");
        }
        let idle = Instant::now();
        ours!(sql.stop().await);
        ours!(sql.start_again().await);
        // A connection that was used a moment ago is not checked.
        sleep(IDLE.saturating_sub(idle.elapsed())).await;
        for outcome in
            join_all((0..6).map(|_| store.commit(&session.key, session.add("n", 1)))).await
        {
            assert!(is_done(&outcome), "{outcome:?}");
        }
    }
    assert_eq!(counter(&store, &session).await, 24);
    ours!(sql.stop().await);
    ours!(sql.start_again().await);
    sleep(IDLE).await;
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
}

/// The server cuts connections that were used a moment ago, so the store does not check them before
/// the next call. A restart has the same effect.
async fn c42_read_succeeds_after_its_connection_was_cut(sql: AnySql) {
    const CUT: usize = 10;
    let store = connect(&sql.url(&format!("connections=1&{PATIENT}"))).await;
    let session = Session::signed_in(&store, "bob").await;
    let cut = match &sql {
        AnySql::Postgres(_) => {
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
        }
        _ => "KILL USER app",
    };
    for n in 0..CUT {
        assert!(store.load(&session.key).await.expect("an answer").is_some());
        let _ = sql.ask(cut).await.expect("the server executes it");
        let answer = store.load(&session.key).await;
        assert!(
            answer.as_ref().is_ok_and(Option::is_some),
            "cut {n}: {:?}",
            answer.map_err(|error| with_sources(&error))
        );
        let _ = sql.ask(cut).await.expect("the server executes it");
        assert_eq!(
            listed(&store, "bob")
                .await
                .map_err(|error| with_sources(&error))
                .map(|list| list.len()),
            Ok(1),
            "cut {n}"
        );
    }
}

/// The driver would take the answer to the cancelled ping for the answer to the next statement.
async fn c41_cancelled_ping_mixes_up_no_answers(sql: AnySql) {
    let store = connect(&sql.url(&format!("connections=1&{PATIENT}"))).await;
    let (bob, eve) =
        (Session::signed_in(&store, "bob").await, Session::signed_in(&store, "eve").await);
    for (session, n) in [(&bob, "1"), (&eve, "2")] {
        assert!(is_done(&store.commit(&session.key, session.set("n", n)).await));
    }
    let mut cancelled = 0;
    for round in 0..10 {
        sleep(IDLE).await;
        // The call is cancelled as soon as the ping is sent. On a busy machine the server may have
        // answered everything before the first poll ends.
        match within_polls(1, store.load(&bob.key)).await {
            None => cancelled += 1,
            Some(answer) => assert!(answer.is_ok_and(|session| session.is_some()), "round {round}"),
        }
        for _ in 0..3 {
            assert_eq!(
                (counter(&store, &bob).await, counter(&store, &eve).await),
                (1, 2),
                "round {round}"
            );
        }
        assert_eq!(
            listed(&store, "bob")
                .await
                .map_err(|error| with_sources(&error))
                .map(|list| list.len()),
            Ok(1)
        );
        if cancelled == 3 {
            return;
        }
    }
    panic!("only {cancelled} of ten pings were cancelled; the test needs three");
}

async fn c41_end_of_a_runtime_ends_its_calls(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    let runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let on_it = |work: fn(Duration) -> Duration| {
        let (store, session) = (store.clone(), session.clone());
        let limit = work(PATIENCE);
        runtime.spawn(async move {
            join_all(
                (0..4).map(|_| timeout(limit, store.commit(&session.key, session.add("n", 1)))),
            )
            .await
        })
    };
    // The runtime opens its connections.
    for outcome in on_it(|patience| patience).await.expect("no panic") {
        assert!(is_done(&outcome.expect("in time")));
    }
    ours!(sql.freeze().await);
    // Some calls are cancelled, and their connections wait for answers. Other calls are waiting.
    let cancelled = on_it(|_| Duration::from_millis(50)).await.expect("no panic");
    assert!(cancelled.iter().all(Result::is_err));
    let waiting = on_it(|patience| patience);
    sleep(Duration::from_millis(100)).await;
    spawn_blocking(move || drop(runtime)).await.expect("the process lives");
    assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
    ours!(sql.thaw().await);
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    assert!((4..=12).contains(&counter(&store, &session).await));
}

/// After a failover behind a fixed address the old server still runs, and so do its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_connection_to_a_read_only_server_is_closed() {
    let Some(sql) = AnySql::own_mariadb(tests::service::Durability::Full).await else { return };
    let store = connect(&sql.url(&format!("connections=1&{PATIENT}"))).await;
    let session = Session::signed_in(&store, "bob").await;
    let connection = async || {
        number(&sql, "SELECT max(id) FROM information_schema.processlist WHERE user = 'app'").await
    };
    let before = connection().await;
    let _ = sql.ask("SET GLOBAL read_only = 1").await.expect("the server executes it");
    let refused =
        store.commit(&session.key, session.add("n", 1)).await.expect_err("the server is read-only");
    assert!(
        refused.is_transient() && with_sources(&refused).contains("accepts no writes"),
        "{}",
        with_sources(&refused)
    );
    assert!(store.load(&session.key).await.expect("an answer").is_some(), "reads are served");
    assert!(connection().await > before, "the store opened a new connection");
    let _ = sql.ask("SET GLOBAL read_only = 0").await.expect("the server executes it");
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    assert_eq!(counter(&store, &session).await, 1);
}
