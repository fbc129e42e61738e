//! The check of a database: whether it can be reached, what the user may do, and which of its
//! settings lose sessions.

#[cfg(any(feature = "postgres", feature = "mysql"))]
mod connection;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod questions;
#[cfg(feature = "sqlite")]
mod sqlite;

use session_core::report::CheckReport;

use crate::{config::Config, error::STORE, url::Driver};

/// Connects once and reports whether the store can use the database, what its user may do, and
/// which settings of the server lose sessions.
///
/// As the store does, this creates the table if it is missing and `migrate` is true. The trial of
/// the operations creates a session and ends it. All of this takes at most twelve times
/// [`Config::deadline`].
///
/// # Panics
/// Outside a tokio runtime.
pub async fn check(config: &Config) -> CheckReport {
    let mut report = CheckReport::new(STORE, config.server.clone());
    match &config.driver {
        #[cfg(feature = "postgres")]
        Driver::Postgres(options) => Box::pin(postgres::check(config, options, &mut report)).await,
        #[cfg(feature = "mysql")]
        Driver::MySql(options) => Box::pin(mysql::check(config, options, &mut report)).await,
        #[cfg(feature = "sqlite")]
        Driver::Sqlite(options) => {
            Box::pin(sqlite::check(config, options.get_filename(), &mut report)).await;
        }
    }
    report
}
