//! Requests between the primary and its workers.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster};

/// A timeout in milliseconds, longer than any test.
const LONG: u64 = 3_600_000;

#[test]
fn k13_ten_thousand_requests_each_way_get_their_own_replies() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let mut client = cluster.client_of(2);
    // Both directions at the same time.
    client.begin(&format!("ask mix 10000 {LONG}"));
    cluster.send(&format!("ask 2 mix 10000 {LONG}"));
    let asked = cluster.wait("the end of the requests", |line| line["reply"] == "ask");
    let asking = client.receive();
    println!(
        "10,000 requests at once: to a worker {} ms, to the primary {} ms",
        asked["took_ms"], asking["took_ms"]
    );
    assert_eq!(asked["results"], json!({ "from None": 10_000 }));
    assert_eq!(asking["results"], json!({ "from Some(2)": 10_000 }));
}

#[test]
fn k13_requests_to_a_killed_worker_end_at_once() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let pid = cluster.client_of(1).ask("identity")["pid"].as_i64().unwrap();
    cluster.send(&format!("ask 1 keep 100 {LONG}"));
    // A reply to a later request shows that the worker has read the earlier ones.
    assert_eq!(ask_worker(&mut cluster, &format!("1 plain 1 {LONG}")), json!({ "from None": 1 }));
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(results_of(&mut cluster, "keep"), json!({ "gone": 100 }));
    cluster.event_of("exited", 1);
    assert_eq!(ask_worker(&mut cluster, &format!("1 plain 1 {LONG}")), json!({ "gone": 1 }));
}

#[test]
fn k13_requests_to_a_worker_that_does_not_read_time_out_or_fail() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("deadline", "500")]);
    cluster.client_of(1).begin("block 60000");
    // More than fit into the queue of 4 MiB, where each costs 64 bytes more than its length.
    cluster.send("ask 1 late 100000 1500");
    let other = Instant::now();
    assert_eq!(
        ask_worker(&mut cluster, &format!("2 plain 100 {LONG}")),
        json!({ "from None": 100 })
    );
    assert!(other.elapsed() < Duration::from_secs(20));
    let results = results_of(&mut cluster, "late");
    println!("100,000 requests to a worker that does not read: {results}");
    let (late, full) = (results["timedout"].as_u64().unwrap(), results["full"].as_u64().unwrap());
    assert_eq!(late + full, 100_000);
    assert!(full > 10_000, "{results}");
    assert_eq!(cluster.command("status")["refused"], full);
    assert_eq!(cluster.command("drain 1")["cause"], "DeadlineKilled");
}

#[test]
fn k13_unanswered_request_fails_with_its_reason() {
    let mut cluster = Cluster::ready(&[]);
    let mut client = cluster.connect();
    for (kind, result) in [
        ("drop", "notanswered"),
        ("large", "notanswered"),
        ("text", "decode"),
        ("keep", "timedout"),
    ] {
        let within = if kind == "keep" { 100 } else { LONG };
        assert_eq!(
            ask_worker(&mut cluster, &format!("1 {kind} 3 {within}")),
            json!({ result: 3 }),
            "{kind}"
        );
        assert_eq!(
            ask_from_worker(&mut client, &format!("{kind} 3 {within}")),
            json!({ result: 3 }),
            "{kind}"
        );
    }
}

#[test]
fn k13_requests_without_a_reader_are_refused_at_once() {
    let mut cluster = Cluster::ready(&[("no_reader", "yes")]);
    assert_eq!(ask_worker(&mut cluster, &format!("1 plain 3 {LONG}")), json!({ "noreader": 3 }));
    assert_eq!(
        ask_from_worker(&mut cluster.connect(), &format!("plain 3 {LONG}")),
        json!({ "noreader": 3 })
    );
}

#[test]
fn k13_requests_to_a_killed_primary_end_at_once() {
    let mut cluster = Cluster::ready(&[("drain", "finish")]);
    let mut client = cluster.connect();
    client.begin(&format!("ask keep 100 {LONG}"));
    cluster.signal(Signal::KILL);
    cluster.exit();
    assert_eq!(client.receive()["results"], json!({ "gone": 100 }));
}

/// Sends requests from the primary and returns their results.
fn ask_worker(cluster: &mut Cluster, request: &str) -> Value {
    cluster.send(&format!("ask {request}"));
    results_of(cluster, request.split(' ').nth(1).unwrap())
}

/// The results of the primary's requests of this kind.
fn results_of(cluster: &mut Cluster, kind: &str) -> Value {
    let of_kind = |line: &Value| line["reply"] == "ask" && line["kind"] == kind;
    cluster.wait("the end of the requests", of_kind)["results"].clone()
}

/// Sends requests from a worker and returns their results.
fn ask_from_worker(client: &mut Client, request: &str) -> Value {
    client.begin(&format!("ask {request}"));
    client.receive()["results"].clone()
}
