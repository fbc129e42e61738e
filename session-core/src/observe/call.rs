//! One call that is observed.

use std::time::Instant;

use tracing::{Instrument, Span, field::Empty};

use super::{
    counters::CallCounters,
    names::{CallOutcome, Operation},
};
use crate::StoreError;

/// A call under way. It is counted when it is dropped, also if that is before its end.
struct OngoingCall<'c> {
    store: &'static str,
    operation: Operation,
    counts: &'c CallCounters,
    span: Span,
    begun: Instant,
    ended: CallOutcome,
}

tokio::task_local! {
    /// What the program calls the store whose call is under way.
    static STORE: &'static str;
}

/// What the program calls the store that is at work, or else `own`, its own name.
pub(super) fn current_store_name(own: &'static str) -> &'static str {
    STORE.try_with(|store| *store).unwrap_or(own)
}

/// Awaits a call, and says what came of it.
pub(super) async fn observed<T>(
    (store, counts): (&'static str, &CallCounters),
    operation: Operation,
    call: impl Future<Output = Result<T, StoreError>> + Send,
    outcome: impl FnOnce(&T) -> CallOutcome + Send,
) -> Result<T, StoreError> {
    let span =
        tracing::debug_span!("session store", store, operation = operation.name(), outcome = Empty);
    let mut under_way = OngoingCall {
        store,
        operation,
        counts,
        span: span.clone(),
        begun: Instant::now(),
        ended: CallOutcome::Dropped,
    };
    let answer = STORE.scope(store, call.instrument(span)).await;
    under_way.ended = answer.as_ref().map_or_else(CallOutcome::from, outcome);
    answer
}

impl Drop for OngoingCall<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.counts.ended(self.operation, self.ended, took);
        let (store, operation, outcome) = (self.store, self.operation.name(), self.ended.name());
        self.span.record("outcome", outcome);
        // An error's own words can be a driver's, and hold what it was sent. Who handles the error
        // logs what of it may be read.
        self.span.in_scope(|| {
            tracing::debug!(
                store,
                operation,
                outcome,
                ?took,
                "a call of the session store has ended"
            )
        });
    }
}
