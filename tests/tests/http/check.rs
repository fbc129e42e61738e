//! `demo-server check`: the report of a store, and the exit code.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{
    Demo, Ended, KEY,
    service::{AnyRedis, Durability, PASSWORD, Redis},
};

async fn check(arguments: &[&str], url: &str) -> Ended {
    let arguments = [&["check", "--listen", "127.0.0.1:0"], arguments].concat();
    let environment = [("DEMO_STORE_URL", url), ("DEMO_COOKIE_KEY", KEY)];
    let ended = Demo::run(&arguments, if url.is_empty() { &[] } else { &environment }).await;
    for secret in [PASSWORD, "hunter2", KEY] {
        let shown = ended.stdout.contains(secret) || ended.stderr.contains(secret);
        assert!(!shown, "a secret is shown: {ended:?}");
    }
    ended
}

fn assert_ended(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?} is missing in: {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_prints_a_table_and_ends_with_0_if_nothing_failed() {
    let Some(redis) = AnyRedis::own_server(Durability::Full).await else { return };
    let url = redis.url("");
    let ended = check(&["--store", "redis"], &url).await;
    let words = ["redis at 127.0.0.1:", "CHECK", "RESULT", "FOUND", "appendfsync always"];
    assert_ended(&ended, 0, &words);
    assert_eq!(ended.stderr, "");
    let ended = check(&["--store", "redis", "--format", "json"], &url).await;
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(report["backend"], "redis");
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.len() == 10 && checks.iter().all(|check| check["outcome"] == "ok"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_ends_with_1_and_the_remedy_if_a_check_failed() {
    let flags = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(redis) = AnyRedis::server_with(&flags).await else { return };
    let url = redis.url("");
    let ended = check(&["--store", "redis"], &url).await;
    let remedy = "\nmaxmemory-policy: CONFIG SET maxmemory-policy noeviction";
    assert_ended(&ended, 1, &["allkeys-lru", remedy]);
    assert!(ended.stderr.contains("1 of 10 checks of the store failed"), "{}", ended.stderr);
    let wrong = url.replace(PASSWORD, "hunter2");
    let ended = check(&["--store", "redis", "--format", "json"], &wrong).await;
    assert_ended(&ended, 1, &["refuses the login", "not_checked"]);
    assert!(serde_json::from_str::<Value>(&ended.stdout).is_ok(), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_frozen_or_missing_server_ends_within_a_bound() {
    let Some(redis) = Redis::start().await else { return };
    let _ = redis.freeze().await;
    // The first run of the program builds it.
    let _ = Demo::run(&["--version"], &[]).await;
    for (store, url) in [
        ("redis", redis.url()),
        ("redis", "redis://:hunter2@127.0.0.1:1".to_owned()),
        ("mongo", "mongodb://app:hunter2@127.0.0.1:1/shop".to_owned()),
        ("sql", "postgres://app:hunter2@127.0.0.1:1/shop".to_owned()),
        ("sql", "mysql://app:hunter2@127.0.0.1:1/shop".to_owned()),
        ("sql", "sqlite:/nowhere/at/all.db".to_owned()),
        ("ipc", "ipc:/nowhere/at/all.sock".to_owned()),
    ] {
        let begun = Instant::now();
        let ended = check(&["--store", store, "--deadline", "300ms"], &url).await;
        let took = begun.elapsed();
        assert_ended(&ended, 1, &["connection", "failed"]);
        assert!(took < Duration::from_millis(300) * 12, "{url}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_refuses_bad_usage_with_2() {
    let ended = check(&["--store", "redis"], "redis://:hunter2@host/shop").await;
    assert_ended(&ended, 2, &[]);
    assert!(ended.stderr.contains("redis://host/0"), "{}", ended.stderr);
    for arguments in [&["--format", "xml"][..], &["--store", "reddis"], &["--nonsense"]] {
        assert_ended(&check(arguments, "").await, 2, &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_sessions_in_a_process_says_where_they_end() {
    assert_ended(&check(&[], "").await, 0, &["ipc at the primary process", "hands them"]);
    let arguments = ["--store", "memory", "--workers", "1"];
    assert_ended(&check(&arguments, "").await, 0, &["memory at this process", "end with"]);
    let settings = check(&["--print-config", "--workers", "3"], "").await;
    assert_ended(&settings, 0, &["workers = 3"]);
}
