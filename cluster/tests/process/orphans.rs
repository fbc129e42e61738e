//! Workers whose primary was killed.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Cluster, is_free, runs, until};

/// The guarantee: all workers have ended two seconds after the primary was killed.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn k03_workers_end_after_a_killed_primary() {
    let mut cluster = Cluster::ready(&[("workers", "4"), ("quiet", "200")]);
    assert_workers_end(&mut cluster);
}

#[test]
fn k03_workers_that_ignore_the_drain_end_too() {
    let mut cluster = Cluster::ready(&[("workers", "2"), ("drain", "ignore")]);
    assert_workers_end(&mut cluster);
}

#[test]
fn k03_workers_with_blocked_event_loops_end_too() {
    let mut cluster = Cluster::ready(&[("workers", "2")]);
    let mut clients = [cluster.client_of(1), cluster.client_of(2)];
    for client in &mut clients {
        client.begin("block 60000");
    }
    assert_workers_end(&mut cluster);
}

#[test]
fn k03_worker_blocked_at_boot_ends_too() {
    let mut cluster = Cluster::start(&[("boot_block", "60000")]);
    cluster.event_of("forked", 1);
    // The guard thread starts in role(), shortly after the process.
    until("the guard thread runs", || {
        let pid = cluster.worker_pids()[0];
        (std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count() > 1).then_some(())
    });
    assert_workers_end(&mut cluster);
}

fn assert_workers_end(cluster: &mut Cluster) {
    let workers = cluster.worker_pids();
    assert!(!workers.is_empty());
    let killed = Instant::now();
    cluster.signal(Signal::KILL);
    cluster.exit();
    until("all workers have ended", || workers.iter().all(|&pid| !runs(pid)).then_some(()));
    let took = killed.elapsed();
    println!("all {} workers ended after {took:?}", workers.len());
    assert!(took <= LIMIT, "{took:?}");
    assert!(is_free(cluster.addr));
}
