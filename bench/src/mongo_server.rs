//! Starts a MongoDB server for a benchmark.

use std::{
    error::Error,
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::server_start::{free_port, wait_until_ready};

/// A server on the loopback interface with its files in a temporary folder. Dropping this value
/// kills the server.
#[derive(Debug)]
pub struct MongoServer {
    url: String,
    process: Child,
    _folder: TempDir,
}

impl MongoServer {
    /// Starts a server and waits until it accepts connections. Its cache holds up to 1 GB.
    ///
    /// # Errors
    /// If `mongod` cannot be started (`scripts/test-mongod` installs it), or does not accept
    /// connections within ten seconds.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let process = Command::new("mongod")
            .args([
                "--bind_ip",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--nounixsocket",
                "--wiredTigerCacheSizeGB",
                "1",
            ])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false", "--dbpath"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("cannot start mongod ({error}); run scripts/test-mongod to install it")
            })?;
        let url = format!("mongodb://127.0.0.1:{port}/bench");
        let server = Self { url, process, _folder: folder };
        wait_until_ready("mongod", port, Duration::from_secs(10), || {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(server)
    }

    /// The URL of the server, with a database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The processor time that the server has used: `utime` and `stime` of proc(5). The resolution
    /// is a hundredth of a second.
    ///
    /// # Errors
    /// If the server has ended, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no program name")?;
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        // The files are deleted too, so the server does not need a clean shutdown.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
