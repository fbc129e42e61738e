//! The store's connections: given up in the middle of a call, cut, led astray, and left behind by
//! their runtime.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_core::{Claim, Deleted, SessionStore};
use tests::{
    PATIENCE,
    service::AnySql,
    session::{Session, is_done, principal},
};
use tokio::{
    runtime::Builder,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::hands::{PATIENT, chain, connect, for_each_server, listed, number, sum, within};

for_each_server!(
    c41_calls_that_are_given_up_keep_no_connection,
    c41_a_look_at_a_connection_that_is_given_up_costs_nobody_an_answer,
    c41_a_runtime_that_ends_ends_its_calls,
    c42_the_first_call_after_an_idle_restart_works,
    c42_a_read_whose_connection_was_cut_is_answered,
);

/// What is looked at was not used for so long.
const IDLE: Duration = Duration::from_millis(1_050);

/// How many connections the user of the test's URL has.
async fn connections(sql: &AnySql) -> i64 {
    let statement = match sql {
        AnySql::Postgres(_) => "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'",
        _ => "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'",
    };
    number(sql, statement).await
}

async fn c41_calls_that_are_given_up_keep_no_connection(sql: AnySql) {
    const CALLS: u64 = 200;
    let store = connect(&sql.url(&format!("connections=2&{PATIENT}"))).await;
    let session = Session::signed_in(&store, "bob").await;
    // Both connections are there before the first call is given up.
    join_all((0..8).map(|_| store.load(&session.key))).await;
    let bob = principal("bob");
    let (mut given_up, mut done, mut most) = (0, 0, 0);
    for n in 0..CALLS {
        let (one, two) = tokio::join!(
            within(fastrand::u32(1..8), store.commit(&session.key, session.add("n", 1))),
            within(fastrand::u32(1..8), store.list(&bob, None, 10))
        );
        match one {
            Some(outcome) => {
                assert!(is_done(&outcome), "{outcome:?}");
                done += 1;
            }
            None => given_up += 1,
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
    let n = sum(&store, &session).await;
    assert!(
        (done..=done + given_up).contains(&n),
        "{done} acknowledged, {given_up} given up, {n} made"
    );
    let left = connections(&sql).await;
    assert!(left <= 2 && most <= 2, "{left} connections, {most} at most");
    eprintln!(
        "{}: {given_up} of {CALLS} given up, {} of them made; {most} connections at most",
        sql.version(),
        n - done
    );
    assert!(
        given_up > 10 && done > 10,
        "some calls are given up, or the test tests nothing: {given_up} of {CALLS}"
    );
}

async fn c42_the_first_call_after_an_idle_restart_works(mut sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    // Several connections, of which each leads to the server that will be gone.
    for _ in 0..2 {
        for outcome in
            join_all((0..6).map(|_| store.commit(&session.key, session.add("n", 1)))).await
        {
            assert!(is_done(&outcome), "{outcome:?}");
        }
        let idle = Instant::now();
        ours!(sql.stop().await);
        ours!(sql.start_again().await);
        // One that was used a moment ago is taken as it is.
        sleep(IDLE.saturating_sub(idle.elapsed())).await;
        for outcome in
            join_all((0..6).map(|_| store.commit(&session.key, session.add("n", 1)))).await
        {
            assert!(is_done(&outcome), "{outcome:?}");
        }
    }
    assert_eq!(sum(&store, &session).await, 24);
    ours!(sql.stop().await);
    ours!(sql.start_again().await);
    sleep(IDLE).await;
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
}

/// As a server does that restarts: the connections were used a moment ago, and nobody looks at them
/// before the next call.
async fn c42_a_read_whose_connection_was_cut_is_answered(sql: AnySql) {
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
        let _ = sql.ask(cut).await.expect("it may");
        let answer = store.load(&session.key).await;
        assert!(
            answer.as_ref().is_ok_and(Option::is_some),
            "cut {n}: {:?}",
            answer.map_err(|error| chain(&error))
        );
        let _ = sql.ask(cut).await.expect("it may");
        assert_eq!(
            listed(&store, "bob").await.map_err(|error| chain(&error)).map(|list| list.len()),
            Ok(1),
            "cut {n}"
        );
    }
}

/// Whose answer would be taken for that of the next call.
async fn c41_a_look_at_a_connection_that_is_given_up_costs_nobody_an_answer(sql: AnySql) {
    let store = connect(&sql.url(&format!("connections=1&{PATIENT}"))).await;
    let (bob, eve) =
        (Session::signed_in(&store, "bob").await, Session::signed_in(&store, "eve").await);
    for (session, n) in [(&bob, "1"), (&eve, "2")] {
        assert!(is_done(&store.commit(&session.key, session.set("n", n)).await));
    }
    let mut given_up = 0;
    for round in 0..10 {
        sleep(IDLE).await;
        // IntoFixture up as soon as the look is sent. On a busy machine the server may have answered
        // everything before it was asked for once.
        match within(1, store.load(&bob.key)).await {
            None => given_up += 1,
            Some(answer) => assert!(answer.is_ok_and(|session| session.is_some()), "round {round}"),
        }
        for _ in 0..3 {
            assert_eq!((sum(&store, &bob).await, sum(&store, &eve).await), (1, 2), "round {round}");
        }
        assert_eq!(
            listed(&store, "bob").await.map_err(|error| chain(&error)).map(|list| list.len()),
            Ok(1)
        );
        if given_up == 3 {
            return;
        }
    }
    panic!("of ten looks {given_up} could be given up: the test tests nothing");
}

async fn c41_a_runtime_that_ends_ends_its_calls(sql: AnySql) {
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
    // Its connections are there.
    for outcome in on_it(|patience| patience).await.expect("no panic") {
        assert!(is_done(&outcome.expect("in time")));
    }
    ours!(sql.freeze().await);
    // Some are given up, and their connections wait for answers; others are not.
    let given_up = on_it(|_| Duration::from_millis(50)).await.expect("no panic");
    assert!(given_up.iter().all(Result::is_err));
    let waiting = on_it(|patience| patience);
    sleep(Duration::from_millis(100)).await;
    spawn_blocking(move || drop(runtime)).await.expect("the process lives");
    assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
    ours!(sql.thaw().await);
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    assert!((4..=12).contains(&sum(&store, &session).await));
}

/// As after a switch to another primary by an address that stays: the server lives on, and its
/// connections with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_a_connection_to_a_server_that_takes_no_writes_is_left() {
    let Some(sql) = AnySql::own_mariadb(tests::service::Durability::Full).await else { return };
    let store = connect(&sql.url(&format!("connections=1&{PATIENT}"))).await;
    let session = Session::signed_in(&store, "bob").await;
    let connection = async || {
        number(&sql, "SELECT max(id) FROM information_schema.processlist WHERE user = 'app'").await
    };
    let before = connection().await;
    let _ = sql.ask("SET GLOBAL read_only = 1").await.expect("it may");
    let refused =
        store.commit(&session.key, session.add("n", 1)).await.expect_err("it takes no writes");
    assert!(
        refused.is_transient() && chain(&refused).contains("takes no writes"),
        "{}",
        chain(&refused)
    );
    assert!(store.load(&session.key).await.expect("an answer").is_some(), "reads are served");
    assert!(connection().await > before, "it looked where its address leads now");
    let _ = sql.ask("SET GLOBAL read_only = 0").await.expect("it may");
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    assert_eq!(sum(&store, &session).await, 1);
}
