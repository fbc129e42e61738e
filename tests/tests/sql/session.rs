//! Stores of sessions in SQL databases, and the sessions that tests keep there.

use store_sql::{Config, SqlStore};
pub(crate) use tests::session::{LONG, Session, add, is_done, principal, renew, set};

/// The setting of stores whose deadline is no matter of the test's: others may keep the machine busy.
pub(crate) const PATIENT: &str = "deadline_ms=20000";

/// A store with these settings that is connected.
pub(crate) async fn connect(url: &str) -> SqlStore {
    SqlStore::connect(&Config::new(url).expect("a URL")).await.expect("a database to connect to")
}
