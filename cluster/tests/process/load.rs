//! Clients that send requests while a check runs.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::harness::Client;

/// The pause between two requests of a client. It leaves CPU time for parallel tests, some of which
/// check time limits.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// Runs `during` while `clients` send requests, each request on its own connection and followed by
/// `pause`. `during` gets the number of answered requests so far. Returns that number at the end.
/// Panics if a connection is dropped.
pub(crate) fn under_load(
    addr: SocketAddr,
    clients: usize,
    pause: Duration,
    during: impl FnOnce(&AtomicUsize),
) -> usize {
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // Stops the clients also when a check fails, because the scope waits for them.
        let _at_end = StopOnDrop(&stop);
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(
                        !Client::connect(addr).ask("identity").is_null(),
                        "a connection was dropped"
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                }
            });
        }
        during(&asked);
    });
    asked.into_inner()
}

/// Sets the flag when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
