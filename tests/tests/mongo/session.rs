//! Stores of sessions in MongoDB, and the sessions that tests keep there.

use store_mongo::{Config, MongoStore};
pub(crate) use tests::session::{LONG, Session, is_done, name, principal, with};

/// The setting of stores whose deadline is no matter of the test's: others may keep the machine
/// busy.
pub(crate) const PATIENT: &str = "deadline_ms=20000";

/// A store with these settings that is connected.
pub(crate) async fn connect(url: &str) -> MongoStore {
    MongoStore::connect(&Config::new(url).expect("a URL")).await.expect("a server to connect to")
}
