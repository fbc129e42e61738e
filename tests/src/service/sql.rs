//! The answers of SQL servers, as text.

use std::{io, time::Duration};

use futures_util::FutureExt;
use sqlx::{
    AssertSqlSafe, Column, ColumnIndex, MySqlConnection, PgConnection, Row, SqliteConnection,
    ValueRef, postgres::PgRow, raw_sql,
};
use tokio::time::timeout;

/// How long a question to a server may take, so that a test does not wait for a frozen one.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// How long a server may take to make a user and a database. It writes to its disk for that, which
/// others may keep busy.
pub(super) const MAKE_WITHIN: Duration = Duration::from_secs(20);

/// The user who may do everything on a server.
pub(super) const ROOT: &str = "rig";

/// The user who may do everything in the database of the test.
pub(super) const USER: &str = "app";

/// The rows of some statements.
#[derive(Debug, Default)]
pub(super) struct Answer {
    columns: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// The first value of the first row; empty if there is none.
    pub(super) fn only(self) -> String {
        self.first_column().into_iter().next().unwrap_or_default()
    }

    /// The first value of each row.
    pub(super) fn first_column(self) -> Vec<String> {
        self.rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    /// One line for each row of a table, sorted. Bytes that would end a line are replaced.
    pub(super) fn lines(&self, table: &str) -> String {
        let value = |value: &Option<String>| {
            value.as_deref().unwrap_or("NULL").replace(char::is_control, "\u{fffd}")
        };
        let line = |row: &Vec<_>| {
            let values =
                self.columns.iter().zip(row).map(|(column, of)| format!(" {column}={}", value(of)));
            format!("{table}:{}\n", values.collect::<String>())
        };
        let mut lines: Vec<_> = self.rows.iter().map(line).collect();
        lines.sort();
        lines.concat()
    }
}

/// All rows of all tables, which `ask` reads. `names` is the statement that gives the quoted names
/// of the tables.
pub(super) async fn dump(
    names: &str,
    ask: impl AsyncFn(&str) -> sqlx::Result<Answer>,
) -> sqlx::Result<String> {
    let mut dumped = String::new();
    for table in ask(names).await?.first_column() {
        dumped += &ask(&format!("SELECT * FROM {table}")).await?.lines(&table);
    }
    Ok(dumped)
}

/// The result of this, or an error after the limit.
pub(super) async fn within<T>(
    limit: Duration,
    looking: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let late = || {
        sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        ))
    };
    // On the heap, because the future of a driver is large.
    timeout(limit, looking.boxed_local()).await.unwrap_or_else(|_| Err(late()))
}

/// The answer of PostgreSQL to some statements, which come without parameters and are answered in
/// text.
pub(super) async fn postgres(
    connection: &mut PgConnection,
    statements: &str,
) -> sqlx::Result<Answer> {
    let text = |row: &PgRow, at| {
        let value = row.try_get_raw(at)?;
        let bytes = if value.is_null() {
            None
        } else {
            Some(value.as_bytes().map_err(sqlx::Error::Decode)?.to_vec())
        };
        Ok(bytes)
    };
    answer(&raw_sql(AssertSqlSafe(statements)).fetch_all(connection).await?, text)
}

/// The answer of MariaDB to some statements.
pub(super) async fn mariadb(
    connection: &mut MySqlConnection,
    statements: &str,
) -> sqlx::Result<Answer> {
    answer(&raw_sql(AssertSqlSafe(statements)).fetch_all(connection).await?, |row, at| {
        row.try_get_unchecked(at)
    })
}

/// The answer of SQLite to some statements.
pub(super) async fn sqlite(
    connection: &mut SqliteConnection,
    statements: &str,
) -> sqlx::Result<Answer> {
    answer(&raw_sql(AssertSqlSafe(statements)).fetch_all(connection).await?, |row, at| {
        row.try_get_unchecked(at)
    })
}

/// Rows as text; `bytes` are those of one value's text.
fn answer<R: Row>(
    rows: &[R],
    bytes: impl Fn(&R, usize) -> sqlx::Result<Option<Vec<u8>>>,
) -> sqlx::Result<Answer>
where
    usize: ColumnIndex<R>,
{
    let columns = rows
        .first()
        .map(|row| row.columns().iter().map(|column| column.name().to_owned()).collect())
        .unwrap_or_default();
    let text =
        |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let texts = |row: &R| (0..row.len()).map(|at| bytes(row, at).map(text)).collect();
    Ok(Answer { columns, rows: rows.iter().map(texts).collect::<sqlx::Result<_>>()? })
}
