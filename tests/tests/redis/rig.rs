//! The servers of the tests start, stop, freeze and fail over as the tests expect.

use std::{net::TcpStream, time::Instant};

use redis::{FromRedisValue, RedisResult, Value, from_redis_value};
use tests::{
    PATIENCE, sent_before_panic,
    service::{Redis, RedisCluster, RedisSentinel},
    wait,
};

fn read<T: FromRedisValue>(answer: RedisResult<Value>) -> T {
    from_redis_value(answer.expect("the server answers")).expect("an answer of that type")
}

#[tokio::test]
async fn new_redis_is_empty_and_reports_its_version() {
    let Some(redis) = Redis::start().await else { return };
    assert_eq!(read::<String>(redis.command(&["PING"]).await), "PONG");
    let (product, version) = redis.version().split_once(' ').expect("a product and its version");
    assert!(
        ["redis", "valkey"].contains(&product) && version.split('.').count() == 3,
        "{}",
        redis.version()
    );
    ours!(redis.port());
    assert_eq!(read::<u64>(redis.command(&["DBSIZE"]).await), 0);
}

#[tokio::test]
async fn restarted_redis_keeps_its_address_and_is_empty() {
    let Some(mut redis) = Redis::start().await else { return };
    let url = redis.url();
    ours!(redis.stop().await);
    redis.command(&["PING"]).await.expect_err("a stopped server does not answer");
    ours!(redis.start_again().await);
    assert_eq!(redis.url(), url);
    assert_eq!(read::<u64>(redis.command(&["DBSIZE"]).await), 0);
    // A repeated start or stop does nothing.
    ours!(redis.start_again().await);
    ours!(redis.stop().await);
    ours!(redis.stop().await);
}

#[tokio::test]
async fn frozen_redis_does_not_answer_until_thawed() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.freeze().await);
    let hung = redis.command(&["PING"]).await.expect_err("a frozen server does not answer");
    assert!(hung.is_timeout(), "{hung}");
    ours!(redis.thaw().await);
    assert_eq!(read::<String>(redis.command(&["PING"]).await), "PONG");
}

#[tokio::test]
async fn redis_has_the_requested_flags_password_and_socket() {
    let Some(redis) = Redis::start_with(&["--maxmemory", "8mb", "--requirepass", "secret"]).await
    else {
        return;
    };
    let memory: Vec<String> = read(redis.command(&["CONFIG", "GET", "maxmemory"]).await);
    assert_eq!(memory, ["maxmemory", "8388608"]);
    let port = ours!(redis.port());
    assert_eq!(redis.url(), format!("redis://:secret@127.0.0.1:{port}/0"));
    let by_socket = redis::Client::open(ours!(redis.socket_url())).expect("a URL of a socket");
    let mut connection = by_socket
        .get_multiplexed_async_connection()
        .await
        .expect("the socket accepts the password");
    let answer: String =
        redis::cmd("PING").query_async(&mut connection).await.expect("the server answers");
    assert_eq!(answer, "PONG");
}

#[tokio::test]
async fn dropped_redis_is_stopped() {
    let Some(redis) = Redis::start().await else { return };
    let port = ours!(redis.port());
    drop(redis);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens there any more");
}

/// A failed test also ends the servers that it started.
#[test]
fn redis_is_stopped_after_a_panic() {
    let port = sent_before_panic(|sender| async move {
        let Some(redis) = Redis::start().await else { return };
        let port = ours!(redis.port());
        sender.send(port).expect("the test receives");
        panic!("a planned panic");
    });
    let Some(port) = port else { return };
    TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens there any more");
}

#[tokio::test]
async fn cluster_promotes_a_replica_of_a_killed_primary() {
    let Some(mut cluster) = RedisCluster::start().await else { return };
    let before = cluster.primaries().await;
    assert_eq!(before.len(), 3, "{before:?}");
    let killed = ours!(cluster.kill_primary(1).await);
    assert_eq!(killed, before[1]);
    let after = promoted(&cluster, &before).await;
    assert_eq!(
        (after[0], after[2]),
        (before[0], before[2]),
        "only the shard without a primary has a new one"
    );
    ours!(cluster.start_again(killed).await);
    cluster.complete().await;
    assert_eq!(cluster.primaries().await, after);
}

#[tokio::test]
async fn cluster_promotes_a_replica_of_a_frozen_primary() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let before = cluster.primaries().await;
    let frozen = ours!(cluster.freeze_primary(0).await);
    assert_eq!(frozen, before[0]);
    let after = promoted(&cluster, &before).await;
    assert_ne!(after[0], before[0]);
    ours!(cluster.thaw(frozen).await);
}

#[tokio::test]
async fn whole_cluster_can_stop_and_freeze() {
    let Some(mut cluster) = RedisCluster::start().await else { return };
    let port = cluster.primaries().await[0];
    ours!(cluster.freeze_all().await);
    assert!(cluster.command(port, &["PING"]).await.expect_err("the node is frozen").is_timeout());
    ours!(cluster.thaw_all().await);
    ours!(cluster.stop_all().await);
    assert!(!cluster.command(port, &["PING"]).await.expect_err("the node is stopped").is_timeout());
    ours!(cluster.start_all().await);
    assert_eq!(read::<String>(cluster.command(port, &["PING"]).await), "PONG");
}

#[tokio::test]
async fn sentinels_promote_a_replica_of_a_killed_primary() {
    let Some(mut sentinel) = RedisSentinel::start().await else { return };
    let before = sentinel.primary_port().await;
    let killed = ours!(sentinel.kill_primary().await);
    assert_eq!(killed, before);
    let began = Instant::now();
    let after = wait::until("a new primary", PATIENCE, async || {
        Some(sentinel.primary_port().await).filter(|port| *port != before)
    })
    .await;
    eprintln!("promoted after {:?}", began.elapsed());
    assert_eq!(read::<String>(sentinel.command(after, &["SET", "name", "value"]).await), "OK");
    ours!(sentinel.start_again(killed).await);
    wait::until("the former primary to become a replica", PATIENCE, async || {
        // The node refuses commands while it loads the data of the new primary.
        let role: Vec<Value> =
            from_redis_value(sentinel.command(killed, &["ROLE"]).await.ok()?).expect("a list");
        (role.first() == Some(&Value::BulkString(b"slave".to_vec()))).then_some(())
    })
    .await;
}

/// Waits until the cluster has three primaries again and one of them is new. Returns their ports.
async fn promoted(cluster: &RedisCluster, before: &[u16]) -> Vec<u16> {
    let began = Instant::now();
    let after = wait::until("the promotion of a replica", PATIENCE, async || {
        let primaries = cluster.primaries().await;
        (primaries.len() == before.len() && primaries != before).then_some(primaries)
    })
    .await;
    eprintln!("promoted after {:?}", began.elapsed());
    after
}
