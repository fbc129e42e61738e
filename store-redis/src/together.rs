//! Many commands at once, but not all.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};

/// How many are under way at once.
const AT_ONCE: usize = 64;

/// What all of them came to, in their order; or the first error.
pub(crate) async fn together<T, E, F: Future<Output = Result<T, E>>>(
    all: Vec<F>,
) -> Result<Vec<T>, E> {
    stream::iter(all).buffered(AT_ONCE).try_collect().await
}
