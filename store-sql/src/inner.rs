//! What all calls have in common: a deadline, another try when others were in the way, and tables that are there.

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
    commit::{Statements, Target},
    config::Config,
    engine::Engine,
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
    /// Whether the tables are known to be there.
    ready: AtomicBool,
    /// Held by the call that sees to the tables.
    preparing: tokio::sync::Mutex<()>,
}

/// The statements whose text never changes.
pub(crate) struct Texts {
    /// The table's name in quotation marks.
    pub(crate) table: String,
    pub(crate) create: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) delete: Arc<str>,
    pub(crate) make_room: Arc<str>,
    pub(crate) exists: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) delete_all: Arc<str>,
    pub(crate) delete_others: Arc<str>,
    pub(crate) scan: Arc<str>,
    pub(crate) purge: Arc<str>,
    pub(crate) ping: Arc<str>,
}

impl Texts {
    fn new(engine: &Engine, name: &str) -> Self {
        let dialect = engine.dialect();
        let (table, now) = (dialect.quoted(name), dialect.now());
        let parameter = |number: usize| if dialect.numbers_parameters() { format!("${number}") } else { "?".to_owned() };
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(parameter);
        let columns = COLUMNS.join(", ").replacen("data", dialect.data_as_text(), 1);
        let with_key = format!("FROM {table} WHERE id = {one}");
        let theirs = format!("FROM {table} WHERE principal = {one}");
        let alive = format!("expires > {now}");
        let (if_alive, whether_alive) = if dialect.decides_by_old_rows() {
            (String::new(), format!(" RETURNING ({alive})::int::bigint"))
        } else {
            (format!(" AND {alive}"), String::new())
        };
        Self {
            create: format!(
                "INSERT INTO {table} (id, data, version, created, expires, principal, lifetime, format) \
                 VALUES ({one}, {two}{cast}, 1, {now}, {now} + {three}, {four}, {five}, {FORMAT}){conflict}",
                cast = dialect.text_as_data(),
                conflict = dialect.on_conflict(name),
            )
            .into(),
            load: format!("SELECT {columns}, {now} {with_key}").into(),
            delete: format!("DELETE {with_key}{if_alive}{whether_alive}").into(),
            make_room: format!("DELETE {with_key} AND expires <= {now}").into(),
            exists: format!("SELECT 1 {with_key}").into(),
            list: format!("SELECT id, created, expires, {now} {theirs} AND {alive} ORDER BY created DESC, id").into(),
            delete_all: format!("DELETE {theirs}{if_alive}{whether_alive}").into(),
            delete_others: format!("DELETE {theirs} AND id <> {two}{if_alive}{whether_alive}").into(),
            scan: format!("SELECT {columns}, {now}, id FROM {table} WHERE id > {one} ORDER BY id LIMIT {two}").into(),
            purge: dialect.purge(name).into(),
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

    /// Does `work` within the deadline, and once more if the tables turn out to be gone.
    pub(crate) async fn call<T, F: Future<Output = Result<T, ClientError>>>(&self, work: impl Fn() -> F) -> Result<T, StoreError> {
        let on_tables = async {
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
        match timeout(deadline, on_tables).await {
            Ok(done) => Ok(done.map_err(|error| error.of_table(&self.config.table))?),
            Err(_) => Err(StoreError::Timeout { store: STORE, after: deadline }),
        }
    }

    /// Sees to the tables, the first time.
    pub(crate) async fn prepare(&self) -> Result<(), ClientError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Box::pin(async {
            // Who waits for longer would have too little time left to do it, and so would everybody after.
            let Ok(_one_at_a_time) = timeout(self.config.wait(), self.preparing.lock()).await else {
                return Err(ClientError::Busy("somebody else is seeing to the tables; nothing was done".to_owned()));
            };
            if !self.ready.load(Ordering::Acquire) {
                again(|| schema::prepare(&self.engine, &self.config.table, self.config.migrate)).await?;
                self.ready.store(true, Ordering::Release);
            }
            Ok(())
        })
        .await
    }

    /// The rows that a statement reads. It changes nothing, so it is asked once more when the connection was lost: it may have led to a server
    /// that has restarted since.
    pub(crate) async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, ClientError> {
        match again(|| self.engine.rows(statement)).await {
            Err(ClientError::Lost(_)) => {
                retried(STORE);
                again(|| self.engine.rows(statement)).await
            }
            done => done,
        }
    }

    /// How many rows a statement changes.
    pub(crate) async fn change(&self, statement: &Statement) -> Result<u64, ClientError> {
        again(|| self.engine.change(statement)).await
    }

    /// How many of the rows that a statement deletes were alive.
    pub(crate) async fn delete_living(&self, statement: &Statement) -> Result<u64, ClientError> {
        again(|| self.engine.delete_living(statement)).await
    }

    /// Changes one row, and reads what was made of it; `None` if none was changed.
    pub(crate) async fn change_one(&self, statements: &Statements) -> Result<Option<Row>, ClientError> {
        again(|| self.engine.commit(statements)).await
    }

    pub(crate) fn target<'a>(&'a self, key: &'a session_core::StoreKey) -> Target<'a> {
        Target { dialect: self.engine.dialect(), table: &self.texts.table, key }
    }
}

/// Tries a statement until nobody is in the way: a deadlock, a serialization failure, a locked file undo it whole. The call's deadline ends it.
async fn again<T, F: Future<Output = Result<T, ClientError>>>(statement: impl Fn() -> F) -> Result<T, ClientError> {
    let mut wait = WAITS.0;
    loop {
        match statement().await {
            Err(ClientError::Again(_)) => retry_after(wait.mul_f64(0.5 + fastrand::f64()), STORE).await,
            done => return done,
        }
        wait = (wait * 2).min(WAITS.1);
    }
}
