//! Stores of sessions in SQL databases, and the locks that tests take in their way.

use std::{error::Error, fmt, future::poll_fn, pin::pin, task::Poll, time::Duration};

use session_core::{Json, Record, SessionStore, SessionSummary, StoreError};
use sqlx::{
    AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, SqliteConnection, raw_sql,
    sqlite::SqliteConnectOptions,
};
use store_sql::{Config, SqlStore};
use tests::{
    PATIENCE,
    service::AnySql,
    session::{Session, principal},
    wait,
};

/// The setting of stores whose deadline is no matter of the test's: others may keep the machine
/// busy.
pub(crate) const PATIENT: &str = "deadline_ms=20000";

/// What a busy machine needs beyond a deadline.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A store with these settings that is connected.
pub(crate) async fn connect(url: &str) -> SqlStore {
    SqlStore::connect(&Config::new(url).expect("a URL")).await.expect("a database to connect to")
}

/// An error and all that is behind it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        said = format!("{said}: {source}");
        next = source.source();
    }
    said
}

/// A connection of the test's own, with the rights that the URL's user has. Whatever it began is
/// undone when it is dropped.
pub(crate) enum Own {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Own {
    pub(crate) async fn open(url: &str) -> Self {
        let opened = match url.split_once(':') {
            Some(("postgres", _)) => PgConnection::connect(url).await.map(Self::Postgres),
            Some(("mysql", _)) => MySqlConnection::connect(url).await.map(Self::MariaDb),
            Some(("sqlite", path)) => {
                // What it waits for others is no matter of these tests.
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .busy_timeout(PATIENCE);
                SqliteConnection::connect_with(&options).await.map(Self::Sqlite)
            }
            _ => panic!("no URL of a database"),
        };
        opened.expect("it answers")
    }

    /// Executes some statements.
    pub(crate) async fn run(&mut self, statements: &str) {
        self.try_run(statements).await.expect("it executes this");
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

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

/// A session's record, as administration reads it.
pub(crate) async fn record(store: &SqlStore, session: &Session) -> Record {
    store.load(&session.key).await.expect("an answer").expect("it lives").into_record()
}

/// The sessions of a user, as one page.
pub(crate) async fn listed(
    store: &SqlStore,
    user: &str,
) -> Result<Vec<SessionSummary>, StoreError> {
    let page = store.list(&principal(user), None, 100).await?;
    assert!(page.next.is_none(), "tests that list have few sessions");
    Ok(page.sessions)
}

/// What the sessions of these tests count in.
pub(crate) async fn sum(store: &SqlStore, session: &Session) -> i64 {
    record(store, session).await.data.get("n").and_then(Json::as_integer).unwrap_or(0)
}

/// The only value of an answer.
pub(crate) async fn number(sql: &AnySql, statement: &str) -> i64 {
    let rows = sql.ask(statement).await.expect("it answers");
    rows[0][0].as_deref().expect("a value").parse().expect("a number")
}

/// What a call says; `None` if it is given up because it was looked at so often and had not ended.
/// No machine is too fast or too slow for that.
pub(crate) async fn within<T>(looks: u32, call: impl Future<Output = T>) -> Option<T> {
    let (mut call, mut left) = (pin!(call), looks);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(said) => Poll::Ready(Some(said)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Waits until so many statements wait for a lock of a row.
pub(crate) async fn waiting(sql: &AnySql, count: i64) {
    let statement = match sql {
        AnySql::Postgres(_) => {
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        }
        // Its view of the transactions is a copy that is not renewed while somebody keeps asking
        // for it.
        _ => {
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
        }
    };
    wait::until("statements to wait for a lock", PATIENCE, async || {
        (number(sql, statement).await >= count).then_some(())
    })
    .await;
}

/// Tests that are the same for both servers.
macro_rules! for_each_server {
    ($($check:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(sql) = tests::service::AnySql::own_postgres(tests::service::Durability::Full).await else { return };
                super::$check(sql).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(sql) = tests::service::AnySql::own_mariadb(tests::service::Durability::Full).await else { return };
                super::$check(sql).await;
            })+
        }
    };
}

/// The same, and for SQLite.
macro_rules! for_each_database {
    ($($check:ident),+ $(,)?) => {
        crate::hands::for_each_server!($($check),+);
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some(sql) = tests::service::AnySql::sqlite().await else { return };
                super::$check(sql).await;
            })+
        }
    };
}

pub(crate) use {for_each_database, for_each_server};
