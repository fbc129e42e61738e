//! Stores of sessions in Redis, and the sessions that tests keep there.

use store_redis::{Config, RedisStore};
pub(crate) use tests::session::{LONG, Session, add, is_done, name, principal, renew, set, sign_in, with};

/// A store with these settings that is connected.
pub(crate) async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(&Config::new(url).expect("a URL")).await.expect("a server to connect to")
}
