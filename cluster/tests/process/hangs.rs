use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Client, Cluster, until};
use crate::reload::AtEnd;

/// Silence that is allowed, in milliseconds. Workers of a busy machine must not be late by so much.
const DEAD: u64 = 1500;

const OPTIONS: [(&str, &str); 2] = [("beat", "100"), ("dead", "1500")];

fn is_replaced_as_hung(cluster: &mut Cluster) {
    let since = cluster.event_of("unresponsive", 1)["since_ms"].as_u64().unwrap();
    assert!(since >= DEAD, "{since}");
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Hung");
    assert_eq!(cluster.event("respawning")["attempt"], 1, "it is a death");
    cluster.event_of("ready", 2);
    assert_eq!(cluster.ask("who")["id"], 2);
    let slot = &cluster.command("status")["slots"][0];
    assert_eq!((&slot["deaths"], &slot["last"]), (&1.into(), &"Hung".into()));
}

#[test]
fn k08_a_blocked_event_loop_is_replaced() {
    let mut cluster = Cluster::ready(&OPTIONS);
    cluster.connect().begin("block 120000");
    is_replaced_as_hung(&mut cluster);
}

#[test]
fn k07_a_build_that_always_hangs_is_given_up() {
    // Silent for longer than a life has to last to count as a stable one.
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
fn k08_a_stopped_worker_is_replaced() {
    let mut cluster = Cluster::ready(&OPTIONS);
    let pid = i32::try_from(cluster.worker_pids()[0]).unwrap();
    // A live child of the primary, which has not reaped it.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    is_replaced_as_hung(&mut cluster);
}

#[test]
fn k08_one_blocked_thread_of_several_is_noticed() {
    let mut cluster = Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("loops", "3")]);
    let mut client = cluster.connect();
    assert_eq!(client.ask("jam 120000"), true);
    assert_eq!(client.ask("who")["id"], 1, "the thread that serves is not blocked");
    is_replaced_as_hung(&mut cluster);
}

#[test]
fn k08_without_a_heartbeat_nobody_is_judged() {
    let mut cluster = Cluster::ready(&[("beat", "off"), ("dead", "100")]);
    let mut client = cluster.connect();
    client.begin("block 500");
    assert_eq!(client.hear(), "unblocked");
    assert_eq!(cluster.command("workers")["workers"][0]["last_beat_ms"], Value::Null);
}

#[test]
fn k08_stop_and_cont_of_the_primary_kills_nobody() {
    let mut cluster =
        Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("workers", "2"), ("drain", "finish")]);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let addr = cluster.addr;
    thread::scope(|scope| {
        let _at_end = AtEnd(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(
                        !Client::connect(addr).ask("who").is_null(),
                        "a connection was dropped"
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                    // Leaves the machine to the tests beside this one, some of which have a limit
                    // of time to prove.
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        for _ in 0..3 {
            cluster.signal(Signal::STOP);
            let before = asked.load(Ordering::Relaxed);
            // Longer than it allows its workers to be silent.
            thread::sleep(Duration::from_millis(DEAD * 4 / 3));
            assert!(asked.load(Ordering::Relaxed) > before, "workers serve without the primary");
            cluster.signal(Signal::CONT);
            until("both are heard again", || {
                let workers = cluster.command("workers");
                let heard = |n: usize| {
                    workers["workers"][n]["last_beat_ms"].as_u64().is_some_and(|beat| beat < DEAD)
                };
                (heard(0) && heard(1)).then_some(())
            });
        }
    });
    println!("{} requests while the primary was stopped three times", asked.into_inner());
    let status = cluster.command("status");
    for slot in 0..2 {
        assert_eq!(
            status["slots"][slot]["state"],
            format!("Serving(WorkerId({}))", slot + 1),
            "{status}"
        );
    }
    cluster.command("shutdown graceful");
    let (lines, _) = cluster.rest();
    assert!(!lines.iter().any(|line| line["event"] == "unresponsive"), "{lines:#?}");
}

#[test]
fn k08_a_slow_boot_is_no_hang() {
    // Connected, and blocked before it is ready.
    let mut cluster = Cluster::start(&[("beat", "20"), ("dead", "200"), ("ready_block", "1000")]);
    cluster.event_of("ready", 1);
}

#[test]
fn k08_a_worker_that_leaves_is_not_hung() {
    let mut cluster = Cluster::ready(&[OPTIONS[0], OPTIONS[1], ("drain", "finish")]);
    let mut client = cluster.client_of(1);
    cluster.command("terminate 1");
    cluster.event_of("draining", 1);
    client.begin("block 2500");
    assert_eq!(client.hear(), "unblocked");
    drop(client);
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Requested");
}
