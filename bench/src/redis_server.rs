//! Starts a Redis server for a benchmark.

use std::{
    error::Error,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::server_start::{free_port, wait_until_ready};

/// A server on the loopback interface that writes nothing to disk. Dropping this value kills it. Or
/// the server that `TEST_REDIS_URL` names, which continues to run.
#[derive(Debug)]
pub struct RedisServer {
    url: String,
    own: Option<(Child, TempDir)>,
}

impl RedisServer {
    /// Returns the server that `TEST_REDIS_URL` names. Starts one if the variable is not set.
    ///
    /// # Errors
    /// If `redis-server` cannot be started (Debian: `apt-get install redis-server`), or does not
    /// accept connections within five seconds.
    pub fn from_env_or_start() -> Result<Self, Box<dyn Error>> {
        std::env::var("TEST_REDIS_URL")
            .map_or_else(|_| Self::start(), |url| Ok(Self { url, own: None }))
    }

    /// Starts a server and waits until it accepts connections.
    ///
    /// # Errors
    /// As [`Self::from_env_or_start`].
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start redis-server ({error}); on Debian: apt-get install redis-server"
                )
            })?;
        let server =
            Self { url: format!("redis://127.0.0.1:{port}/0"), own: Some((child, folder)) };
        wait_until_ready("redis-server", port, Duration::from_secs(5), || {
            Ok(redis::Client::open(server.url())?.get_connection().is_ok())
        })?;
        Ok(server)
    }

    /// The URL of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            // The server stores nothing on disk, so it does not need a clean shutdown.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
