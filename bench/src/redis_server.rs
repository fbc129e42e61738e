//! A Redis of one's own.

use std::{
    error::Error,
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use tempfile::TempDir;

/// A server on the loopback that keeps nothing on disk and ends with this value; or the one that
/// `TEST_REDIS_URL` names, which is left as it is.
#[derive(Debug)]
pub struct RedisServer {
    url: String,
    own: Option<(Child, TempDir)>,
}

impl RedisServer {
    /// The server that `TEST_REDIS_URL` names, else a new one, as soon as it takes connections.
    ///
    /// # Errors
    /// If `redis-server` cannot be run (Debian: `apt-get install redis-server`) or does not take
    /// connections within five seconds.
    pub fn at_hand() -> Result<Self, Box<dyn Error>> {
        std::env::var("TEST_REDIS_URL")
            .map_or_else(|_| Self::start(), |url| Ok(Self { url, own: None }))
    }

    /// A new server.
    ///
    /// # Errors
    /// As [`Self::at_hand`].
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        // The port is free now, and nobody else is told of it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
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
                    "redis-server does not run ({error}); on Debian: apt-get install redis-server"
                )
            })?;
        let server =
            Self { url: format!("redis://127.0.0.1:{port}/0"), own: Some((child, folder)) };
        for _ in 0..100 {
            if redis::Client::open(server.url())?.get_connection().is_ok() {
                return Ok(server);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("redis-server does not answer on port {port}").into())
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            // It keeps nothing, so there is nothing that it should be asked to finish.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
