//! What the starts of all servers have in common.

use std::{
    error::Error,
    net::TcpListener,
    thread::sleep,
    time::{Duration, Instant},
};

/// A free port on the loopback interface.
///
/// The listener is closed at once. The operating system rarely gives its port to another process so
/// soon.
pub(crate) fn free_port() -> Result<u16, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until the server is ready. Fails after `limit`.
pub(crate) fn wait_until_ready(
    server: &str,
    port: u16,
    limit: Duration,
    is_ready: impl Fn() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    while !is_ready()? {
        if started.elapsed() > limit {
            return Err(format!("{server} does not accept connections on port {port}").into());
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
