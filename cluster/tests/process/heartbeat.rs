//! Heartbeats and hung workers.

use std::{sync::atomic::Ordering, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    harness::{Cluster, until},
    load::{PAUSE, under_load},
};

/// Allowed silence in milliseconds. Long enough for workers on a busy machine.
const DEAD: u64 = 1500;

const OPTIONS: [(&str, &str); 2] = [("beat", "100"), ("dead", "1500")];

fn assert_replaced_as_hung(cluster: &mut Cluster) {
    let since = cluster.event_of("unresponsive", 1)["since_ms"].as_u64().unwrap();
    assert!(since >= DEAD, "{since}");
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Hung");
    assert_eq!(cluster.event("respawning")["attempt"], 1, "it counts as a death");
    cluster.event_of("ready", 2);
    assert_eq!(cluster.ask("identity")["id"], 2);
    let slot = &cluster.command("status")["slots"][0];
    assert_eq!((&slot["deaths"], &slot["last"]), (&1.into(), &"Hung".into()));
}

#[test]
fn k08_worker_with_blocked_event_loop_is_replaced() {
    let mut cluster = Cluster::ready(&OPTIONS);
    cluster.connect().begin("block 120000");
    assert_replaced_as_hung(&mut cluster);
}

#[test]
fn k07_slot_of_a_build_that_always_hangs_is_given_up() {
    // The worker is silent for longer than `stable`, which must not count as a stable uptime.
    let mut cluster = Cluster::start(&[
        ("boot", "hang"),
        ("beat", "100"),
        ("dead", "400"),
        ("stable", "350"),
        ("base", "1"),
        ("give_up", "3"),
        ("window", "500"),
    ]);
    assert_eq!(cluster.event("gave up")["deaths"], 3);
    for id in 1..=3 {
        assert_eq!(cluster.event_of("exited", id)["cause"], "Hung");
    }
    assert_eq!(cluster.exit().code(), Some(1));
}

#[test]
fn k08_stopped_worker_is_replaced() {
    let mut cluster = Cluster::ready(&OPTIONS);
    let pid = i32::try_from(cluster.worker_pids()[0]).unwrap();
    // It is a child of the primary and not reaped, so its id cannot be reused.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    assert_replaced_as_hung(&mut cluster);
}

#[test]
fn k08_worker_with_one_blocked_thread_is_replaced() {
    let mut cluster = Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("loops", "3")]);
    let mut client = cluster.connect();
    assert_eq!(client.ask("stall_other 120000"), true);
    assert_eq!(client.ask("identity")["id"], 1, "the thread that serves is not blocked");
    assert_replaced_as_hung(&mut cluster);
}

#[test]
fn k08_without_heartbeats_a_blocked_worker_stays() {
    let mut cluster = Cluster::ready(&[("beat", "off"), ("dead", "100")]);
    let mut client = cluster.connect();
    client.begin("block 500");
    assert_eq!(client.receive(), "unblocked");
    assert_eq!(cluster.command("workers")["workers"][0]["last_beat_ms"], Value::Null);
}

#[test]
fn k08_stopping_the_primary_kills_no_worker() {
    let mut cluster =
        Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("workers", "2"), ("drain", "finish")]);
    let asked = under_load(cluster.addr, 3, PAUSE, |asked| {
        for _ in 0..3 {
            cluster.signal(Signal::STOP);
            let before = asked.load(Ordering::Relaxed);
            // Longer than the allowed silence.
            thread::sleep(Duration::from_millis(DEAD * 4 / 3));
            assert!(asked.load(Ordering::Relaxed) > before, "workers serve without the primary");
            cluster.signal(Signal::CONT);
            until("heartbeats of both workers arrive again", || {
                let workers = cluster.command("workers");
                let has_beat = |n: usize| {
                    workers["workers"][n]["last_beat_ms"].as_u64().is_some_and(|beat| beat < DEAD)
                };
                (has_beat(0) && has_beat(1)).then_some(())
            });
        }
    });
    println!("{asked} requests while the primary was stopped three times");
    cluster.assert_serving(&[1, 2]);
    cluster.command("shutdown graceful");
    let (lines, _) = cluster.rest();
    assert!(!lines.iter().any(|line| line["event"] == "unresponsive"), "{lines:#?}");
}

#[test]
fn k08_slow_boot_does_not_count_as_hung() {
    // The worker is connected, and blocked before it is ready.
    let mut cluster = Cluster::start(&[("beat", "20"), ("dead", "200"), ("ready_block", "1000")]);
    cluster.event_of("ready", 1);
}

#[test]
fn k08_draining_worker_does_not_count_as_hung() {
    let mut cluster = Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("drain", "finish")]);
    let mut client = cluster.client_of(1);
    cluster.command("terminate 1");
    cluster.event_of("draining", 1);
    client.begin("block 2500");
    assert_eq!(client.receive(), "unblocked");
    drop(client);
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Requested");
}
