//! Counts the session cookies of one request that the codec refuses.

#[cfg(feature = "metrics")]
use super::names::COOKIE_REFUSED;
use super::names::RefusalCause;

/// How many refusals per cause are traced individually.
const TRACED: usize = 4;

/// The refused session cookies of one request. All of them are counted. A client can send
/// thousands, so only the first few of each cause are traced individually. The number of the others
/// is traced when this value is dropped.
#[derive(Debug, Default)]
pub(crate) struct RefusedCookies {
    by_cause: [usize; RefusalCause::ALL.len()],
}

impl RefusedCookies {
    pub(crate) fn count(&mut self, cause: RefusalCause) {
        #[cfg(feature = "metrics")]
        metrics::counter!(COOKIE_REFUSED, "cause" => cause.name()).increment(1);
        // `ALL` contains every variant at its discriminant.
        let count = &mut self.by_cause[cause as usize];
        *count += 1;
        if *count <= TRACED {
            tracing::debug!(cause = cause.name(), "session cookie refused");
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
                    "more session cookies of one request refused"
                );
            }
        }
    }
}
