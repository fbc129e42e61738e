//! Helpers that connect stores and create sessions.

use store_mongo::{Config, MongoStore};
pub(crate) use tests::session::{LONG, Session, is_done, loaded, name, principal, with};

/// A long deadline, for tests that do not test the deadline. A busy machine may be slow.
pub(crate) const PATIENT: &str = "deadline_ms=20000";

/// Connects a store with the settings in the URL.
pub(crate) async fn connect(url: &str) -> MongoStore {
    MongoStore::connect(&Config::new(url).expect("a valid URL")).await.expect("the store connects")
}
