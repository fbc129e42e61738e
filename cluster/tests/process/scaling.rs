//! Adding and removing slots.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Cluster, until};

fn slots(cluster: &mut Cluster) -> Vec<String> {
    let status = cluster.command("status");
    status["slots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slot| slot["state"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn k09_slots_are_added_and_removed_at_run_time() {
    let mut cluster = Cluster::ready(&[("drain", "finish")]);
    assert_eq!(cluster.command("scale 4")["error"], Value::Null);
    let scaled = cluster.event("scaled");
    assert_eq!((&scaled["from"], &scaled["to"]), (&1.into(), &4.into()));
    for id in 2..=4 {
        cluster.event_of("ready", id);
        assert_eq!(cluster.client_of(id).ask("identity")["slot"], id - 1);
    }
    // A draining worker answers requests in flight before it exits.
    let mut leaving = cluster.client_of(4);
    leaving.begin("wait 300");
    let mut asking = cluster.client_of(4);
    asking.send("identity");
    assert_eq!(asking.receive()["id"], 4);
    drop(asking);
    let waiting = std::thread::spawn(move || leaving.receive());
    assert_eq!(cluster.command("scale 1")["error"], Value::Null);
    assert_eq!(waiting.join().unwrap()["id"], 4);
    assert_eq!(slots(&mut cluster), ["Serving(WorkerId(1))"]);
    assert_eq!(cluster.worker_pids().len(), 1);
    for id in 2..=4 {
        assert_eq!(cluster.event_of("exited", id)["cause"], "Requested");
    }
    assert_eq!(cluster.command("scale 1")["error"], Value::Null);
    assert!(cluster.command("scale 0")["error"].is_string());
    assert_eq!(cluster.command("scale 2")["error"], Value::Null);
    cluster.event_of("ready", 5);
    assert_eq!(
        cluster.client_of(5).ask("identity")["slot"],
        1,
        "the slot exists again, with a new worker id"
    );
}

#[test]
fn k09_signals_add_and_remove_one_slot_and_the_last_stays() {
    let mut cluster = Cluster::ready(&[]);
    cluster.signal(Signal::TTIN);
    assert_eq!(cluster.event("scaled")["to"], 2);
    cluster.event_of("ready", 2);
    cluster.signal(Signal::TTOU);
    assert_eq!(cluster.event("scaled")["to"], 1);
    cluster.event_of("exited", 2);
    cluster.signal(Signal::TTOU);
    let scaled = cluster.event("scaled");
    assert_eq!((&scaled["from"], &scaled["to"]), (&1.into(), &1.into()), "the last slot stays");
    cluster.signal(Signal::TTIN);
    assert_eq!(cluster.event("scaled")["to"], 2);
    cluster.event_of("ready", 3);
    assert_eq!(slots(&mut cluster), ["Serving(WorkerId(1))", "Serving(WorkerId(3))"]);
}

#[test]
fn k09_scaling_retries_given_up_slots_and_closes_backing_off_ones() {
    let (_folder, mode, mut cluster) = Cluster::given_up(1);
    fs::write(&mode, "").unwrap();
    assert_eq!(cluster.command("scale 2")["error"], Value::Null);
    until("the slot serves", || slots(&mut cluster)[1].starts_with("Serving").then_some(()));
    let mut cluster = Cluster::start(&[
        ("workers", "2"),
        ("boot", "exit:1"),
        ("give_up", "9"),
        ("base", "20000"),
        ("cap", "20000"),
    ]);
    cluster.event_of("ready", 1);
    until("the slot waits", || (slots(&mut cluster)[1] == "BackingOff(20s)").then_some(()));
    assert_eq!(cluster.command("scale 1")["error"], Value::Null);
    assert_eq!(slots(&mut cluster), ["Serving(WorkerId(1))"]);
}

#[test]
fn k12_stop_ends_a_scaling_in_progress() {
    let mut cluster = Cluster::ready(&[
        ("workers", "2"),
        ("drain", "ignore"),
        ("deadline", "400"),
        ("fast", "300"),
    ]);
    cluster.signal(Signal::TTOU);
    cluster.event_of("draining", 2);
    cluster.signal(Signal::TERM);
    let (lines, status) = cluster.rest();
    assert!(status.success());
    assert_eq!(lines.iter().filter(|line| line["event"] == "exited").count(), 2, "{lines:#?}");
    assert!(!lines.iter().any(|line| line["event"] == "scaled"), "{lines:#?}");
}

#[test]
fn k12_rapid_signals_end_with_the_right_number_of_slots() {
    let mut cluster = Cluster::ready(&[("workers", "3")]);
    for _ in 0..20 {
        // Two pending signals of one kind may count as one, so send one of each. Their order may
        // vary.
        cluster.signal(Signal::TTIN);
        cluster.signal(Signal::TTOU);
        let (one, other) = (cluster.event("scaled"), cluster.event("scaled"));
        assert_eq!(one["from"], other["to"]);
    }
    until("three workers serve", || {
        let slots = slots(&mut cluster);
        (slots.len() == 3 && slots.iter().all(|slot| slot.starts_with("Serving"))).then_some(())
    });
    assert_eq!(cluster.worker_pids().len(), 3);
}

#[test]
fn k09_no_slot_is_closed_if_no_other_slot_serves() {
    let (_folder, mode, mut cluster) = Cluster::given_up(0);
    cluster.event("settled");
    let refused = cluster.command("scale 1")["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("nothing was closed"), "{refused}");
    assert!(slots(&mut cluster)[1].starts_with("Serving"));
    fs::write(&mode, "").unwrap();
    assert_eq!(cluster.command("scale 1")["error"], Value::Null);
    assert_eq!(cluster.ask("identity")["slot"], 0, "the remaining slot was tried again first");
}
