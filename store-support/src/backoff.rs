//! The pauses between attempts to connect.

use std::time::Duration;

/// The pause after the first failed attempt. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause. A store notices within this time that a server is back.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The pause after this many failures in a row.
///
/// The full pause doubles from 10 ms to 250 ms. The result is a random duration between half of the
/// full pause and all of it, so that many clients do not connect at the same moment.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    with_jitter(failures, fastrand::f64())
}

/// The pause for a `jitter` from 0 (half of the full pause) to 1 (all of it).
fn with_jitter(failures: u32, jitter: f64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_PAUSE);
    full.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_maximum_with_jitter() {
        assert_eq!(with_jitter(1, 1.0), FIRST_PAUSE);
        assert_eq!(with_jitter(2, 1.0), FIRST_PAUSE * 2);
        assert_eq!(with_jitter(u32::MAX, 1.0), MAX_PAUSE);
        assert_eq!(with_jitter(1, 0.0), FIRST_PAUSE / 2);
        assert!((FIRST_PAUSE / 2..=FIRST_PAUSE).contains(&backoff(1)));
    }
}
