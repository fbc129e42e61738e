//! Helpers of the tests: stores, direct connections that hold locks, and waits for blocked
//! statements.

use std::{fmt, future::poll_fn, pin::pin, task::Poll, time::Duration};

use session_core::{Json, Record, SessionStore, SessionSummary, StoreError};
use sqlx::{
    AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, SqliteConnection, raw_sql,
    sqlite::SqliteConnectOptions,
};
use store_sql::{Config, SqlStore};
use tests::{
    PATIENCE,
    service::AnySql,
    session::{Session, loaded, principal},
    wait,
};

/// The setting for tests that do not test the deadline: the machine may be busy.
pub(crate) const PATIENT: &str = "deadline_ms=20000";

/// The time beyond a deadline that a busy machine needs.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// Connects a store.
pub(crate) async fn connect(url: &str) -> SqlStore {
    SqlStore::connect(&Config::new(url).expect("a URL")).await.expect("a database to connect to")
}

/// A connection of the test, with the rights of the URL's user. A drop undoes an open transaction.
pub(crate) enum DirectConnection {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl DirectConnection {
    pub(crate) async fn open(url: &str) -> Self {
        let opened = match url.split_once(':') {
            Some(("postgres", _)) => PgConnection::connect(url).await.map(Self::Postgres),
            Some(("mysql", _)) => MySqlConnection::connect(url).await.map(Self::MariaDb),
            Some(("sqlite", path)) => {
                // These tests do not test how long this connection waits.
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .busy_timeout(PATIENCE);
                SqliteConnection::connect_with(&options).await.map(Self::Sqlite)
            }
            _ => panic!("not the URL of a database"),
        };
        opened.expect("the database accepts the connection")
    }

    /// Executes statements.
    pub(crate) async fn run(&mut self, statements: &str) {
        self.try_run(statements).await.expect("the database executes the statements");
    }

    pub(crate) async fn try_run(&mut self, statements: &str) -> sqlx::Result<()> {
        let statements = raw_sql(AssertSqlSafe(statements));
        match self {
            Self::Postgres(connection) => connection.execute(statements).await.map(drop),
            Self::MariaDb(connection) => connection.execute(statements).await.map(drop),
            Self::Sqlite(connection) => connection.execute(statements).await.map(drop),
        }
    }
}

impl fmt::Debug for DirectConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectConnection")
    }
}

/// The record of a live session.
pub(crate) async fn record(store: &SqlStore, session: &Session) -> Record {
    loaded(store, &session.key).await
}

/// The sessions of a user. They must fit into one page.
pub(crate) async fn listed(
    store: &SqlStore,
    user: &str,
) -> Result<Vec<SessionSummary>, StoreError> {
    let page = store.list(&principal(user), None, 100).await?;
    assert!(page.next.is_none(), "the sessions fit into one page");
    Ok(page.sessions)
}

/// The value `n` of a session, which the tests add to.
pub(crate) async fn counter(store: &SqlStore, session: &Session) -> i64 {
    record(store, session).await.data.get("n").and_then(Json::as_integer).unwrap_or(0)
}

/// The value of an answer that has one row with one number.
pub(crate) async fn number(sql: &AnySql, statement: &str) -> i64 {
    let rows = sql.ask(statement).await.expect("the server answers");
    rows[0][0].as_deref().expect("a value").parse().expect("a number")
}

/// Polls a call at most `polls` times. `None` if it has not completed by then, which cancels it. A
/// number of polls does not depend on the speed of the machine.
pub(crate) async fn within_polls<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let (mut call, mut left) = (pin!(call), polls);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Waits until `count` statements wait for a row lock.
pub(crate) async fn wait_for_blocked(sql: &AnySql, count: i64) {
    let statement = match sql {
        AnySql::Postgres(_) => {
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        }
        // `innodb_trx` is a cached copy, which MariaDB does not renew while a client keeps reading
        // it.
        _ => {
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = \
             'INNODB_ROW_LOCK_CURRENT_WAITS'"
        }
    };
    wait::until("statements to wait for a lock", PATIENCE, async || {
        (number(sql, statement).await >= count).then_some(())
    })
    .await;
}

/// Declares a test for each check on the test's own server of both products.
macro_rules! for_each_server {
    ($($check:ident),+ $(,)?) => {
        on_database!(
            postgres = tests::service::AnySql::own_postgres(tests::service::Durability::Full),
            $($check),+
        );
        on_database!(
            mariadb = tests::service::AnySql::own_mariadb(tests::service::Durability::Full),
            $($check),+
        );
    };
}

/// Declares a test for each check on both servers and on SQLite.
macro_rules! for_each_database {
    ($($check:ident),+ $(,)?) => {
        crate::locks::for_each_server!($($check),+);
        on_database!(sqlite, $($check),+);
    };
}

pub(crate) use {for_each_database, for_each_server};
