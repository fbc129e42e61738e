//! What the conformance suite does to the backend of a fixture, by the names of its checks.

use std::time::Duration;

use session_core::{SessionStore, StoreKey};

use crate::{PATIENCE, wait};

/// Whether this check stops or freezes the backend, which then must not be a shared server.
#[must_use]
pub fn takes_backend_down(check: &str) -> bool {
    waits_for_deadlines(check) || stops_once(check)
}

/// How long one call of the store may take in this check. A check of a backend that is down waits
/// that long for each of its calls; the other checks leave time for a busy machine.
#[must_use]
pub fn deadline(check: &str) -> Duration {
    Duration::from_secs(match check {
        _ if waits_for_deadlines(check) => 1,
        _ if stops_once(check) => 2,
        _ => 10,
    })
}

/// Waits until the store answers. The first call makes connections, for which a busy machine can
/// need longer than a deadline.
///
/// # Panics
/// If it does not answer.
pub async fn warm_up(store: &dyn SessionStore) {
    let missing = StoreKey::from_text("missing");
    wait::until("the store to answer", PATIENCE, async || store.load(&missing).await.ok()).await;
}

fn stops_once(check: &str) -> bool {
    check == "c08_refusals_need_no_backend"
        || check == "c45_nothing_printed_shows_a_password_or_a_key"
}

fn waits_for_deadlines(check: &str) -> bool {
    check.starts_with("c42_") || check.starts_with("c43_")
}
