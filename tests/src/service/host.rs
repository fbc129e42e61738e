//! Where the processes of a server run: on this machine, or in a container that shares the network
//! and one folder with it.
//!
//! Both take the same shell line. Only starting and signalling differ.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Signal, getegid, geteuid};
use tempfile::TempDir;
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{AccessMode, ExecCommand, Mount},
    runners::AsyncRunner,
};

use super::{
    kind::new_folder,
    origin::{Origin, name_and_tag},
};
use crate::process::Process;

/// The first process of the container. `wait` collects the servers that ended. The container ends
/// by itself in case a test was killed and could not remove it.
const CONTAINER: &str = "sleep 7200 & wait";

/// The names of the users. A container gets those of this system, because some servers refuse to
/// run as a user without a name.
const USERS: &str = "/etc/passwd";

/// A folder, and the machine or container whose processes see it under the same path.
#[derive(Debug)]
pub(super) struct Host {
    // Before the folder: its processes have ended when the folder is removed.
    container: Option<ContainerAsync<GenericImage>>,
    folder: TempDir,
    /// The program of the server, as a shell on this host finds it.
    pub(super) program: String,
    /// For the output: "in a container of redis:7", "from /usr/bin/redis-server".
    pub(super) description: String,
}

/// A process of a host. On this machine it ends when this value is dropped, in a container when the
/// host is.
#[derive(Debug)]
pub(super) enum Running {
    /// A child of this process.
    Here(Process),
    /// One in the container, by its id there.
    Contained(u32),
}

impl Host {
    /// Opens one for this program.
    ///
    /// # Panics
    /// If the container does not start.
    pub(super) async fn open(origin: &Origin, program: &str) -> Self {
        let folder = new_folder();
        match origin {
            Origin::Container(image) => {
                let container = container(image, folder.path()).await;
                let description = format!("in a container of {image}");
                Self {
                    container: Some(container),
                    folder,
                    program: program.to_owned(),
                    description,
                }
            }
            Origin::Path(program) => {
                let program = program.display().to_string();
                let description = format!("from {program}");
                Self { container: None, folder, program, description }
            }
            Origin::External(_) => unreachable!("a server that runs already needs no host"),
        }
    }

    /// Whether its processes run directly on this machine.
    pub(super) fn is_here(&self) -> bool {
        self.container.is_none()
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one process for each shell line. The output goes to the file beside the line.
    ///
    /// # Panics
    /// If the shell cannot be started.
    pub(super) async fn start(&self, commands: &[(String, PathBuf)]) -> Vec<Running> {
        let Some(container) = &self.container else {
            let lines = commands
                .iter()
                .map(|(command, output)| format!("exec >>'{}' 2>&1; {command}", output.display()));
            return lines
                .map(|line| {
                    Running::Here(Process::start(Path::new("/bin/sh"), &["-c", &line], &[]))
                })
                .collect();
        };
        // All in one exec, because each takes about as long as the start of a server.
        let lines = commands.iter().map(|(command, output)| {
            format!("{{ {command}; }} >>'{}' 2>&1 </dev/null & echo $!\n", output.display())
        });
        let ids = run(container, &lines.collect::<String>()).await;
        ids.lines()
            .map(|id| Running::Contained(id.parse().expect("a shell prints process ids")))
            .collect()
    }

    /// Sends a signal to these processes and their children, and returns when it has arrived. A
    /// process that has ended gets none.
    ///
    /// # Panics
    /// If the shell cannot be started.
    pub(super) async fn signal(&self, those: &[&Running], signal: Signal) {
        if those.is_empty() {
            return;
        }
        let lines = those.iter().map(|running| match signal {
            Signal::STOP => format!("stop {}", running.id()),
            Signal::KILL => format!("end {}", running.id()),
            other => format!("send {} $(family {})", other.as_raw(), running.id()),
        });
        let script = format!("{FAMILY}\n{}", lines.collect::<Vec<_>>().join("\n"));
        if let Some(container) = &self.container {
            run(container, &script).await;
            return;
        }
        // It blocks for milliseconds, in which the test should do nothing else.
        let done = Command::new("sh").args(["-c", &script]).status().expect("a shell");
        assert!(done.success(), "{script:?} failed: {done}");
    }

    /// Kills these processes and their children, and returns when they are gone, so that their
    /// addresses and files are free. One may have ended before.
    ///
    /// # Panics
    /// If the shell cannot be started.
    pub(super) async fn kill(&self, those: Vec<Running>) {
        self.signal(&those.iter().collect::<Vec<_>>(), Signal::KILL).await;
        for running in those {
            match (running, &self.container) {
                (Running::Here(process), _) => drop(process),
                (Running::Contained(id), Some(container)) => {
                    run(container, &format!("while kill -0 {id} 2>/dev/null; do sleep 0.01; done"))
                        .await;
                }
                (Running::Contained(_), None) => {
                    unreachable!("a process in a container has a container")
                }
            }
        }
    }
}

impl Running {
    /// Its process id on its host.
    fn id(&self) -> String {
        match self {
            Self::Here(process) => process.pid().as_raw_nonzero().to_string(),
            Self::Contained(id) => id.to_string(),
        }
    }
}

/// Shell functions for a process and its children: a server may have one child for each client. The
/// parent is stopped before its children are listed, because a running parent can start more. The
/// threads of a server run for a moment after the signal that stops them.
const FAMILY: &str = r#"
family() { echo $1; grep -lsE "^[0-9]+ \(.*\) [^ZX] $1 " /proc/[0-9]*/stat | cut -d / -f 3; }
send() { kill "-$@" 2>/dev/null || true; }
rest() { send STOP $1; while grep -qsv ') [TZX] ' /proc/$1/task/*/stat; do sleep 0.01; done; }
stop() { rest $1; for id in $(family $1); do rest $id; done; }
end() {
    rest $1
    ids=$(family $1)
    send KILL $ids
    for id in $ids; do while grep -qsv ') [ZX] ' /proc/$id/stat; do sleep 0.01; done; done
}
"#;

/// A folder that every container can read under the same path, for files that a server needs at its
/// start.
///
/// # Panics
/// If the folder cannot be created.
#[must_use]
pub fn shared_files() -> PathBuf {
    let path = std::env::temp_dir().join(format!("session-layer-tests-{}", geteuid().as_raw()));
    fs::create_dir_all(&path).expect("a temporary folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an own folder");
    path
}

/// Starts a container with the network of the machine, so that the addresses of its servers are
/// valid outside, and with this folder under the same path. It runs as the user of the test, who
/// then owns the files.
async fn container(image: &str, folder: &Path) -> ContainerAsync<GenericImage> {
    // Docker may map its users to others.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
        .expect("the owner of a folder can open it");
    let (name, tag) = name_and_tag(image);
    let path = folder.to_str().expect("temporary folders have plain names");
    let files = shared_files().display().to_string();
    GenericImage::new(name, tag)
        .with_entrypoint("sh")
        .with_cmd(["-c", CONTAINER])
        .with_network("host")
        .with_mount(Mount::bind_mount(path, path))
        .with_mount(Mount::bind_mount(USERS, USERS).with_access_mode(AccessMode::ReadOnly))
        .with_mount(Mount::bind_mount(&files, &files).with_access_mode(AccessMode::ReadOnly))
        .with_user(format!("{}:{}", geteuid().as_raw(), getegid().as_raw()))
        .with_host_config_modifier(|config| config.auto_remove = Some(true))
        .start()
        .await
        .unwrap_or_else(|error| {
            panic!("Docker has the image {image} and cannot start a container of it: {error}")
        })
}

/// Runs a script in a container and returns what it printed.
async fn run(container: &ContainerAsync<GenericImage>, script: &str) -> String {
    // The last line is the exit code. To ask Docker for it would hold a reference that is not
    // `Send` across an await.
    let lines = format!("{script}\necho \"ended $?\"");
    let mut done = container
        .exec(ExecCommand::new(["sh", "-c", &lines]))
        .await
        .expect("the container runs a shell");
    let output = done.stdout_to_vec().await.expect("a shell's output can be read");
    let errors = done.stderr_to_vec().await.expect("a shell's errors can be read");
    let output = String::from_utf8_lossy(&output);
    let Some(printed) = output.strip_suffix("ended 0\n") else {
        panic!("{script:?} in a container failed: {output}{}", String::from_utf8_lossy(&errors));
    };
    printed.to_owned()
}
