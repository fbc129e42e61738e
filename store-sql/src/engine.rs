//! The database behind a store: which one, and how a statement gets there.

use std::time::Duration;

use sqlx::AssertSqlSafe;

#[cfg(feature = "sqlite")]
use crate::queue::Queue;
use crate::{
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

/// The driver's query of a statement; a macro, because the three databases' types have no more in
/// common than this text.
macro_rules! query {
    ($statement:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe(std::sync::Arc::clone(&$statement.text)));
        for arg in &$statement.args {
            query = match arg {
                Arg::Integer(number) => query.bind(*number),
                Arg::Bytes(bytes) => query.bind(bytes.as_deref()),
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

/// Executes statements that change the schema. A connection on which they were not executed to
/// their end is closed, because a transaction may be open on it.
macro_rules! create {
    ($pool:expr, $statements:expr) => {
        with!($pool, |connection| async {
            connection.close_unless_done();
            sqlx::raw_sql($statements).execute(&mut *connection).await.map(drop)
        })
    };
}

/// What a change did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many rows it affected.
    pub(crate) affected: u64,
    /// Whether it said `LAST_INSERT_ID(1)`: an insert of MySQL found a live row.
    pub(crate) is_marked: bool,
    /// The rows that it returned, or that its answer read.
    pub(crate) rows: Vec<Row>,
}

impl Engine {
    /// Over connections of its own: at most `most` for each runtime.
    pub(crate) fn own(driver: &Driver, most: usize, wait: Duration) -> Self {
        match driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => Self::Postgres(Pool::own((**options).clone(), most, wait)),
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => Self::MySql(Pool::own((**options).clone(), most, wait)),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(options) => Self::Sqlite {
                queue: Queue::of(options.get_filename(), wait / 2),
                pool: Pool::own((**options).clone(), most, wait),
            },
        }
    }

    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "only the writers of SQLite line up")
    )]
    pub(crate) fn given(pool: ApplicationPool, wait: Duration) -> Self {
        match pool {
            #[cfg(feature = "postgres")]
            ApplicationPool::Postgres(pool) => Self::Postgres(Pool::Given(pool)),
            #[cfg(feature = "mysql")]
            ApplicationPool::MySql(pool) => Self::MySql(Pool::Given(pool)),
            #[cfg(feature = "sqlite")]
            ApplicationPool::Sqlite(pool) => Self::Sqlite {
                queue: Queue::of_given(pool.connect_options().get_filename(), wait / 2),
                pool: Pool::Given(pool),
            },
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

    /// The rows that a statement returns.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        // All of them, because an error may follow the rows.
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

    /// Executes a change. Where a change returns no rows, `answer` reads them over the same
    /// connection if the change affected any.
    #[cfg_attr(
        not(feature = "mysql"),
        expect(unused_variables, reason = "only MySQL returns no rows")
    )]
    pub(crate) async fn write(
        &self,
        change: &Statement,
        answer: Option<&Statement>,
    ) -> Result<Written, ClientError> {
        #[cfg(feature = "sqlite")]
        let _turn = self.turn().await?;
        match self {
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => with!(pool, |connection| async {
                let result = query!(change).execute(&mut *connection).await?;
                let affected = result.rows_affected();
                let rows = match answer.filter(|_| affected > 0) {
                    Some(answer) => query!(answer).fetch_all(&mut *connection).await?,
                    None => Vec::new(),
                };
                Ok(Written {
                    affected,
                    is_marked: result.last_insert_id() == 1,
                    rows: rows.into_iter().map(Row::MySql).collect(),
                })
            }),
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            #[allow(unreachable_patterns, reason = "a build may have one database alone")]
            _ => {
                let rows = self.rows(change).await?;
                Ok(Written { affected: rows.len() as u64, is_marked: false, rows })
            }
        }
    }

    /// Executes the statements that create the table, each with its own text.
    pub(crate) async fn create(&self, statements: String) -> Result<(), ClientError> {
        #[cfg(feature = "sqlite")]
        let _turn = self.turn().await?;
        let statements = AssertSqlSafe(statements);
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => create!(pool, statements),
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => create!(pool, statements),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, .. } => create!(pool, statements),
        }
    }

    /// The turn of a writer to a file of SQLite.
    #[cfg(feature = "sqlite")]
    #[allow(
        irrefutable_let_patterns,
        reason = "in a build with SQLite alone the pattern always matches"
    )]
    async fn turn(&self) -> Result<Option<crate::queue::Turn>, ClientError> {
        if let Self::Sqlite { queue, .. } = self { queue.turn().await } else { Ok(None) }
    }
}
