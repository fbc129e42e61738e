//! The database behind a store: which one, and how a statement gets there.

use std::time::Duration;

use sqlx::AssertSqlSafe;

#[cfg(feature = "sqlite")]
use crate::queue::Queue;
use crate::{
    commit::Statements,
    dialect::Dialect,
    error::ClientError,
    pool::Pool,
    row::Row,
    statement::{Arg, Statement},
    url::Driver,
};

/// The database behind a store.
pub(crate) enum Engine {
    #[cfg(feature = "postgres")]
    Postgres(Pool<sqlx::Postgres>),
    #[cfg(feature = "mysql")]
    MySql(Pool<sqlx::MySql>),
    #[cfg(feature = "sqlite")]
    Sqlite { pool: Pool<sqlx::Sqlite>, queue: Queue },
}

/// A pool of connections that an application has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ApplicationPool {
    /// To PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    /// To MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    MySql(sqlx::MySqlPool),
    /// To a file of SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

#[cfg(feature = "postgres")]
impl From<sqlx::PgPool> for ApplicationPool {
    fn from(pool: sqlx::PgPool) -> Self {
        Self::Postgres(pool)
    }
}

#[cfg(feature = "mysql")]
impl From<sqlx::MySqlPool> for ApplicationPool {
    fn from(pool: sqlx::MySqlPool) -> Self {
        Self::MySql(pool)
    }
}

#[cfg(feature = "sqlite")]
impl From<sqlx::SqlitePool> for ApplicationPool {
    fn from(pool: sqlx::SqlitePool) -> Self {
        Self::Sqlite(pool)
    }
}

/// The driver's query of a statement; a macro, because the three databases' types have no more in common than this text.
macro_rules! query {
    ($statement:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe(std::sync::Arc::clone(&$statement.text)));
        for arg in &$statement.args {
            query = match arg {
                Arg::Integer(number) => query.bind(*number),
                Arg::Bytes(bytes) => query.bind(&**bytes),
                Arg::NoBytes => query.bind(None::<&[u8]>),
                Arg::Text(text) => query.bind(&**text),
            };
        }
        query
    }};
}

/// Does something with a connection of a pool and gives it back.
macro_rules! with {
    ($pool:expr, |$connection:ident| $work:expr) => {{
        let mut $connection = $pool.take().await?;
        match $work.await {
            Ok(done) => {
                $connection.give_back();
                Ok(done)
            }
            Err(error) => {
                let is_answer = matches!(error, sqlx::Error::Database(_));
                let error = ClientError::from(error);
                $connection.give_back_after(is_answer && !error.ends_connection());
                Err(error)
            }
        }
    }};
}

pub(crate) use with;

impl Engine {
    /// Over connections of its own: at most `most` for each runtime.
    pub(crate) fn own(driver: &Driver, most: usize, wait: Duration) -> Self {
        match driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => Self::Postgres(Pool::own((**options).clone(), most, wait)),
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => Self::MySql(Pool::own((**options).clone(), most, wait)),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(options) => {
                Self::Sqlite { queue: Queue::of(options.get_filename(), wait / 2), pool: Pool::own((**options).clone(), most, wait) }
            }
        }
    }

    #[cfg_attr(not(feature = "sqlite"), expect(unused_variables, reason = "only the writers of SQLite line up"))]
    pub(crate) fn given(pool: ApplicationPool, wait: Duration) -> Self {
        match pool {
            #[cfg(feature = "postgres")]
            ApplicationPool::Postgres(pool) => Self::Postgres(Pool::Given(pool)),
            #[cfg(feature = "mysql")]
            ApplicationPool::MySql(pool) => Self::MySql(Pool::Given(pool)),
            #[cfg(feature = "sqlite")]
            ApplicationPool::Sqlite(pool) => {
                Self::Sqlite { queue: Queue::of_given(pool.connect_options().get_filename(), wait / 2), pool: Pool::Given(pool) }
            }
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => Dialect::MySql,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => Dialect::Sqlite,
        }
    }

    /// The rows that a statement reads.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        // To the statement's end: what comes after the rows may still be an error.
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::Postgres).collect())
            }
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => {
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::MySql).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, .. } => {
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    /// How many rows a statement changes.
    pub(crate) async fn change(&self, statement: &Statement) -> Result<u64, ClientError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => Ok(with!(pool, |connection| query!(statement).execute(&mut *connection))?.rows_affected()),
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => Ok(with!(pool, |connection| query!(statement).execute(&mut *connection))?.rows_affected()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, queue } => {
                let _turn = queue.turn().await?;
                Ok(with!(pool, |connection| query!(statement).execute(&mut *connection))?.rows_affected())
            }
        }
    }

    /// How many of the rows that a statement deletes were alive.
    pub(crate) async fn delete_living(&self, statement: &Statement) -> Result<u64, ClientError> {
        if !self.dialect().decides_by_old_rows() {
            return self.change(statement).await;
        }
        self.rows(statement).await?.iter().map(|row| row.integer(0)).map(|alive| Ok(u64::from(alive? == 1))).sum()
    }

    /// Changes one row, and reads what was made of it; `None` if none was changed.
    pub(crate) async fn commit(&self, statements: &Statements) -> Result<Option<Row>, ClientError> {
        let change = &statements.change;
        match self {
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => {
                let Some(answer) = &statements.answer else { return Err(ClientError::Answer("a change has an answer")) };
                let row = with!(pool, |connection| async {
                    if query!(change).execute(&mut *connection).await?.rows_affected() == 0 {
                        return Ok(None);
                    }
                    query!(answer).fetch_one(&mut *connection).await.map(Some)
                });
                Ok(row?.map(Row::MySql))
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite { queue, .. } => {
                let _turn = queue.turn().await?;
                Ok(self.rows(change).await?.pop())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Ok(self.rows(change).await?.pop()),
        }
    }
}
