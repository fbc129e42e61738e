//! What the checks of all databases ask for.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::time::SystemTime;
use std::time::{Duration, Instant};

#[cfg(any(feature = "postgres", feature = "mysql"))]
use session_core::report::Check;
use session_core::{StoreError, report::CheckReport};
use store_support::check::{self, FailedOperation, Operation, push_operations};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use store_support::check::{ClockSample, names};
use tokio::time::timeout;

use crate::{
    codec::Row,
    config::Config,
    connect::{Client, Database},
    dialect::Statement,
    error::{ClientError, STORE},
    schema,
    store::SqlStore,
};

/// The time limit of the trial, in deadlines.
const TRIAL: u32 = 3;

/// The connection of one check.
pub(super) struct Questions<'c> {
    pub(super) config: &'c Config,
    pub(super) client: Client,
}

impl<'c> Questions<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self { config, client: Client::new(Database::own(config), config) }
    }

    /// The rows of a statement without parameters. A statement that conflicts with another
    /// transaction is repeated, because SQLite locks its file also while a connection is closed.
    pub(super) async fn rows(&self, text: &str) -> Result<Vec<Row>, ClientError> {
        let statement = Statement { text: text.into(), args: Vec::new() };
        let deadline = self.config.deadline;
        match timeout(deadline, self.client.rows(&statement)).await {
            Ok(rows) => rows,
            Err(_) => Err(ClientError::Unreachable(format!("no answer within {deadline:?}"))),
        }
    }

    /// The values of the only row of a statement. A null is an empty text.
    pub(super) async fn values<const N: usize>(
        &self,
        text: &str,
    ) -> Result<[String; N], ClientError> {
        let rows = self.rows(text).await?;
        let row = rows.first().ok_or(ClientError::Answer("a question has no answer"))?;
        let mut values = [const { String::new() }; N];
        for (column, value) in values.iter_mut().enumerate() {
            let bytes = row.bytes(column)?.unwrap_or_default();
            *value = String::from_utf8_lossy(bytes).into_owned();
        }
        Ok(values)
    }

    /// Adds the check of the operations. `grant` says which rights the user needs: on the table, or
    /// to create it.
    pub(super) async fn push_operations(
        &self,
        report: &mut CheckReport,
        grant: impl FnOnce(MissingRight) -> String,
    ) {
        let tried = match SqlStore::new(self.config) {
            Ok(store) => check::try_operations(&store, STORE, self.config.deadline * TRIAL).await,
            Err(error) => Err(FailedOperation {
                operation: Operation::Create,
                error: StoreError::Other { store: STORE, source: error.into() },
            }),
        };
        let missing = match &tried {
            Err(failed) if is_missing_right(&failed.error) => Some(self.missing_right().await),
            _ => None,
        };
        push_operations(report, &tried, |failed| match missing {
            Some(missing) => grant(missing),
            None => remedy(&failed.error),
        });
    }

    async fn missing_right(&self) -> MissingRight {
        let check = schema::check(self.client.database.sql(), &self.config.table);
        match timeout(self.config.deadline, self.client.database.rows(&check)).await {
            Ok(Err(ClientError::NoTable(_))) => MissingRight::CreateTable,
            _ => MissingRight::UseTable,
        }
    }

    /// The check of the clocks.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) async fn clock(&self) -> Check {
        let question = format!("SELECT {}", self.client.database.sql().now);
        let (asked_at, begun) = (SystemTime::now(), Instant::now());
        let answer = self.rows(&question).await;
        let round_trip = begun.elapsed();
        let millis = match answer {
            Ok(rows) => rows.first().and_then(|row| row.integer(0).ok()),
            Err(error) => return Check::not_checked(names::CLOCK, error.to_string()),
        };
        match millis.and_then(|millis| u64::try_from(millis).ok()) {
            Some(millis) => check::clock(&ClockSample {
                asked_at,
                round_trip,
                server_micros: millis.saturating_mul(1_000),
            }),
            None => Check::not_checked(names::CLOCK, "the answer is not a time"),
        }
    }
}

/// A right that the user lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingRight {
    /// The table does not exist, and the user may not create it.
    CreateTable,
    /// The user may not read or change the table.
    UseTable,
}

fn client_error(error: &StoreError) -> Option<&ClientError> {
    match error {
        StoreError::Unavailable { source, .. } | StoreError::Other { source, .. } => {
            source.downcast_ref()
        }
        _ => None,
    }
}

fn is_missing_right(error: &StoreError) -> bool {
    matches!(client_error(error), Some(ClientError::MissingRight(_)))
}

/// What to do about an operation that failed for another reason than a missing right.
fn remedy(error: &StoreError) -> String {
    match client_error(error) {
        Some(ClientError::ReadOnly(_)) => "name the primary in the URL, which accepts changes",
        Some(ClientError::NoTable(_)) => {
            "remove migrate=false from the URL, or run the SQL of Dialect::schema"
        }
        Some(ClientError::OtherTable(_)) => "write table=<another name> into the URL",
        Some(ClientError::Pooler(_)) => {
            "write statement-cache-capacity=0 into the URL, or max_prepared_statements = 200 into \
             pgbouncer.ini"
        }
        Some(ClientError::NoPrimaryKey(_)) => "drop the table; the store creates it again",
        Some(ClientError::Busy(_)) => {
            "give the server more connections (max_connections), or lower connections in the URL"
        }
        _ if matches!(error, StoreError::Rejected(_)) => "free disk space at the database",
        _ => {
            "the log of the server has the reason; if the server is slow, raise deadline_ms in \
             the URL"
        }
    }
    .to_owned()
}

/// The time since this moment, in whole milliseconds.
pub(super) fn since(begun: Instant) -> Duration {
    Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The check of the number of connections: those that the store opens, and those that the server
/// still has. `raise` is the command that raises the limit.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn connections(config: &Config, most: &str, used: &str, raise: &str) -> Check {
    const NAME: &str = "max_connections";
    let (Ok(most), Ok(used)) = (most.parse::<usize>(), used.parse::<usize>()) else {
        return Check::not_checked(NAME, "the server does not tell its connections");
    };
    let wanted = config.connections;
    let found = format!(
        "{most} at the server, {used} in use; each worker thread of this site opens up to {wanted}"
    );
    // The check itself uses some of them.
    if wanted > most.saturating_sub(used) {
        let remedy = format!("write connections=<fewer> into the URL, or {raise}");
        return Check::warning(NAME, found, remedy);
    }
    Check::ok(NAME, found)
}
