//! One observed call: its span, its duration and its outcome.

use std::time::Instant;

use tracing::{Instrument, Span, field::Empty};

use super::{
    counters::CallCounters,
    names::{CallOutcome, Operation},
};
use crate::StoreError;

/// A call in progress. It is counted when it is dropped, whether it has finished or not.
struct OngoingCall<'c> {
    store: &'static str,
    operation: Operation,
    counts: &'c CallCounters,
    span: Span,
    begun: Instant,
    ended: CallOutcome,
}

tokio::task_local! {
    /// The name under which the program observes the store of the current call.
    static STORE: &'static str;
}

/// The name under which the program observes the store of the current call. Otherwise `own`, the
/// name that the store gives itself.
pub(super) fn current_store_name(own: &'static str) -> &'static str {
    STORE.try_with(|store| *store).unwrap_or(own)
}

/// Awaits a call and records its outcome.
pub(super) async fn observed<T>(
    (store, counts): (&'static str, &CallCounters),
    operation: Operation,
    call: impl Future<Output = Result<T, StoreError>> + Send,
    outcome: impl FnOnce(&T) -> CallOutcome + Send,
) -> Result<T, StoreError> {
    let span =
        tracing::debug_span!("session store", store, operation = operation.name(), outcome = Empty);
    let mut ongoing = OngoingCall {
        store,
        operation,
        counts,
        span: span.clone(),
        begun: Instant::now(),
        ended: CallOutcome::Dropped,
    };
    let answer = STORE.scope(store, call.instrument(span)).await;
    ongoing.ended = answer.as_ref().map_or_else(CallOutcome::from, outcome);
    answer
}

impl Drop for OngoingCall<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.counts.ended(self.operation, self.ended, took);
        let (store, operation, outcome) = (self.store, self.operation.name(), self.ended.name());
        self.span.record("outcome", outcome);
        // The error text can come from a driver and contain what was sent to it. The code that
        // handles the error logs the parts that are safe.
        self.span.in_scope(|| {
            tracing::debug!(store, operation, outcome, ?took, "session store call finished");
        });
    }
}
