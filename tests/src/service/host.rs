//! Where the processes of a test's server run: on this machine, or in a container that shares its
//! network and one folder with it.
//!
//! Both take the same shell line, so only starting and signalling differ between them, and nothing
//! above knows where it is.

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

/// The container's own process. Its wait collects the servers that were ended; that it ends by
/// itself covers a test that was killed and could remove nothing.
const CONTAINER: &str = "sleep 7200 & wait";

/// Who has which user id. A container gets this system's: some servers refuse to run as somebody
/// who has no name.
const USERS: &str = "/etc/passwd";

/// A folder, and the means to run processes that know it by the same name.
#[derive(Debug)]
pub(super) struct Host {
    // Before the folder, so that what writes there has ended when it is removed.
    container: Option<ContainerAsync<GenericImage>>,
    folder: TempDir,
    /// What a shell in this place calls the server's program.
    pub(super) program: String,
    /// For people: "in a container of redis:7", "from /usr/bin/redis-server".
    pub(super) description: String,
}

/// A process of a place. On this machine it ends when this is dropped, in a container when the
/// place is.
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
            Origin::Theirs(_) => unreachable!("a server that runs already needs no place"),
        }
    }

    /// Whether its processes share the memory of this machine's.
    pub(super) fn is_here(&self) -> bool {
        self.container.is_none()
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one process for each command, a shell's line that becomes that process. Its output
    /// goes to the file that is named with it.
    ///
    /// # Panics
    /// If there is no shell.
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
        // All in one go: each exec costs about as much as a server takes to start.
        let lines = commands.iter().map(|(command, output)| {
            format!("{{ {command}; }} >>'{}' 2>&1 </dev/null & echo $!\n", output.display())
        });
        let ids = run(container, &lines.collect::<String>()).await;
        ids.lines()
            .map(|id| Running::Contained(id.parse().expect("a shell prints process ids")))
            .collect()
    }

    /// Sends them and their children a signal, and returns when it has arrived. One that has ended
    /// needs none.
    ///
    /// # Panics
    /// If there is no shell.
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
        // It takes milliseconds, and the test wants nothing else to happen meanwhile.
        let done = Command::new("sh").args(["-c", &script]).status().expect("a shell");
        assert!(done.success(), "{script:?} failed: {done}");
    }

    /// Kills them and their children, and returns when they are gone, so that their addresses and
    /// their files are free. Fine if one has ended.
    ///
    /// # Panics
    /// If there is no shell.
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
                    unreachable!("what runs in a container was started there")
                }
            }
        }
    }
}

impl Running {
    /// Its id in its place.
    fn id(&self) -> String {
        match self {
            Self::Here(process) => process.pid().as_raw_nonzero().to_string(),
            Self::Contained(id) => id.to_string(),
        }
    }
}

/// What a shell does with a process and its children: a server may have one of them for each
/// client. The parent is stopped before they are looked for, since one that runs may make more. A
/// server with many threads goes on for a moment after it was told to stop.
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

/// Starts a container with the machine's network, so that its servers announce addresses which hold
/// outside too, and with this folder under the same name. It runs as the test's own user, to whom
/// the files there then belong.
async fn container(image: &str, folder: &Path) -> ContainerAsync<GenericImage> {
    // Docker may map its users; what is in here is a test's.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
        .expect("the owner of a folder can open it");
    let (name, tag) = name_and_tag(image);
    let path = folder.to_str().expect("temporary folders have plain names");
    GenericImage::new(name, tag)
        .with_entrypoint("sh")
        .with_cmd(["-c", CONTAINER])
        .with_network("host")
        .with_mount(Mount::bind_mount(path, path))
        .with_mount(Mount::bind_mount(USERS, USERS).with_access_mode(AccessMode::ReadOnly))
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
    // The last line says how it ended: asking Docker for that would take a reference across an
    // await that is not `Send`.
    let lines = format!("{script}\necho \"ended $?\"");
    let mut done = container
        .exec(ExecCommand::new(["sh", "-c", &lines]))
        .await
        .expect("a container of ours runs a shell");
    let output = done.stdout_to_vec().await.expect("a shell's output can be read");
    let errors = done.stderr_to_vec().await.expect("a shell's errors can be read");
    let output = String::from_utf8_lossy(&output);
    let Some(printed) = output.strip_suffix("ended 0\n") else {
        panic!("{script:?} in a container failed: {output}{}", String::from_utf8_lossy(&errors));
    };
    printed.to_owned()
}
