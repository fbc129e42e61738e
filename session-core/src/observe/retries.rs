//! Counts the retries of stores.

use std::time::Duration;

use super::call::current_store_name;
#[cfg(feature = "metrics")]
use super::names::RETRIES;

/// For stores: counts a retry within a call, for example after a conflict or a lost connection.
///
/// The retry is counted under the name of the [observed](super::observe) store. That name is known
/// within a call, but not in a task that the call has spawned. For a store that is not observed it
/// is `own`, the name that the store uses in its errors.
pub fn retried(own: &'static str) {
    let store = current_store_name(own);
    #[cfg(feature = "metrics")]
    metrics::counter!(RETRIES, "store" => store).increment(1);
    tracing::debug!(store, "session store retry");
}

/// For stores: waits for `pause`, then counts a retry as [`retried`] does. If the call ends during
/// the pause, no retry is counted.
pub async fn retry_after(pause: Duration, own: &'static str) {
    tokio::time::sleep(pause).await;
    retried(own);
}
