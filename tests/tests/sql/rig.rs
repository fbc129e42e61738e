//! The servers of the tests stop, start, freeze and log as the tests demand.

use std::{net::TcpStream, time::Duration};

use sqlx::{Connection, MySqlConnection, PgConnection, query, query_scalar};
use tests::{
    sent_before_panic,
    service::{AnySql, Durability, ExternalServer, MariaDb, PASSWORD, Postgres},
};
use tokio::time::timeout;

/// How long a test waits for a frozen server before it counts as frozen.
const HANGS_FOR: Duration = Duration::from_secs(1);

const TABLE: &str = "CREATE TABLE things (id int PRIMARY KEY, name varchar(99))";

/// The value of an answer that has one row with one value.
async fn value(sql: &AnySql, statement: &str) -> String {
    let rows = sql.ask(statement).await.expect("the server answers");
    rows[0][0].clone().expect("a value")
}

/// Declares a test for each check on each engine.
macro_rules! for_each_engine {
    ($($check:ident)*) => {
        on_engine!(postgres = super::AnySql::own_postgres(super::Durability::Full), $($check)*);
        on_engine!(mariadb = super::AnySql::own_mariadb(super::Durability::Full), $($check)*);
        on_engine!(sqlite = super::AnySql::sqlite(), $($check)*);
    };
}

/// Declares a test for each check on the database of the expression.
macro_rules! on_engine {
    ($engine:ident = $database:expr, $($check:ident)*) => {
        mod $engine {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(sql) = $database.await else { return };
                    super::$check(sql).await;
                }
            )*
        }
    };
}

for_each_engine! {
    new_database_is_empty_and_has_a_version
    restart_keeps_address_and_data
    frozen_server_answers_after_it_is_thawed
    dump_shows_all_rows
    drop_ends_the_server
}

async fn new_database_is_empty_and_has_a_version(sql: AnySql) {
    let (product, version) = sql.version().split_once(' ').expect("a product and its version");
    assert!(["postgres", "mariadb", "mysql", "sqlite"].contains(&product), "{product}");
    assert!(version.split('.').all(|part| part.parse::<u16>().is_ok()), "{version}");
    assert_eq!(sql.dump().await, "");
}

async fn restart_keeps_address_and_data(mut sql: AnySql) {
    let url = sql.url("");
    sql.ask(TABLE).await.expect("the server answers");
    sql.ask("INSERT INTO things VALUES (1, 'first')").await.expect("the server answers");
    ours!(sql.stop().await);
    sql.ask("SELECT 1").await.expect_err("a stopped server does not answer");
    ours!(sql.start_again().await);
    assert_eq!(sql.url(""), url);
    assert_eq!(value(&sql, "SELECT name FROM things").await, "first");
    // Starting a running server and stopping a stopped one do nothing.
    ours!(sql.start_again().await);
    ours!(sql.stop().await);
    ours!(sql.stop().await);
}

async fn frozen_server_answers_after_it_is_thawed(sql: AnySql) {
    assert_eq!(value(&sql, "SELECT 1").await, "1");
    ours!(sql.freeze().await);
    timeout(HANGS_FOR, sql.ask("SELECT 1")).await.expect_err("a frozen server does not answer");
    ours!(sql.thaw().await);
    assert_eq!(value(&sql, "SELECT 1").await, "1");
}

async fn dump_shows_all_rows(sql: AnySql) {
    sql.ask(TABLE).await.expect("the server answers");
    let binary = if matches!(sql, AnySql::Postgres(_)) { "bytea" } else { "blob" };
    let bytes =
        if matches!(sql, AnySql::Postgres(_)) { r"'\x6c6574746572'" } else { "x'6c6574746572'" };
    sql.ask(&format!("CREATE TABLE others (big bigint, bytes {binary})"))
        .await
        .expect("the server answers");
    sql.ask(&format!("INSERT INTO others VALUES (9223372036854775807, {bytes}), (NULL, NULL)"))
        .await
        .expect("the server answers");
    sql.ask("INSERT INTO things VALUES (2, 'second'), (1, 'first')")
        .await
        .expect("the server answers");
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

async fn drop_ends_the_server(sql: AnySql) {
    let port = ours!(sql.port());
    drop(sql);
    TcpStream::connect(("127.0.0.1", port)).expect_err("the port is closed");
}

#[tokio::test]
async fn sqlite_file_has_no_server() {
    let Some(sqlite) = AnySql::sqlite().await else { return };
    assert_eq!(sqlite.port(), Err(ExternalServer::File));
    assert_eq!(ExternalServer::File.to_string(), "not applicable: a file has no server");
}

#[tokio::test]
async fn postgres_restart_keeps_only_durable_data() {
    for kept in [Durability::Full, Durability::None] {
        let Some(sql) = AnySql::own_postgres(kept).await else { return };
        assert_kept(sql, kept).await;
    }
}

#[tokio::test]
async fn mariadb_restart_keeps_only_durable_data() {
    for kept in [Durability::Full, Durability::None] {
        let Some(sql) = AnySql::own_mariadb(kept).await else { return };
        assert_kept(sql, kept).await;
    }
}

/// Writes a row, kills and starts the server, and checks whether the row is still there.
async fn assert_kept(mut sql: AnySql, kept: Durability) {
    let written = format!("{TABLE}; INSERT INTO things VALUES (1, 'first')");
    sql.ask(&written).await.expect("the server answers");
    ours!(sql.stop().await);
    ours!(sql.start_again().await);
    let dumped = sql.dump().await;
    assert_eq!(dumped.is_empty(), kept == Durability::None, "{dumped}");
}

/// PostgreSQL serves each client with its own process.
#[tokio::test]
async fn postgres_connection_freezes_and_ends_with_the_server() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("the server answers");
    ours!(postgres.freeze().await);
    let hanging = timeout(HANGS_FOR, query("SELECT 1").execute(&mut connection)).await;
    hanging.expect_err("the process of the connection is frozen too");
    ours!(postgres.thaw().await);
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("the server answers");
    query("SELECT 1").execute(&mut connection).await.expect("the server answers");
    ours!(postgres.stop().await);
    query("SELECT 1")
        .execute(&mut connection)
        .await
        .expect_err("the process of the connection has ended too");
    ours!(postgres.start_again().await);
    let mut connection = PgConnection::connect(&postgres.url()).await.expect("the server answers");
    query("SELECT 1").execute(&mut connection).await.expect("the server answers");
}

/// A frozen server can be killed and started again.
#[tokio::test]
async fn frozen_server_can_be_killed() {
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
async fn postgres_starts_with_the_given_flags() {
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
        query_scalar("SHOW max_connections").fetch_one(&pool).await.expect("the server answers");
    assert_eq!(most, "20");
    query("CREATE EXTENSION pg_stat_statements")
        .execute(&pool)
        .await
        .expect("the server has loaded the library");
    query("SELECT 'marker'").execute(&pool).await.expect("the server answers");
    let output = ours!(postgres.output());
    assert!(output.contains("SELECT 'marker'"), "{output}");
    let kept: Vec<String> = query_scalar("SELECT query FROM pg_stat_statements")
        .fetch_all(&pool)
        .await
        .expect("the server answers");
    assert!(
        !output.contains(PASSWORD) && !kept.concat().contains(PASSWORD),
        "the test servers log no password"
    );
    ours!(postgres.stop().await);
    ours!(postgres.start_again().await);
    let most = postgres.ask("SHOW max_connections").await.expect("the server answers");
    assert_eq!(most, [[Some("20".to_owned())]]);
}

#[tokio::test]
async fn mariadb_starts_with_the_given_flags() {
    let flags = ["--max-connections=20", "--general-log=1", "--general-log-file=general"];
    let Some(mariadb) = MariaDb::start_with(&flags).await else { return };
    let pool = mariadb.pool();
    let most: i64 = query_scalar("SELECT CAST(@@max_connections AS signed)")
        .fetch_one(&pool)
        .await
        .expect("the server answers");
    assert_eq!(most, 20);
    assert!(!ours!(mariadb.output()).contains(PASSWORD), "the test servers log no password");
}

/// Expects that the user of the server's URLs may write to its database, and nothing else. A macro,
/// because the connections of the drivers have no common trait for statements.
macro_rules! assert_writes_only_its_database {
    ($server:ident, $connection:ident) => {
        for url in [$server.url(), ours!($server.socket_url())] {
            let mut app =
                $connection::connect(&url).await.expect("the server accepts the password");
            query("CREATE TABLE things (id int)")
                .execute(&mut app)
                .await
                .expect("the user may write to its database");
            query("DROP TABLE things")
                .execute(&mut app)
                .await
                .expect("the user may drop its table");
            query("CREATE DATABASE another")
                .execute(&mut app)
                .await
                .expect_err("the user may not create a database");
        }
        let wrong = $server.url().replace(PASSWORD, "wrong");
        $connection::connect(&wrong).await.expect_err("the server rejects a wrong password");
        $server
            .ask("CREATE DATABASE another")
            .await
            .expect("the administrator may create a database");
    };
}

#[tokio::test]
async fn postgres_user_can_write_only_its_database() {
    let Some(postgres) = Postgres::start().await else { return };
    let port = ours!(postgres.port());
    let database = postgres.database();
    assert_eq!(postgres.url(), format!("postgres://app:{PASSWORD}@127.0.0.1:{port}/{database}"));
    assert_writes_only_its_database!(postgres, PgConnection);
}

#[tokio::test]
async fn mariadb_user_can_write_only_its_database() {
    let Some(mariadb) = MariaDb::start().await else { return };
    let port = ours!(mariadb.port());
    let database = mariadb.database();
    assert_eq!(mariadb.url(), format!("mysql://app:{PASSWORD}@127.0.0.1:{port}/{database}"));
    assert_writes_only_its_database!(mariadb, MySqlConnection);
}

/// A test that fails also ends the servers that it started.
#[test]
fn panic_ends_the_servers() {
    let ports = sent_before_panic(|sender| async move {
        let Some(postgres) = Postgres::start().await else { return };
        let Some(mariadb) = MariaDb::start().await else { return };
        // The server has a process for this connection.
        let _connection = PgConnection::connect(&postgres.url()).await.expect("the server answers");
        sender
            .send([ours!(postgres.port()), ours!(mariadb.port())])
            .expect("the test receives the ports");
        panic!("like a failing test");
    });
    let Some(ports) = ports else { return };
    for port in ports {
        TcpStream::connect(("127.0.0.1", port)).expect_err("the port is closed");
    }
}
