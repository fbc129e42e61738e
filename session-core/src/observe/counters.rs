//! Counting, which is nothing without the feature `metrics`.

use std::time::Duration;

use super::call::current_store_name;
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
                metrics::counter!(CALLS, "store" => store, "operation" => operation.name(), "outcome" => ended.name())
            } else {
                metrics::Counter::noop()
            }
        };
        // There from the start, so that the first one is seen to come.
        metrics::counter!(RETRIES, "store" => store).increment(0);
        Self {
            calls: Operation::ALL.map(|operation| CallOutcome::ALL.map(|ended| call(operation, ended))),
            seconds: Operation::ALL.map(|operation| metrics::histogram!(CALL_SECONDS, "store" => store, "operation" => operation.name())),
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
            // `ALL` has every variant at its position.
            self.calls[operation as usize][ended as usize].increment(1);
            self.seconds[operation as usize].record(took.as_secs_f64());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (operation, ended, took);
    }
}

/// Tells the recorder that is installed what the names mean, and starts what has no store of its
/// own at 0. OngoingCall it once, after installing the recorder.
#[cfg(feature = "metrics")]
pub fn describe() {
    metrics::describe_counter!(
        CALLS,
        "Calls of the session store that have ended, by operation and outcome."
    );
    metrics::describe_histogram!(
        CALL_SECONDS,
        metrics::Unit::Seconds,
        "How long calls of the session store took."
    );
    metrics::describe_counter!(RETRIES, "Times that a session store tried again within a call.");
    metrics::describe_counter!(
        TOUCHES_SKIPPED,
        "Uses of a session whose life needed no extension."
    );
    metrics::describe_counter!(
        COOKIE_REFUSED,
        "Values of the session cookie that were not believed, by cause."
    );
    metrics::counter!(TOUCHES_SKIPPED).increment(0);
    for cause in RefusalCause::ALL {
        metrics::counter!(COOKIE_REFUSED, "cause" => cause.name()).increment(0);
    }
}

/// For stores: a call is tried once more, because it was in the way of others or lost its
/// connection.
///
/// It is counted under the name that the program [observes](super::observe) the store by, which is
/// known within a call, but not to a task that the call has spawned. Of a store that nobody
/// observes it is `own`, the name that the store gives in its errors.
pub fn retried(own: &'static str) {
    let store = current_store_name(own);
    #[cfg(feature = "metrics")]
    metrics::counter!(RETRIES, "store" => store).increment(1);
    tracing::debug!(store, "a store tries again");
}

/// For stores: waits, and then a call is tried once more, see [`retried`]. A call that is over
/// before the pause is has tried nothing.
pub async fn retry_after(pause: Duration, own: &'static str) {
    tokio::time::sleep(pause).await;
    retried(own);
}

/// A session was used, and its life needed no extension.
pub(crate) fn count_skipped_touch() {
    #[cfg(feature = "metrics")]
    metrics::counter!(TOUCHES_SKIPPED).increment(1);
}
