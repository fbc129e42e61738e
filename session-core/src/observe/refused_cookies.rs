//! Cookies that are not believed.

#[cfg(feature = "metrics")]
use super::names::COOKIE_REFUSED;
use super::names::RefusalCause;

/// How many refusals by one cause are traced one by one.
const TRACED: usize = 4;

/// The values of the session cookie in one request that are not believed. All are counted; a client
/// can send thousands, so of those beyond the first few only the number is traced, when this is
/// dropped.
#[derive(Debug, Default)]
pub(crate) struct RefusedCookies {
    by_cause: [usize; RefusalCause::ALL.len()],
}

impl RefusedCookies {
    pub(crate) fn count(&mut self, cause: RefusalCause) {
        #[cfg(feature = "metrics")]
        metrics::counter!(COOKIE_REFUSED, "cause" => cause.name()).increment(1);
        // `ALL` has every variant at its position.
        let count = &mut self.by_cause[cause as usize];
        *count += 1;
        if *count <= TRACED {
            tracing::debug!(cause = cause.name(), "a session cookie is refused");
        }
    }
}

impl Drop for RefusedCookies {
    fn drop(&mut self) {
        for (cause, count) in RefusalCause::ALL.into_iter().zip(self.by_cause) {
            if count > TRACED {
                tracing::debug!(
                    cause = cause.name(),
                    more = count - TRACED,
                    "more session cookies of one request are refused"
                );
            }
        }
    }
}
