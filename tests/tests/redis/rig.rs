//! The servers that tests are given do what is asked of them.

use std::{net::TcpStream, time::Instant};

use redis::{FromRedisValue, RedisResult, Value, from_redis_value};
use tests::{
    PATIENCE,
    service::{Redis, RedisCluster, RedisSentinel},
    wait,
};

fn read<T: FromRedisValue>(answer: RedisResult<Value>) -> T {
    from_redis_value(answer.expect("the server answers")).expect("an answer of that type")
}

#[tokio::test]
async fn a_redis_is_empty_and_says_its_version() {
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
async fn a_stopped_redis_comes_back_at_the_same_address_and_empty() {
    let Some(mut redis) = Redis::start().await else { return };
    let url = redis.url();
    ours!(redis.stop().await);
    redis.command(&["PING"]).await.expect_err("a stopped server does not answer");
    ours!(redis.start_again().await);
    assert_eq!(redis.url(), url);
    assert_eq!(read::<u64>(redis.command(&["DBSIZE"]).await), 0);
    // Both are fine when there is nothing to do.
    ours!(redis.start_again().await);
    ours!(redis.stop().await);
    ours!(redis.stop().await);
}

#[tokio::test]
async fn a_frozen_redis_hangs_until_it_is_thawed() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.freeze().await);
    let hung = redis.command(&["PING"]).await.expect_err("a frozen server does not answer");
    assert!(hung.is_timeout(), "{hung}");
    ours!(redis.thaw().await);
    assert_eq!(read::<String>(redis.command(&["PING"]).await), "PONG");
}

#[tokio::test]
async fn a_redis_has_the_flags_the_password_and_the_socket_that_were_asked_for() {
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
async fn a_dropped_redis_is_gone() {
    let Some(redis) = Redis::start().await else { return };
    let port = ours!(redis.port());
    drop(redis);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
}

/// What was started by a test that fails is gone as well.
#[test]
fn a_redis_is_gone_after_a_panic() {
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let Some(redis) = Redis::start().await else { return };
            let port = ours!(redis.port());
            tell.send(port).expect("the test listens");
            panic!("as a test that fails does");
        });
    });
    let ended = test.join();
    // Nothing is told if the test is skipped, and then it has ended without a panic.
    let Ok(port) = told.recv() else { return ended.expect("there is a server") };
    ended.expect_err("the test panics");
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there any more");
}

#[tokio::test]
async fn a_cluster_promotes_a_replica_of_a_killed_primary_and_takes_the_node_back() {
    let Some(mut cluster) = RedisCluster::start().await else { return };
    let before = cluster.primaries().await;
    assert_eq!(before.len(), 3, "{before:?}");
    let killed = ours!(cluster.kill_primary(1).await);
    assert_eq!(killed, before[1]);
    let after = promoted(&cluster, &before).await;
    assert_eq!(
        (after[0], after[2]),
        (before[0], before[2]),
        "only the shard without a primary got another"
    );
    ours!(cluster.start_again(killed).await);
    cluster.complete().await;
    assert_eq!(cluster.primaries().await, after);
}

#[tokio::test]
async fn a_cluster_promotes_a_replica_of_a_frozen_primary() {
    let Some(cluster) = RedisCluster::start().await else { return };
    let before = cluster.primaries().await;
    let frozen = ours!(cluster.freeze_primary(0).await);
    assert_eq!(frozen, before[0]);
    let after = promoted(&cluster, &before).await;
    assert_ne!(after[0], before[0]);
    ours!(cluster.thaw(frozen).await);
}

#[tokio::test]
async fn a_cluster_can_stop_and_hang_as_a_whole() {
    let Some(mut cluster) = RedisCluster::start().await else { return };
    let port = cluster.primaries().await[0];
    ours!(cluster.freeze_all().await);
    assert!(cluster.command(port, &["PING"]).await.expect_err("it hangs").is_timeout());
    ours!(cluster.thaw_all().await);
    ours!(cluster.stop_all().await);
    assert!(!cluster.command(port, &["PING"]).await.expect_err("it is gone").is_timeout());
    ours!(cluster.start_all().await);
    assert_eq!(read::<String>(cluster.command(port, &["PING"]).await), "PONG");
}

#[tokio::test]
async fn sentinels_promote_a_replica_of_a_killed_primary_and_take_the_node_back() {
    let Some(mut sentinel) = RedisSentinel::start().await else { return };
    let before = sentinel.primary_port().await;
    let killed = ours!(sentinel.kill_primary().await);
    assert_eq!(killed, before);
    let began = Instant::now();
    let after = wait::until("another primary", PATIENCE, async || {
        Some(sentinel.primary_port().await).filter(|port| *port != before)
    })
    .await;
    eprintln!("promoted after {:?}", began.elapsed());
    assert_eq!(read::<String>(sentinel.command(after, &["SET", "name", "value"]).await), "OK");
    ours!(sentinel.start_again(killed).await);
    wait::until("the former primary to be a replica", PATIENCE, async || {
        // It refuses to answer while it loads what the new primary sends.
        let role: Vec<Value> =
            from_redis_value(sentinel.command(killed, &["ROLE"]).await.ok()?).expect("a list");
        (role.first() == Some(&Value::BulkString(b"slave".to_vec()))).then_some(())
    })
    .await;
}

/// The primaries once the cluster has three of them again, and not all the same as before.
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
