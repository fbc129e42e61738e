//! Recycling by requests, age and memory.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    harness::{Cluster, until},
    load::{PAUSE, under_load},
    reload::{is_program, releases},
};

const CLIENTS: usize = 3;
const RECYCLED: usize = 4;

/// Recycles two workers under load, and checks that no connection is lost.
fn check_recycling(limit: (&str, &str), why: &str) {
    let common =
        [("workers", "2"), ("drain", "finish"), ("quiet", "50"), ("count", "1"), ("beat", "50")];
    let mut cluster = Cluster::ready(&[&common[..], &[limit]].concat());
    let asked = under_load(cluster.addr, CLIENTS, PAUSE, |_| {
        let mut recycled = BTreeSet::new();
        for _ in 0..RECYCLED {
            let recycling = cluster.event("recycling");
            assert!(recycling["why"].as_str().unwrap().starts_with(why), "{recycling}");
            let id = recycling["id"].as_u64().unwrap();
            assert_eq!(cluster.event_of("exited", id)["cause"], "Requested");
            assert!(recycled.insert(id));
        }
        assert!(
            recycled.is_superset(&BTreeSet::from([1, 2])),
            "each worker is recycled: {recycled:?}"
        );
    });
    println!(
        "{asked} requests over {RECYCLED} workers recycled by {why}, each on its own connection, 0 lost"
    );
    let status = cluster.command("status");
    assert!((0..2).all(|slot| status["slots"][slot]["deaths"] == 0), "{status}");
}

#[test]
fn recycling_by_requests_loses_nothing() {
    check_recycling(("max_requests", "300"), "Requests");
}

#[test]
fn recycling_by_age_loses_nothing() {
    check_recycling(("max_age", "500"), "Age");
}

#[test]
fn fresh_worker_serves_first_and_one_is_recycled_at_a_time() {
    let mut cluster = Cluster::ready(&[
        ("workers", "3"),
        ("drain", "finish"),
        ("quiet", "50"),
        ("beat", "20"),
        ("max_age", "300"),
    ]);
    for _ in 0..6 {
        cluster.event("recycling");
    }
    // The reload runs between two recyclings.
    assert_eq!(cluster.command("reload")["error"], Value::Null);
    cluster.command("shutdown graceful");
    let (lines, _) = cluster.rest();
    let (mut serving, mut alive, mut most) = (0, 0, 0);
    let reloaded = lines.iter().position(|line| line["event"] == "reloaded").unwrap();
    for line in &lines[..reloaded] {
        match line["event"].as_str() {
            Some("forked") => alive += 1,
            Some("exited") => alive -= 1,
            Some("ready") => serving += 1,
            Some("draining") => {
                serving -= 1;
                assert!(serving >= 3, "fewer than three workers serve: {line}");
            }
            _ => {}
        }
        most = most.max(alive);
    }
    assert_eq!(most, 4, "{lines:#?}");
}

#[test]
fn only_the_worker_above_the_memory_limit_is_recycled() {
    let limit = (64 << 20).to_string();
    let mut cluster = Cluster::ready(&[("workers", "2"), ("beat", "20"), ("max_memory", &limit)]);
    assert_eq!(cluster.client_of(2).ask("leak 96"), "leaked");
    let recycling = cluster.event("recycling");
    assert_eq!(recycling["id"], 2);
    let held: u64 = recycling["why"]
        .as_str()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    // The smallest of the samples. One may have been taken while the memory was growing.
    assert!((64 << 20..160 << 20).contains(&held), "{held}");
    assert_eq!(cluster.event_of("exited", 2)["cause"], "Requested");
    assert_eq!(cluster.client_of(1).ask("identity")["id"], 1);
    assert_eq!(cluster.client_of(3).ask("identity")["slot"], 1);
}

#[test]
fn failed_fresh_worker_leaves_the_old_one_and_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let mode = folder.path().join("boot");
    let options = [
        ("workers", "2"),
        ("beat", "20"),
        ("cap", "300"),
        ("give_up", "2"),
        ("max_age", "1000"),
        ("boot_file", mode.to_str().unwrap()),
    ];
    let began = Instant::now();
    let mut cluster = Cluster::ready(&options);
    fs::write(&mode, "exit").unwrap();
    // The next attempt is for another worker, so that one slot does not block the others.
    for (old, fresh) in [(1, 3), (2, 4), (1, 5)] {
        let recycling = cluster.event("recycling");
        assert_eq!(
            (&recycling["id"], &recycling["why"].as_str().unwrap()[..3]),
            (&old.into(), "Age")
        );
        assert_eq!(cluster.event_of("exited", fresh)["cause"], "BootFailed");
        let not_recycled = cluster.event("not recycled");
        assert_eq!((&not_recycled["id"], &not_recycled["pause_ms"]), (&old.into(), &300.into()));
        assert_eq!(cluster.client_of(old).ask("identity")["id"], old);
    }
    assert!(began.elapsed() >= Duration::from_millis(1000 + 2 * 300), "its age and two pauses");
    let status = cluster.command("status");
    assert!((0..2).all(|slot| status["slots"][slot]["deaths"] == 0), "{status}");
    fs::remove_file(&mode).unwrap();
    for old in [2, 1] {
        assert_eq!(cluster.event_of("exited", old)["cause"], "Requested");
    }
}

#[test]
fn k11_recycling_keeps_the_program() {
    let folder = releases();
    let mut command = Command::new(folder.path().join("current").join("server"));
    for (name, value) in [("COUNT", "1"), ("BEAT", "20"), ("MAX_REQUESTS", "3")] {
        command.env(format!("FIXTURE_{name}"), value);
    }
    let mut cluster = Cluster::run(command);
    cluster.event("settled");
    symlink("two", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
    let mut client = cluster.connect();
    for _ in 0..3 {
        client.ask("identity");
    }
    cluster.event_of("exited", 1);
    assert!(is_program(&cluster, 2, &folder.path().join("one/server")));
}

#[test]
fn request_count_and_last_heartbeat_are_visible() {
    let mut cluster = Cluster::ready(&[("count", "1"), ("beat", "20")]);
    let mut client = cluster.connect();
    for _ in 0..7 {
        client.ask("identity");
    }
    until("the count has arrived", || {
        let worker = cluster.command("workers")["workers"][0].clone();
        (worker["requests"] == 7 && worker["last_beat_ms"].is_u64()).then_some(())
    });
}
