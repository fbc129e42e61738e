//! What databases do to who shares them: locks, deadlocks, failures of serialization, connections
//! that are all in use, restarts.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_core::{Claim, Deleted, Json, Outcome, SessionStore};
use tests::{
    Demo, PATIENCE,
    client::Request,
    service::{AnySql, MariaDb, Postgres},
    session::{Session, is_done, principal, with},
    wait,
};
use tokio::{task::JoinSet, time::sleep};

use crate::hands::{
    GRACE, Own, PATIENT, chain, connect, for_each_server, listed, number, record, sum, waiting,
};

for_each_server!(
    c35_an_end_of_all_survives_a_deadlock,
    c35_an_end_of_all_beside_changes_and_renewals_leaves_no_session,
    c35_an_end_waits_for_an_extension_that_is_being_committed,
    who_waits_for_the_only_connection_is_told_so_in_half_of_the_deadline,
    h18_a_route_that_needs_no_session_is_served_while_all_connections_are_in_use,
);

/// Many tasks on one session, through several stores.
async fn contend(url: &str) {
    const TASKS: i64 = 64;
    const ADDS: i64 = 4;
    let url = with(url, "connections=4&deadline_ms=60000");
    let stores = join_all((0..4).map(|_| connect(&url))).await;
    let session = Session::signed_in(&stores[0], "bob").await;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, session) =
            (stores[usize::try_from(task % 4).expect("a small number")].clone(), session.clone());
        tasks.spawn(async move {
            for n in 0..ADDS {
                for commit in
                    [session.add("n", 1), session.set(&format!("of-{task}"), &n.to_string())]
                {
                    let outcome = store.commit(&session.key, commit).await;
                    assert!(
                        is_done(&outcome),
                        "{}",
                        outcome
                            .map_or_else(|error| chain(&error), |outcome| format!("{outcome:?}"))
                    );
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no call fails");
    }
    let record = record(&stores[1], &session).await;
    assert_eq!(record.data.get("n").and_then(Json::as_integer), Some(TASKS * ADDS));
    for task in 0..TASKS {
        assert_eq!(
            record.data.get(&format!("of-{task}")).and_then(Json::as_integer),
            Some(ADDS - 1),
            "{task}"
        );
    }
    eprintln!("{} commits to one session took {:?}", 2 * TASKS * ADDS, begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_sums_are_exact_at_every_level_of_isolation() {
    for level in ["read committed", "repeatable read", "serializable"] {
        let flag = format!("default_transaction_isolation={level}");
        let Some(postgres) = Postgres::start_with(&["-c", &flag]).await else { return };
        eprintln!("{level}");
        contend(&postgres.url()).await;
    }
    for level in ["READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"] {
        let Some(mariadb) =
            MariaDb::start_with(&[&format!("--transaction-isolation={level}")]).await
        else {
            return;
        };
        eprintln!("{level}");
        contend(&mariadb.url()).await;
    }
}

/// How many deadlocks the server has ended.
async fn deadlocks(sql: &AnySql) -> i64 {
    if let AnySql::Postgres(_) = sql {
        return i64::try_from(sql.output().matches("deadlock detected").count()).expect("a few");
    }
    let rows = sql.ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await.expect("it answers");
    rows[0][1].as_deref().expect("a value").parse().expect("a number")
}

/// The test locks the session that is looked at last, and then one that the end of all has locked
/// by then.
async fn c35_an_end_of_all_survives_a_deadlock(sql: AnySql) {
    const SESSIONS: u64 = 5;
    let store = connect(&sql.url(PATIENT)).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::signed_in(&store, "bob").await);
    }
    let mut own = Own::open(&sql.url("")).await;
    // Of the same order by key, by end and by place, so that the last one is looked at last
    // whichever way.
    sessions.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
    for (rank, session) in sessions.iter().enumerate() {
        own.run(&format!(
            "UPDATE sessions SET expires = expires + {rank} * 60000 WHERE id = '{}'",
            session.key.as_str()
        ))
        .await;
    }
    let last = sessions.last().expect("a session").key.as_str().to_owned();
    let before = deadlocks(&sql).await;
    // Who has done less, or looks first, is the one who loses.
    own.run("CREATE TABLE weights (id int)").await;
    let heavy = (0..500).map(|n| format!("({n})")).collect::<Vec<_>>().join(",");
    own.run(&format!("BEGIN; INSERT INTO weights VALUES {heavy}; UPDATE sessions SET version = version + 1 WHERE id = '{last}'")).await;
    let ending = tokio::spawn({
        let store = store.clone();
        async move { store.delete_all(&principal("bob"), None).await }
    });
    waiting(&sql, 1).await;
    let crossed = own
        .try_run(&format!("UPDATE sessions SET version = version + 1 WHERE id <> '{last}'"))
        .await;
    let seen = deadlocks(&sql).await - before;
    assert!(seen > 0 || crossed.is_err(), "there was a deadlock, or the test tests nothing");
    let loser = if crossed.is_err() { "the test's transaction" } else { "the end of all" };
    let _ = own.try_run("ROLLBACK").await;
    let ended = ending.await.expect("no panic");
    assert_eq!(ended.map_err(|error| chain(&error)), Ok(SESSIONS));
    for session in &sessions {
        assert!(store.load(&session.key).await.expect("an answer").is_none());
    }
    eprintln!("{}: a deadlock, in which {loser} lost", sql.version());
}

async fn c35_an_end_of_all_beside_changes_and_renewals_leaves_no_session(sql: AnySql) {
    const SESSIONS: usize = 12;
    const ROUNDS: usize = 8;
    let url = sql.url(PATIENT);
    let stores = join_all((0..3).map(|_| connect(&url))).await;
    let mut calls = 0;
    for round in 0..ROUNDS {
        let user = format!("user-{round}");
        let mut tasks = JoinSet::new();
        for number in 0..SESSIONS {
            let session = Session::signed_in(&stores[0], &user).await;
            let store = stores[number % 3].clone();
            tasks.spawn(async move {
                let (mut session, mut done, mut last) = (session, 0_usize, Instant::now());
                loop {
                    let rotated = session.rotated();
                    let renews = done % 3 == number % 3;
                    let commit = if renews { session.renew(&rotated) } else { session.add("n", 1) };
                    let begun = Instant::now();
                    match store.commit(&session.key, commit).await {
                        Ok(Outcome::Done(_)) => (done, last) = (done + 1, begun),
                        Ok(Outcome::Gone) => return (session, done, last),
                        Ok(outcome) => panic!("nobody else has a hand in it: {outcome:?}"),
                        Err(error) => panic!("{}", chain(&error)),
                    }
                    if renews {
                        session = rotated;
                    }
                }
            });
        }
        sleep(Duration::from_millis(50)).await;
        let deleted = stores[round % 3].delete_all(&principal(&user), None).await;
        let ended = Instant::now();
        assert_eq!(deleted.map_err(|error| chain(&error)), Ok(SESSIONS as u64));
        assert!(listed(&stores[0], &user).await.expect("a list").is_empty());
        let there = number(&sql, "SELECT count(*) FROM sessions").await;
        assert_eq!(there, 0, "a session has survived");
        while let Some(task) = tasks.join_next().await {
            let (session, done, last) = task.expect("no call fails");
            calls += done;
            assert!(stores[0].load(&session.key).await.expect("an answer").is_none());
            assert!(last <= ended, "a call that began after the end of all found a session");
        }
    }
    eprintln!(
        "{}: {ROUNDS} ends of all beside {calls} changes and renewals; {} deadlocks",
        sql.version(),
        deadlocks(&sql).await
    );
}

/// The session's time is over by what everybody sees, and in a transaction of somebody else it
/// lives on.
async fn c35_an_end_waits_for_an_extension_that_is_being_committed(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for all in [false, true] {
        let session = Session::signed_in(&store, "bob").await;
        let id = session.key.as_str();
        let mut own = Own::open(&sql.url("")).await;
        let soon = session.commit().ttl(Duration::from_millis(300));
        assert!(is_done(&store.commit(&session.key, soon).await));
        own.run(&format!(
            "BEGIN; UPDATE sessions SET expires = expires + 3600000 WHERE id = '{id}'"
        ))
        .await;
        sleep(Duration::from_millis(350)).await;
        assert!(store.load(&session.key).await.expect("an answer").is_none(), "its time is over");
        let ending = tokio::spawn({
            let (store, key) = (store.clone(), session.key.clone());
            async move {
                if all {
                    return store.delete_all(&principal("bob"), None).await;
                }
                store
                    .delete(&key, Claim::Any)
                    .await
                    .map(|deleted| u64::from(deleted == Deleted::Ended))
            }
        });
        waiting(&sql, 1).await;
        own.run("COMMIT").await;
        assert_eq!(
            ending.await.expect("no panic").map_err(|error| chain(&error)),
            Ok(1),
            "all: {all}"
        );
        assert!(
            store.load(&session.key).await.expect("an answer").is_none(),
            "it has come back; all: {all}"
        );
    }
}

async fn who_waits_for_the_only_connection_is_told_so_in_half_of_the_deadline(sql: AnySql) {
    const DEADLINE: Duration = Duration::from_secs(3);
    let store = connect(&sql.url("connections=1&deadline_ms=3000")).await;
    let (held, other) = (Session::anonymous(&store).await, Session::anonymous(&store).await);
    let mut own = Own::open(&sql.url("")).await;
    own.run("BEGIN; SELECT id FROM sessions FOR UPDATE").await;
    let blocked = tokio::spawn({
        let store = store.clone();
        let held = held.clone();
        async move { store.commit(&held.key, held.add("n", 1)).await }
    });
    waiting(&sql, 1).await;
    let begun = Instant::now();
    let refused = store.load(&other.key).await.expect_err("there is no other connection");
    let took = begun.elapsed();
    let said = chain(&refused);
    assert!(
        refused.is_transient()
            && said.contains("all connections were in use")
            && said.contains("nothing was done"),
        "{said}"
    );
    assert!(took >= DEADLINE / 2 && took < DEADLINE / 2 + GRACE, "{took:?}");
    own.run("ROLLBACK").await;
    // It may have been given up by now, and then nobody knows whether it was made.
    let outcome = blocked.await.expect("no panic");
    assert!(
        is_done(&outcome) || outcome.as_ref().is_err_and(session_core::StoreError::is_transient),
        "{outcome:?}"
    );
    wait::until("the store to be of use again", PATIENCE, async || {
        store.load(&other.key).await.ok()
    })
    .await;
    assert!(is_done(&store.commit(&other.key, other.add("n", 1)).await));
    let made = sum(&store, &held).await;
    assert!(made == 1 || (made == 0 && outcome.is_err()), "{made}: {outcome:?}");
    eprintln!("{}: told after {took:?} of a deadline of {DEADLINE:?}", sql.version());
}

async fn h18_a_route_that_needs_no_session_is_served_while_all_connections_are_in_use(sql: AnySql) {
    let url = sql.url("connections=1");
    let demo = Demo::start(&[
        "--store",
        "sql",
        "--workers",
        "1",
        "--store-url",
        &url,
        "--deadline",
        "3000ms",
    ])
    .await;
    let (mut held, other) = (demo.signed_in("bob").await, demo.signed_in("eve").await);
    let mut own = Own::open(&sql.url("")).await;
    own.run("BEGIN; SELECT id FROM sessions FOR UPDATE").await;
    let blocked = tokio::spawn(async move { held.post("/session/n/add?by=1").await.status });
    waiting(&sql, 1).await;
    let asked = (0..6).map(|_| {
        let mut browser = other.clone();
        async move { browser.get("/session").await }
    });
    let refused = tokio::spawn(join_all(asked.collect::<Vec<_>>()));
    let mut served = 0;
    while !refused.is_finished() {
        let begun = Instant::now();
        let _ = demo.browser().get("/healthz").await.expect(200);
        assert!(
            demo.browser().page().await.is_anonymous(),
            "nobody asks the store without a cookie"
        );
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        served += 1;
    }
    for response in refused.await.expect("no panic") {
        assert_eq!(response.status, 503);
        assert!(response.set_cookie().is_none());
    }
    own.run("ROLLBACK").await;
    assert!([200, 503].contains(&blocked.await.expect("no panic")));
    let mut eve = other.clone();
    wait::until("the demo to reach its sessions", PATIENCE, async || {
        (eve.get("/session").await.status == 200).then_some(())
    })
    .await;
    let _ = eve.send(Request::post("/session/n/add?by=1")).await.expect(200);
    assert!(served > 0);
    eprintln!("{}: {served} times served while all connections were in use", sql.version());
}

/// Somebody with `sqlite3` does not line up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_of_somebody_else_s_delays_commits_and_none_fails() {
    const HELD: Duration = Duration::from_millis(300);
    let Some(sql) = AnySql::sqlite().await else { return };
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    for _ in 0..4 {
        let mut own = Own::open(&sql.url("")).await;
        own.run("BEGIN IMMEDIATE").await;
        let begun = Instant::now();
        let commits = tokio::spawn({
            let (store, session) = (store.clone(), session.clone());
            async move {
                join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
            }
        });
        // Who only reads is not kept waiting.
        assert!(store.load(&session.key).await.expect("an answer").is_some());
        assert!(begun.elapsed() < HELD || !commits.is_finished());
        sleep(HELD.saturating_sub(begun.elapsed())).await;
        assert!(!commits.is_finished());
        own.run("COMMIT").await;
        for outcome in commits.await.expect("no panic") {
            assert!(is_done(&outcome), "{outcome:?}");
        }
        eprintln!("all ended {:?} after the writer came, who stayed for {HELD:?}", begun.elapsed());
    }
    assert_eq!(sum(&store, &session).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_writer_who_stays_beyond_the_deadline_is_an_error_in_time() {
    const DEADLINE: Duration = Duration::from_millis(600);
    let Some(sql) = AnySql::sqlite().await else { return };
    let store = connect(&sql.url("deadline_ms=600")).await;
    let session = Session::signed_in(&store, "bob").await;
    let mut own = Own::open(&sql.url("")).await;
    own.run("BEGIN IMMEDIATE").await;
    let begun = Instant::now();
    for outcome in join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
    {
        let error = outcome.expect_err("somebody else writes");
        assert!(error.is_transient(), "{}", chain(&error));
    }
    assert!(begun.elapsed() < DEADLINE + GRACE, "{:?}", begun.elapsed());
    assert_eq!(sum(&store, &session).await, 0, "who only reads is served");
    own.run("COMMIT").await;
    let served =
        async || is_done(&store.commit(&session.key, session.add("n", 1)).await).then_some(());
    wait::until("the store to write again", PATIENCE, served).await;
    // A file does nothing later of what was given up.
    assert_eq!(sum(&store, &session).await, 1);
}

/// A process that was stopped keeps its turn; the others wait for it a while and then go without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_writer_who_never_gives_up_its_turn_stops_nobody() {
    let Some(sql) = AnySql::sqlite().await else { return };
    let url = sql.url("deadline_ms=2000");
    let store = connect(&url).await;
    let session = Session::signed_in(&store, "bob").await;
    let path = format!("{}.lock", sql.url("").trim_start_matches("sqlite:"));
    let lock = std::fs::File::open(path).expect("the lock is beside the database");
    lock.lock().expect("nobody has it");
    for outcome in join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
    {
        assert!(is_done(&outcome), "{:?}", outcome.map_err(|error| chain(&error)));
    }
    drop(lock);
    assert_eq!(sum(&store, &session).await, 10);
}
