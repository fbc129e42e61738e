//! Helpers of the tests: a connected store, names of keys, lists.

use session_core::SessionSummary;
use store_redis::{Config, RedisStore};
pub(crate) use tests::session::{LONG, Session, is_done, loaded, name, principal, with};

/// Connects a store to this URL.
pub(crate) async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(&Config::new(url).expect("a URL")).await.expect("a server to connect to")
}

/// The name of a session's hash.
pub(crate) fn hash(session: &Session, prefix: &str) -> String {
    format!("{prefix}s}}{}", session.key.as_str())
}

/// All sessions of a user, read page by page.
pub(crate) async fn listed(
    store: &impl session_core::SessionStore,
    user: &str,
) -> Vec<SessionSummary> {
    let (mut sessions, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&principal(user), after, 1_000).await.expect("a page");
        sessions.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            return sessions;
        }
    }
}
