use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Cluster, is_free};

#[test]
fn k04_term_answers_what_is_in_flight_and_exits_zero() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "finish"), ("quiet", "100")]);
    let mut clients = [cluster.client_of(1), cluster.client_of(2)];
    for client in &mut clients {
        client.begin("wait 400");
    }
    cluster.signal(Signal::TERM);
    for (client, id) in clients.iter_mut().zip([1, 2]) {
        assert_eq!(client.hear()["id"], id);
    }
    drop(clients);
    let (addr, stopped) = (cluster.addr, cluster.event("stopped"));
    assert_eq!((&stopped["killed"], &stopped["workers"]), (&Value::Array(vec![]), &2.into()));
    assert_eq!(cluster.exit().code(), Some(0));
    assert!(is_free(addr));
}

#[test]
fn k04_idle_workers_do_not_delay_the_stop() {
    for signal in [Signal::TERM, Signal::QUIT, Signal::INT] {
        let mut cluster = Cluster::ready(&[("workers", "2"), ("deadline", "20000")]);
        let idle = cluster.connect();
        let ordered = Instant::now();
        cluster.signal(signal);
        assert_eq!(cluster.exit().code(), Some(0), "{signal:?}");
        let took = ordered.elapsed();
        println!("{signal:?}: stopped after {took:?}");
        assert!(took < Duration::from_secs(2), "{signal:?}: {took:?}");
        drop(idle);
    }
}

#[test]
fn k04_a_stuck_worker_is_killed_at_the_deadline_and_reported() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("deadline", "800")]);
    cluster.client_of(1).begin("block 60000");
    let ordered = Instant::now();
    cluster.signal(Signal::TERM);
    let stopped = cluster.event("stopped");
    let took = ordered.elapsed();
    println!("stopped after {took:?} with a deadline of 800 ms");
    assert_eq!(stopped["killed"], Value::Array(vec![1.into()]));
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(cluster.event_of("exited", 1)["cause"], "DeadlineKilled");
    assert_eq!(cluster.event_of("exited", 2)["cause"], "Requested");
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k04_interrupt_hurries_and_the_second_kills() {
    let mut cluster =
        Cluster::ready(&[("drain", "ignore"), ("fast", "20000"), ("deadline", "40000")]);
    let ordered = Instant::now();
    cluster.signal(Signal::TERM);
    cluster.event_of("draining", 1);
    cluster.signal(Signal::INT);
    let mut seen = String::new();
    while seen != "StoppingFast" {
        cluster.command("status")["phase"].as_str().unwrap().clone_into(&mut seen);
        assert!(ordered.elapsed() < Duration::from_secs(15), "still {seen}");
    }
    cluster.signal(Signal::INT);
    assert_eq!(cluster.event("stopped")["killed"], Value::Array(vec![1.into()]));
    assert!(ordered.elapsed() < Duration::from_secs(15));
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k04_a_fast_stop_kills_at_its_own_deadline() {
    let mut cluster =
        Cluster::ready(&[("drain", "ignore"), ("fast", "300"), ("deadline", "40000")]);
    let ordered = Instant::now();
    cluster.command("shutdown fast");
    let took = ordered.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(cluster.event("stopped")["killed"], Value::Array(vec![1.into()]));
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k12_term_during_boot_does_not_wait_for_the_boot() {
    let mut cluster = Cluster::start(&[("boot_block", "60000"), ("deadline", "40000")]);
    cluster.event_of("forked", 1);
    let ordered = Instant::now();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Requested");
    assert_eq!(cluster.exit().code(), Some(0));
    assert!(ordered.elapsed() < Duration::from_secs(5));
}

#[test]
fn k12_a_stop_during_the_back_off_does_not_wait_for_it() {
    let mut cluster = Cluster::start(&[("boot", "exit"), ("base", "20000")]);
    cluster.wait("a long back-off", |line| {
        line["event"] == "respawning" && line["after_ms"].as_u64() > Some(0)
    });
    cluster.signal(Signal::TERM);
    let (_, status) = cluster.rest();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn k12_a_signal_without_a_meaning_changes_nothing() {
    let mut cluster = Cluster::ready(&[]);
    cluster.signal(Signal::USR1);
    let status = cluster.command("status");
    assert_eq!(status["phase"], "Running");
    assert_eq!(cluster.ask("who")["id"], 1);
}

#[test]
fn k04_term_to_all_processes_is_a_stop_whoever_is_reached_first() {
    let mut cluster = Cluster::ready(&[("orders", "tell"), ("quiet", "100")]);
    let worker = cluster.worker_pids()[0];
    // A live child of the primary, which has not reaped it.
    kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::TERM).unwrap();
    cluster.event_of("draining", 1);
    cluster.signal(Signal::TERM);
    cluster.wait("the order of a stop", |line| {
        line["event"] == "message" && line["text"] == "Shutdown"
    });
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Requested");
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k04_a_worker_that_leaves_sees_that_the_stop_is_hurried() {
    let mut cluster = Cluster::ready(&[
        ("orders", "tell"),
        ("drain", "ignore"),
        ("fast", "300"),
        ("deadline", "40000"),
    ]);
    for (signal, order, deadline) in
        [(Signal::TERM, "Shutdown", 40_000), (Signal::INT, "FastShutdown", 300)]
    {
        cluster.signal(signal);
        let told = cluster.event("message");
        assert_eq!((&told["text"], &told["n"]), (&order.into(), &deadline.into()));
    }
    assert_eq!(cluster.event("stopped")["killed"], Value::Array(vec![1.into()]));
}

#[test]
fn k12_a_worker_that_is_not_ready_is_told_its_short_deadline() {
    let mut cluster = Cluster::start(&[
        ("boot", "mute"),
        ("orders", "tell"),
        ("drain", "ignore"),
        ("fast", "300"),
        ("deadline", "40000"),
    ]);
    cluster.event_of("online", 1);
    assert_eq!(cluster.command("drain 1")["cause"], "DeadlineKilled");
    let told = cluster.event("message");
    assert_eq!((&told["text"], &told["n"]), (&"Retired".into(), &300.into()));
    cluster.command("shutdown fast");
}

#[test]
fn k12_a_worker_that_becomes_ready_while_it_leaves_gets_the_time_to_answer() {
    let mut cluster = Cluster::start(&[
        ("boot", "late"),
        ("orders", "tell"),
        ("drain", "ignore"),
        ("fast", "500"),
        ("deadline", "40000"),
    ]);
    cluster.event_of("online", 1);
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.event("message")["n"], 500);
    let full = cluster.event("message")["n"].as_u64().unwrap();
    assert!((39_000..40_000).contains(&full), "{full}");
    cluster.command("shutdown fast");
}
