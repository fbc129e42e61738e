//! A PostgreSQL of one's own.

use std::{
    env,
    error::Error,
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// A server on the loopback that keeps its files in a temporary folder and ends with this value.
#[derive(Debug)]
pub struct PostgresServer {
    url: String,
    process: Child,
    _folder: TempDir,
}

impl PostgresServer {
    /// A new server, as soon as it takes connections. It keeps up to 1 GB of tables in memory, and
    /// has its usual settings but for that: a commit has been written to disk when it is answered.
    ///
    /// # Errors
    /// If PostgreSQL cannot be run (Debian: `apt-get install postgresql`) or does not take
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
            // It may not enter the folder that this process is in.
            command.current_dir(&root).stdout(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let missing = |error| {
            format!("PostgreSQL does not run ({error}); on Debian: apt-get install postgresql")
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
        // The port is free now, and nobody else is told of it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
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
        for _ in 0..200 {
            // It listens before it is ready.
            if program("pg_isready")
                .args(["--quiet", "--host=127.0.0.1", "--port", &port])
                .status()?
                .success()
            {
                return Ok(server);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("PostgreSQL does not answer on port {port}").into())
    }

    /// Its address, with a database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its files go with it, so it should not finish anything; but asked in this way it ends its
        // processes too.
        let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
        let _ = self.process.wait();
    }
}

/// Debian keeps these programs apart from others, by version.
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

/// The user and group that the server runs as: it refuses root.
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
    Ok(Some(
        ids("postgres")
            .or_else(|| ids("nobody"))
            .ok_or("PostgreSQL does not run as root, and there is neither postgres nor nobody")?,
    ))
}
