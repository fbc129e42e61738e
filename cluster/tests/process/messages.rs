//! Messages between the primary and its workers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Cluster, runs, until};

#[test]
fn k13_messages_arrive_typed_and_in_order_both_ways() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    assert_eq!(cluster.command("count 2 200")["failed"], 0);
    for n in 0..200 {
        let message = cluster.event("message");
        assert_eq!((&message["id"], &message["n"]), (&json!(2), &json!(n)));
    }
    assert_eq!(cluster.client_of(1).ask("send 200"), "sent");
    for n in 0..200 {
        let message = cluster.event("message");
        assert_eq!(
            (&message["id"], &message["n"], &message["text"]),
            (&json!(1), &json!(n), &json!("sent"))
        );
    }
}

#[test]
fn k13_messages_sent_right_after_the_start_are_delivered() {
    let mut cluster = Cluster::start(&[("workers", "2"), ("early", "3")]);
    for id in [1, 2] {
        for n in 0..3 {
            let message = cluster
                .wait("an early message", |line| line["event"] == "message" && line["id"] == id);
            assert_eq!(message["n"], n);
        }
    }
}

#[test]
fn k13_last_messages_of_a_worker_come_before_its_exit() {
    let mut cluster = Cluster::ready(&[]);
    let mut client = cluster.connect();
    let pid =
        client.ask("identity")["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
    // While the primary is stopped, messages and exit accumulate, and it finds both at once.
    cluster.signal(Signal::STOP);
    assert_eq!(client.ask("send 100"), "sent");
    client.send("exit 1");
    until("the worker has ended", || (!runs(pid)).then_some(()));
    cluster.signal(Signal::CONT);
    for n in 0..100 {
        let next = cluster.wait("a message or the end", |line| {
            line["id"] == 1 && (line["event"] == "message" || line["event"] == "exited")
        });
        assert_eq!((&next["event"], &next["n"]), (&json!("message"), &json!(n)));
    }
    cluster.event_of("exited", 1);
}

#[test]
fn k13_worker_that_does_not_read_blocks_no_other_process() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("deadline", "500")]);
    cluster.client_of(1).begin("block 60000");
    let asked = Instant::now();
    let filled = cluster.command("fill 1");
    let taken = filled["taken"].as_u64().unwrap();
    println!("{taken} messages of 64 KiB queued for a worker that does not read");
    // The queue of 4 MiB, the socket buffer, and one message that is being written.
    assert!((60..200).contains(&taken), "{filled}");
    assert!(
        filled["error"].as_str().unwrap().contains("queues of workers [WorkerId(1)] are full"),
        "{filled}"
    );
    assert!(asked.elapsed() < Duration::from_secs(5));

    let status = cluster.command("status");
    assert_eq!(status["refused"], 1);
    assert_eq!(cluster.command("count 2 10")["failed"], 0);
    for n in 0..10 {
        let message = cluster.event("message");
        assert_eq!((&message["id"], &message["n"]), (&json!(2), &json!(n)));
    }
    assert_eq!(cluster.command("drain 2")["cause"], "Requested");
    assert_eq!(cluster.command("drain 1")["cause"], "DeadlineKilled");
}

#[test]
fn k13_too_large_message_is_rejected_with_its_size() {
    let mut cluster = Cluster::ready(&[]);
    let error = cluster.command("large")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("2097154 bytes is too large, at most 1048560"), "{error}");
}

#[test]
fn k13_worker_that_sends_invalid_data_is_killed_at_once() {
    let started = Instant::now();
    let mut cluster =
        Cluster::start(&[("boot", "invalid_frame"), ("readiness", "60000"), ("give_up", "1")]);
    let exited = cluster.event_of("exited", 1);
    assert_eq!((&exited["cause"], &exited["code"]), (&json!("BootFailed"), &json!(null)));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(cluster.exit().code(), Some(1));
}
