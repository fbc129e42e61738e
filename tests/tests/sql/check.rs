//! The check of a database names what sessions need, with the remedy.

use std::time::{Duration, Instant};

use session_core::report::{CheckReport, Outcome};
use sqlx::{
    ConnectOptions, Connection,
    sqlite::{SqliteConnectOptions, SqliteLockingMode},
};
use store_sql::{Config, check};
use tests::{
    report::{assert_all_ok, assert_line, line},
    service::{AnySql, Durability, MariaDb, PASSWORD, Postgres},
    session::with,
};

use crate::poolers::PgBouncer;

async fn checked(url: &str) -> CheckReport {
    check(&Config::new(url).expect("a URL")).await
}

/// The URL for another user of the test.
fn of_reader(url: &str) -> String {
    url.replace(&format!("app:{PASSWORD}@"), "reader:letters@")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_good_postgres_is_ok_and_leaves_no_row() {
    let Some(postgres) = Postgres::start_with(&["-c", "fsync=on"]).await else { return };
    let report = checked(&postgres.url()).await;
    assert_all_ok(&report, &[]);
    assert_eq!(report.checks.len(), 12, "{report}");
    assert_eq!(postgres.dump().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_postgres_names_settings_that_lose_sessions() {
    let flags = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
    let few = ["max_connections=9", "superuser_reserved_connections=3"];
    let flags: Vec<_> = flags.iter().chain(&few).flat_map(|flag| ["-c", *flag]).collect();
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    let report = checked(&postgres.url()).await;
    assert_line(&report, "fsync", Outcome::Failed, &["off", "ALTER SYSTEM SET fsync = on"]);
    for name in ["synchronous_commit", "full_page_writes"] {
        let remedy = format!("ALTER SYSTEM SET {name} = on");
        assert_line(&report, name, Outcome::Warning, &["off", &remedy]);
    }
    let words = ["6 at the server", "opens up to 8", "ALTER SYSTEM SET max_connections"];
    assert_line(&report, "max_connections", Outcome::Warning, &words);
    let known = ["fsync", "synchronous_commit", "full_page_writes", "max_connections"];
    assert_all_ok(&report, &known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_postgres_names_the_right_that_a_user_lacks() {
    let Some(postgres) = Postgres::start_with(&["-c", "fsync=on"]).await else { return };
    let _ = postgres.ask("CREATE ROLE reader LOGIN PASSWORD 'letters'").await.expect("a role");
    let url = of_reader(&postgres.url());
    let words = ["cannot create a session", "GRANT USAGE, CREATE ON SCHEMA public TO reader"];
    let report = checked(&url).await;
    assert_line(&report, "operations", Outcome::Failed, &words);
    assert_all_ok(&checked(&postgres.url()).await, &[]);
    let _ = postgres.ask("GRANT SELECT ON sessions TO reader").await.expect("a right");
    let report = checked(&url).await;
    let words = ["cannot create a session", "DELETE ON \"sessions\" TO reader"];
    assert_line(&report, "operations", Outcome::Failed, &words);
    let remedy = line(&report, "operations").remedy.clone().expect("a remedy");
    let (_, command) = remedy.split_once(": ").expect("a command");
    let _ = postgres.ask(command).await.expect("the remedy is a command");
    assert_all_ok(&checked(&url).await, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_postgres_notices_a_pooler() {
    let Some(postgres) = Postgres::start_with(&["-c", "fsync=on"]).await else { return };
    let Some(bouncer) = PgBouncer::start(ours!(postgres.port())).await else { return };
    let report = checked(&bouncer.url(&postgres, "statement-cache-capacity=0")).await;
    let words = ["in transaction mode", "statement-cache-capacity=0 fits it"];
    assert_line(&report, "pooler", Outcome::Ok, &words);
    assert_all_ok(&report, &[]);
    let report = checked(&bouncer.url(&postgres, "connections=4")).await;
    let words = ["loses prepared statements", "statement-cache-capacity=0", "pgbouncer.ini"];
    assert_line(&report, "pooler", Outcome::Failed, &words);
    let direct = checked(&postgres.url()).await;
    assert_line(&direct, "pooler", Outcome::Ok, &["none"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_good_mariadb_is_ok_and_leaves_no_row() {
    let flags = ["--innodb-flush-log-at-trx-commit=1"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    let report = checked(&mariadb.url()).await;
    assert_all_ok(&report, &[]);
    assert_eq!(report.checks.len(), 12, "{report}");
    assert_eq!(mariadb.dump().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_mariadb_names_settings_that_lose_sessions() {
    let flags = ["--innodb-flush-log-at-trx-commit=0", "--log-bin", "--skip-innodb-doublewrite"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    let _ = mariadb.ask("SET GLOBAL read_only = ON").await.expect("an administrator sets it");
    let report = checked(&mariadb.url()).await;
    assert_line(&report, "read_only", Outcome::Failed, &["refuses changes", "read_only = OFF"]);
    for (name, remedy) in [
        ("innodb_flush_log_at_trx_commit", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"),
        ("sync_binlog", "SET GLOBAL sync_binlog = 1"),
        ("innodb_doublewrite", "innodb_doublewrite = ON"),
    ] {
        assert_line(&report, name, Outcome::Warning, &[remedy]);
    }
    assert_line(&report, "operations", Outcome::Failed, &["name the primary"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_mariadb_names_the_right_that_a_user_lacks() {
    let flags = ["--innodb-flush-log-at-trx-commit=1"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    assert_all_ok(&checked(&mariadb.url()).await, &[]);
    let database = mariadb.database();
    let statements = format!(
        "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'letters'; \
         GRANT SELECT ON `{database}`.sessions TO reader@'127.0.0.1'"
    );
    let _ = mariadb.ask(&statements).await.expect("a user");
    let url = of_reader(&mariadb.url());
    let report = checked(&url).await;
    let words = ["cannot create a session", "GRANT SELECT, INSERT, UPDATE, DELETE", "'reader'@'"];
    assert_line(&report, "operations", Outcome::Failed, &words);
    let remedy = line(&report, "operations").remedy.clone().expect("a remedy");
    let (_, command) = remedy.split_once(": ").expect("a command");
    let _ = mariadb.ask(command).await.expect("the remedy is a command");
    assert_all_ok(&checked(&url).await, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_mariadb_names_a_table_without_transactions() {
    let flags = ["--innodb-flush-log-at-trx-commit=1"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    assert_all_ok(&checked(&mariadb.url()).await, &[]);
    let _ = mariadb.ask("ALTER TABLE sessions ENGINE = Aria").await.expect("the server answers");
    let words = ["Aria", "ALTER TABLE `sessions` ENGINE = InnoDB"];
    assert_line(&checked(&mariadb.url()).await, "engine", Outcome::Failed, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_sqlite_looks_at_the_file_and_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}/s.db", folder.path().display());
    let report = checked(&url).await;
    assert_all_ok(&report, &[]);
    assert_eq!(report.checks.len(), 9, "{report}");
    let report = checked(&format!("{url}?synchronous=normal")).await;
    let words = ["a power failure", "remove synchronous from the URL"];
    assert_line(&report, "synchronous", Outcome::Warning, &words);
    let report = checked(&format!("sqlite:{}/missing/s.db", folder.path().display())).await;
    let remedy = "install -d -m 700";
    assert_line(&report, "connection", Outcome::Failed, &["cannot be opened", remedy]);
    assert_line(&report, "folder", Outcome::Failed, &["No such file", remedy]);
    assert_line(&report, "operations", Outcome::NotChecked, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_sqlite_waits_for_a_locked_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut locked =
        options.locking_mode(SqliteLockingMode::Exclusive).connect().await.expect("a file");
    let create = "PRAGMA journal_mode = WAL; CREATE TABLE others (n int)";
    sqlx::raw_sql(create).execute(&mut locked).await.expect("a table");
    let url = format!("sqlite:{}?deadline_ms=300", path.display());
    let report = checked(&url).await;
    let words = ["no answer within 300ms", "fuser -v"];
    assert_line(&report, "connection", Outcome::Failed, &words);
    let unlock = async { locked.close().await.expect("the file is closed") };
    let report = tokio::join!(checked(&url), unlock).0;
    assert_all_ok(&report, &[]);
}

on_database!(
    own_postgres = super::AnySql::own_postgres(super::Durability::Full),
    check_tells_a_wrong_password_from_a_missing_server,
    check_of_a_frozen_server_ends_within_twelve_deadlines,
);
on_database!(
    own_mariadb = super::AnySql::own_mariadb(super::Durability::Full),
    check_tells_a_wrong_password_from_a_missing_server,
    check_of_a_frozen_server_ends_within_twelve_deadlines,
);

async fn check_tells_a_wrong_password_from_a_missing_server(mut sql: AnySql) {
    let url = sql.url("");
    let report = checked(&url.replace(PASSWORD, "hunter2")).await;
    assert_line(&report, "connection", Outcome::Ok, &[]);
    assert_line(&report, "login", Outcome::Failed, &["refuses the login", "as an administrator"]);
    assert_line(&report, "operations", Outcome::NotChecked, &["there is no connection"]);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    ours!(sql.stop().await);
    let report = checked(&url).await;
    assert_line(&report, "connection", Outcome::Failed, &["refuses the connection", "ss -ltn"]);
    assert_line(&report, "login", Outcome::NotChecked, &[]);
}

async fn check_of_a_frozen_server_ends_within_twelve_deadlines(sql: AnySql) {
    const DEADLINE: Duration = Duration::from_millis(300);
    ours!(sql.freeze().await);
    let begun = Instant::now();
    let report = checked(&with(&sql.url(""), "deadline_ms=300")).await;
    let took = begun.elapsed();
    assert!(took < DEADLINE * 12, "{took:?}");
    let words = ["connecting takes longer than 150ms", "accepts connections and does not answer"];
    assert_line(&report, "connection", Outcome::Failed, &words);
}
