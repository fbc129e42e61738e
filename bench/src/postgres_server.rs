//! Starts a PostgreSQL server for a benchmark.

use std::{
    env,
    error::Error,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::server_start::{free_port, wait_until_ready};

/// A server on the loopback interface with its files in a temporary folder. Dropping this value
/// stops the server.
#[derive(Debug)]
pub struct PostgresServer {
    url: String,
    process: Child,
    _folder: TempDir,
}

impl PostgresServer {
    /// Starts a server and waits until it accepts connections. `shared_buffers` is 1 GB. The other
    /// settings are the defaults, so the server answers a commit after it has written it to disk.
    ///
    /// # Errors
    /// If PostgreSQL cannot be started (Debian: `apt-get install postgresql`), or does not accept
    /// connections within ten seconds.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let root = folder.path().to_owned();
        let program = |name: &str| {
            let mut command = Command::new(program(name));
            // The user of the server may have no access to the working directory of this process.
            command.current_dir(&root).stdout(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let missing = |error| {
            format!("cannot start PostgreSQL ({error}); on Debian: apt-get install postgresql")
        };
        let data = root.join("data");
        let made = program("initdb")
            .args([
                "--auth=trust",
                "--username=bench",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--pgdata",
            ])
            .arg(&data)
            .status()
            .map_err(missing)?;
        if !made.success() {
            return Err(format!("initdb ended with {made}").into());
        }
        let port = free_port()?;
        let process = program("postgres")
            .args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")])
            .args([
                "-c",
                "unix_socket_directories=",
                "-c",
                "shared_buffers=1GB",
                "-c",
                "log_min_messages=fatal",
                "-D",
            ])
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .map_err(missing)?;
        let server = Self {
            url: format!("postgres://bench@127.0.0.1:{port}/postgres"),
            process,
            _folder: folder,
        };
        // The server listens before it is ready.
        wait_until_ready("PostgreSQL", port, Duration::from_secs(10), || {
            let asked = program("pg_isready")
                .args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()])
                .status()?;
            Ok(asked.success())
        })?;
        Ok(server)
    }

    /// The URL of the server, with a database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The files are deleted too, so the server does not need a clean shutdown. SIGQUIT also
        // ends its child processes, and SIGKILL would not.
        let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
        let _ = self.process.wait();
    }
}

/// The path of a program of PostgreSQL. Debian installs them outside of `PATH`, in a folder for
/// each version.
fn program(name: &str) -> PathBuf {
    let on_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let of_debian = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    on_path
        .chain(of_debian)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| name.into())
}

/// The user and group for the server. `None` if this process does not run as root. PostgreSQL
/// refuses to run as root.
fn owner() -> Result<Option<(u32, u32)>, Box<dyn Error>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let fields = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    Ok(Some(ids("postgres").or_else(|| ids("nobody")).ok_or(
        "PostgreSQL refuses to run as root, and the users `postgres` and `nobody` do not exist",
    )?))
}
