//! Metrics and log lines of a store that repeats a statement after a conflict.

use tests::{
    Demo, PATIENCE,
    client::Request,
    prometheus::Scrape,
    service::{AnySql, MariaDb, Postgres},
    wait,
};

use crate::locks::{DirectConnection, wait_for_blocked};

/// How the conflicting transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// It commits a change of the same row while the store waits for it.
    Commits,
    /// It changes nothing, and ends after the store has repeated its statement.
    RollsBack,
}

/// Another transaction locks the session while a request changes it. The change succeeds in the
/// end, and the store counts and logs each retry.
async fn conflicting_change_is_retried(sql: &AnySql, hold: &str, conflict: Conflict) {
    let url = sql.url("");
    let (demo, metrics) = Demo::counting(&[
        "--workers",
        "1",
        "--store",
        "sql",
        "--store-url",
        &url,
        "--deadline",
        "20s",
        "--log",
        "debug",
    ])
    .await;
    let mut browser = demo.browser();
    let _ = browser.insert("n", "1").await.expect(204);
    let retries = async || {
        Scrape::of(metrics).await.value("session_store_retries_total", &[("store", "sql")])
    };
    let before = retries().await;
    assert!(before < 0.5, "{before} retries of a change without a conflict");
    let traces = || demo.output().matches("session store retry store=\"sql\"").count();
    assert_eq!(traces(), 0);

    let mut direct = DirectConnection::open(&url).await;
    direct.run(hold).await;
    let change = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.send(Request::post("/session/n/add?by=1")).await }
    });
    if conflict == Conflict::Commits {
        wait_for_blocked(sql, 1).await;
        direct.run("COMMIT").await;
    }
    let counted = wait::until("a retry to be counted", PATIENCE, async || {
        Some(retries().await).filter(|count| *count > 0.5)
    })
    .await;
    if conflict == Conflict::RollsBack {
        assert!(!change.is_finished(), "the conflicting transaction still holds its lock");
        direct.run("ROLLBACK").await;
    }
    let _ = change.await.expect("no panic").expect(200);
    assert_eq!(
        browser.page().await.value("n"),
        Some(&serde_json::json!(2)),
        "the change is executed once"
    );
    let now = retries().await;
    assert!(now >= counted);
    wait::until_true("one log line for each counted retry", PATIENCE, || {
        (f64::from(u32::try_from(traces()).expect("a few")) - now).abs() < 0.5
    })
    .await;
    eprintln!("{}: {now} retries", sql.version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serialization_failure_is_retried_and_counted() {
    let Some(postgres) =
        Postgres::start_with(&["-c", "default_transaction_isolation=repeatable read"]).await
    else {
        return;
    };
    let hold = "BEGIN; UPDATE sessions SET expires = expires + 1";
    conflicting_change_is_retried(&AnySql::Postgres(postgres), hold, Conflict::Commits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_timeout_is_retried_and_counted() {
    let Some(mariadb) = MariaDb::start_with(&["--innodb-lock-wait-timeout=1"]).await else {
        return;
    };
    let hold = "BEGIN; SELECT id FROM sessions FOR UPDATE";
    conflicting_change_is_retried(&AnySql::MariaDb(mariadb), hold, Conflict::RollsBack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_sqlite_file_is_retried_and_counted() {
    let Some(sqlite) = AnySql::sqlite().await else { return };
    conflicting_change_is_retried(&sqlite, "BEGIN IMMEDIATE", Conflict::RollsBack).await;
}
