//! Passwords that change while a site runs.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tests::{
    Demo, KEY, PATIENCE,
    service::{AnySql, MariaDb, PASSWORD, Postgres},
    session::with,
    wait, with_sources,
};

use store_sql::{Config, SqlStore};

use crate::locks::PATIENT;

/// The password after the change.
const NEXT: &str = "nextpassword";

/// A file with the password, as orchestrators mount it.
fn password_file(password: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), password);
    folder
}

/// Replaces the file at once.
fn write(folder: &Path, password: &str) {
    fs::write(folder.join("new"), format!("{password}\n")).expect("a file");
    fs::rename(folder.join("new"), folder.join("password")).expect("a file");
}

/// The URL without its password, with the setting for the file.
fn with_file(url: &str, folder: &Path) -> String {
    let file = folder.join("password").display().to_string();
    with(&url.replace(&format!(":{PASSWORD}@"), "@"), &format!("password_file={file}"))
}

async fn password_changes_without_a_restart(sql: &AnySql, url: &str, change: [&str; 2]) {
    let folder = password_file(PASSWORD);
    let url = with_file(url, folder.path());
    let arguments = ["--listen", "127.0.0.1:0", "--cookie-key", KEY, "--workers", "2"];
    let store = ["--store", "sql", "--store-url", &url];
    let demo = Demo::start_with(&[&arguments[..], &store].concat(), &[]).await;
    let mut bob = demo.signed_in("bob").await;
    let [set_password, kill] = change;
    let _ = sql.ask(set_password).await.expect("the server changes the password");
    let _ = sql.ask(kill).await.expect("the server ends the connections");
    // Until the file has the password, the sessions are not available.
    wait::until("an answer 503", PATIENCE, async || {
        let _ = sql.ask(kill).await;
        let status = bob.get("/session").await.status;
        assert!(status == 200 || status == 503, "{status}");
        (status == 503).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(bob.get("/session").await.status, 503);
    }
    write(folder.path(), NEXT);
    wait::until("the new password", Duration::from_secs(3), async || {
        let status = bob.get("/session").await.status;
        assert!(status == 200 || status == 503, "{status}");
        (status == 200).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(bob.get("/session").await.status, 200);
    }
    assert!(!demo.output().contains(PASSWORD) && !demo.output().contains(NEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_password_of_postgres_changes_without_a_restart() {
    // The user belongs to all tests of a shared server.
    let Some(postgres) = Postgres::start_with(&["-c", "max_connections=50"]).await else {
        return;
    };
    ours!(postgres.port());
    let url = postgres.url();
    let set_password = format!("ALTER USER app PASSWORD '{NEXT}'");
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'";
    let sql = AnySql::Postgres(postgres);
    password_changes_without_a_restart(&sql, &url, [&set_password, kill]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_password_of_mariadb_changes_without_a_restart() {
    let Some(mariadb) = MariaDb::start_with(&["--skip-external-locking"]).await else { return };
    ours!(mariadb.port());
    let url = mariadb.url();
    let set_password = format!("ALTER USER app IDENTIFIED BY '{NEXT}'");
    let sql = AnySql::MariaDb(mariadb);
    password_changes_without_a_restart(&sql, &url, [&set_password, "KILL USER app"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_unusable_password_file_ends_the_start() {
    let Some(postgres) = Postgres::start().await else { return };
    let folder = password_file("");
    let refusal = async |url: &str| {
        let opened = SqlStore::connect(&Config::new(url).expect("a URL")).await;
        with_sources(&opened.expect_err("the start is refused"))
    };
    let empty = refusal(&with_file(&postgres.url(), folder.path())).await;
    assert!(empty.contains("password_file") && empty.contains("empty"), "{empty}");
    let missing = refusal(&with_file(&postgres.url(), &folder.path().join("none"))).await;
    assert!(missing.contains("password_file") && missing.contains("does not exist"), "{missing}");
    write(folder.path(), NEXT);
    let wrong = refusal(&with_file(&postgres.url(), folder.path())).await;
    assert!(wrong.contains("refuses the login"), "{wrong}");
    let file = folder.path().join("password").display().to_string();
    let both = refusal(&with(&postgres.url(), &format!("password_file={file}"))).await;
    assert!(both.contains("a URL without a password"), "{both}");
    for shown in [empty, missing, wrong, both] {
        assert!(!shown.contains(NEXT) && !shown.contains(PASSWORD), "{shown}");
    }
    write(folder.path(), PASSWORD);
    let url = with(&with_file(&postgres.url(), folder.path()), PATIENT);
    crate::tables::works(&crate::locks::connect(&url).await).await;
}
