//! Workers that share a port, their environment and their events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    thread::{self, available_parallelism},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::harness::{Client, Cluster, fixture, until};

#[test]
fn k01_all_workers_serve_one_port() {
    let cluster = Cluster::ready(&[("workers", "4")]);
    let mut seen = BTreeSet::new();
    // Connections stay open, so that different workers accept the next ones.
    let mut held = Vec::new();
    until("all four workers have answered", || {
        let mut client = cluster.connect();
        seen.insert(client.ask("identity")["id"].as_u64().unwrap());
        held.push(client);
        (seen.len() == 4).then_some(())
    });
    assert_eq!(seen, BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn k01_every_worker_serves_under_many_clients() {
    const CLIENTS: usize = 32;
    const EACH: usize = 100;
    let cluster = Cluster::ready(&[("workers", "4")]);
    let addr = cluster.addr;
    let mut answered = BTreeMap::<u64, usize>::new();
    thread::scope(|scope| {
        let client = move || {
            (0..EACH)
                .map(|_| Client::connect(addr).ask("identity")["id"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for id in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            *answered.entry(id).or_default() += 1;
        }
    });
    let all = CLIENTS * EACH;
    assert_eq!(answered.values().sum::<usize>(), all);
    for (id, count) in &answered {
        println!("worker {id} answered {count} of {all}");
    }
    let (most, least) = (answered.values().max().unwrap(), answered.values().min().unwrap());
    println!("most to least: {most} / {least}");
    assert_eq!(answered.len(), 4, "every worker gets some connections: {answered:?}");
}

#[test]
fn k01_worker_gets_its_own_slot_descriptor_and_settings() {
    let cluster = Cluster::ready(&[("workers", "2"), ("settings", "s3cret")]);
    for id in [1, 2] {
        let identity = cluster.client_of(id).ask("identity");
        assert_eq!(identity["slot"], id - 1);
        assert_eq!(identity["greeting"], format!("for {id}"));
        assert_eq!(identity["settings"], "s3cret");
        assert!(
            cluster
                .worker_pids()
                .contains(&u32::try_from(identity["pid"].as_u64().unwrap()).unwrap())
        );
    }
}

#[test]
fn auto_starts_one_worker_per_usable_cpu() {
    let cpus = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| cpus.is_set(cpu)).unwrap();
    let count = |cluster: Cluster| cluster.worker_pids().len();
    assert_eq!(
        count(Cluster::ready(&[("workers", "auto")])),
        available_parallelism().unwrap().get()
    );
    let mut one = CpuSet::new();
    one.set(first);
    // The mask applies to this thread and to the processes that it starts.
    sched_setaffinity(None, &one).unwrap();
    assert_eq!(count(Cluster::ready(&[("workers", "auto")])), 1);
}

#[test]
fn events_of_a_worker_come_in_order() {
    let mut cluster = Cluster::ready(&[]);
    assert_eq!(cluster.command("drain 1")["cause"], "Requested");
    for step in ["forked", "online", "listening", "ready", "draining", "exited"] {
        assert_eq!(
            cluster.wait("the next event of worker 1", |line| line["id"] == 1)["event"],
            step
        );
    }
    // A worker that exited on request is replaced too.
    assert_eq!(cluster.event_of("ready", 2)["id"], 2);
}

#[test]
fn k11_crashed_worker_runs_the_same_program_after_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("server-under-test");
    fs::copy(fixture(&[]).get_program(), &program).unwrap();
    let mut cluster = Cluster::run(std::process::Command::new(&program));
    cluster.event("settled");
    fs::remove_file(&program).unwrap();
    cluster.command("kill 1");
    cluster.event_of("ready", 2);
    let pid = cluster.ask("identity")["pid"].as_u64().unwrap();
    // `ps` shows the name of the program, which the kernel cuts at 15 bytes.
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), "server-under-te");
}

#[test]
fn sigterm_drains_and_replaces_a_worker() {
    let mut cluster = Cluster::ready(&[("drain", "finish")]);
    let mut client = cluster.client_of(1);
    client.begin("wait 300");
    assert_eq!(cluster.command("terminate 1")["ok"], true);
    assert_eq!(client.receive()["id"], 1);
    drop(client);
    assert_eq!(cluster.event_of("exited", 1)["cause"], "Requested");
    cluster.event_of("ready", 2);
}
