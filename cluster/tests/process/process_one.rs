//! A primary that is process 1 of a container.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Cluster, fixture, runs, until};

const ORPHANS: u64 = 20;

#[test]
fn k16_process_one_replaces_workers_and_reaps_orphans() {
    let mut cluster = Cluster::run(in_a_container(&fixture(&[
        ("workers", "1"),
        ("give_up", "1000"),
        ("base", "1"),
        ("cap", "1"),
    ])));
    cluster.event("settled");
    let primary = children_of(cluster.pid())[0];
    let status = fs::read_to_string(format!("/proc/{primary}/status")).unwrap();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    assert_eq!(numbers.split_whitespace().last(), Some("1"), "the primary must be process 1");

    // The primary does not reap the children of the program.
    assert_eq!(cluster.command("child 300")["code"], serde_json::json!({ "Ok": 7 }));
    for id in 1..=ORPHANS {
        let mut client = cluster.connect();
        assert!(client.ask("child 0.1")["pid"].is_u64());
        cluster.command(&format!("kill {id}"));
        // The reaper does not take the exit status from the supervisor.
        assert_eq!(cluster.event_of("exited", id)["cause"], "Signalled(9)");
        cluster.event_of("ready", id + 1);
    }
    let begun = Instant::now();
    let orphans = until("process 1 has orphans", || {
        let orphans = children_of(primary).len() - 1;
        (orphans > 0).then_some(orphans)
    });
    until("all orphans are reaped", || (children_of(primary).len() == 1).then_some(()));
    println!("{orphans} orphans at once, the last reaped after {:?}", begun.elapsed());
    assert_eq!(cluster.ask("identity")["id"], ORPHANS + 1);

    let worker = children_of(primary)[0];
    let stopped = Instant::now();
    kill_process(pid(primary), Signal::TERM).unwrap();
    assert_eq!(cluster.exit().code(), Some(0));
    assert!(stopped.elapsed() < Duration::from_secs(10));
    assert!(!runs(worker) && !runs(primary));
}

/// The command as process 1 of its own container, which ends with its parent.
fn in_a_container(command: &Command) -> Command {
    let mut contained = unshare();
    contained.arg(command.get_program()).args(command.get_args());
    contained.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    contained
}

/// `unshare` as root, or as a user that becomes root of the container.
fn unshare() -> Command {
    let mut refused = Vec::new();
    for identity in [&[][..], &["--user", "--map-root-user"]] {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(identity).args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
            unshare
        };
        let tried = unshare()
            .arg("true")
            .output()
            .unwrap_or_else(|e| panic!("this test needs unshare of util-linux: {e}"));
        if tried.status.success() {
            return unshare();
        }
        refused.push(String::from_utf8_lossy(&tried.stderr).into_owned());
    }
    panic!(
        "this test needs namespaces; run it as root, or on a system that allows user namespaces: \
         {refused:?}"
    );
}

fn children_of(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    // A thread may end meanwhile. Then another thread gets its children.
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}
