//! The check of a server names what sessions need, with the remedy.

use std::time::{Duration, Instant};

use redis::Value;
use session_core::report::{CheckReport, Outcome};
use store_redis::{Config, check};
use tests::{
    report::{assert_all_ok, assert_line, line},
    service::{AnyRedis, Durability, PASSWORD, Redis, RedisSentinel},
};

async fn checked(url: &str) -> CheckReport {
    check(&Config::new(url).expect("a URL")).await
}

/// The number of keys.
async fn keys(redis: &Redis) -> Value {
    redis.command(&["DBSIZE"]).await.expect("the server answers")
}

const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_good_server_is_ok_and_leaves_no_key() {
    let Some(redis) = Redis::start_with(&DURABLE).await else { return };
    let report = checked(&redis.url()).await;
    assert_all_ok(&report, &[]);
    assert_eq!(report.checks.len(), 10, "{report}");
    assert_eq!(keys(&redis).await, Value::Int(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_settings_that_lose_sessions() {
    let flags = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(redis) = Redis::start_with(&flags).await else { return };
    let report = checked(&redis.url()).await;
    let words = ["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"];
    assert_line(&report, "maxmemory-policy", Outcome::Failed, &words);
    let words = ["a restart loses all sessions", "CONFIG SET appendonly yes"];
    assert_line(&report, "persistence", Outcome::Warning, &words);
    assert_all_ok(&report, &["maxmemory-policy", "persistence"]);
    let waiting = checked(&format!("{}?wait_replicas=1", redis.url())).await;
    assert_line(&waiting, "replicas", Outcome::Failed, &["wait_replicas=1", "replicaof"]);
    assert_line(&waiting, "operations", Outcome::Failed, &["rotate", "wait_replicas"]);
    assert_eq!(keys(&redis).await, Value::Int(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_first_refused_operation_and_the_right() {
    let Some(redis) = Redis::start_with(&DURABLE).await else { return };
    let user = |rights: &'static [&'static str]| {
        let words = ["ACL", "SETUSER", "reader", "reset", "on", ">letters", "~session:*"];
        [&words, rights].concat()
    };
    let url = redis.url().replace("redis://", "redis://reader:letters@");
    for (rights, operation) in [
        (&["+@read", "+@connection", "+info", "+config|get", "+time"][..], "create a session"),
        (&["+@all", "-hgetall"], "load a session"),
        (&["+@all", "-unlink"], "delete a session"),
    ] {
        let set = redis.command(&user(rights)).await.expect("an administrator sets rights");
        assert_eq!(set, Value::Okay);
        let report = checked(&url).await;
        let words = ["cannot ", operation, "ACL SETUSER reader ~session:* +hello", "+evalsha"];
        assert_line(&report, "operations", Outcome::Failed, &words);
        assert_all_ok(&report, &["operations"]);
    }
    let granted = line(&checked(&url).await, "operations").remedy.clone().expect("a remedy");
    let (_, command) = granted.split_once(": ").expect("a command");
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(redis.command(&words).await.expect("the remedy is a command"), Value::Okay);
    assert_line(&checked(&url).await, "operations", Outcome::Ok, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_why_a_setting_is_unknown() {
    let Some(redis) = Redis::start_with(&DURABLE).await else { return };
    let words = ["ACL", "SETUSER", "app", "on", ">letters", "~*", "+@all", "-config", "-info"];
    redis.command(&words).await.expect("an administrator sets rights");
    let url = redis.url().replace("redis://", "redis://app:letters@");
    let report = checked(&url).await;
    assert_line(&report, "persistence", Outcome::NotChecked, &["INFO failed", "permission"]);
    assert_all_ok(
        &report,
        &["maxmemory-policy", "persistence", "replicas", "min-replicas-to-write"],
    );
    redis.command(&["ACL", "SETUSER", "app", "+info"]).await.expect("an administrator sets rights");
    let report = checked(&url).await;
    let words = ["appendfsync", "permission", "CONFIG GET appendfsync", "console of the provider"];
    assert_line(&report, "persistence", Outcome::NotChecked, &words);
    assert_line(&report, "maxmemory-policy", Outcome::Ok, &["noeviction"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_a_wrong_password_from_a_missing_server() {
    let Some(mut redis) = AnyRedis::own_server(Durability::None).await else { return };
    let url = redis.url("");
    let report = checked(&url.replace(PASSWORD, "hunter2")).await;
    assert_line(&report, "connection", Outcome::Ok, &[]);
    assert_line(&report, "login", Outcome::Failed, &["refuses the login", "redis://user:password"]);
    assert_line(&report, "operations", Outcome::NotChecked, &["refuses the login"]);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    ours!(redis.stop().await);
    let report = checked(&url).await;
    assert_line(&report, "connection", Outcome::Failed, &["refuses the connection", "bind"]);
    assert_line(&report, "login", Outcome::NotChecked, &[]);
    let report = checked("redis://host.invalid").await;
    assert_line(&report, "connection", Outcome::Failed, &["host.invalid cannot be resolved"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_frozen_server_ends_within_ten_deadlines() {
    const DEADLINE: Duration = Duration::from_millis(300);
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.freeze().await);
    let begun = Instant::now();
    let report = checked(&format!("{}?deadline_ms=300", redis.url())).await;
    let took = begun.elapsed();
    assert!(took < DEADLINE * 10, "{took:?}");
    let words = ["no answer within 300ms", "accepts connections and does not answer"];
    assert_line(&report, "connection", Outcome::Failed, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_cluster_reads_all_primaries() {
    let Some(redis) = AnyRedis::own_cluster(Durability::Full).await else { return };
    let AnyRedis::Cluster(cluster) = &redis else { return };
    let url = redis.url("wait_replicas=1&wait_ms=1000");
    let report = checked(&url).await;
    assert_line(&report, "version", Outcome::Ok, &["3 primaries"]);
    assert_line(&report, "min-replicas-to-write", Outcome::Warning, &["min-replicas-to-write 1"]);
    assert_all_ok(&report, &["min-replicas-to-write"]);
    let port = cluster.primaries().await[1];
    for setting in [["maxmemory", "100mb"], ["maxmemory-policy", "volatile-lru"]] {
        let words = ["CONFIG", "SET", setting[0], setting[1]];
        cluster.command(port, &words).await.expect("an administrator sets a setting");
    }
    let report = checked(&url).await;
    let words = [&*format!("{port}: volatile-lru"), "CONFIG SET maxmemory-policy noeviction"];
    assert_line(&report, "maxmemory-policy", Outcome::Failed, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_follows_the_sentinels_to_the_primary() {
    let Some(sentinel) = RedisSentinel::start_with(&DURABLE).await else { return };
    let report = checked(&sentinel.url()).await;
    assert_line(&report, "replicas", Outcome::Warning, &["a failover can undo", "wait_replicas=1"]);
    assert_all_ok(&report, &["replicas", "min-replicas-to-write"]);
}
