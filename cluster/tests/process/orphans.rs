use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Cluster, is_free, runs, until};

/// The promise: nothing is left two seconds after the primary was killed.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn k03_workers_follow_a_killed_primary() {
    let mut cluster = Cluster::ready(&[("workers", "4"), ("quiet", "200")]);
    assert_gone(&mut cluster);
}

#[test]
fn k03_workers_that_ignore_the_drain_follow_too() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "ignore")]);
    assert_gone(&mut cluster);
}

#[test]
fn k03_a_worker_with_a_blocked_event_loop_follows_too() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let mut clients = [cluster.client_of(1), cluster.client_of(2)];
    for client in &mut clients {
        client.begin("block 60000");
    }
    assert_gone(&mut cluster);
}

#[test]
fn k03_a_worker_blocked_at_boot_follows_too() {
    let mut cluster = Cluster::start(&[("boot_block", "60000")]);
    cluster.event_of("forked", 1);
    // The guard starts in role(), a moment after the process.
    until("the guard watches", || {
        let pid = cluster.worker_pids()[0];
        (std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count() > 1).then_some(())
    });
    assert_gone(&mut cluster);
}

fn assert_gone(cluster: &mut Cluster) {
    let workers = cluster.worker_pids();
    assert!(!workers.is_empty());
    let killed = Instant::now();
    cluster.signal(Signal::KILL);
    cluster.exit();
    until("all workers are gone", || workers.iter().all(|&pid| !runs(pid)).then_some(()));
    let took = killed.elapsed();
    println!("all {} workers gone after {took:?}", workers.len());
    assert!(took <= LIMIT, "{took:?}");
    assert!(is_free(cluster.addr));
}
