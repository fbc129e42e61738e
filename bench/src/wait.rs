//! Work that never waits.

use futures_util::FutureExt;

/// The result of a future that is ready when it is first polled, as every call over a store in
/// memory is. No runtime is needed, so none is measured.
///
/// # Panics
/// If the future waits.
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    let Some(result) = work.now_or_never() else {
        panic!("what is measured here never waits");
    };
    result
}
