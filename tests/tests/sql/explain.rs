//! Each statement uses an index.

use session_core::SessionStore;
use tests::{
    service::AnySql,
    session::{Session, is_done, principal},
};

use crate::{
    locks::{PATIENT, connect, listed},
    statement_log::StatementLog,
};

/// The number of live rows beside those of a test, and the number of expired rows.
const ROWS: usize = 20_000;
const EXPIRED: usize = 10;

/// Inserts rows of a hundred users: live ones with an hour left, and ten expired ones.
async fn fill(database: &AnySql) {
    let (id, now, numbers) = match database {
        AnySql::Postgres(_) => (
            "convert_to(left(md5(n::text), 16), 'UTF8')",
            "(extract(epoch from now()) * 1000)::bigint",
            format!("generate_series(1, {}) AS numbers (n)", ROWS + EXPIRED),
        ),
        AnySql::MariaDb(_) => (
            "LEFT(MD5(seq), 16)",
            "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            format!("seq_1_to_{}", ROWS + EXPIRED),
        ),
        AnySql::Sqlite(_) => (
            "CAST(hex(randomblob(8)) AS BLOB)",
            "unixepoch() * 1000",
            format!(
                "(WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < \
                 {}) SELECT n FROM many)",
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
    let secret = if matches!(database, AnySql::Postgres(_)) { r"'\x00'" } else { "x'00'" };
    let fill = format!(
        "INSERT INTO sessions (id, data, version, secret, generation, since, created, \
         authenticated, expires, principal, attributes, format) \
         SELECT {id}, '{{}}', 1, {secret}, 0, 0, {now}, {now}, {now} + CASE WHEN {n} <= {EXPIRED} \
         THEN -1000 ELSE 3600000 END, {user}, '', 2 \
         FROM {numbers}"
    );
    database.ask(&fill).await.expect("rows");
    let analyze = if matches!(database, AnySql::MariaDb(_)) {
        "ANALYZE TABLE sessions"
    } else {
        "ANALYZE sessions"
    };
    database.ask(analyze).await.expect("statistics");
}

/// The plan of a statement that a server logged. MariaDB logs the bound values with it. PostgreSQL
/// plans it without them.
async fn plan(log: &mut StatementLog, word: &str) -> String {
    let statements = log.statements().await;
    let statement = statements
        .into_iter()
        .rev()
        .find(|statement| statement.starts_with(word))
        .expect("the server logs the statement");
    let ask = match log.server {
        AnySql::Postgres(_) => {
            let values =
                vec![
                    "NULL";
                    (1..=99).take_while(|number| statement.contains(&format!("${number}"))).count()
                ]
                .join(", ");
            format!(
                "SET plan_cache_mode = force_generic_plan; PREPARE it AS {statement}; EXPLAIN \
                 EXECUTE it({values}); DEALLOCATE it"
            )
        }
        _ => format!("EXPLAIN {statement}"),
    };
    let rows = log.server.ask(&ask).await.expect("a plan");
    format!("{statement}\n{}", rows.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n"))
}

/// Each call finds its rows by the index that is named below.
async fn finds_rows_by_index(log: Option<StatementLog>, primary: &str, is_full: fn(&str) -> bool) {
    let Some(mut server) = log else { return };
    let store = connect(&server.server.url(PATIENT)).await;
    fill(&server.server).await;
    let session = Session::signed_in(&store, "bob").await;
    let (bob, absent) = (principal("bob"), principal("absent"));
    let after = store.scan(None, 2).await.expect("a page").next;
    let mut finds = async |call: &str, word: &str, index: &str| {
        let plan = plan(&mut server, word).await;
        assert!(plan.contains(index) && !is_full(&plan), "{call}: {plan}");
    };
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    finds("load", "SELECT", primary).await;
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    finds("commit", "UPDATE", primary).await;
    assert_eq!(listed(&store, "bob").await.expect("a list").len(), 1);
    finds("list", "SELECT id", "sessions_principal").await;
    assert!(store.list(&bob, after.clone(), 10).await.expect("a list").sessions.len() <= 1);
    finds("list, a later page", "SELECT id", "sessions_principal").await;
    assert_eq!(
        store.delete_all(&absent, Some(&session.key)).await.expect("delete_all succeeds"),
        0
    );
    finds("delete_all", "DELETE", "sessions_principal").await;
    assert!(store.scan(after.clone(), 10).await.expect("a page").next.is_some());
    finds("scan", "SELECT", primary).await;
    assert_eq!(store.delete_expired(100).await.expect("a purge"), EXPIRED as u64);
    finds("C31: delete_expired", "DELETE", "sessions_expires").await;
    let page = store.delete_everyone(after, 10).await.expect("a page");
    assert!(page.ended <= 10 && page.next.is_some());
    finds("delete_everyone", "DELETE", primary).await;
    let _ = store.delete_everyone(page.next, 10).await.expect("a page");
    finds("delete_everyone, the end of its page", "SELECT id", primary).await;
    let _ =
        store.delete(&session.key, session_core::Claim::Generation(0)).await.expect("an answer");
    finds("delete", "DELETE", primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_postgres_statement_uses_an_index() {
    finds_rows_by_index(StatementLog::postgres().await, "sessions_pkey", |plan| {
        plan.contains("Seq Scan")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mariadb_statement_uses_an_index() {
    finds_rows_by_index(StatementLog::mariadb().await, "PRIMARY", |plan| {
        plan.lines().any(|cell| cell == "ALL")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_sqlite_purge_uses_an_index() {
    let Some(database) = AnySql::sqlite().await else { return };
    let store = connect(&database.url(PATIENT)).await;
    fill(&database).await;
    // SQLite logs no statements. So these statements have the conditions and the order of the
    // store's statements.
    for (statement, index) in [
        (
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= 5 ORDER \
             BY expires LIMIT 10)",
            "sessions_expires",
        ),
        (
            "SELECT id FROM sessions WHERE principal = x'00' AND id > x'00' AND expires > 5 ORDER \
             BY id LIMIT 10",
            "sessions_principal",
        ),
        ("DELETE FROM sessions WHERE id > x'00' AND id <= x'01'", "sqlite_autoindex_sessions_1"),
    ] {
        let rows = database.ask(&format!("EXPLAIN QUERY PLAN {statement}")).await.expect("a plan");
        let found = rows.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n");
        assert!(found.contains(index) && !found.contains("TEMP B-TREE"), "{statement}: {found}");
    }
    assert_eq!(store.delete_expired(100).await.expect("a purge"), EXPIRED as u64);
}
