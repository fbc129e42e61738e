//! The pid file of a primary.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Cluster, fixture};

/// A temporary folder, and a path in it where no file exists yet.
fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid").to_str().unwrap().to_owned();
    (folder, path)
}

fn pid_in(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

/// The error of a primary that does not start.
pub(crate) fn refusal(mut command: Command) -> String {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut first);
    let line: Value = serde_json::from_str(&first).unwrap_or_default();
    if line["error"].is_null() {
        // It must not outlive the test.
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(read.is_ok() && status.code() == Some(1), "{status}: {first}");
    line["error"].as_str().unwrap().to_owned()
}

/// The fixture under another umask.
pub(crate) fn under_umask(umask: &str, options: &[(&str, &str)]) -> Command {
    let program = fixture(options);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\"")]).arg(program.get_program());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn pid_file_names_the_primary_while_it_runs() {
    for umask in ["077", "000"] {
        let (folder, path) = folder();
        let mut cluster = Cluster::run(under_umask(umask, &[("pid_file", &path)]));
        assert_eq!(pid_in(&path), format!("{}\n", cluster.pid()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "{umask}");
        cluster.signal(Signal::TERM);
        cluster.event("stopped");
        // Before the process has ended, so that another primary can start after `wait`.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(cluster.exit().code(), Some(0));
    }
}

#[test]
fn k15_second_primary_is_refused_and_the_first_continues() {
    let (_folder, path) = folder();
    let mut first = Cluster::ready(&[("pid_file", &path)]);
    let refusal = refusal(fixture(&[("pid_file", &path)]));
    assert!(
        refusal.contains(&path) && refusal.contains(&format!("process {}", first.pid())),
        "{refusal}"
    );
    assert_eq!(pid_in(&path), format!("{}\n", first.pid()));
    assert_eq!(first.ask("identity")["id"], 1);
    first.signal(Signal::TERM);
    first.event("stopped");
    assert!(!Path::new(&path).exists());
}

#[test]
fn k15_pid_file_of_a_killed_primary_is_taken_over() {
    let (_folder, path) = folder();
    let mut first = Cluster::ready(&[("pid_file", &path)]);
    first.signal(Signal::KILL);
    first.exit();
    assert_eq!(pid_in(&path), format!("{}\n", first.pid()));
    let second = Cluster::start(&[("pid_file", &path)]);
    assert_eq!(pid_in(&path), format!("{}\n", second.pid()));
}

#[test]
fn k15_failed_start_leaves_no_file() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let (folder, path) = folder();
    let control = folder.path().join("control").to_str().unwrap().to_owned();
    let refusal =
        refusal(fixture(&[("pid_file", &path), ("control", &control), ("listen", &address)]));
    assert!(refusal.contains("choose another port"), "{refusal}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn k15_unwritable_pid_file_is_named() {
    let (folder, path) = folder();
    let nowhere = format!("{path}/in/no/folder");
    let missing = refusal(fixture(&[("pid_file", &nowhere)]));
    assert!(
        missing.contains("cannot write the pid file") && missing.contains(&nowhere),
        "{missing}"
    );

    // Root may write anywhere, so the program runs as another user, from a folder that this user
    // may read.
    if !rustix::process::geteuid().is_root() {
        println!("not root: a folder that denies writing is not tested");
        return;
    }
    let program = folder.path().join("fixture");
    fs::copy(env!("CARGO_BIN_EXE_cluster-fixture"), &program).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.env("FIXTURE_PID_FILE", &path).uid(65534).gid(65534).current_dir("/");
    let denied = refusal(command);
    assert!(
        denied.contains(&path) && denied.to_lowercase().contains("permission denied"),
        "{denied}"
    );
}

#[test]
fn s30_primary_does_not_start_with_a_pid_file_of_another_user() {
    let (_folder, path) = folder();
    fs::write(&path, "").unwrap();
    chown(&path, Some(65534), Some(65534))
        .expect("only root can change the owner of a file; run this test as root");
    let refusal = refusal(fixture(&[("pid_file", &path)]));
    assert!(
        refusal.contains(&format!("cannot write the pid file {path}: it belongs to uid 65534")),
        "{refusal}"
    );
    assert_eq!(pid_in(&path), "");
}

#[test]
fn s30_primary_does_not_start_with_a_control_lock_of_another_user() {
    let (_folder, path) = folder();
    let lock = format!("{path}.lock");
    fs::write(&lock, "").unwrap();
    chown(&lock, Some(65534), Some(65534))
        .expect("only root can change the owner of a file; run this test as root");
    let refusal = refusal(fixture(&[("control", &path)]));
    assert!(
        refusal.contains(&path)
            && refusal.contains(&format!("its lock {lock}: it belongs to uid 65534")),
        "{refusal}"
    );
}
