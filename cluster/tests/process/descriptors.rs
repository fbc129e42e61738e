//! Descriptors of primary, workers and their children.

use std::{collections::BTreeMap, fs, time::Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Cluster, fixture, until};

const RESPAWNS: u64 = 200;

#[test]
fn k10_descriptors_and_threads_stay_constant_over_respawns() {
    let mut cluster = Cluster::ready(&[("give_up", "1000"), ("base", "1"), ("cap", "1")]);
    let begun = Instant::now();
    // One replacement first, so that everything that is created once exists.
    replace(&mut cluster, 1);
    let worker = kinds(&cluster.ask("fds"));
    let primary = (entries(cluster.pid(), "fd"), entries(cluster.pid(), "task"));
    for id in 2..=RESPAWNS {
        replace(&mut cluster, id);
    }
    assert_eq!(kinds(&cluster.ask("fds")), worker);
    until("the primary has as many descriptors and threads as before", || {
        let now = (entries(cluster.pid(), "fd"), entries(cluster.pid(), "task"));
        (now == primary && cluster.worker_pids().len() == 1).then_some(())
    });
    let (fds, threads) = primary;
    println!(
        "{RESPAWNS} respawns in {:?}: worker {worker:?}; primary {fds} descriptors, {threads} threads, no zombie",
        begun.elapsed()
    );
}

#[test]
fn k10_worker_has_only_its_own_descriptors() {
    let cluster = Cluster::ready(&[]);
    let fds = kinds(&cluster.ask("fds"));
    // Standard streams: /dev/null and pipes (or those of the test runner). Of the cluster: the
    // control socket and the copy of its guard, the listener, this connection. Of the runtime: two
    // epoll descriptors (one is a copy), one eventfd, a socket pair and a copy for signals.
    assert_eq!(fds.get("anon_inode:[eventpoll]"), Some(&2), "{fds:?}");
    assert_eq!(fds.get("anon_inode:[eventfd]"), Some(&1), "{fds:?}");
    assert_eq!(fds.get("socket"), Some(&7), "{fds:?}");
    let standard: usize = fds
        .iter()
        .filter(|(kind, _)| !kind.starts_with("anon") && *kind != "socket")
        .map(|(_, n)| n)
        .sum();
    assert_eq!(standard, 3, "{fds:?}");
}

#[test]
fn k10_child_of_a_handler_inherits_no_descriptor_and_no_role() {
    let mut command = fixture(&[("leak", "in the primary")]);
    for name in [
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    ] {
        command.env(name, "0");
    }
    let mut cluster = Cluster::run(command);
    cluster.event("settled");
    let child = cluster.ask("child");
    let pid = i32::try_from(child["pid"].as_i64().unwrap()).unwrap();
    // The loader has a library open for a moment. Inherited descriptors would stay open.
    until("the child has only its standard streams", || {
        let mut fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|fd| fd.unwrap().file_name())
            .collect();
        fds.sort();
        (fds == ["0", "1", "2"]).then_some(())
    });
    let names: Vec<_> =
        child["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.contains(&"PATH"), "{names:?}");
    for name in names {
        assert!(
            !["CLUSTER_WORKER", "NOTIFY_SOCKET"].contains(&name)
                && !name.starts_with("LISTEN_")
                && !name.starts_with("WATCHDOG_"),
            "{name}"
        );
    }
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn replace(cluster: &mut Cluster, id: u64) {
    assert_eq!(cluster.command(&format!("kill {id}"))["ok"], true);
    cluster.event_of("exited", id);
    // A worker is reaped before its exit event, so at most one child is left.
    let children = cluster.worker_pids();
    assert!(children.len() <= 1, "{children:?}");
    cluster.event_of("ready", id + 1);
}

/// The number of descriptors of each kind.
fn kinds(fds: &Value) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for target in fds.as_object().unwrap().values() {
        let target = target.as_str().unwrap();
        let kind = target
            .split_once(":[")
            .filter(|(kind, _)| *kind != "anon_inode")
            .map_or(target, |(kind, _)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

fn entries(pid: u32, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap().count()
}
