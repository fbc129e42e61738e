//! Stops: graceful, fast, during boot, at the deadline.

use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Cluster, fixture, is_free};

/// A cluster whose worker ignores drains, with this deadline of a fast stop in milliseconds.
fn never_drained(fast: &str) -> Cluster {
    Cluster::ready(&[("drain", "ignore"), ("fast", fast), ("deadline", "40000")])
}

#[test]
fn k04_term_answers_requests_in_flight_and_exits_zero() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "finish"), ("quiet", "100")]);
    let mut clients = [cluster.client_of(1), cluster.client_of(2)];
    for client in &mut clients {
        client.begin("wait 400");
    }
    cluster.signal(Signal::TERM);
    for (client, id) in clients.iter_mut().zip([1, 2]) {
        assert_eq!(client.receive()["id"], id);
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
fn k04_stuck_worker_is_killed_at_the_deadline_and_reported() {
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
fn k04_first_interrupt_stops_fast_and_the_second_kills() {
    let mut cluster = never_drained("20000");
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
fn k04_fast_stop_kills_at_its_own_deadline() {
    let mut cluster = never_drained("300");
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
fn k12_stop_during_the_back_off_does_not_wait_for_it() {
    let mut cluster = Cluster::start(&[("boot", "exit"), ("base", "20000")]);
    cluster.wait("a long back-off", |line| {
        line["event"] == "respawning" && line["after_ms"].as_u64() > Some(0)
    });
    cluster.signal(Signal::TERM);
    let (_, status) = cluster.rest();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn k12_unused_signal_changes_nothing() {
    let mut cluster = Cluster::ready(&[]);
    cluster.signal(Signal::USR1);
    let status = cluster.command("status");
    assert_eq!(status["phase"], "Running");
    assert_eq!(cluster.ask("identity")["id"], 1);
}

#[test]
fn k04_term_to_all_processes_stops_in_any_order() {
    let mut cluster = Cluster::ready(&[("report_orders", "yes"), ("quiet", "100")]);
    let worker = cluster.worker_pids()[0];
    // It is a child of the primary and not reaped, so its id cannot be reused.
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
fn k04_draining_worker_learns_that_the_stop_becomes_fast() {
    let mut cluster = Cluster::ready(&[
        ("report_orders", "yes"),
        ("drain", "ignore"),
        ("fast", "300"),
        ("deadline", "40000"),
    ]);
    for (signal, order, deadline) in
        [(Signal::TERM, "Shutdown", 40_000), (Signal::INT, "FastShutdown", 300)]
    {
        cluster.signal(signal);
        let message = cluster.event("message");
        assert_eq!((&message["text"], &message["n"]), (&order.into(), &deadline.into()));
    }
    assert_eq!(cluster.event("stopped")["killed"], Value::Array(vec![1.into()]));
}

#[test]
fn k12_worker_that_is_not_ready_gets_the_short_deadline() {
    let mut cluster = Cluster::start(&[
        ("boot", "never_ready"),
        ("report_orders", "yes"),
        ("drain", "ignore"),
        ("fast", "300"),
        ("deadline", "40000"),
    ]);
    cluster.event_of("online", 1);
    assert_eq!(cluster.command("drain 1")["cause"], "DeadlineKilled");
    let message = cluster.event("message");
    assert_eq!((&message["text"], &message["n"]), (&"Retired".into(), &300.into()));
    cluster.command("shutdown fast");
}

#[test]
fn k12_worker_that_becomes_ready_while_draining_gets_more_time() {
    let mut cluster = Cluster::start(&[
        ("boot", "late"),
        ("report_orders", "yes"),
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

/// A service manager or a language runtime can start its children with blocked signals.
#[test]
fn d16_signals_work_although_the_parent_blocked_them() {
    let fixture = fixture(&[("workers", "2"), ("deadline", "5000")]);
    let blocked = SigSet::all();
    blocked.thread_block().unwrap();
    let mut cluster = Cluster::run(fixture);
    blocked.thread_unblock().unwrap();
    assert_eq!(cluster.event("settled")["error"], Value::Null);

    cluster.signal(Signal::HUP);
    cluster.event("reloaded");
    cluster.signal(Signal::TERM);
    let stopped = cluster.event("stopped");
    assert_eq!(stopped["killed"], Value::Array(vec![]));
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn d12_cluster_serves_new_connections_until_the_lead_has_passed() {
    let lead = Duration::from_secs(2);
    let mut cluster = Cluster::ready(&[("workers", "2"), ("lead", "2000"), ("quiet", "100")]);
    cluster.signal(Signal::TERM);
    let began = Instant::now();
    cluster.event_of("draining", 1);
    cluster.event_of("draining", 2);
    let mut served = 0;
    while began.elapsed() < lead * 3 / 4 {
        assert!(!cluster.ask("identity").is_null());
        served += 1;
    }
    let addr = cluster.addr;
    assert_eq!(cluster.exit().code(), Some(0));
    let took = began.elapsed();
    println!("served {served} requests during the lead, stopped after {took:?}");
    assert!(served > 10 && took >= lead && took < lead * 5, "{served} {took:?}");
    assert!(is_free(addr));
}

#[test]
fn d12_fast_stop_ends_the_lead() {
    let mut cluster = Cluster::ready(&[("lead", "60000"), ("fast", "300")]);
    cluster.signal(Signal::TERM);
    cluster.event_of("draining", 1);
    let ordered = Instant::now();
    cluster.signal(Signal::INT);
    assert_eq!(cluster.exit().code(), Some(0));
    assert!(ordered.elapsed() < Duration::from_secs(10), "{:?}", ordered.elapsed());
}
