//! The client of the database, which every call uses: the deadline, the retries after a conflict,
//! the creation of the table, and the statements that several calls share.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use session_core::{
    StoreError, StoreKey,
    observe::{retried, retry_after},
};
use tokio::time::timeout;

use super::{
    database::{Database, Written},
    fixed_statements::FixedStatements,
};
use crate::{
    codec::{Columns, Loaded, Row},
    config::Config,
    dialect::{Arg, Statement},
    error::{ClientError, STORE},
    schema,
};

/// The most rows of one statement. A deletion locks its rows until it ends, and in SQLite the whole
/// file.
pub(crate) const MAX_ROWS: usize = 1_000;

/// The first and the longest pause before a retry, both before jitter.
const PAUSES: (Duration, Duration) = (Duration::from_micros(400), Duration::from_millis(6));

/// The state that the clones of a store share.
pub(crate) struct Client {
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) statements: FixedStatements,
    /// Whether the table is known to exist.
    is_ready: AtomicBool,
    /// Whether the table was known to exist at any time.
    has_worked: AtomicBool,
    /// Held by the call that creates the table.
    preparing: tokio::sync::Mutex<()>,
}

/// The result of a deletion.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeletedRows {
    /// The number of deleted rows.
    pub(crate) rows: usize,
    /// The number of live sessions among them.
    pub(crate) live: u64,
}

impl Client {
    pub(crate) fn new(database: Database, config: &Config) -> Self {
        Self {
            statements: FixedStatements::new(database.sql(), &config.table),
            database,
            is_ready: AtomicBool::new(false),
            has_worked: AtomicBool::new(false),
            preparing: tokio::sync::Mutex::default(),
            config: config.clone(),
        }
    }

    /// Runs `work` within the deadline, and once more if the table no longer exists.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let on_table = async {
            self.prepare().await?;
            match work().await {
                Err(ClientError::NoTable(_)) => {
                    self.is_ready.store(false, Ordering::Release);
                    self.prepare().await?;
                    work().await
                }
                done => done,
            }
        };
        let deadline = self.config.deadline;
        match timeout(deadline, on_table).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if self.has_worked.load(Ordering::Relaxed) => {
                Err(error.after_success().of_table(&self.config.table).into())
            }
            Ok(Err(error)) => Err(error.of_table(&self.config.table).into()),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: deadline }),
        }
    }

    /// Creates the table if it is missing, once.
    pub(crate) async fn prepare(&self) -> Result<(), ClientError> {
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Box::pin(async {
            // A call that waited longer would have too little time left to create the table, and so
            // would every call that waits behind it.
            let Ok(_guard) = timeout(self.config.wait(), self.preparing.lock()).await else {
                return Err(ClientError::Busy(
                    "another call is creating the table; nothing was sent".to_owned(),
                ));
            };
            if !self.is_ready.load(Ordering::Acquire) {
                retry(|| self.prepare_table()).await?;
                self.has_worked.store(true, Ordering::Relaxed);
                self.is_ready.store(true, Ordering::Release);
            }
            Ok(())
        })
        .await
    }

    /// Creates the table if it is missing, and refuses a table that has other columns.
    async fn prepare_table(&self) -> Result<(), ClientError> {
        self.database.open_file().await?;
        self.database.check_session().await?;
        let check = schema::check(self.database.sql(), &self.config.table);
        match self.database.rows(&check).await {
            Err(ClientError::NoTable(_)) if self.config.migrate => {
                // Any number of processes may create the table at the same time.
                let create = schema::create(self.database.dialect(), &self.config.table);
                self.database.create(create).await?;
                self.database.rows(&check).await.map(drop)
            }
            found => found.map(drop),
        }
    }

    /// Executes a statement that only reads. It is repeated once if the connection is lost, because
    /// the server may have restarted since the last use of the connection.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        match retry(|| self.database.rows(statement)).await {
            Err(ClientError::Lost(_)) => {
                retried(STORE);
                retry(|| self.database.rows(statement)).await
            }
            done => done,
        }
    }

    /// Executes a change. `answer` reads what the change stored in variables of the connection.
    pub(crate) async fn write(
        &self,
        statement: &Statement,
        answer: Option<&Statement>,
    ) -> Result<Written, ClientError> {
        retry(|| self.database.write(statement, answer)).await
    }

    /// Reads the record of a session.
    pub(crate) async fn load(&self, key: &StoreKey) -> Result<Loaded, ClientError> {
        let rows =
            self.rows(&Statement::new(&self.statements.load, [Arg::bytes(key.as_str())])).await?;
        rows.first().map_or(Ok(Ok(None)), |row| Ok(Columns::of(row)?.record()))
    }

    /// Executes one of the deletions.
    pub(crate) async fn delete_rows(
        &self,
        text: &Arc<str>,
        args: impl Into<Vec<Arg>>,
    ) -> Result<DeletedRows, ClientError> {
        let written = self.write(&Statement::new(text, args), None).await?;
        // If the dialect returns no rows, the statement deletes live sessions only.
        let live = if self.database.sql().returns_rows {
            let live = written.rows.iter().map(|row| row.integer(0));
            live.sum::<Result<i64, _>>()?.unsigned_abs()
        } else {
            written.affected
        };
        Ok(DeletedRows { rows: usize::try_from(written.affected).unwrap_or(usize::MAX), live })
    }
}

/// Repeats a statement after a deadlock, a serialization failure or a locked file. Each of these
/// undoes the whole statement. The call's deadline ends the repetition.
async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
    statement: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut pause = PAUSES.0;
    loop {
        match statement().await {
            Err(ClientError::Conflict(_)) => {
                retry_after(pause.mul_f64(0.5 + fastrand::f64()), STORE).await;
            }
            done => return done,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}
