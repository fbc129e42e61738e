use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster};

/// Longer than any test waits.
const LONG: u64 = 3_600_000;

#[test]
fn k13_ten_thousand_requests_each_way_get_each_its_own_reply() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let mut client = cluster.client_of(2);
    // Both ways at the same time, each at once.
    client.begin(&format!("ask mix 10000 {LONG}"));
    cluster.say(&format!("ask 2 mix 10000 {LONG}"));
    let asked = cluster.wait("the end of the requests", |line| line["reply"] == "ask");
    let asking = client.hear();
    println!(
        "10,000 requests at once: to a worker {} ms, to the primary {} ms",
        asked["took_ms"], asking["took_ms"]
    );
    assert_eq!(asked["ends"], json!({ "from None": 10_000 }));
    assert_eq!(asking["ends"], json!({ "from Some(2)": 10_000 }));
}

#[test]
fn k13_all_requests_to_a_worker_that_is_killed_end_at_once() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let pid = cluster.client_of(1).ask("who")["pid"].as_i64().unwrap();
    cluster.say(&format!("ask 1 keep 100 {LONG}"));
    // Its reader has them all when it answers what was asked after them.
    assert_eq!(ends(&mut cluster, &format!("1 plain 1 {LONG}")), json!({ "from None": 1 }));
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(told(&mut cluster, "keep"), json!({ "gone": 100 }));
    cluster.event_of("exited", 1);
    assert_eq!(ends(&mut cluster, &format!("1 plain 1 {LONG}")), json!({ "gone": 1 }));
}

#[test]
fn k13_requests_to_a_worker_that_does_not_read_are_late_or_refused_and_stop_nobody() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("deadline", "500")]);
    cluster.client_of(1).begin("block 60000");
    // More than the queue takes, which is 4 MiB with 64 bytes for each.
    cluster.say("ask 1 late 100000 1500");
    let other = Instant::now();
    assert_eq!(ends(&mut cluster, &format!("2 plain 100 {LONG}")), json!({ "from None": 100 }));
    assert!(other.elapsed() < Duration::from_secs(20));
    let ends = told(&mut cluster, "late");
    println!("100,000 requests to a worker that does not read: {ends}");
    let (late, full) = (ends["late"].as_u64().unwrap(), ends["full"].as_u64().unwrap());
    assert_eq!(late + full, 100_000);
    assert!(full > 10_000, "{ends}");
    assert_eq!(cluster.command("status")["refused"], full);
    assert_eq!(cluster.command("drain 1")["cause"], "DeadlineKilled");
}

#[test]
fn k13_a_request_that_is_not_answered_says_why() {
    let mut cluster = Cluster::ready(&[]);
    let mut client = cluster.connect();
    for (kind, end) in
        [("drop", "notanswered"), ("large", "notanswered"), ("text", "decode"), ("keep", "late")]
    {
        let within = if kind == "keep" { 100 } else { LONG };
        assert_eq!(
            ends(&mut cluster, &format!("1 {kind} 3 {within}")),
            json!({ end: 3 }),
            "{kind}"
        );
        assert_eq!(asked(&mut client, &format!("{kind} 3 {within}")), json!({ end: 3 }), "{kind}");
    }
}

#[test]
fn k13_where_nobody_reads_requests_they_are_refused_at_once() {
    let mut cluster = Cluster::ready(&[("deaf", "yes")]);
    assert_eq!(ends(&mut cluster, &format!("1 plain 3 {LONG}")), json!({ "nobodylistens": 3 }));
    assert_eq!(
        asked(&mut cluster.connect(), &format!("plain 3 {LONG}")),
        json!({ "nobodylistens": 3 })
    );
}

#[test]
fn k13_all_requests_to_a_primary_that_is_killed_end_at_once() {
    let mut cluster = Cluster::ready(&[("drain", "finish")]);
    let mut client = cluster.connect();
    client.begin(&format!("ask keep 100 {LONG}"));
    cluster.signal(Signal::KILL);
    cluster.exit();
    assert_eq!(client.hear()["ends"], json!({ "gone": 100 }));
}

/// How requests of the primary ended.
fn ends(cluster: &mut Cluster, request: &str) -> Value {
    cluster.say(&format!("ask {request}"));
    told(cluster, request.split(' ').nth(1).unwrap())
}

/// How the primary's requests of this kind ended.
fn told(cluster: &mut Cluster, kind: &str) -> Value {
    cluster.wait("the end of the requests", |line| line["reply"] == "ask" && line["kind"] == kind)["ends"].clone()
}

/// How requests of a worker ended.
fn asked(client: &mut Client, request: &str) -> Value {
    client.begin(&format!("ask {request}"));
    client.hear()["ends"].clone()
}
