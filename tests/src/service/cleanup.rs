//! Removes what a test leaves on a server that continues.

use std::{fmt::Display, thread};

/// Waits for this at the end of a test, where nothing can be awaited. A failure is printed, and
/// does not fail the test.
pub(super) fn clean_up<E: Display + Send + 'static, F: Future<Output = Result<(), E>>>(
    what: &str,
    work: impl FnOnce() -> F + Send + 'static,
) {
    // On a new thread, since the runtime of the test may be on this one.
    let done = thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    });
    match done.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("{what} of the test stays: {error}"),
        Err(_) => eprintln!("{what} of the test stays"),
    }
}
