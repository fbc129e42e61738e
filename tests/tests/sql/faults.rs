//! Conflicts with other clients of a database: locks, deadlocks, serialization failures, and pools
//! without a free connection.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_core::{Claim, Deleted, Json, Outcome, SessionStore};
use tests::{
    Demo, PATIENCE,
    client::Request,
    service::{AnySql, MariaDb, Postgres},
    session::{Session, is_done, principal, with},
    wait, with_sources,
};
use tokio::{task::JoinSet, time::sleep};

use crate::locks::{
    DirectConnection, GRACE, PATIENT, connect, counter, for_each_server, listed, number, record,
    wait_for_blocked,
};

for_each_server!(
    c35_delete_all_survives_a_deadlock,
    c35_delete_all_during_commits_leaves_no_session,
    c35_deletion_waits_for_an_uncommitted_extension,
    wait_for_a_connection_ends_after_half_the_deadline,
    h18_exhausted_pool_does_not_block_sessionless_routes,
);

/// Many tasks change one session through several stores.
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
                        outcome.map_or_else(
                            |error| with_sources(&error),
                            |outcome| format!("{outcome:?}")
                        )
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
async fn c14_sums_are_exact_at_every_isolation_level() {
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

/// The number of deadlocks that the server has resolved.
async fn deadlocks(sql: &AnySql) -> i64 {
    if let AnySql::Postgres(_) = sql {
        return i64::try_from(sql.output().matches("deadlock detected").count()).expect("a few");
    }
    let rows =
        sql.ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await.expect("the server answers");
    rows[0][1].as_deref().expect("a value").parse().expect("a number")
}

/// The test locks the session that `delete_all` reaches last, and then sessions that `delete_all`
/// has locked.
async fn c35_delete_all_survives_a_deadlock(sql: AnySql) {
    const SESSIONS: u64 = 5;
    let store = connect(&sql.url(PATIENT)).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::signed_in(&store, "bob").await);
    }
    let mut direct = DirectConnection::open(&sql.url("")).await;
    // The order by key equals the order by deadline and by insertion, so that `delete_all` reaches
    // the last session last with every plan.
    sessions.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
    for (rank, session) in sessions.iter().enumerate() {
        direct
            .run(&format!(
                "UPDATE sessions SET expires = expires + {rank} * 60000 WHERE id = '{}'",
                session.key.as_str()
            ))
            .await;
    }
    let last = sessions.last().expect("a session").key.as_str().to_owned();
    let before = deadlocks(&sql).await;
    // The server rolls back the transaction that has done less work, or that detects the deadlock.
    direct.run("CREATE TABLE weights (id int)").await;
    let heavy = (0..500).map(|n| format!("({n})")).collect::<Vec<_>>().join(",");
    direct
        .run(&format!(
            "BEGIN; INSERT INTO weights VALUES {heavy}; UPDATE sessions SET version = \
                         version + 1 WHERE id = '{last}'"
        ))
        .await;
    let ending = tokio::spawn({
        let store = store.clone();
        async move { store.delete_all(&principal("bob"), None).await }
    });
    wait_for_blocked(&sql, 1).await;
    let crossed = direct
        .try_run(&format!("UPDATE sessions SET version = version + 1 WHERE id <> '{last}'"))
        .await;
    let seen = deadlocks(&sql).await - before;
    assert!(seen > 0 || crossed.is_err(), "the test causes a deadlock");
    let loser = if crossed.is_err() { "the test's transaction" } else { "delete_all" };
    let _ = direct.try_run("ROLLBACK").await;
    let ended = ending.await.expect("no panic");
    assert_eq!(ended.map_err(|error| with_sources(&error)), Ok(SESSIONS));
    for session in &sessions {
        assert!(store.load(&session.key).await.expect("an answer").is_none());
    }
    eprintln!("{}: the server rolled back {loser}", sql.version());
}

async fn c35_delete_all_during_commits_leaves_no_session(sql: AnySql) {
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
                        Ok(outcome) => panic!("no other task changes this session: {outcome:?}"),
                        Err(error) => panic!("{}", with_sources(&error)),
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
        assert_eq!(deleted.map_err(|error| with_sources(&error)), Ok(SESSIONS as u64));
        assert!(listed(&stores[0], &user).await.expect("a list").is_empty());
        let there = number(&sql, "SELECT count(*) FROM sessions").await;
        assert_eq!(there, 0, "delete_all leaves no row");
        while let Some(task) = tasks.join_next().await {
            let (session, done, last) = task.expect("no call fails");
            calls += done;
            assert!(stores[0].load(&session.key).await.expect("an answer").is_none());
            assert!(last <= ended, "no call that began after delete_all finds a session");
        }
    }
    eprintln!(
        "{}: {ROUNDS} calls of delete_all during {calls} commits; {} deadlocks",
        sql.version(),
        deadlocks(&sql).await
    );
}

/// The committed row has expired, and an open transaction extends the session.
async fn c35_deletion_waits_for_an_uncommitted_extension(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for all in [false, true] {
        let session = Session::signed_in(&store, "bob").await;
        let id = session.key.as_str();
        let mut direct = DirectConnection::open(&sql.url("")).await;
        let soon = session.commit().ttl(Duration::from_millis(300));
        assert!(is_done(&store.commit(&session.key, soon).await));
        direct
            .run(&format!(
                "BEGIN; UPDATE sessions SET expires = expires + 3600000 WHERE id = '{id}'"
            ))
            .await;
        sleep(Duration::from_millis(350)).await;
        assert!(
            store.load(&session.key).await.expect("an answer").is_none(),
            "the session has expired"
        );
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
        wait_for_blocked(&sql, 1).await;
        direct.run("COMMIT").await;
        assert_eq!(
            ending.await.expect("no panic").map_err(|error| with_sources(&error)),
            Ok(1),
            "all: {all}"
        );
        assert!(
            store.load(&session.key).await.expect("an answer").is_none(),
            "the session is deleted; all: {all}"
        );
    }
}

async fn wait_for_a_connection_ends_after_half_the_deadline(sql: AnySql) {
    const DEADLINE: Duration = Duration::from_secs(3);
    let store = connect(&sql.url("connections=1&deadline_ms=3000")).await;
    let (held, other) = (Session::anonymous(&store).await, Session::anonymous(&store).await);
    let mut direct = DirectConnection::open(&sql.url("")).await;
    direct.run("BEGIN; SELECT id FROM sessions FOR UPDATE").await;
    let blocked = tokio::spawn({
        let store = store.clone();
        let held = held.clone();
        async move { store.commit(&held.key, held.add("n", 1)).await }
    });
    wait_for_blocked(&sql, 1).await;
    let begun = Instant::now();
    let refused = store.load(&other.key).await.expect_err("the only connection is in use");
    let took = begun.elapsed();
    let error = with_sources(&refused);
    assert!(
        refused.is_transient()
            && error.contains("all connections were in use")
            && error.contains("nothing was sent"),
        "{error}"
    );
    assert!(took >= DEADLINE / 2 && took < DEADLINE / 2 + GRACE, "{took:?}");
    direct.run("ROLLBACK").await;
    // The deadline of this call may have passed. Then it may or may not have been executed.
    let outcome = blocked.await.expect("no panic");
    assert!(
        is_done(&outcome) || outcome.as_ref().is_err_and(session_core::StoreError::is_transient),
        "{outcome:?}"
    );
    wait::until("the store to answer again", PATIENCE, async || store.load(&other.key).await.ok())
        .await;
    assert!(is_done(&store.commit(&other.key, other.add("n", 1)).await));
    let made = counter(&store, &held).await;
    assert!(made == 1 || (made == 0 && outcome.is_err()), "{made}: {outcome:?}");
    eprintln!("{}: refused after {took:?} with a deadline of {DEADLINE:?}", sql.version());
}

async fn h18_exhausted_pool_does_not_block_sessionless_routes(sql: AnySql) {
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
    let mut direct = DirectConnection::open(&sql.url("")).await;
    direct.run("BEGIN; SELECT id FROM sessions FOR UPDATE").await;
    let blocked = tokio::spawn(async move { held.post("/session/n/add?by=1").await.status });
    wait_for_blocked(&sql, 1).await;
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
            "a request without a cookie makes no store call"
        );
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        served += 1;
    }
    for response in refused.await.expect("no panic") {
        assert_eq!(response.status, 503);
        assert!(response.set_cookie().is_none());
    }
    direct.run("ROLLBACK").await;
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

/// A program such as `sqlite3` does not use the writer lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_sqlite_writer_delays_commits_without_failures() {
    const HELD: Duration = Duration::from_millis(300);
    let Some(sql) = AnySql::sqlite().await else { return };
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    for _ in 0..4 {
        let mut direct = DirectConnection::open(&sql.url("")).await;
        direct.run("BEGIN IMMEDIATE").await;
        let begun = Instant::now();
        let commits = tokio::spawn({
            let (store, session) = (store.clone(), session.clone());
            async move {
                join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
            }
        });
        // A writer does not block readers.
        assert!(store.load(&session.key).await.expect("an answer").is_some());
        assert!(begun.elapsed() < HELD || !commits.is_finished());
        sleep(HELD.saturating_sub(begun.elapsed())).await;
        assert!(!commits.is_finished());
        direct.run("COMMIT").await;
        for outcome in commits.await.expect("no panic") {
            assert!(is_done(&outcome), "{outcome:?}");
        }
        eprintln!(
            "all commits ended after {:?}; the writer held the file for {HELD:?}",
            begun.elapsed()
        );
    }
    assert_eq!(counter(&store, &session).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_long_foreign_write_fails_commits_at_the_deadline() {
    const DEADLINE: Duration = Duration::from_millis(600);
    let Some(sql) = AnySql::sqlite().await else { return };
    let store = connect(&sql.url("deadline_ms=600")).await;
    let session = Session::signed_in(&store, "bob").await;
    let mut direct = DirectConnection::open(&sql.url("")).await;
    direct.run("BEGIN IMMEDIATE").await;
    let begun = Instant::now();
    for outcome in join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
    {
        let error = outcome.expect_err("another program writes");
        assert!(error.is_transient(), "{}", with_sources(&error));
    }
    assert!(begun.elapsed() < DEADLINE + GRACE, "{:?}", begun.elapsed());
    assert_eq!(counter(&store, &session).await, 0, "reads succeed");
    direct.run("COMMIT").await;
    let served =
        async || is_done(&store.commit(&session.key, session.add("n", 1)).await).then_some(());
    wait::until("the store to write again", PATIENCE, served).await;
    // SQLite does not execute a timed-out statement later.
    assert_eq!(counter(&store, &session).await, 1);
}

/// A stopped process keeps the writer lock. Other writers wait for a limited time and then write
/// without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_held_writer_lock_does_not_block_commits() {
    let Some(sql) = AnySql::sqlite().await else { return };
    let url = sql.url("deadline_ms=2000");
    let store = connect(&url).await;
    let session = Session::signed_in(&store, "bob").await;
    let path = format!("{}.lock", sql.url("").trim_start_matches("sqlite:"));
    let lock = std::fs::File::open(path).expect("the lock file is beside the database");
    lock.lock().expect("the lock is free");
    for outcome in join_all((0..10).map(|_| store.commit(&session.key, session.add("n", 1)))).await
    {
        assert!(is_done(&outcome), "{:?}", outcome.map_err(|error| with_sources(&error)));
    }
    drop(lock);
    assert_eq!(counter(&store, &session).await, 10);
}
