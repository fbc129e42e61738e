//! Servers whose settings differ from the defaults.

use session_core::{Claim, Deleted, SessionStore};
use sqlx::{Executor, mysql::MySqlPoolOptions};
use store_sql::{Config, SqlStore};
use tests::{
    Demo, KEY, PATIENCE,
    service::{MariaDb, Postgres},
    session::{Session, is_done, loaded, with},
    wait, with_sources,
};

use crate::{
    locks::{PATIENT, connect},
    tables::works,
};

/// Without `autocommit` each change would be undone when its connection ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_committed_although_autocommit_is_off() {
    let Some(mariadb) = MariaDb::start_with(&["--autocommit=0"]).await else { return };
    ours!(mariadb.port());
    let url = with(&mariadb.url(), PATIENT);
    let store = connect(&url).await;
    works(&store).await;
    let session = Session::signed_in(&store, "bob").await;
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    // Another connection sees only what was committed.
    let other = connect(&url).await;
    assert_eq!(loaded(&other, &session.key).await.data.len(), 1);
    assert_eq!(store.delete(&session.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
    // A pool of the application decides itself, so the store refuses it.
    let pool = MySqlPoolOptions::new().connect(&mariadb.url()).await.expect("a connection");
    let config = Config::new(&url).expect("a URL");
    let over_pool = SqlStore::with_pool(pool, &config).expect("a store");
    let error = over_pool.load(&session.key).await;
    let shown = with_sources(&error.expect_err("the pool does not commit"));
    assert!(shown.contains("autocommit=1"), "{shown}");
    let committing = MySqlPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move { connection.execute("SET autocommit = 1").await.map(drop) })
    });
    let pool = committing.connect(&mariadb.url()).await.expect("a connection");
    works(&SqlStore::with_pool(pool, &config).expect("a store")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mode_of_the_server_does_not_change_values() {
    let mode = "--sql-mode=EMPTY_STRING_IS_NULL,ANSI_QUOTES,NO_BACKSLASH_ESCAPES";
    let Some(mariadb) = MariaDb::start_with(&[mode]).await else { return };
    ours!(mariadb.port());
    works(&connect(&with(&mariadb.url(), PATIENT)).await).await;
}

/// As after a failover, when connections lead to a server that has become a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_works_again_after_a_read_only_time() {
    let Some(mariadb) = MariaDb::start_with(&["--max-connections=60"]).await else { return };
    ours!(mariadb.port());
    let arguments = ["--listen", "127.0.0.1:0", "--cookie-key", KEY, "--workers", "2"];
    let url = mariadb.url();
    let store = ["--store", "sql", "--store-url", &url];
    let demo = Demo::start_with(&[&arguments[..], &store].concat(), &[]).await;
    let set = async |value: &str| {
        // New connections have the setting.
        let statements = format!("SET GLOBAL tx_read_only = {value}; KILL USER app");
        let _ = mariadb.ask(&statements).await;
    };
    set("ON").await;
    wait::until("an answer 503", PATIENCE, async || {
        let status = demo.browser().login("bob").await.status;
        assert!(status == 200 || status == 503, "{status}");
        (status == 503).then_some(())
    })
    .await;
    let _ = mariadb.ask("SET GLOBAL tx_read_only = OFF").await.expect("the server executes it");
    wait::until("a sign-in", PATIENCE, async || {
        let status = demo.browser().login("bob").await.status;
        assert!(status == 200 || status == 503, "{status}");
        (status == 200).then_some(())
    })
    .await;
    for _ in 0..40 {
        assert_eq!(demo.browser().login("bob").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_schema_is_named_at_the_start() {
    let Some(postgres) = Postgres::start().await else { return };
    let url = with(&postgres.url(), "options=-c%20search_path%3Dnowhere");
    let refused = SqlStore::connect(&Config::new(&url).expect("a URL")).await;
    let shown = with_sources(&refused.expect_err("the start is refused"));
    assert!(shown.contains("search_path"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strings_with_escapes_cause_no_warnings() {
    let flags = ["-c", "standard_conforming_strings=off", "-c", "escape_string_warning=on"];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let store = connect(&with(&postgres.url(), PATIENT)).await;
    works(&store).await;
    let session = Session::signed_in(&store, "bob").await;
    for n in 1..=3 {
        assert!(is_done(&store.commit(&session.key, session.add("n", n)).await));
    }
    assert_eq!(crate::locks::counter(&store, &session).await, 6);
}
