use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Client, Cluster, until};
use crate::reload::{AtEnd, is_program, releases};

const CLIENTS: usize = 3;
const RECYCLED: usize = 4;

/// Lets two workers be recycled under load, and checks that nothing is lost and never one is
/// missing.
fn recycles(limit: (&str, &str), why: &str) {
    let common =
        [("workers", "2"), ("drain", "finish"), ("quiet", "50"), ("pulse", "1"), ("beat", "50")];
    let mut cluster = Cluster::ready(&[&common[..], &[limit]].concat());
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let addr = cluster.addr;
    thread::scope(|scope| {
        // Also where a check fails: the scope waits for the clients.
        let _at_end = AtEnd(&stop);
        for _ in 0..CLIENTS {
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
        let mut recycled = BTreeSet::new();
        for _ in 0..RECYCLED {
            let recycling = cluster.event("recycling");
            assert!(recycling["why"].as_str().unwrap().starts_with(why), "{recycling}");
            let id = recycling["id"].as_u64().unwrap();
            assert_eq!(cluster.event_of("exited", id)["cause"], "Requested");
            assert!(recycled.insert(id));
        }
        assert!(recycled.is_superset(&BTreeSet::from([1, 2])), "each has its turn: {recycled:?}");
    });
    println!(
        "{} requests over {RECYCLED} workers recycled by {why}, each on a connection of its own, 0 lost",
        asked.into_inner()
    );
    let status = cluster.command("status");
    assert!((0..2).all(|slot| status["slots"][slot]["deaths"] == 0), "{status}");
}

#[test]
fn recycling_by_requests_loses_nothing() {
    recycles(("max_requests", "300"), "Requests");
}

#[test]
fn recycling_by_age_loses_nothing() {
    recycles(("max_age", "500"), "Age");
}

#[test]
fn the_fresh_one_serves_before_the_old_one_leaves_and_one_at_a_time_is_recycled() {
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
    // It takes its turn between them.
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
                assert!(serving >= 3, "one is missing: {line}");
            }
            _ => {}
        }
        most = most.max(alive);
    }
    assert_eq!(most, 4, "{lines:#?}");
}

#[test]
fn a_worker_that_holds_too_much_memory_is_recycled_and_no_other() {
    let limit = (64 << 20).to_string();
    let mut cluster = Cluster::ready(&[("workers", "2"), ("beat", "20"), ("max_memory", &limit)]);
    assert_eq!(cluster.client_of(2).ask("hoard 96"), "hoarded");
    let recycling = cluster.event("recycling");
    assert_eq!(recycling["id"], 2);
    let held: u64 = recycling["why"]
        .as_str()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    // The least of the samples, of which one may have come while it was growing.
    assert!((64 << 20..160 << 20).contains(&held), "{held}");
    assert_eq!(cluster.event_of("exited", 2)["cause"], "Requested");
    assert_eq!(cluster.client_of(1).ask("who")["id"], 1);
    assert_eq!(cluster.client_of(3).ask("who")["slot"], 1);
}

#[test]
fn a_fresh_one_that_fails_leaves_the_old_one_serving_and_is_tried_again_later() {
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
    // The one that comes next is another, so that one slot does not keep the others from it.
    for (old, fresh) in [(1, 3), (2, 4), (1, 5)] {
        let recycling = cluster.event("recycling");
        assert_eq!(
            (&recycling["id"], &recycling["why"].as_str().unwrap()[..3]),
            (&old.into(), "Age")
        );
        assert_eq!(cluster.event_of("exited", fresh)["cause"], "BootFailed");
        let not_recycled = cluster.event("not recycled");
        assert_eq!((&not_recycled["id"], &not_recycled["pause_ms"]), (&old.into(), &300.into()));
        assert_eq!(cluster.client_of(old).ask("who")["id"], old);
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
    for (name, value) in [("PULSE", "1"), ("BEAT", "20"), ("MAX_REQUESTS", "3")] {
        command.env(format!("FIXTURE_{name}"), value);
    }
    let mut cluster = Cluster::run(command);
    cluster.event("settled");
    symlink("two", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
    let mut client = cluster.connect();
    for _ in 0..3 {
        client.ask("who");
    }
    cluster.event_of("exited", 1);
    assert!(is_program(&cluster, 2, &folder.path().join("one/server")));
}

#[test]
fn counted_requests_and_the_last_beat_can_be_seen() {
    let mut cluster = Cluster::ready(&[("pulse", "1"), ("beat", "20")]);
    let mut client = cluster.connect();
    for _ in 0..7 {
        client.ask("who");
    }
    until("the count has come", || {
        let worker = cluster.command("workers")["workers"][0].clone();
        (worker["requests"] == 7 && worker["last_beat_ms"].is_u64()).then_some(())
    });
}
