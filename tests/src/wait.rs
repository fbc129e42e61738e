//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` finds something and returns that.
///
/// # Panics
/// If it finds nothing within `limit`; the text says what was awaited.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The same for a plain condition.
///
/// # Panics
/// If it does not hold within `limit`.
pub async fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    until(what, limit, async || look().then_some(())).await;
}
