//! One SQLite database.

use sqlx::{
    ConnectOptions, Connection, SqlitePool, pool::PoolOptions, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{
    kind::new_folder,
    sql::{self, Answer, LOOK_WITHIN},
    sqlite_fault::Fault,
};

/// The names of all tables.
const TABLES: &str =
    r#"SELECT '"' || name || '"' FROM sqlite_schema WHERE type = 'table' ORDER BY 1"#;

/// One SQLite database: a file in a temporary folder, which is made when something is written
/// there. Dropping it removes it.
///
/// It has no server. A failing disk replaces a stopped server: each read and write is an I/O error
/// at once. A process that stops in the middle of a commit replaces a frozen server: each read and
/// write waits. The test does both to the files, and removes them without a trace. The database has
/// to exist. It gets a write-ahead log (`WAL`), as stores have it.
#[derive(Debug)]
pub struct Sqlite {
    folder: TempDir,
    fault: Mutex<Option<Fault>>,
    version: String,
}

impl Sqlite {
    /// A new database. It always exists: SQLite comes with its driver.
    ///
    /// # Panics
    /// If the system has no temporary folder.
    pub async fn start() -> Option<Self> {
        let folder = new_folder();
        let mut connection =
            SqliteConnectOptions::new().connect().await.expect("a database in memory");
        let version = sql::sqlite(&mut connection, "SELECT sqlite_version()")
            .await
            .expect("it knows its version")
            .only();
        Some(Self { folder, fault: Mutex::default(), version: format!("sqlite {version}") })
    }

    /// Its URL: `sqlite:/…/sessions.db`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("sessions.db").display())
    }

    /// The product and its version, as `sqlite 3.50.2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes every read and write an I/O error. A stopped database stays stopped.
    ///
    /// # Panics
    /// If the database does not exist, or if another process writes all the time.
    pub async fn stop(&self) {
        if !matches!(*self.fault.lock().await, Some(Fault::Cut { .. })) {
            self.go_on().await;
            self.begin(Fault::cut(&self.options())).await;
        }
    }

    /// Makes every read and write wait.
    ///
    /// # Panics
    /// As [`stop`](Self::stop).
    pub async fn freeze(&self) {
        self.go_on().await;
        self.begin(Fault::tear(&self.options())).await;
    }

    /// Makes every write wait, but not reads: another process has begun to write and does not end.
    ///
    /// # Panics
    /// As [`stop`](Self::stop).
    pub async fn take_no_writes(&self) {
        self.go_on().await;
        self.begin(Fault::hold(&self.options())).await;
    }

    /// Ends the fault. All acknowledged writes are there.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub async fn go_on(&self) {
        if let Some(fault) = self.fault.lock().await.take() {
            fault.end().await.expect("the fault can be removed");
        }
    }

    /// Ends the process that stopped in the middle of a commit, as a kill would. The next reader
    /// repairs the database.
    ///
    /// # Panics
    /// If the database is not frozen.
    pub async fn die(&self) {
        let fault = self.fault.lock().await.take().expect("the database is frozen");
        fault.die().await.expect("a connection can be closed");
    }

    async fn begin(&self, fault: impl Future<Output = sqlx::Result<Fault>>) {
        *self.fault.lock().await = Some(fault.await.expect("a database whose files are there"));
    }

    /// Connections for the statements of the test.
    #[must_use]
    pub fn pool(&self) -> SqlitePool {
        PoolOptions::new().acquire_timeout(LOOK_WITHIN).connect_lazy_with(self.options())
    }

    /// The rows that some statements give, as text: on a new connection, within five seconds.
    ///
    /// # Errors
    /// If it refuses one of them.
    pub async fn ask(&self, statements: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
        Ok(self.answer(statements).await?.rows)
    }

    /// All rows of all tables, one per line, with the names of the columns. Bytes that are letters
    /// appear as letters.
    ///
    /// # Panics
    /// If it cannot be read.
    pub async fn dump(&self) -> String {
        sql::dump(TABLES, async |statement| self.answer(statement).await)
            .await
            .expect("a file can be read")
    }

    async fn answer(&self, statements: &str) -> sqlx::Result<Answer> {
        sql::within(LOOK_WITHIN, async {
            let mut connection = self.options().connect().await?;
            let answer = sql::sqlite(&mut connection, statements).await;
            connection.close().await.and(answer)
        })
        .await
    }

    fn options(&self) -> SqliteConnectOptions {
        let path = self.folder.path().join("sessions.db");
        SqliteConnectOptions::new().filename(path).create_if_missing(true)
    }
}
