//! Assigns a connection to each thread.

use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Ordinal of this thread among the threads that use a store.
    static ORDINAL: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

/// The index of the connection that the calling thread uses, out of `count` connections.
///
/// The runtime that opened a connection drives it. A worker of a web server has its own runtime. If
/// such a thread opens its own connection, it receives answers without waking another thread.
pub(crate) fn connection_index(count: usize) -> usize {
    ORDINAL.with(|ordinal| ordinal % count)
}
