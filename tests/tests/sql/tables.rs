//! The creation of the table: by many processes at once, by an operator, and refused if another
//! table has the name.

use std::sync::{Arc, Barrier};

use session_core::{Claim, Created, Deleted, SessionStore};
use sqlx::query_scalar;
use store_sql::{Config, Dialect, SqlStore};
use tests::{
    Demo, PATIENCE,
    service::{AnySql, PASSWORD, Postgres},
    session::{Session, is_done, principal, with},
    wait, with_sources,
};
use tokio::time::timeout;

use crate::locks::{DirectConnection, GRACE, PATIENT, connect, for_each_database, listed, number};

/// The number of threads that open the store at once, each with its own runtime.
const THREADS: usize = 8;

for_each_database!(
    c44_many_processes_create_the_table_at_once,
    table_of_the_first_version_is_refused_unchanged,
    missing_table_error_names_sql_that_works,
    table_of_another_program_is_refused_unchanged,
    every_table_has_a_primary_key,
);

fn dialect(sql: &AnySql) -> Dialect {
    match sql {
        AnySql::Postgres(_) => Dialect::Postgres,
        AnySql::MariaDb(_) => Dialect::MySql,
        AnySql::Sqlite(_) => Dialect::Sqlite,
    }
}

/// Makes each call once.
pub(crate) async fn works(store: &SqlStore) {
    let other = Session::anonymous(store).await;
    assert_eq!(store.delete(&other.key, Claim::Any).await.expect("an answer"), Deleted::Ended);
    let session = Session::signed_in(store, "bob").await;
    assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    assert!(is_done(&store.commit(&session.key, session.renew(&session.rotated())).await));
    assert!(store.load(&session.key).await.expect("an answer").is_some());
    assert_eq!(listed(store, "bob").await.expect("a list").len(), 1);
    let _ = store.scan(None, 10).await.expect("a page");
    let _ = store.delete_expired(10).await.expect("a purge");
    assert_eq!(store.delete_all(&principal("bob"), None).await.expect("delete_all succeeds"), 1);
    assert_eq!(store.delete_everyone(None, 10).await.expect("a page").ended, 0);
    store.ping().await.expect("an answer");
}

/// The error when a store with this URL is opened.
async fn refusal(url: &str) -> String {
    let refused = SqlStore::connect(&Config::new(url).expect("a URL")).await;
    with_sources(&refused.err().unwrap_or_else(|| panic!("the tables of {url} cannot be used")))
}

/// Opens a store with this URL in many runtimes at the same time, and uses it.
async fn open_at_once(url: &str) {
    let together = Arc::new(Barrier::new(THREADS));
    let opened = (0..THREADS).map(|_| {
        let (url, together) = (url.to_owned(), Arc::clone(&together));
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let store = SqlStore::new(&Config::new(&url).expect("a URL")).expect("settings");
                together.wait();
                let session = Session::new();
                let created = store.create(&session.key, session.record()).await;
                assert_eq!(created.map_err(|error| with_sources(&error)), Ok(Created::New));
            });
        })
    });
    for ended in futures_util::future::join_all(opened).await {
        ended.expect("each thread creates or finds the table");
    }
}

async fn c44_many_processes_create_the_table_at_once(sql: AnySql) {
    let url = sql.url("");
    let flags = ["--store", "sql", "--workers", "4", "--store-url", &url];
    let patient = with(&url, PATIENT);
    let (one, other, ()) =
        tokio::join!(Demo::start(&flags), Demo::start(&flags), open_at_once(&patient));
    for demo in [&one, &other] {
        demo.ready().await;
        let output = demo.output();
        assert!(!output.contains("WARN") && !output.contains("ERROR"), "{output}");
    }
    let browser = one.signed_in("bob").await;
    assert_eq!(browser.at(other.address).page().await.principal.as_deref(), Some("bob"));
    for n in 0..8 {
        open_at_once(&sql.url(&format!("table=t{n}&{PATIENT}"))).await;
    }
}

/// Such a transaction does not see later transactions. It must still see that the table was created
/// while it waited for the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c44_table_creation_works_at_every_isolation_level() {
    for level in ["serializable", "repeatable read"] {
        let flag = format!("default_transaction_isolation={level}");
        let Some(postgres) = Postgres::start_with(&["-c", &flag]).await else { return };
        for n in 0..8 {
            open_at_once(&with(&postgres.url(), &format!("table=t{n}&{PATIENT}"))).await;
        }
    }
}

/// The SQL of the first version's table, and of the table with its version number.
fn first_version(sql: &AnySql) -> &'static str {
    match sql {
        AnySql::Postgres(_) => {
            "CREATE TABLE sessions (id BYTEA NOT NULL PRIMARY KEY, data JSONB NOT NULL, version \
             BIGINT NOT NULL, created BIGINT NOT NULL, \
             expires BIGINT NOT NULL, principal BYTEA, lifetime TEXT NOT NULL, format BIGINT NOT \
             NULL); \
             CREATE TABLE sessions_schema (version BIGINT NOT NULL); INSERT INTO sessions_schema \
             VALUES (1); \
             INSERT INTO sessions VALUES ('key', '{}', 1, 1, 9000000000000, NULL, '', 1)"
        }
        AnySql::MariaDb(_) => {
            "CREATE TABLE sessions (id VARBINARY(128) NOT NULL PRIMARY KEY, data MEDIUMTEXT NOT \
             NULL, version BIGINT NOT NULL, \
             created BIGINT NOT NULL, expires BIGINT NOT NULL, principal VARBINARY(256), lifetime \
             VARCHAR(64) NOT NULL, format BIGINT NOT NULL); \
             CREATE TABLE sessions_schema (version BIGINT NOT NULL); INSERT INTO sessions_schema \
             VALUES (1); \
             INSERT INTO sessions VALUES ('key', '{}', 1, 1, 9000000000000, NULL, '', 1)"
        }
        AnySql::Sqlite(_) => {
            "CREATE TABLE sessions (id BLOB NOT NULL PRIMARY KEY, data TEXT NOT NULL, version \
             INTEGER NOT NULL, created INTEGER NOT NULL, \
             expires INTEGER NOT NULL, principal BLOB, lifetime TEXT NOT NULL, format INTEGER NOT \
             NULL) STRICT; \
             CREATE TABLE sessions_schema (version INTEGER NOT NULL); INSERT INTO sessions_schema \
             VALUES (1); \
             INSERT INTO sessions VALUES (x'6b6579', '{}', 1, 1, 9000000000000, NULL, '', 1)"
        }
    }
}

async fn table_of_the_first_version_is_refused_unchanged(sql: AnySql) {
    DirectConnection::open(&sql.url("")).await.run(first_version(&sql)).await;
    refuses_the_table(&sql).await;
    let store = SqlStore::new(&Config::new(&sql.url("")).expect("a URL")).expect("settings");
    let session = Session::new();
    let refused = store
        .create(&session.key, session.record())
        .await
        .expect_err("a table of the first version");
    assert!(
        !refused.is_transient() && with_sources(&refused).contains("first version"),
        "{}",
        with_sources(&refused)
    );
    works(&connect(&sql.url("table=visits")).await).await;
}

/// The error says what to do, and the database does not change.
async fn refuses_the_table(sql: &AnySql) {
    let before = sql.dump().await;
    for settings in ["", "", "migrate=false"] {
        let error = refusal(&sql.url(settings)).await;
        for word in [
            "\"sessions\"",
            "first version",
            "another name with the setting table",
            "drop the table",
        ] {
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
        assert_eq!(sql.dump().await, before);
    }
}

/// Replication and Galera need a primary key.
async fn every_table_has_a_primary_key(sql: AnySql) {
    works(&connect(&sql.url("")).await).await;
    let without = match &sql {
        AnySql::Postgres(_) => {
            "SELECT count(*) FROM pg_class AS t WHERE relkind = 'r' AND relnamespace = \
             'public'::regnamespace AND NOT EXISTS \
             (SELECT FROM pg_index WHERE indrelid = t.oid AND indisprimary)"
        }
        AnySql::MariaDb(_) => {
            "SELECT count(*) FROM information_schema.tables AS t WHERE table_schema = DATABASE() \
             AND NOT EXISTS \
             (SELECT 1 FROM information_schema.table_constraints AS c WHERE c.table_schema = \
             t.table_schema AND c.table_name = t.table_name \
             AND constraint_type = 'PRIMARY KEY')"
        }
        AnySql::Sqlite(_) => {
            "SELECT count(*) FROM sqlite_schema AS t WHERE type = 'table' AND NOT EXISTS (SELECT \
             1 FROM pragma_table_info(t.name) WHERE pk > 0)"
        }
    };
    assert_eq!(number(&sql, without).await, 0);
    sql.ask("CREATE TABLE bare (n int)").await.expect("the server executes it");
    assert_eq!(number(&sql, without).await, 1, "the query finds a table without a primary key");
}

async fn missing_table_error_names_sql_that_works(sql: AnySql) {
    let url = sql.url("table=visits&migrate=false");
    let store = SqlStore::new(&Config::new(&url).expect("a URL")).expect("settings");
    let error = refusal(&url).await;
    for word in ["the table \"visits\" does not exist", "migrate=true", "Dialect::schema"] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
    let _ = store.load(&Session::new().key).await.expect_err("no table");
    assert_eq!(sql.dump().await, "", "the store creates nothing");
    DirectConnection::open(&sql.url("")).await.run(&dialect(&sql).schema("visits")).await;
    works(&store).await;
    works(&connect(&url).await).await;
    // A store that may create the table accepts this one.
    works(&connect(&sql.url("table=visits")).await).await;
}

async fn table_of_another_program_is_refused_unchanged(sql: AnySql) {
    let mut owner = DirectConnection::open(&sql.url("")).await;
    owner
        .run(
            "CREATE TABLE sessions (id int PRIMARY KEY, name varchar(99)); INSERT INTO sessions \
               VALUES (1, 'first')",
        )
        .await;
    refuses_the_table(&sql).await;
    works(&connect(&sql.url("table=visits")).await).await;
}

/// A call that is cancelled during the creation of the table leaves no lock and no open transaction
/// on its connection. So other clients see each change that is acknowledged later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_cancelled_table_creation_leaves_no_transaction() {
    const LOCK: &str = "5317896120045528611";
    let Some(postgres) = Postgres::start().await else { return };
    let sql = AnySql::Postgres(postgres);
    let mut direct = DirectConnection::open(&sql.url("")).await;
    direct.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await;
    let store = SqlStore::new(&Config::new(&sql.url("deadline_ms=8000")).expect("a URL"))
        .expect("settings");
    let session = Session::new();
    timeout(GRACE, store.create(&session.key, session.record()))
        .await
        .expect_err("the call waits for the lock");
    direct.run(&dialect(&sql).schema("sessions")).await;
    direct.run("COMMIT").await;
    // The cancelled statement now holds the lock, or has released it.
    let free = async || {
        let lock = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let rows = sql.ask(lock).await.expect("the server answers");
        (rows[0][0].as_deref() == Some("0")).then_some(())
    };
    wait::until("no statement to wait for the lock", PATIENCE, free).await;
    assert_eq!(
        store.create(&session.key, session.record()).await.map_err(|error| with_sources(&error)),
        Ok(Created::New)
    );
    let other = connect(&sql.url("")).await;
    assert!(
        other.load(&session.key).await.expect("an answer").is_some(),
        "another store sees the acknowledged session"
    );
    let AnySql::Postgres(postgres) = &sql else { return };
    let open: i64 = query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
    )
    .fetch_one(&postgres.pool())
    .await
    .expect("the server answers");
    assert_eq!(open, 0, "a transaction is left open");
}

/// The same with an SQLite file, where an open transaction would block all other writers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_cancelled_table_creation_leaves_no_sqlite_lock() {
    let Some(sql) = AnySql::sqlite().await else { return };
    for n in 0..40 {
        let url = sql.url(&format!("table=t{n}&{PATIENT}"));
        let store = SqlStore::new(&Config::new(&url).expect("a URL")).expect("settings");
        let session = Session::new();
        let limit = std::time::Duration::from_micros(250 * n);
        let cancelled = timeout(limit, store.create(&session.key, session.record())).await.is_err();
        // Connections of another runtime, as another process would have.
        let other = connect(&url).await;
        let key = session.key.clone();
        let is_stored = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let another = Session::new();
                let _ = other
                    .create(&another.key, another.record())
                    .await
                    .expect("the file is not locked");
                other.load(&key).await.expect("an answer").is_some()
            })
        });
        assert!(is_stored.await.expect("no panic") || cancelled);
        let commit = store.commit(&session.key, session.commit()).await;
        assert!(commit.is_ok(), "{commit:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_without_create_right_uses_an_existing_table() {
    for sql in [
        AnySql::own_postgres(tests::service::Durability::Full).await,
        AnySql::own_mariadb(tests::service::Durability::Full).await,
    ] {
        let Some(sql) = sql else { continue };
        let url = sql.url("");
        let visitor = url.replace(&format!("app:{PASSWORD}"), "visitor:fantasy");
        let make = match sql {
            AnySql::Postgres(_) => {
                "CREATE ROLE visitor LOGIN PASSWORD 'fantasy'; REVOKE CREATE ON SCHEMA public \
                 FROM PUBLIC"
            }
            _ => {
                "CREATE USER visitor@'%' IDENTIFIED BY 'fantasy'; CREATE TABLE other (id int); \
                 GRANT SELECT ON other TO visitor@'%'"
            }
        };
        sql.ask(make).await.expect("the administrator creates a user");
        let error = refusal(&visitor).await;
        assert!(error.contains("lacks a right") && !error.contains("fantasy"), "{error}");
        works(&connect(&url).await).await;
        let whom = if matches!(sql, AnySql::Postgres(_)) { "visitor" } else { "visitor@'%'" };
        sql.ask(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO {whom}"))
            .await
            .expect("the server answers");
        for settings in [PATIENT, "migrate=false"] {
            works(&connect(&with(&visitor, settings)).await).await;
        }
    }
}
