//! Replacement of dead workers, back-off, giving up.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Cluster, until};

#[test]
fn k02_killed_worker_is_replaced_while_the_others_serve() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let mut lost = cluster.client_of(1);
    let mut kept = cluster.client_of(2);
    let pid = lost.ask("identity")["pid"].as_i64().unwrap();
    lost.begin("wait 20000");
    // It is a child of the primary and not reaped, so its id cannot be reused.
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();

    assert!(lost.receive().is_null(), "the request in flight ends and does not hang");
    assert_eq!(kept.ask("identity")["id"], 2);
    let exited = cluster.event_of("exited", 1);
    assert_eq!(exited["cause"], "Signalled(9)");
    let respawning = cluster.event("respawning");
    assert_eq!((&respawning["after_ms"], &respawning["attempt"]), (&0.into(), &1.into()));
    cluster.event_of("ready", 3);
    let replacement = cluster.client_of(3).ask("identity");
    assert_eq!(replacement["slot"], 0, "the slot is reused, the id is not");
    assert_eq!(replacement["greeting"], "for 3");
}

#[test]
fn k02_exit_causes_are_distinguished() {
    let mut cluster = Cluster::ready(&[]);
    cluster.connect().send("exit 7");
    let exited = cluster.event_of("exited", 1);
    assert_eq!((&exited["cause"], &exited["code"]), (&"Crashed".into(), &7.into()));
    cluster.event_of("ready", 2);
    cluster.connect().send("abort");
    assert_eq!(cluster.event_of("exited", 2)["cause"], "Signalled(6)");
    cluster.event_of("ready", 3);
    assert_eq!(cluster.command("drain 3")["cause"], "Requested");
    cluster.event_of("ready", 4);
    let slot = &cluster.command("status")["slots"][0];
    assert_eq!((&slot["deaths"], &slot["last"]), (&2.into(), &"Requested".into()));
}

#[test]
fn k07_crash_loop_backs_off_and_other_slots_serve() {
    let started = Instant::now();
    let mut cluster =
        Cluster::start(&[("workers", "2"), ("boot", "exit:1"), ("base", "100"), ("give_up", "4")]);
    let pauses: Vec<u64> =
        (0..3).map(|_| cluster.event("respawning")["after_ms"].as_u64().unwrap()).collect();
    assert_eq!(pauses, [0, 100, 200]);
    let gave_up = cluster.event("gave up");
    assert_eq!((&gave_up["slot"], &gave_up["deaths"]), (&1.into(), &4.into()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    for _ in 0..4 {
        let exited = cluster.wait("a failed boot", |line| line["event"] == "exited");
        assert_eq!((&exited["cause"], &exited["code"]), (&"BootFailed".into(), &3.into()));
    }

    assert_eq!(cluster.event("settled")["error"], serde_json::Value::Null);
    assert_eq!(cluster.ask("identity")["slot"], 0);
    let slots = &cluster.command("status")["slots"];
    assert!(slots[0]["state"].as_str().unwrap().starts_with("Serving"), "{slots}");
    assert_eq!(slots[1]["state"], "GaveUp");
    cluster.signal(Signal::TERM);
    assert!(cluster.exit().success());
}

#[test]
fn k07_requested_exits_never_count_as_deaths() {
    let mut cluster = Cluster::start(&[
        ("drain", "ignore"),
        ("deadline", "50"),
        ("fast", "50"),
        ("base", "1"),
        ("give_up", "2"),
    ]);
    for id in 1..=3 {
        cluster.event_of("ready", id);
        assert_eq!(cluster.command(&format!("drain {id}"))["cause"], "DeadlineKilled");
    }
    cluster.event_of("ready", 4);
    assert_eq!(cluster.command("status")["slots"][0]["deaths"], 0);
    cluster.command("shutdown fast");
}

#[test]
fn panicking_closure_gives_up_one_slot_only() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("panic", "3")]);
    cluster.command("kill 1");
    assert_eq!(cluster.event("gave up")["slot"], 0);
    assert_eq!(cluster.command("status")["slots"][0]["state"], "GaveUp");
    assert_eq!(cluster.ask("identity")["id"], 2);
    cluster.command("kill 2");
    assert_eq!(cluster.exit().code(), Some(1), "no slot is left");
}

#[test]
fn worker_that_is_never_ready_is_killed_and_counts_as_failed() {
    let mut cluster =
        Cluster::start(&[("boot", "never_ready"), ("readiness", "300"), ("give_up", "1")]);
    let exited = cluster.event_of("exited", 1);
    assert_eq!(exited["cause"], "BootFailed");
    assert!(exited["uptime_ms"].as_u64().unwrap() >= 300);
    cluster.event("gave up");
    assert_eq!(cluster.exit().code(), Some(1));
}

#[test]
fn k10_no_zombie_is_left_after_many_deaths() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("give_up", "1000"), ("base", "1")]);
    for id in 1..=20 {
        cluster.command(&format!("kill {id}"));
        cluster.event_of("exited", id);
        cluster.event_of("ready", id + 2);
    }
    until("two children are left", || (cluster.worker_pids().len() == 2).then_some(()));
}
