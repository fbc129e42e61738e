//! Runs many futures with a bound on how many run at once.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};

/// The most futures that run at once.
const MAX_CONCURRENT: usize = 64;

/// Runs all futures and returns their results in the same order, or the first error.
pub(crate) async fn try_join_bounded<T, E, F: Future<Output = Result<T, E>>>(
    futures: Vec<F>,
) -> Result<Vec<T>, E> {
    stream::iter(futures).buffered(MAX_CONCURRENT).try_collect().await
}
