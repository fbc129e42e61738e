//! Tests of what remains after a test that panics.

use std::sync::mpsc::{Sender, channel};

/// Runs a test that panics, on its own thread with its own runtime. Returns what the test sends
/// before, or `None` if it is skipped: then it sends nothing and ends without a panic.
///
/// # Panics
/// If the test sends a value and does not panic, or panics before it sends one.
pub fn sent_before_panic<T, F>(test: impl FnOnce(Sender<T>) -> F + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = ()>,
{
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the runtime is built");
        runtime.block_on(test(sender));
    });
    let ended = thread.join();
    let Ok(sent) = receiver.recv() else {
        ended.expect("a skipped test ends without a panic");
        return None;
    };
    ended.expect_err("the test panics");
    Some(sent)
}
