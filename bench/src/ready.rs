//! Runs futures that are ready at the first poll, without a runtime.

use futures_util::FutureExt;

/// Polls a future once and returns its result. Every call of a store in memory is ready at the
/// first poll. So the measurement needs no runtime and includes none.
///
/// # Panics
/// If the future is not ready.
pub fn expect_ready<T>(work: impl Future<Output = T>) -> T {
    let Some(result) = work.now_or_never() else {
        panic!("the measured future is not ready at the first poll");
    };
    result
}
