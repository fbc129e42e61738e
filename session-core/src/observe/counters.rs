//! Counters of calls. Without the feature `metrics` they do nothing.

use std::time::Duration;

#[cfg(feature = "metrics")]
use super::names::{CALL_SECONDS, CALLS, COOKIE_REFUSED, RETRIES, RefusalCause, TOUCHES_SKIPPED};
use super::names::{CallOutcome, Operation};

/// The counters of one store's calls, looked up once.
#[derive(Debug)]
pub(super) struct CallCounters {
    #[cfg(feature = "metrics")]
    calls: [[metrics::Counter; CallOutcome::ALL.len()]; Operation::ALL.len()],
    #[cfg(feature = "metrics")]
    seconds: [metrics::Histogram; Operation::ALL.len()],
}

impl CallCounters {
    #[cfg(feature = "metrics")]
    pub(super) fn of(store: &'static str) -> Self {
        let call = |operation: Operation, ended: CallOutcome| {
            if operation.can_end(ended) {
                let (operation, outcome) = (operation.name(), ended.name());
                metrics::counter!(
                    CALLS,
                    "store" => store, "operation" => operation, "outcome" => outcome
                )
            } else {
                metrics::Counter::noop()
            }
        };
        // Register the counter with 0, so that the first retry shows as an increase.
        metrics::counter!(RETRIES, "store" => store).increment(0);
        Self {
            calls: Operation::ALL
                .map(|operation| CallOutcome::ALL.map(|ended| call(operation, ended))),
            seconds: Operation::ALL.map(|operation| {
                let operation = operation.name();
                metrics::histogram!(CALL_SECONDS, "store" => store, "operation" => operation)
            }),
        }
    }

    #[cfg(not(feature = "metrics"))]
    pub(super) fn of(_: &'static str) -> Self {
        Self {}
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "without metrics there is nothing to count with")
    )]
    pub(super) fn ended(&self, operation: Operation, ended: CallOutcome, took: Duration) {
        #[cfg(feature = "metrics")]
        {
            // `ALL` contains every variant at its discriminant.
            self.calls[operation as usize][ended as usize].increment(1);
            self.seconds[operation as usize].record(took.as_secs_f64());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (operation, ended, took);
    }
}

/// Describes the metrics to the installed recorder, and sets the metrics without a store label to
/// 0. Call it once, after installing the recorder.
#[cfg(feature = "metrics")]
pub fn describe() {
    metrics::describe_counter!(
        CALLS,
        "Finished calls of the session store, by operation and outcome."
    );
    metrics::describe_histogram!(
        CALL_SECONDS,
        metrics::Unit::Seconds,
        "Duration of calls of the session store."
    );
    metrics::describe_counter!(RETRIES, "Retries of a session store within a call.");
    metrics::describe_counter!(
        TOUCHES_SKIPPED,
        "Uses of a session whose ttl did not need an extension."
    );
    metrics::describe_counter!(COOKIE_REFUSED, "Refused values of the session cookie, by cause.");
    metrics::counter!(TOUCHES_SKIPPED).increment(0);
    for cause in RefusalCause::ALL {
        metrics::counter!(COOKIE_REFUSED, "cause" => cause.name()).increment(0);
    }
}

/// Counts a use of a session whose ttl did not need an extension.
pub(crate) fn count_skipped_touch() {
    #[cfg(feature = "metrics")]
    metrics::counter!(TOUCHES_SKIPPED).increment(1);
}
