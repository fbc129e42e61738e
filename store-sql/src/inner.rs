//! What all calls have in common: a deadline, another try after a conflict with another
//! transaction, and a table that exists.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use session_core::{
    StoreError,
    observe::{retried, retry_after},
};
use tokio::time::timeout;

use crate::{
    STORE,
    config::Config,
    engine::{Engine, Written},
    error::ClientError,
    record::{COLUMNS, FORMAT},
    row::Row,
    schema,
    statement::Statement,
};

/// The first and the longest wait before another try, both before jitter.
const WAITS: (Duration, Duration) = (Duration::from_micros(400), Duration::from_millis(6));

/// What the clones of a store share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) texts: Texts,
    /// Whether the table is known to exist.
    ready: AtomicBool,
    /// Held by the call that creates the table.
    preparing: tokio::sync::Mutex<()>,
}

/// The statements whose text never changes.
pub(crate) struct Texts {
    /// The table's name in quotation marks.
    pub(crate) table: String,
    pub(crate) create: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) delete: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) delete_all: Arc<str>,
    pub(crate) page_end: Arc<str>,
    pub(crate) delete_range: Arc<str>,
    pub(crate) scan: Arc<str>,
    pub(crate) purge: Arc<str>,
    pub(crate) ping: Arc<str>,
}

impl Texts {
    fn new(engine: &Engine, name: &str) -> Self {
        let sql = engine.dialect().sql();
        let (table, now, start) = (sql.quoted(name), sql.now, sql.statement_now);
        let parameter = |number: usize| {
            if sql.numbers_parameters { format!("${number}") } else { "?".to_owned() }
        };
        let [one, two, three, four, five, six, seven, eight, nine, ten, eleven] =
            std::array::from_fn(|at| parameter(at + 1));
        let all = COLUMNS.join(", ");
        let read = all.replacen("data", sql.data_as_text, 1);
        // PostgreSQL decides a condition on a row that another transaction is changing by what the
        // row was: a deletion of live sessions would not wait for one that has expired and is being
        // extended. So it deletes the row either way and says what it was.
        let (if_live, was_live, any) = if sql.returns_rows {
            (
                String::new(),
                format!(" RETURNING CASE WHEN expires > {now} THEN 1 ELSE 0 END"),
                " RETURNING 1",
            )
        } else {
            (format!(" AND expires > {now}"), String::new(), "")
        };
        let [on_conflict, replace, replace_last] = sql.upsert;
        let replaced: String = COLUMNS[..COLUMNS.len() - 1]
            .iter()
            .map(|column| replace.replace("{column}", column))
            .collect();
        let upsert = format!("{on_conflict}{replaced}{replace_last}")
            .replace("{table}", &table)
            .replace("{now}", start);
        let delete_page = |condition: &str, order: &str, limit: &str, skip: &str| {
            let text = sql
                .delete_page
                .replace("{condition}", condition)
                .replace("{order}", order)
                .replace("{limit}", limit);
            text.replace("{skip}", skip).replace("{table}", &table) + &was_live
        };
        Self {
            create: format!(
                "INSERT INTO {table} (id, {all}) VALUES ({one}, {two}{cast}, {three}, {four}, {five}, {six}, {start} - {seven}, NULL, \
                 {start} - {eight}, {nine}, {ten}, NULL, NULL, {FORMAT}, {start} + {eleven}){upsert}{any}",
                cast = sql.text_as_data,
            )
            .into(),
            load: format!("SELECT {read}, {now} FROM {table} WHERE id = {one}").into(),
            delete: format!("DELETE FROM {table} WHERE id = {one} AND (since <= {two} OR format <> {FORMAT}){if_live}{was_live}").into(),
            list: format!(
                "SELECT id, created, authenticated, expires, attributes, {now} FROM {table} \
                 WHERE principal = {one} AND id > {two} AND expires > {now} ORDER BY id LIMIT {three}"
            )
            .into(),
            delete_all: delete_page(&format!("principal = {one} AND id <> {two}{if_live}"), "id", &three, "").into(),
            page_end: format!("SELECT id FROM {table} WHERE id > {one} ORDER BY id LIMIT 1 OFFSET {two}").into(),
            delete_range: format!("DELETE FROM {table} WHERE id > {one} AND id <= {two}{if_live}{was_live}").into(),
            scan: format!("SELECT {read}, {now}, id FROM {table} WHERE id > {one} ORDER BY id LIMIT {two}").into(),
            purge: delete_page(&format!("expires <= {start}"), "expires", &one, " SKIP LOCKED").into(),
            ping: "SELECT 1".into(),
            table,
        }
    }
}

impl Inner {
    pub(crate) fn new(engine: Engine, config: &Config) -> Self {
        Self {
            texts: Texts::new(&engine, &config.table),
            engine,
            ready: AtomicBool::new(false),
            preparing: tokio::sync::Mutex::default(),
            config: config.clone(),
        }
    }

    /// Does `work` within the deadline, and once more if the table turns out to be gone.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let on_table = async {
            self.prepare().await?;
            match work().await {
                Err(ClientError::NoTable(_)) => {
                    self.ready.store(false, Ordering::Release);
                    self.prepare().await?;
                    work().await
                }
                done => done,
            }
        };
        let deadline = self.config.deadline;
        match timeout(deadline, on_table).await {
            Ok(done) => Ok(done.map_err(|error| error.of_table(&self.config.table))?),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: deadline }),
        }
    }

    /// Creates the table if it is missing, once.
    pub(crate) async fn prepare(&self) -> Result<(), ClientError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Box::pin(async {
            // A call that waits for longer has too little time left to do it, and so have all calls
            // after it.
            let Ok(_one_at_a_time) = timeout(self.config.wait(), self.preparing.lock()).await
            else {
                return Err(ClientError::Busy(
                    "another call is creating the table; nothing was done".to_owned(),
                ));
            };
            if !self.ready.load(Ordering::Acquire) {
                again(|| schema::prepare(&self.engine, &self.config.table, self.config.migrate))
                    .await?;
                self.ready.store(true, Ordering::Release);
            }
            Ok(())
        })
        .await
    }

    /// The rows that a statement reads. It changes nothing, so it is repeated once if the
    /// connection is lost: the server may have restarted since the connection was used last.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        match again(|| self.engine.rows(statement)).await {
            Err(ClientError::Lost(_)) => {
                retried(STORE);
                again(|| self.engine.rows(statement)).await
            }
            done => done,
        }
    }

    /// Executes a change. `answer` reads what the change noted in variables of the connection.
    pub(crate) async fn write(
        &self,
        statement: &Statement,
        answer: Option<&Statement>,
    ) -> Result<Written, ClientError> {
        again(|| self.engine.write(statement, answer)).await
    }
}

/// Repeats a statement after a deadlock, a serialization failure or a locked file, which undo it
/// whole. The call's deadline ends this.
async fn again<T, F: Future<Output = Result<T, ClientError>>>(
    statement: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut wait = WAITS.0;
    loop {
        match statement().await {
            Err(ClientError::Again(_)) => {
                retry_after(wait.mul_f64(0.5 + fastrand::f64()), STORE).await
            }
            done => return done,
        }
        wait = (wait * 2).min(WAITS.1);
    }
}
