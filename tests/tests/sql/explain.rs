//! How a database finds what it is asked for: by which index.

use session_core::{NewRecord, SessionStore};
use tests::service::AnySql;

use crate::{
    heard::Heard,
    session::{LONG, PATIENT, Session, add, connect, is_done, principal},
};

/// How many rows there are beside those that a test makes, and how many of them are over.
const ROWS: usize = 20_000;
const EXPIRED: usize = 10;

/// Rows that live for an hour, of a hundred users, and ten that are over.
async fn fill(database: &AnySql) {
    let (id, now, numbers) = match database {
        AnySql::Postgres(_) => (
            "convert_to(md5(n::text), 'UTF8')",
            "(extract(epoch from now()) * 1000)::bigint",
            format!("generate_series(1, {}) AS numbers (n)", ROWS + EXPIRED),
        ),
        AnySql::MariaDb(_) => ("MD5(seq)", "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", format!("seq_1_to_{}", ROWS + EXPIRED)),
        AnySql::Sqlite(_) => (
            "CAST(hex(randomblob(16)) AS BLOB)",
            "unixepoch() * 1000",
            format!(
                "(WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {}) SELECT n FROM many)",
                ROWS + EXPIRED
            ),
        ),
    };
    let n = if matches!(database, AnySql::MariaDb(_)) { "seq" } else { "n" };
    let user = match database {
        AnySql::Postgres(_) => format!("convert_to('user-' || {n} % 100, 'UTF8')"),
        AnySql::MariaDb(_) => format!("CONCAT('user-', {n} % 100)"),
        AnySql::Sqlite(_) => format!("CAST('user-' || {n} % 100 AS BLOB)"),
    };
    let fill = format!(
        "INSERT INTO sessions (id, data, version, created, expires, principal, lifetime, format) \
         SELECT {id}, '{{}}', 1, {now}, {now} + CASE WHEN {n} <= {EXPIRED} THEN -1000 ELSE 3600000 END, {user}, '', 1 FROM {numbers}"
    );
    database.ask(&fill).await.expect("rows");
    let analyze = if matches!(database, AnySql::MariaDb(_)) { "ANALYZE TABLE sessions" } else { "ANALYZE sessions" };
    database.ask(analyze).await.expect("statistics");
}

/// What a database says of its plan for a statement with these values.
async fn plan(database: &AnySql, statement: &str, values: &[&str]) -> String {
    let mut bound = statement.to_owned();
    for (at, value) in values.iter().enumerate().rev() {
        let place = if matches!(database, AnySql::MariaDb(_)) { "?".to_owned() } else { format!("${}", at + 1) };
        bound = match (database, bound.rfind('?')) {
            (AnySql::MariaDb(_), Some(last)) => format!("{}{value}{}", &bound[..last], &bound[last + 1..]),
            _ => bound.replace(&place, value),
        };
    }
    let explain = if matches!(database, AnySql::Sqlite(_)) { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
    let rows = database.ask(&format!("{explain} {bound}")).await.expect("a plan");
    rows.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n")
}

/// The last statement that began so.
async fn heard(heard: &mut Heard, word: &str) -> String {
    let statements = heard.statements().await;
    statements.into_iter().rev().find(|statement| statement.starts_with(word)).expect("it was asked")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_to_postgres_finds_its_rows_by_an_index() {
    let Some(mut server) = Heard::postgres().await else { return };
    let store = connect(&server.server.url(PATIENT)).await;
    fill(&server.server).await;
    let session = Session::new();
    let _ = store.create(&session.key, session.record().principal(principal("bob"))).await.expect("a new session");
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    let statement = heard(&mut server, "SELECT").await;
    let found = plan(&server.server, &statement, &["'a'::bytea"]).await;
    assert!(found.contains("sessions_pkey"), "a load: {found}");
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let statement = heard(&mut server, "UPDATE").await;
    assert!(statement.contains("WHERE id = "), "{statement}");
    let prepared = server.server.ask(&format!("PREPARE it AS {statement}; EXPLAIN EXECUTE it('n', 1, 'a', 65536)")).await.expect("a plan");
    let found = prepared.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n");
    assert!(found.contains("sessions_pkey") && !found.contains("Seq Scan"), "a commit: {found}");
    assert_eq!(listed(&store, "bob").await.expect("a list").len(), 1);
    let statement = heard(&mut server, "SELECT").await;
    let found = plan(&server.server, &statement, &["'bob'::bytea"]).await;
    assert!(found.contains("sessions_principal"), "a list: {found}");
    assert_eq!(store.delete_all(&principal("nobody"), None).await.expect("an end of all"), 0);
    let statement = heard(&mut server, "DELETE").await;
    let found = plan(&server.server, &statement, &["'bob'::bytea"]).await;
    assert!(found.contains("sessions_principal"), "an end of all: {found}");
    assert_eq!(store.delete_expired(100).await.expect("a purge"), EXPIRED as u64);
    let statement = heard(&mut server, "DELETE").await;
    let found = plan(&server.server, &statement, &["100"]).await;
    assert!(found.contains("sessions_expires") && !found.contains("Seq Scan"), "c31: a purge: {found}");
    assert!(store.scan(None, 10).await.expect("a page").next.is_some());
    let statement = heard(&mut server, "SELECT").await;
    let found = plan(&server.server, &statement, &["''::bytea", "10"]).await;
    assert!(found.contains("sessions_pkey"), "a page of a scan: {found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_to_mariadb_finds_its_rows_by_an_index() {
    let Some(mut server) = Heard::mariadb().await else { return };
    let store = connect(&server.server.url(PATIENT)).await;
    fill(&server.server).await;
    let session = Session::new();
    let _ = store.create(&session.key, session.record().principal(principal("bob"))).await.expect("a new session");
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    // What is bound stands in the statements that this server writes down.
    let statement = heard(&mut server, "SELECT data").await;
    let found = plan(&server.server, &statement, &[]).await;
    assert!(found.contains("PRIMARY") && found.contains("const"), "a load: {found}");
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    let statement = heard(&mut server, "UPDATE").await;
    let found = plan(&server.server, &statement, &[]).await;
    assert!(found.contains("PRIMARY") && found.lines().any(|cell| cell == "1"), "a commit: {found}");
    assert_eq!(listed(&store, "bob").await.expect("a list").len(), 1);
    let statement = heard(&mut server, "SELECT id").await;
    let found = plan(&server.server, &statement, &[]).await;
    assert!(found.contains("sessions_principal"), "a list: {found}");
    assert_eq!(store.delete_expired(100).await.expect("a purge"), EXPIRED as u64);
    let statement = heard(&mut server, "DELETE").await;
    let found = plan(&server.server, &statement, &[]).await;
    assert!(found.contains("sessions_expires"), "c31: a purge: {found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_a_purge_of_sqlite_finds_what_is_over_by_its_index() {
    let Some(database) = AnySql::sqlite().await else { return };
    let store = connect(&database.url(PATIENT)).await;
    fill(&database).await;
    let purge = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= 5 ORDER BY expires LIMIT 10)";
    let found = plan(&database, purge, &[]).await;
    assert!(found.contains("sessions_expires"), "{found}");
    let found = plan(&database, "SELECT id FROM sessions WHERE principal = x'00' AND expires > 5 ORDER BY created", &[]).await;
    assert!(found.contains("sessions_principal"), "{found}");
    assert_eq!(store.delete_expired(100).await.expect("a purge"), EXPIRED as u64);
}
