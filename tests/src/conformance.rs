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

/// The checks that stop the backend once.
const STOPPING: [&str; 2] =
    ["c08_invalid_calls_are_rejected_before_io", "c45_printed_text_shows_no_secret"];

fn stops_once(check: &str) -> bool {
    STOPPING.contains(&check)
}

fn waits_for_deadlines(check: &str) -> bool {
    check.starts_with("c42_") || check.starts_with("c43_")
}

#[cfg(test)]
mod tests {
    use session_core::conformance::CHECKS;

    use super::*;

    #[test]
    fn stopping_checks_are_checks_of_the_suite() {
        for check in STOPPING {
            assert!(CHECKS.contains(&check), "{check}");
        }
        assert!(CHECKS.iter().any(|check| waits_for_deadlines(check)));
    }
}
