//! Which connection a thread keeps to.

use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The how-manieth thread of this process to speak to a server this one is.
    static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

/// The connection of the calling thread, out of `count`.
///
/// A connection is driven by the runtime that opened it. A thread that keeps to one which it opened
/// itself, as a web server's worker with a runtime of its own does, gets its answers without waking
/// another thread.
pub(crate) fn connection(count: usize) -> usize {
    NUMBER.with(|number| number % count)
}
