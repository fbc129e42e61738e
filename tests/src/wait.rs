//! Waits for a condition instead of a fixed time.

use std::time::{Duration, Instant};

/// The time between two checks of a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Calls `look` until it returns something, and returns that.
///
/// # Panics
/// If it returns nothing within `limit`. The message names what was awaited.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} without success for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The same for a condition that is true or false.
///
/// # Panics
/// If it does not hold within `limit`.
pub async fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    until(what, limit, async || look().then_some(())).await;
}
