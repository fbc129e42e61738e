//! The database behind a store: its dialect, its connections, and how a statement is executed.

use sqlx::AssertSqlSafe;
#[cfg(feature = "postgres")]
use sqlx::Connection;

use super::{
    connector::{ConnectOver, Connector, Options},
    pool::{AfterError, Pool},
};
#[cfg(feature = "sqlite")]
use super::{
    database_file::{DatabaseFile, FileState},
    writer_lock::{WriterGuard, WriterLock},
};
#[cfg(feature = "postgres")]
use crate::url::Preparation;
use crate::{
    codec::Row,
    config::Config,
    dialect::{Arg, Dialect, Sql, Statement},
    error::{ClientError, ConfigError},
    url::Driver,
};

/// The database behind a store.
pub(crate) struct Database {
    dialect: Dialect,
    pool: DriverPool,
}

/// The connections of one of the drivers.
enum DriverPool {
    #[cfg(feature = "postgres")]
    Postgres { pool: Pool<sqlx::Postgres>, preparation: Preparation },
    #[cfg(feature = "mysql")]
    MySql(Pool<sqlx::MySql>),
    #[cfg(feature = "sqlite")]
    /// `file` is `None` for a database in memory that the application opened.
    Sqlite { pool: Pool<sqlx::Sqlite>, writer_lock: WriterLock, file: Option<DatabaseFile> },
}

/// A connection pool that the application owns.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ApplicationPool {
    /// Connections to PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    /// Connections to MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    MySql(sqlx::MySqlPool),
    /// Connections to an SQLite file.
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

/// The driver's query for a statement. A macro, because the types of the three drivers have no
/// common trait for it.
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

/// Takes a connection, runs `$work` on it and releases it.
macro_rules! with {
    ($pool:expr, |$connection:ident| $work:expr) => {{
        let mut $connection = $pool.acquire().await?;
        match $work.await {
            Ok(done) => {
                $connection.release();
                Ok(done)
            }
            Err(error) => {
                let is_answer = matches!(error, sqlx::Error::Database(_));
                let error = ClientError::from(error);
                $connection.release_after_error(if is_answer && !error.ends_connection() {
                    AfterError::Usable
                } else {
                    AfterError::Broken
                });
                Err(error)
            }
        }
    }};
}

/// Executes statements that change the schema. If they are not executed completely, the connection
/// is closed, because a transaction may be open on it.
macro_rules! create {
    ($pool:expr, $statements:expr) => {
        with!($pool, |connection| async {
            connection.close_unless_released();
            sqlx::raw_sql($statements).execute(&mut *connection).await.map(drop)
        })
    };
}

/// The result of a change.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The number of affected rows.
    pub(crate) affected: u64,
    /// Whether the statement executed `LAST_INSERT_ID(1)`: an insert on MySQL found a live row.
    pub(crate) is_marked: bool,
    /// The rows that the change returned, or that the second statement read.
    pub(crate) rows: Vec<Row>,
}

impl Database {
    /// A database with its own connections.
    pub(crate) fn own(config: &Config) -> Self {
        let pool = match &config.driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(options) => DriverPool::Postgres {
                pool: own_pool((**options).clone(), config),
                preparation: config.preparation,
            },
            #[cfg(feature = "mysql")]
            Driver::MySql(options) => DriverPool::MySql(own_pool((**options).clone(), config)),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(options) => DriverPool::Sqlite {
                file: Some(DatabaseFile::new(options.get_filename())),
                writer_lock: WriterLock::new(options.get_filename(), config.wait() / 2),
                pool: own_pool((**options).clone(), config),
            },
        };
        Self { dialect: config.dialect, pool }
    }

    /// A database over the application's connections.
    ///
    /// # Errors
    /// [`ConfigError::OtherPool`] if the pool does not belong to the driver of the URL.
    pub(crate) fn over(pool: ApplicationPool, config: &Config) -> Result<Self, ConfigError> {
        let pool = match (pool, &config.driver) {
            #[cfg(feature = "postgres")]
            (ApplicationPool::Postgres(pool), Driver::Postgres(_)) => {
                let preparation = config.preparation;
                DriverPool::Postgres { pool: Pool::Application(pool), preparation }
            }
            #[cfg(feature = "mysql")]
            (ApplicationPool::MySql(pool), Driver::MySql(_)) => {
                DriverPool::MySql(Pool::Application(pool))
            }
            #[cfg(feature = "sqlite")]
            (ApplicationPool::Sqlite(pool), Driver::Sqlite(_)) => {
                let options = pool.connect_options();
                let writer_lock =
                    WriterLock::of_application(options.get_filename(), config.wait() / 2);
                let file = writer_lock.path().map(DatabaseFile::new);
                DriverPool::Sqlite { file, writer_lock, pool: Pool::Application(pool) }
            }
            #[allow(unreachable_patterns, reason = "a build may contain one database only")]
            _ => return Err(ConfigError::OtherPool),
        };
        Ok(Self { dialect: config.dialect, pool })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The differences of the dialect.
    pub(crate) fn sql(&self) -> &'static Sql {
        self.dialect.sql()
    }

    /// Opens the lock file of an SQLite database, and creates the database's file if it is missing
    /// and the store opens the connections.
    pub(crate) async fn open_file(&self) -> Result<(), ClientError> {
        match &self.pool {
            #[cfg(feature = "sqlite")]
            DriverPool::Sqlite { writer_lock, .. } => writer_lock.open().await,
            #[allow(unreachable_patterns, reason = "a build may contain one database only")]
            _ => Ok(()),
        }
    }

    /// Checks that connections to MySQL commit each change. The store's own connections do.
    pub(crate) async fn check_session(&self) -> Result<(), ClientError> {
        #[cfg(feature = "mysql")]
        if self.dialect == Dialect::MySql {
            let statement = Statement::new(&"SELECT CAST(@@autocommit AS SIGNED)".into(), []);
            let commits = self.rows(&statement).await?.first().map(|row| row.integer(0));
            return if commits.transpose()? == Some(0) {
                Err(ClientError::NoAutocommit)
            } else {
                Ok(())
            };
        }
        Ok(())
    }

    /// The rows that a statement returns.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        // `fetch_all` reads the whole answer, because an error can follow the rows.
        match &self.pool {
            #[cfg(feature = "postgres")]
            DriverPool::Postgres { pool, preparation: Preparation::EachCall } => {
                let rows = with!(pool, |connection| prepared_for_call(&mut connection, statement));
                Ok(rows?.into_iter().map(Row::Postgres).collect())
            }
            #[cfg(feature = "postgres")]
            DriverPool::Postgres { pool, .. } => {
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::Postgres).collect())
            }
            #[cfg(feature = "mysql")]
            DriverPool::MySql(pool) => {
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::MySql).collect())
            }
            #[cfg(feature = "sqlite")]
            DriverPool::Sqlite { pool, file, .. } => {
                check_file(file.as_ref(), pool)?;
                let rows = with!(pool, |connection| query!(statement).fetch_all(&mut *connection));
                Ok(rows?.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    /// Executes a change. If changes return no rows in this dialect, `answer` reads them over the
    /// same connection after a change that affected any.
    #[cfg_attr(
        not(feature = "mysql"),
        expect(unused_variables, reason = "only changes on MySQL return no rows")
    )]
    pub(crate) async fn write(
        &self,
        change: &Statement,
        answer: Option<&Statement>,
    ) -> Result<Written, ClientError> {
        #[cfg(feature = "sqlite")]
        let _guard = self.lock_writers().await?;
        match &self.pool {
            #[cfg(feature = "mysql")]
            DriverPool::MySql(pool) => with!(pool, |connection| async {
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
            #[allow(unreachable_patterns, reason = "a build may contain one database only")]
            _ => {
                let rows = self.rows(change).await?;
                Ok(Written { affected: rows.len() as u64, is_marked: false, rows })
            }
        }
    }

    /// Executes the statements that create the table.
    pub(crate) async fn create(&self, statements: String) -> Result<(), ClientError> {
        #[cfg(feature = "sqlite")]
        let _guard = self.lock_writers().await?;
        let statements = AssertSqlSafe(statements);
        match &self.pool {
            #[cfg(feature = "postgres")]
            DriverPool::Postgres { pool, .. } => create!(pool, statements),
            #[cfg(feature = "mysql")]
            DriverPool::MySql(pool) => create!(pool, statements),
            #[cfg(feature = "sqlite")]
            DriverPool::Sqlite { pool, file, .. } => {
                check_file(file.as_ref(), pool)?;
                create!(pool, statements)
            }
        }
    }

    /// Waits for the lock of the writers to an SQLite file. `None` for other databases, and after a
    /// wait that timed out.
    #[cfg(feature = "sqlite")]
    #[allow(
        irrefutable_let_patterns,
        reason = "in a build with SQLite alone the pattern always matches"
    )]
    async fn lock_writers(&self) -> Result<Option<WriterGuard>, ClientError> {
        if let DriverPool::Sqlite { writer_lock, .. } = &self.pool {
            writer_lock.acquire().await
        } else {
            Ok(None)
        }
    }
}

fn own_pool<D: ConnectOver>(options: Options<D>, config: &Config) -> Pool<D> {
    let connector = Connector::new(options, config.password_file.as_deref());
    Pool::own(connector, config.connections, config.wait())
}

/// Checks that the file of the database is still at its path. If it was replaced, closes the
/// connections to the old file.
#[cfg(feature = "sqlite")]
fn check_file(file: Option<&DatabaseFile>, pool: &Pool<sqlx::Sqlite>) -> Result<(), ClientError> {
    let Some(file) = file else { return Ok(()) };
    if file.look()? == FileState::Replaced {
        tracing::warn!("the database file was replaced; opening the new file");
        pool.close_connections();
    }
    Ok(())
}

/// Prepares and executes a statement in one transaction. The next call on the connection replaces
/// the statement.
#[cfg(feature = "postgres")]
async fn prepared_for_call(
    connection: &mut sqlx::PgConnection,
    statement: &Statement,
) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    match query!(statement).persistent(false).fetch_all(&mut *transaction).await {
        Ok(rows) => transaction.commit().await.map(|()| rows),
        Err(error) => transaction.rollback().await.and(Err(error)),
    }
}
