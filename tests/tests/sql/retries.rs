//! What operators see of a store that tries again, because others were in the way.

use tests::{
    Demo, PATIENCE,
    client::Request,
    prometheus::Scrape,
    service::{AnySql, MariaDb, Postgres},
    wait,
};

use crate::hands::{Own, waiting};

/// How somebody who stands in the way of a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// Having made a change of the same row, once the other waits for it.
    WithAChange,
    /// Having changed nothing, once the other has tried again.
    WithNothing,
}

/// Somebody holds the session while it is changed: the change is made in the end, and each further
/// try of it is counted and traced.
async fn a_change_in_the_way_of_another_is_tried_again(sql: &AnySql, hold: &str, goes: Goes) {
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
    let none = retries().await;
    assert!(none < 0.5, "{none} retries of a change that nobody was in the way of");
    let traces = || demo.output().matches("session store retry store=\"sql\"").count();
    assert_eq!(traces(), 0);

    let mut own = Own::open(&url).await;
    own.run(hold).await;
    let change = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.send(Request::post("/session/n/add?by=1")).await }
    });
    if goes == Goes::WithAChange {
        waiting(sql, 1).await;
        own.run("COMMIT").await;
    }
    let counted = wait::until("a retry to be counted", PATIENCE, async || {
        Some(retries().await).filter(|count| *count > 0.5)
    })
    .await;
    if goes == Goes::WithNothing {
        assert!(!change.is_finished(), "somebody is still in the way");
        own.run("ROLLBACK").await;
    }
    let _ = change.await.expect("no panic").expect(200);
    assert_eq!(
        browser.page().await.value("n"),
        Some(&serde_json::json!(2)),
        "it is made once, however often it was tried"
    );
    let now = retries().await;
    assert!(now >= counted);
    wait::until_true("one line for each that is counted", PATIENCE, || {
        (f64::from(u32::try_from(traces()).expect("a few")) - now).abs() < 0.5
    })
    .await;
    eprintln!("{}: {now} retries", sql.version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_serialization_is_tried_again_and_counted() {
    let Some(postgres) =
        Postgres::start_with(&["-c", "default_transaction_isolation=repeatable read"]).await
    else {
        return;
    };
    let hold = "BEGIN; UPDATE sessions SET expires = expires + 1";
    a_change_in_the_way_of_another_is_tried_again(
        &AnySql::Postgres(postgres),
        hold,
        Goes::WithAChange,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_not_to_be_had_is_tried_again_and_counted() {
    let Some(mariadb) = MariaDb::start_with(&["--innodb-lock-wait-timeout=1"]).await else {
        return;
    };
    let hold = "BEGIN; SELECT id FROM sessions FOR UPDATE";
    a_change_in_the_way_of_another_is_tried_again(
        &AnySql::MariaDb(mariadb),
        hold,
        Goes::WithNothing,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_somebody_writes_is_tried_again_and_counted() {
    let Some(sqlite) = AnySql::sqlite().await else { return };
    a_change_in_the_way_of_another_is_tried_again(&sqlite, "BEGIN IMMEDIATE", Goes::WithNothing)
        .await;
}
