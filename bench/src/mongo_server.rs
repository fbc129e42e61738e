//! A MongoDB of one's own.

use std::{
    error::Error,
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use tempfile::TempDir;

/// A server on the loopback that keeps its files in a temporary folder and ends with this value.
#[derive(Debug)]
pub struct MongoServer {
    url: String,
    process: Child,
    _folder: TempDir,
}

impl MongoServer {
    /// A new server, as soon as it takes connections. It keeps up to 1 GB of documents in memory.
    ///
    /// # Errors
    /// If `mongod` cannot be run (`scripts/test-mongod` gets one) or does not take connections
    /// within ten seconds.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        // The port is free now, and nobody else is told of it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new("mongod")
            .args([
                "--bind_ip",
                "127.0.0.1",
                "--port",
                &address.port().to_string(),
                "--nounixsocket",
                "--wiredTigerCacheSizeGB",
                "1",
            ])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false", "--dbpath"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("mongod does not run ({error}); scripts/test-mongod gets one")
            })?;
        let server = Self { url: format!("mongodb://{address}/bench"), process, _folder: folder };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("mongod does not listen at {address}").into())
    }

    /// Its address, with a database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The processor time that it has used: `utime` and `stime` of proc(5), in hundredths of a
    /// second.
    ///
    /// # Errors
    /// If it has ended, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat names no program")?;
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
        // Its files go with it, so there is nothing that it should be asked to finish.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
