//! Rolling reloads.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{Cluster, fixture, runs, until},
    load::under_load,
};

const RELOADS: u64 = 10;
const CLIENTS: usize = 8;

/// The ids in a JSON array.
fn ids(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn k05_reload_replaces_workers_one_by_one_when_ready() {
    let mut cluster = Cluster::ready(&[("workers", "3")]);
    assert_eq!(ids(&cluster.command("reload")["replaced"]), [4, 5, 6]);
    cluster.event("reloaded");
    assert_eq!(cluster.worker_pids().len(), 3);
    let status = cluster.assert_serving(&[4, 5, 6]);
    for slot in 0..3 {
        assert_eq!(status["slots"][slot]["deaths"], 0, "{status}");
    }
    cluster.command("shutdown graceful");
    let (lines, _) = cluster.rest();
    let at = |event: &str, id: u64| {
        lines.iter().position(|line| line["event"] == event && line["id"] == id).unwrap()
    };
    for slot in 0..3 {
        let (old, new) = (slot + 1, slot + 4);
        assert!(
            at("ready", new) < at("draining", old),
            "the new worker of slot {slot} serves before the old one drains"
        );
        assert!(
            slot == 2 || at("exited", old) < at("forked", new + 1),
            "the next slot waits until the old worker of slot {slot} has exited"
        );
    }
}

#[test]
fn k05_reloads_under_load_lose_no_connection() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "finish"), ("quiet", "50")]);
    let asked = under_load(cluster.addr, CLIENTS, Duration::ZERO, |_| {
        for n in 1..=RELOADS {
            assert_eq!(ids(&cluster.command("reload")["replaced"]), [2 * n + 1, 2 * n + 2]);
        }
    });
    println!("{asked} requests over {RELOADS} reloads, each on its own connection, 0 lost");
    assert_eq!(cluster.worker_pids().len(), 2, "no zombie is left");
}

#[test]
fn k06_failed_boot_ends_the_reload_and_old_workers_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mode = folder.path().join("boot");
    let mut cluster = Cluster::ready(&[
        ("workers", "2"),
        ("readiness", "3000"),
        ("boot_file", mode.to_str().unwrap()),
    ]);
    // The new worker ends before it is ready, is not ready in time, or boots only in the first
    // slot.
    for (boots, said, replaced) in [
        ("exit", "exit status: 3", 0),
        ("never_ready", "signal: 9", 0),
        ("exit:1", "exit status: 3", 1),
    ] {
        fs::write(&mode, boots).unwrap();
        let failed = cluster.command("reload")["error"].as_str().unwrap().to_owned();
        assert!(
            failed.contains(said) && failed.contains(&format!("{replaced} others were replaced")),
            "{boots}: {failed}"
        );
        assert_eq!(cluster.event("not reloaded")["error"], failed);
        until("two workers are left", || (cluster.worker_pids().len() == 2).then_some(()));
        let status = cluster.command("status");
        for slot in 0..2 {
            assert!(
                status["slots"][slot]["state"].as_str().unwrap().starts_with("Serving"),
                "{boots}: {status}"
            );
            assert_eq!(status["slots"][slot]["deaths"], 0, "{boots}: {status}");
        }
    }
    // The first reload took the ids 3, the second 4, the third 5 and 6.
    let serving: Vec<u64> = [5, 2].to_vec();
    for id in serving {
        let _ = cluster.client_of(id);
    }
    fs::remove_file(&mode).unwrap();
    assert_eq!(ids(&cluster.command("reload")["replaced"]), [7, 8]);
}

#[test]
fn k06_panicking_closure_ends_the_reload_and_no_worker() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("panic", "4")]);
    let failed = cluster.command("reload")["error"].as_str().unwrap().to_owned();
    assert!(failed.contains("slot 1") && failed.contains("panicked"), "{failed}");
    for id in [3, 2] {
        let _ = cluster.client_of(id);
    }
}

/// A folder with two copies of the program, and a link to the first.
pub(crate) fn releases() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::copy(fixture(&[]).get_program(), folder.path().join(name).join("server")).unwrap();
    }
    symlink("one", folder.path().join("current")).unwrap();
    folder
}

pub(crate) fn is_program(cluster: &Cluster, id: u64, program: &Path) -> bool {
    let pid = cluster.client_of(id).ask("identity")["pid"].as_u64().unwrap();
    fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino() == fs::metadata(program).unwrap().ino()
}

#[test]
fn k11_reload_and_later_replacements_run_the_linked_build() {
    let folder = releases();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name).join("server"));
    let mut command = Command::new(folder.path().join("current").join("server"));
    command.env("FIXTURE_BASE", "1");
    let mut cluster = Cluster::run(command);
    cluster.event("settled");
    symlink("two", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
    cluster.command("kill 1");
    cluster.event_of("ready", 2);
    assert!(is_program(&cluster, 2, &one), "after a crash the same build runs");
    assert_eq!(ids(&cluster.command("reload")["replaced"]), [3]);
    assert!(is_program(&cluster, 3, &two), "a reload starts the new build");
    cluster.command("kill 3");
    cluster.event_of("ready", 4);
    assert!(is_program(&cluster, 4, &two));
    assert_eq!(cluster.command("scale 2")["error"], Value::Null);
    cluster.event_of("ready", 5);
    assert!(is_program(&cluster, 5, &two), "new slots run the new build too");
}

#[test]
fn k11_reload_without_a_program_names_its_path() {
    let folder = releases();
    let program = folder.path().join("one/server");
    let mut cluster = Cluster::run(Command::new(&program));
    cluster.event("settled");
    fs::remove_file(&program).unwrap();
    let failed = cluster.command("reload")["error"].as_str().unwrap().to_owned();
    assert!(
        failed.contains(program.to_str().unwrap()) && failed.contains("No such file"),
        "{failed}"
    );
    fs::create_dir(&program).unwrap();
    assert!(cluster.command("reload")["error"].as_str().unwrap().contains("not a regular file"));
    fs::remove_dir(&program).unwrap();
    fs::write(&program, "not a program").unwrap();
    assert!(cluster.command("reload")["error"].as_str().unwrap().contains("Permission denied"));
    assert_eq!(cluster.ask("identity")["id"], 1, "the old one continues to serve");
}

#[test]
fn k12_hangups_during_a_reload_cause_one_more_reload() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("boot_block", "1500")]);
    cluster.signal(Signal::HUP);
    cluster.event("reloading");
    for _ in 0..5 {
        cluster.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..2 {
        assert_eq!(cluster.event("reloaded")["replaced"], 2);
    }
    let status = cluster.command("status");
    assert_eq!(status["slots"][1]["state"], "Serving(WorkerId(6))", "{status}");
    cluster.command("shutdown graceful");
    let (lines, _) = cluster.rest();
    let forked = lines.iter().filter(|line| line["event"] == "forked").count();
    assert_eq!(forked, 6, "two at the start and two for each of two reloads");
}

#[test]
fn k12_stop_during_a_reload_stops_both_workers_of_the_slot() {
    let folder = tempfile::tempdir().unwrap();
    let mode = folder.path().join("boot");
    let mut cluster = Cluster::ready(&[("workers", "2"), ("boot_file", mode.to_str().unwrap())]);
    fs::write(&mode, "never_ready").unwrap();
    cluster.signal(Signal::HUP);
    let new = cluster.event_of("forked", 3)["pid"].as_u64().unwrap();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.event("not reloaded")["error"], "the cluster stops");
    assert!(cluster.exit().success());
    assert!(!runs(u32::try_from(new).unwrap()));
}

#[test]
fn k12_replacement_fills_the_slot_when_the_old_worker_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mode = folder.path().join("boot");
    let mut cluster = Cluster::ready(&[
        ("boot_file", mode.to_str().unwrap()),
        ("readiness", "3000"),
        ("base", "1"),
    ]);
    // The new worker never becomes ready.
    fs::write(&mode, "never_ready").unwrap();
    cluster.signal(Signal::HUP);
    cluster.event_of("online", 2);
    cluster.command("kill 1");
    cluster.event_of("exited", 1);
    let status = cluster.command("status");
    assert_eq!(status["slots"][0]["state"], "Starting(WorkerId(2))", "{status}");
    fs::remove_file(&mode).unwrap();
    // It misses the readiness time. Then the slot starts a worker with its previous program.
    cluster.event("not reloaded");
    cluster.event_of("ready", 3);
    assert_eq!(
        cluster.ask("identity"),
        json!({ "id": 3, "slot": 0, "pid": cluster.worker_pids()[0], "greeting": "for 3", "settings": "" })
    );
    assert_eq!(cluster.command("status")["slots"][0]["deaths"], 2);
}

#[test]
fn reload_restarts_a_slot_that_was_given_up() {
    let (_folder, mode, mut cluster) = Cluster::given_up(1);
    fs::write(&mode, "").unwrap();
    assert_eq!(cluster.command("reload")["replaced"].as_array().unwrap().len(), 2);
    let status = cluster.command("status");
    assert!(status["slots"][1]["state"].as_str().unwrap().starts_with("Serving"), "{status}");
}

#[test]
fn k12_draining_replacement_does_not_take_over() {
    let folder = tempfile::tempdir().unwrap();
    let mode = folder.path().join("boot");
    let mut cluster = Cluster::ready(&[("boot_file", mode.to_str().unwrap())]);
    // It becomes ready when it is told to drain.
    fs::write(&mode, "late").unwrap();
    cluster.signal(Signal::HUP);
    cluster.event_of("online", 2);
    cluster.command("drain 2");
    cluster.event("not reloaded");
    let status = cluster.command("status");
    assert_eq!(status["slots"][0]["state"], "Serving(WorkerId(1))", "{status}");
    assert_eq!(cluster.ask("identity")["id"], 1);
    cluster.event_of("ready", 2);
}
