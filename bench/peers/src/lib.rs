//! What the servers of `bench/peers/run` share.

use std::error::Error;

/// A free port of the loopback interface.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// The URL of Redis and the number of workers.
///
/// # Errors
/// The command line has other arguments.
pub fn arguments() -> Result<(String, usize), Box<dyn Error>> {
    match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [url, workers] => Ok((url.clone(), workers.parse()?)),
        _ => Err("usage: SERVER REDIS_URL WORKERS".into()),
    }
}
