//! The tables, and how they come to be.
//!
//! Beside the sessions there is a table of one row that says of which version they are. Whoever finds an older one brings it up to date, under a
//! lock of the database's, so that many processes may start at once.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::{
    dialect::Dialect,
    engine::{Engine, with},
    error::ClientError,
    record::COLUMNS,
    statement::Statement,
};

/// The statements of one step to a newer version.
pub(crate) type Migration = Vec<String>;

/// A number for PostgreSQL's locks, which nobody else is likely to have chosen.
const LOCK: &str = "5317896120045528611";

impl Dialect {
    /// The SQL that makes the tables of the newest version, for those who run it themselves and set `migrate` to false.
    ///
    /// # Panics
    /// If `table` is no name that [`Config::table`](crate::Config::table) takes.
    #[must_use]
    pub fn schema(self, table: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!((1..=40).contains(&table.len()) && table.bytes().all(plain), "a table's name has 1 to 40 letters, digits and underscores");
        let steps = self.migrations(table);
        let noted = Noted { dialect: self, table };
        let statements = steps.iter().flatten().cloned().chain([noted.create(), noted.insert(steps.len())]);
        statements.map(|statement| statement + ";\n").collect()
    }
}

/// The table that says of which version the others are.
#[derive(Clone, Copy)]
struct Noted<'a> {
    dialect: Dialect,
    table: &'a str,
}

impl Noted<'_> {
    fn name(self) -> String {
        self.dialect.quoted(&format!("{}_schema", self.table))
    }

    fn create(self) -> String {
        format!("CREATE TABLE IF NOT EXISTS {} (version BIGINT NOT NULL)", self.name())
            .replace("BIGINT", if self.dialect == Dialect::Sqlite { "INTEGER" } else { "BIGINT" })
    }

    fn select(self) -> String {
        format!("SELECT version FROM {}", self.name())
    }

    fn delete(self) -> String {
        format!("DELETE FROM {}", self.name())
    }

    fn insert(self, version: usize) -> String {
        format!("INSERT INTO {} (version) VALUES ({version})", self.name())
    }

    /// What waits for the lock, and what ends having it, with and without success.
    fn lock(self) -> [Vec<String>; 3] {
        let owned = |statements: &[&str]| statements.iter().map(|&statement| statement.to_owned()).collect();
        match self.dialect {
            Dialect::Postgres => {
                // At any other level it would go on seeing what was there before it waited.
                let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
                [owned(&[begin, &format!("SELECT pg_advisory_xact_lock({LOCK})")]), owned(&["COMMIT"]), owned(&["ROLLBACK"])]
            }
            Dialect::Sqlite => [owned(&["BEGIN IMMEDIATE"]), owned(&["COMMIT"]), owned(&["ROLLBACK"])],
            // Statements that create end transactions here.
            Dialect::MySql => {
                let release = owned(&["DO RELEASE_LOCK('session_schema')"]);
                [owned(&["DO GET_LOCK('session_schema', 31536000)"]), release.clone(), release]
            }
        }
    }
}

/// Sees to it that the tables are there and of this version.
pub(crate) async fn prepare(engine: &Engine, table: &str, migrate: bool) -> Result<(), ClientError> {
    let dialect = engine.dialect();
    let noted = Noted { dialect, table };
    let steps = dialect.migrations(table);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    #[cfg(feature = "sqlite")]
    #[allow(irrefutable_let_patterns, reason = "without the other databases it always is one")]
    if let Engine::Sqlite { queue, .. } = engine {
        queue.open().await?;
    }
    let found = match engine.rows(&Statement { text: noted.select().into(), args: Vec::new() }).await {
        Ok(rows) => rows.first().map(|row| row.integer(0)).transpose()?,
        Err(ClientError::NoTable(_)) => None,
        Err(error) => return Err(error),
    };
    match found {
        Some(found) if found == known => return Ok(()),
        Some(found) if found > known => return Err(ClientError::TooNew { table: table.to_owned(), found, known }),
        Some(found) if !migrate => return Err(ClientError::TooOld { table: table.to_owned(), found, known }),
        None if !migrate => return Err(ClientError::NoTable(table.to_owned())),
        _ => {}
    }
    self::migrate(engine, noted, &steps).await.map_err(|error| match error {
        // Of a table that was there before: it has other columns.
        ClientError::NoTable(_) => ClientError::OtherTable(table.to_owned()),
        other => other.of_table(table),
    })
}

macro_rules! migrate {
    ($pool:expr, $noted:expr, $steps:expr) => {
        with!($pool, |connection| async {
            // Given up halfway, it has a transaction or a lock: the next call on it would write what nobody else sees, and keep the others out.
            connection.close_unless_done();
            let [lock, done, undo] = $noted.lock();
            for statement in lock {
                connection.execute(AssertSqlSafe(statement)).await?;
            }
            let made = async {
                connection.execute(AssertSqlSafe($noted.create())).await?;
                let found: Option<i64> = sqlx::query_scalar(AssertSqlSafe($noted.select())).fetch_optional(&mut *connection).await?;
                let found = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
                if found < $steps.len() {
                    for statement in $steps.iter().skip(found).flatten() {
                        connection.execute(AssertSqlSafe(statement.clone())).await?;
                    }
                    // Where a table of that name was there, it may have other columns.
                    let look = format!("SELECT id, {} FROM {} WHERE 1 = 0", COLUMNS.join(", "), $noted.dialect.quoted($noted.table));
                    connection.execute(AssertSqlSafe(look)).await?;
                    connection.execute(AssertSqlSafe($noted.delete())).await?;
                    connection.execute(AssertSqlSafe($noted.insert($steps.len()))).await?;
                }
                Ok(())
            }
            .await;
            for statement in if made.is_ok() { done } else { undo } {
                connection.execute(AssertSqlSafe(statement)).await?;
            }
            // Statements that were prepared before know nothing of the tables.
            connection.clear_cached_statements().await?;
            made
        })
    };
}

async fn migrate(engine: &Engine, noted: Noted<'_>, steps: &[Migration]) -> Result<(), ClientError> {
    match engine {
        #[cfg(feature = "postgres")]
        Engine::Postgres(pool) => migrate!(pool, noted, steps),
        #[cfg(feature = "mysql")]
        Engine::MySql(pool) => migrate!(pool, noted, steps),
        #[cfg(feature = "sqlite")]
        Engine::Sqlite { pool, queue } => {
            let _turn = queue.turn().await?;
            migrate!(pool, noted, steps)
        }
    }
}
