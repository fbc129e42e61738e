//! The servers that tests are given do what is asked of them.

use std::{net::TcpStream, time::Duration};

use sqlx::{Connection, MySqlConnection, PgConnection, query, query_scalar};
use tests::service::{AnySql, Durability, ExternalServer, MariaDb, PASSWORD, Postgres};
use tokio::time::timeout;

/// How long a server that hangs is given to answer.
const HANGS_FOR: Duration = Duration::from_secs(1);

const TABLE: &str = "CREATE TABLE things (id int PRIMARY KEY, name varchar(99))";

/// The only value that a statement gives.
async fn value(sql: &AnySql, statement: &str) -> String {
    let rows = sql.ask(statement).await.expect("it answers");
    rows[0][0].clone().expect("a value")
}

/// Tests that are the same for each engine.
macro_rules! for_each_engine {
    ($($check:ident)*) => {
        mod postgres {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(sql) = super::AnySql::own_postgres(super::Durability::Full).await else { return };
                    super::$check(sql).await;
                }
            )*
        }
        mod mariadb {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(sql) = super::AnySql::own_mariadb(super::Durability::Full).await else { return };
                    super::$check(sql).await;
                }
            )*
        }
        mod sqlite {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(sql) = super::AnySql::sqlite().await else { return };
                    super::$check(sql).await;
                }
            )*
        }
    };
}

for_each_engine! {
    is_empty_and_says_its_version
    comes_back_at_the_same_address_with_what_it_held
    hangs_until_it_is_thawed
    shows_all_that_is_in_its_tables
    is_gone_when_it_is_dropped
}

async fn is_empty_and_says_its_version(sql: AnySql) {
    let (product, version) = sql.version().split_once(' ').expect("a product and its version");
    assert!(["postgres", "mariadb", "mysql", "sqlite"].contains(&product), "{product}");
    assert!(version.split('.').all(|part| part.parse::<u16>().is_ok()), "{version}");
    assert_eq!(sql.dump().await, "");
}

async fn comes_back_at_the_same_address_with_what_it_held(mut sql: AnySql) {
    let url = sql.url("");
    sql.ask(TABLE).await.expect("it answers");
    sql.ask("INSERT INTO things VALUES (1, 'first')").await.expect("it answers");
    ours!(sql.stop().await);
    sql.ask("SELECT 1").await.expect_err("a stopped server does not answer");
    ours!(sql.start_again().await);
    assert_eq!(sql.url(""), url);
    assert_eq!(value(&sql, "SELECT name FROM things").await, "first");
    // Both are fine when there is nothing to do.
    ours!(sql.start_again().await);
    ours!(sql.stop().await);
    ours!(sql.stop().await);
}

async fn hangs_until_it_is_thawed(sql: AnySql) {
    assert_eq!(value(&sql, "SELECT 1").await, "1");
    ours!(sql.freeze().await);
    timeout(HANGS_FOR, sql.ask("SELECT 1")).await.expect_err("a frozen server does not answer");
    ours!(sql.thaw().await);
    assert_eq!(value(&sql, "SELECT 1").await, "1");
}

async fn shows_all_that_is_in_its_tables(sql: AnySql) {
    sql.ask(TABLE).await.expect("it answers");
    let binary = if matches!(sql, AnySql::Postgres(_)) { "bytea" } else { "blob" };
    let bytes =
        if matches!(sql, AnySql::Postgres(_)) { r"'\x6c6574746572'" } else { "x'6c6574746572'" };
    sql.ask(&format!("CREATE TABLE others (big bigint, bytes {binary})"))
        .await
        .expect("it answers");
    sql.ask(&format!("INSERT INTO others VALUES (9223372036854775807, {bytes}), (NULL, NULL)"))
        .await
        .expect("it answers");
    sql.ask("INSERT INTO things VALUES (2, 'second'), (1, 'first')").await.expect("it answers");
    let dumped = sql.dump().await.replace(['`', '"'], "").replace("public.", "");
    let lines: Vec<_> = dumped.lines().collect();
    let expected = [
        "others: big=9223372036854775807 bytes=letter",
        "others: big=NULL bytes=NULL",
        "things: id=1 name=first",
        "things: id=2 name=second",
    ];
    assert_eq!(lines, expected);
}

async fn is_gone_when_it_is_dropped(sql: AnySql) {
    let port = ours!(sql.port());
    drop(sql);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
}

#[tokio::test]
async fn a_file_has_no_server() {
    let Some(sqlite) = AnySql::sqlite().await else { return };
    assert_eq!(sqlite.port(), Err(ExternalServer::File));
    assert_eq!(ExternalServer::File.to_string(), "not applicable: a file has no server");
}

#[tokio::test]
async fn a_postgres_holds_after_a_restart_what_it_was_to_keep() {
    for kept in [Durability::Full, Durability::None] {
        let Some(sql) = AnySql::own_postgres(kept).await else { return };
        stays(sql, kept).await;
    }
}

#[tokio::test]
async fn a_mariadb_holds_after_a_restart_what_it_was_to_keep() {
    for kept in [Durability::Full, Durability::None] {
        let Some(sql) = AnySql::own_mariadb(kept).await else { return };
        stays(sql, kept).await;
    }
}

/// Writes one row, kills and starts the server, and finds the row or nothing.
async fn stays(mut sql: AnySql, kept: Durability) {
    let written = format!("{TABLE}; INSERT INTO things VALUES (1, 'first')");
    sql.ask(&written).await.expect("it answers");
    ours!(sql.stop().await);
    ours!(sql.start_again().await);
    let dumped = sql.dump().await;
    assert_eq!(dumped.is_empty(), kept == Durability::None, "{dumped}");
}

/// Each client of PostgreSQL has a process of the server's own.
#[tokio::test]
async fn a_connection_to_postgres_hangs_with_it_and_ends_with_it() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("it answers");
    ours!(postgres.freeze().await);
    let hanging = timeout(HANGS_FOR, query("SELECT 1").execute(&mut connection)).await;
    hanging.expect_err("what serves a connection hangs as well");
    ours!(postgres.thaw().await);
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("it answers");
    query("SELECT 1").execute(&mut connection).await.expect("it answers");
    ours!(postgres.stop().await);
    query("SELECT 1")
        .execute(&mut connection)
        .await
        .expect_err("what serves a connection is gone as well");
    ours!(postgres.start_again().await);
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("it answers");
    query("SELECT 1").execute(&mut connection).await.expect("it answers");
}

/// A server that was frozen can be killed, and starts again.
#[tokio::test]
async fn a_frozen_server_can_be_killed() {
    for sql in
        [AnySql::own_postgres(Durability::Full).await, AnySql::own_mariadb(Durability::Full).await]
    {
        let Some(mut sql) = sql else { continue };
        ours!(sql.freeze().await);
        ours!(sql.stop().await);
        ours!(sql.start_again().await);
        assert_eq!(value(&sql, "SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn a_postgres_has_the_flags_that_were_asked_for() {
    let flags = [
        "-c",
        "max_connections=20",
        "-c",
        "log_statement=all",
        "-c",
        "shared_preload_libraries=pg_stat_statements",
    ];
    let Some(mut postgres) = Postgres::start_with(&flags).await else { return };
    let pool = postgres.pool();
    let most: String =
        query_scalar("SHOW max_connections").fetch_one(&pool).await.expect("it answers");
    assert_eq!(most, "20");
    query("CREATE EXTENSION pg_stat_statements")
        .execute(&pool)
        .await
        .expect("a library that was loaded");
    query("SELECT 'looked for'").execute(&pool).await.expect("it answers");
    let output = ours!(postgres.output());
    assert!(output.contains("SELECT 'looked for'"), "{output}");
    let kept: Vec<String> = query_scalar("SELECT query FROM pg_stat_statements")
        .fetch_all(&pool)
        .await
        .expect("it answers");
    assert!(
        !output.contains(PASSWORD) && !kept.concat().contains(PASSWORD),
        "the rig itself shows the password"
    );
    ours!(postgres.stop().await);
    ours!(postgres.start_again().await);
    let most = postgres.ask("SHOW max_connections").await.expect("it answers");
    assert_eq!(most, [[Some("20".to_owned())]]);
}

#[tokio::test]
async fn a_mariadb_has_the_flags_that_were_asked_for() {
    let flags = ["--max-connections=20", "--general-log=1", "--general-log-file=general"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    let pool = mariadb.pool();
    let most: i64 = query_scalar("SELECT CAST(@@max_connections AS signed)")
        .fetch_one(&pool)
        .await
        .expect("it answers");
    assert_eq!(most, 20);
    assert!(!ours!(mariadb.output()).contains(PASSWORD), "the rig itself shows the password");
}

#[tokio::test]
async fn a_postgres_lets_its_user_write_its_database_and_make_no_other() {
    let Some(postgres) = Postgres::start().await else { return };
    let port = ours!(postgres.port());
    let database = postgres.database();
    assert_eq!(postgres.url(), format!("postgres://app:{PASSWORD}@127.0.0.1:{port}/{database}"));
    for url in [postgres.url(), ours!(postgres.socket_url())] {
        let mut app = PgConnection::connect(&url).await.expect("its password");
        query("CREATE TABLE things (id int)").execute(&mut app).await.expect("its database");
        query("DROP TABLE things").execute(&mut app).await.expect("its table");
        query("CREATE DATABASE another").execute(&mut app).await.expect_err("another database");
    }
    let wrong = postgres.url().replace(PASSWORD, "wrong");
    PgConnection::connect(&wrong).await.expect_err("without the password");
    postgres.ask("CREATE DATABASE another").await.expect("the test may do everything");
}

#[tokio::test]
async fn a_mariadb_lets_its_user_write_its_database_and_make_no_other() {
    let Some(mariadb) = MariaDb::start().await else { return };
    let port = ours!(mariadb.port());
    let database = mariadb.database();
    assert_eq!(mariadb.url(), format!("mysql://app:{PASSWORD}@127.0.0.1:{port}/{database}"));
    for url in [mariadb.url(), ours!(mariadb.socket_url())] {
        let mut app = MySqlConnection::connect(&url).await.expect("its password");
        query("CREATE TABLE things (id int)").execute(&mut app).await.expect("its database");
        query("DROP TABLE things").execute(&mut app).await.expect("its table");
        query("CREATE DATABASE another").execute(&mut app).await.expect_err("another database");
    }
    let wrong = mariadb.url().replace(PASSWORD, "wrong");
    MySqlConnection::connect(&wrong).await.expect_err("without the password");
    mariadb.ask("CREATE DATABASE another").await.expect("the test may do everything");
}

/// What was started by a test that fails is gone as well.
#[test]
fn servers_are_gone_after_a_panic() {
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let Some(postgres) = Postgres::start().await else { return };
            let Some(mariadb) = MariaDb::start().await else { return };
            // It has a process of its own at the other end.
            let _connection = PgConnection::connect(&postgres.url()).await.expect("it answers");
            tell.send([ours!(postgres.port()), ours!(mariadb.port())]).expect("the test listens");
            panic!("as a test that fails does");
        });
    });
    let ended = test.join();
    // Nothing is told if the test is skipped, and then it has ended without a panic.
    let Ok(ports) = told.recv() else { return ended.expect("there are servers") };
    ended.expect_err("the test panics");
    for port in ports {
        TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
    }
}
