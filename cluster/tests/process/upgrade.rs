//! Upgrades of the primary.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    control_dir::ControlDir,
    harness::{Cluster, fixture, is_free, runs, until},
    load::under_load,
    pid_file::refusal,
};

const UPGRADES: u64 = 4;
const CLIENTS: usize = 8;

/// Sends a signal to a process that is alive or not yet reaped.
fn signal(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// A file that controls how workers and successors boot.
struct BootMode(TempDir);

impl BootMode {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        self.0.path().join("boot").to_str().unwrap().to_owned()
    }

    fn set(&self, mode: &str) {
        fs::write(self.path(), mode).unwrap();
    }
}

/// A cluster that waits 20 seconds for the workers of a successor, and the file that controls how
/// they boot.
fn ready_for_slow_successors() -> (BootMode, Cluster) {
    let mode = BootMode::new();
    mode.set("good");
    let mut cluster = Cluster::ready(&[
        ("boot_file", &mode.path()),
        ("readiness", "20000"),
        ("deadline", "500"),
        ("fast", "200"),
    ]);
    // The event of the serving worker, so that the next one comes from the other primary.
    cluster.event_of("online", 1);
    (mode, cluster)
}

#[test]
fn upgrade_replaces_the_primary_and_loses_no_connection() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "finish"), ("quiet", "50")]);
    let addr = cluster.addr;
    let asked = under_load(addr, CLIENTS, Duration::ZERO, |_| {
        for generation in 1..=UPGRADES {
            let old = cluster.pid();
            cluster.signal(Signal::USR2);
            let started = cluster.follow();
            assert_eq!(
                (&started["generation"], started["addr"].as_str()),
                (&generation.into(), Some(addr.to_string().as_str()))
            );
            assert_eq!(cluster.event("took over")["pid"], cluster.pid());
            let stopped = cluster.wait("the old one's end", |line| line["event"] == "stopped");
            assert_eq!(
                (&stopped["successor"], &stopped["workers"]),
                (&cluster.pid().into(), &2.into())
            );
            assert_eq!(stopped["killed"], Value::Array(Vec::new()));
            until("the old primary has ended", || (!runs(old)).then_some(()));
        }
    });
    assert!(cluster.first_exit().success());
    println!(
        "{asked} requests over {UPGRADES} upgrades of the primary, each on its own connection, 0 lost"
    );
    assert_eq!(cluster.worker_pids().len(), 2);
    // The port belongs only to the new primary and is free after its end.
    cluster.signal(Signal::TERM);
    assert!(cluster.exit().success());
    assert!(is_free(addr));
}

#[test]
fn k10_descriptors_stay_the_same_over_upgrades() {
    let mut cluster = Cluster::ready(&[]);
    let mut held = Vec::new();
    for _ in 0..4 {
        assert!(cluster.command("upgrade")["error"].is_null());
        let old = cluster.pid();
        cluster.follow();
        cluster.event("took over");
        until("the old primary has ended", || (!runs(old)).then_some(()));
        let count = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        held.push((count(cluster.pid()), cluster.ask("fds").as_object().unwrap().len()));
    }
    assert!(
        held.iter().all(|now| now == &held[0]),
        "primary and worker hold {held:?} descriptors after each upgrade"
    );
}

#[test]
fn upgrade_starts_the_new_build() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let install = |from: &Path| {
        let new = folder.path().join("new");
        fs::copy(from, &new).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    let program = fixture(&[]).get_program().to_owned();
    install(Path::new(&program));
    let mut command = Command::new(&path);
    command.env("FIXTURE_WORKERS", "1");
    let mut cluster = Cluster::run(command);
    cluster.event("settled");
    install(Path::new(&program));
    cluster.signal(Signal::USR2);
    cluster.follow();
    cluster.event("took over");
    let exe = fs::read_link(format!("/proc/{}/exe", cluster.pid())).unwrap();
    assert_eq!(exe, path, "the file that is at the path now");
    fs::remove_file(&path).unwrap();
    assert!(cluster.first_exit().success());
    cluster.signal(Signal::USR2);
    let error = cluster.event("not upgraded");
    assert!(
        error["error"].as_str().unwrap().starts_with("there is no program to upgrade to at"),
        "{error}"
    );
    assert_eq!(cluster.ask("identity")["id"], 1);
}

#[test]
fn failed_successor_changes_nothing_and_can_be_retried() {
    let mode = BootMode::new();
    for (successor, boot, says) in [
        ("exit", "", "ended before its workers were ready (exit status: 4)"),
        ("hang", "", "were not ready within 3s"),
        ("", "exit", "ended before its workers were ready"),
        ("", "never_ready", "ended before its workers were ready"),
    ] {
        mode.set("good");
        let options = [
            ("boot_file", mode.path()),
            ("successor", successor.to_owned()),
            ("readiness", "1500".to_owned()),
            ("give_up", "1".to_owned()),
        ];
        let options: Vec<_> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut cluster = Cluster::ready(&options);
        mode.set(boot);
        let done = cluster.command("upgrade");
        assert!(done["error"].as_str().unwrap().contains(says), "{successor} {boot}: {done}");
        assert_eq!(cluster.worker_pids().len(), 1, "only the worker is left");
        // The port still accepts connections, and the worker is the same.
        assert_eq!(cluster.ask("identity")["id"], 1);
        mode.set("good");
        let done = cluster.command("upgrade");
        assert!(done["error"].is_null(), "{done}");
        cluster.follow_to(&done["pid"]);
        cluster.event("took over");
        assert!(cluster.first_exit().success());
    }
}

#[test]
fn k12_stop_during_an_upgrade_ends_both_primaries() {
    let (mode, mut cluster) = ready_for_slow_successors();
    mode.set("stuck");
    let addr = cluster.addr;
    cluster.signal(Signal::USR2);
    // A second request during the first starts no second successor.
    cluster.signal(Signal::USR2);
    let first = cluster.pid();
    cluster.follow();
    let second = cluster.pid();
    cluster.event_of("online", 1);
    signal(first.into(), Signal::TERM);
    assert!(cluster.first_exit().success());
    // The worker of the successor does not drain by itself, and the first primary waits only for
    // the successor.
    assert!(!runs(second), "a primary must not end before its successor");
    until("the port is free", || is_free(addr).then_some(()));
}

#[test]
fn pid_file_and_control_socket_belong_to_the_new_primary() {
    let dir = ControlDir::new();
    let pid_file = dir.folder.path().join("pid");
    let mut cluster = dir.ready(&[("pid_file", pid_file.to_str().unwrap())]);
    for _ in 0..3 {
        let old = cluster.pid();
        let done = dir.ask(&json!({ "command": "upgrade" }));
        cluster.follow_to(&done["ok"]["upgraded"]["pid"]);
        cluster.event("took over");
        until("the old primary has ended", || (!runs(old)).then_some(()));
        assert_eq!(dir.status()["pid"], cluster.pid());
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", cluster.pid()));
    }
    for (option, path) in [("control", dir.text()), ("pid_file", pid_file.to_str().unwrap())] {
        let refused = refusal(fixture(&[(option, path)]));
        assert!(refused.contains(&cluster.pid().to_string()), "{refused}");
    }
    assert!(cluster.first_exit().success());
    dir.assert_removed_by_stop(&mut cluster);
}

#[test]
fn k12_stop_of_both_primaries_at_any_moment_leaves_nothing() {
    for delay in 0..16 {
        let dir = ControlDir::new();
        let pid_file = dir.folder.path().join("pid");
        let mut cluster = dir.ready(&[("pid_file", pid_file.to_str().unwrap())]);
        let (addr, first) = (cluster.addr, cluster.pid());
        cluster.signal(Signal::USR2);
        let started = cluster
            .wait("a new primary", |line| line["event"] == "started" && line["generation"] == 1);
        // From before its workers serve until after it has taken over.
        thread::sleep(Duration::from_millis(2 * delay));
        // Both processes stay unreaped until this test or the first primary waits for them.
        let _ = kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::TERM);
        let second = u32::try_from(started["pid"].as_u64().unwrap()).unwrap();
        let _ = kill_process(Pid::from_raw(i32::try_from(second).unwrap()).unwrap(), Signal::TERM);
        assert!(cluster.first_exit().success());
        until("the new primary has ended", || (!runs(second)).then_some(()));
        assert_eq!(dir.files(), 0, "with delay {delay}");
        until("the port is free", || is_free(addr).then_some(()));
    }
}

#[test]
fn killed_new_primary_holds_no_file_while_the_old_one_drains() {
    let dir = ControlDir::new();
    let pid_file = dir.folder.path().join("pid");
    let mut cluster = dir.ready(&[
        ("pid_file", pid_file.to_str().unwrap()),
        ("drain", "finish"),
        ("deadline", "6000"),
    ]);
    let mut client = cluster.connect();
    client.begin("wait 60000");
    cluster.signal(Signal::USR2);
    cluster.follow();
    cluster.event("took over");
    cluster.signal(Signal::KILL);
    until("the new primary has ended", || (!runs(cluster.pid())).then_some(()));
    // No process listens, so clients are refused at once.
    until("no process listens on the socket", || {
        UnixStream::connect(&dir.path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            .then_some(())
    });
    let mut third = dir.ready(&[("pid_file", pid_file.to_str().unwrap())]);
    assert_eq!(dir.status()["pid"], third.pid());
    // The end of the first primary does not change the files of the third.
    drop(client);
    assert!(cluster.first_exit().success());
    assert_eq!(dir.status()["pid"], third.pid());
    dir.assert_removed_by_stop(&mut third);
}

#[test]
fn old_files_are_removed_when_the_new_primary_uses_others() {
    let dir = ControlDir::new();
    let path = |name: &str| dir.folder.path().join(name);
    let (control, pid_file) = (path("control-{generation}"), path("pid-{generation}"));
    let mut cluster = Cluster::ready(&[
        ("control", control.to_str().unwrap()),
        ("pid_file", pid_file.to_str().unwrap()),
    ]);
    let first = cluster.pid();
    assert!(path("control-0").exists() && path("pid-0").exists());
    cluster.signal(Signal::USR2);
    cluster.follow();
    cluster.event("took over");
    until("the old primary has ended", || (!runs(first)).then_some(()));
    assert!(
        path("control-1").exists()
            && fs::read_to_string(path("pid-1")).unwrap() == format!("{}\n", cluster.pid())
    );
    // The socket, its lock file, the pid file.
    assert_eq!(dir.files(), 3);
    dir.assert_removed_by_stop(&mut cluster);
}

#[test]
fn failed_successor_leaves_pid_file_and_control_socket() {
    let (mode, dir) = (BootMode::new(), ControlDir::new());
    let pid_file = dir.folder.path().join("pid");
    mode.set("good");
    let mut cluster = dir.ready(&[
        ("boot_file", &mode.path()),
        ("pid_file", pid_file.to_str().unwrap()),
        ("fast", "200"),
    ]);
    let is_as_before = |pid: u32| {
        assert_eq!(dir.status()["pid"], pid);
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"));
        assert_eq!(dir.files(), 3);
    };
    mode.set("stuck");
    for end in [Signal::TERM, Signal::KILL] {
        cluster.signal(Signal::USR2);
        let started = cluster
            .wait("a new primary", |line| line["event"] == "started" && line["generation"] == 1);
        is_as_before(cluster.pid());
        signal(started["pid"].as_u64().unwrap(), end);
        cluster.event("not upgraded");
        is_as_before(cluster.pid());
    }
    dir.assert_removed_by_stop(&mut cluster);
}

#[test]
fn k03_successor_takes_over_from_a_primary_that_dies() {
    let mode = BootMode::new();
    mode.set("good");
    let mut cluster = Cluster::ready(&[("boot_file", &mode.path()), ("boot_block", "500")]);
    cluster.signal(Signal::USR2);
    let worker = cluster.worker_pids()[0];
    let first = cluster.pid();
    cluster.follow();
    signal(first.into(), Signal::KILL);
    let died = Instant::now();
    cluster.event("took over");
    until("the old worker has ended", || (!runs(worker)).then_some(()));
    assert!(died.elapsed() < Duration::from_secs(10));
    until("the new worker serves", || (cluster.ask("identity")["pid"] != worker).then_some(()));
    cluster.signal(Signal::TERM);
    assert!(cluster.exit().success());
}

#[test]
fn k12_killed_or_stopped_successor_closes_no_port() {
    let (mode, mut cluster) = ready_for_slow_successors();
    mode.set("never_ready");
    for end in [Signal::TERM, Signal::INT, Signal::KILL] {
        cluster.signal(Signal::USR2);
        let started = cluster.wait("a new primary", |line| line["event"] == "started");
        cluster.event_of("online", 1);
        signal(started["pid"].as_u64().unwrap(), end);
        let error = cluster.event("not upgraded");
        assert!(
            error["error"].as_str().unwrap().contains("ended before its workers were ready"),
            "{error}"
        );
        for _ in 0..20 {
            assert_eq!(cluster.ask("identity")["id"], 1);
        }
    }
}
