//! Start with `--store redis`: wrong URLs and unusable servers. Each mistake gets an error that
//! names the input and the remedy, without a password.

use tests::{
    Ended, Setup,
    service::{AnyRedis, Durability, PASSWORD},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::startup::{
    Mistake, SECRET, assert_refused, assert_settings_hide_the_password,
    assert_startup_message_hides_the_password, assert_wrong_urls_are_refused,
    demo_starts_while_its_servers_are_down_and_serves_later, run_with, start,
};

const MISTAKES: &[Mistake] = &[
    ("ipc:/run/hunter2.sock", &["DEMO_STORE_URL", "redis:", "--store ipc"]),
    ("hunter2@host", &["DEMO_STORE_URL", "redis:", "none"]),
    ("redis://:hunter2@", &["host", "localhost"]),
    ("redis://:hunter2@host:99999", &["host", "10.0.0.1:6380"]),
    ("redis://:hunter2@host/shop", &["database", "redis://host/0"]),
    ("redis://:hunter2@a,b", &["host", "redis-cluster://", "redis-sentinel://"]),
    ("redis://:hunter2@host?nonsense=1", &["\"nonsense\"", "deadline_ms", "prefix"]),
    ("redis://:hunter2@host?deadline_ms=soon", &["deadline_ms", "\"soon\""]),
    ("redis://:hunter2@host?prefix=", &["prefix", "1 to 64"]),
    ("redis://:hunter2@host?prefix={x}", &["prefix", "{x}", "braces"]),
    ("redis://:hunter2@host?tls_ca=/a.pem", &["tls_ca", "/a.pem", "rediss"]),
    ("redis-cluster://:hunter2@host?db=1", &["db", "\"1\"", "Cluster"]),
    ("redis-sentinel://:hunter2@host", &["primary", "/mymaster"]),
    ("unix:hunter2.sock", &["path", "unix:/run/redis/redis.sock"]),
];

async fn run(url: &str) -> Ended {
    run_with("redis", url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_urls_are_named_with_the_allowed_values() {
    assert_wrong_urls_are_refused("redis", MISTAKES, &[], &[], "redis://:hunter2@host").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_settings_and_startup_message_show_no_password() {
    let urls = [
        "redis://app:hunter2@host:7000/1",
        "redis-sentinel://:hunter2@a,b/main?sentinel_password=hunter2",
        "redis-cluster://:hunter2@a,b",
    ];
    assert_settings_hide_the_password("redis", &urls).await;
    let Some(redis) = AnyRedis::server().await else { return };
    let url = redis.url("prefix=greeting:");
    assert_startup_message_hides_the_password("redis", &url, "redis://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_rejected_login_ends_the_start_without_showing_the_password() {
    let Some(redis) = AnyRedis::own_server(Durability::None).await else { return };
    let url = redis.url("");
    for (wrong, words) in [
        (url.replace(PASSWORD, SECRET), "refuses the login; check user and password"),
        (url.replace(":correct", "nobody:correct"), "refuses the login; check user and password"),
        (url.replace(&format!(":{PASSWORD}@"), ""), "requires a login"),
    ] {
        assert_ne!(wrong, url);
        assert_refused(&run(&wrong).await, 1, &[words]);
    }
    // A single server is not a Cluster.
    assert_refused(
        &run(&url.replace("redis://", "redis-cluster://").replace("/0?", "?")).await,
        1,
        &["is not a node of a Cluster", "redis://"],
    );
}

/// A server that reports this version and replies OK to every other command.
async fn server_of_version(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                    let said = String::from_utf8_lossy(&bytes).into_owned();
                    // Commands are short, so each read contains whole commands.
                    for command in said.split('*').skip(1) {
                        let hello = format!(
                            "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n${}\r\n{version}\r\n",
                            version.len()
                        );
                        let answer =
                            if command.contains("HELLO") { hello.as_str() } else { "+OK\r\n" };
                        stream.write_all(answer.as_bytes()).await.expect("the client reads");
                    }
                    bytes.clear();
                }
            });
        }
    });
    format!("redis://:{SECRET}@{address}/0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_server_ends_the_start_with_both_versions() {
    let url = server_of_version("6.0.16").await;
    assert_refused(&run(&url).await, 1, &["redis 6.0.16", "Redis 6.2"]);
    // The other replies of this server suffice for a start.
    let demo = start("redis", &server_of_version("6.2.0").await).await;
    let _ = demo.browser().get("/readyz").await.expect(200);
}

on_own_setups!(
    demo_starts_while_its_servers_are_down_and_serves_later;
    redis = Setup::own_redis(Durability::None),
    redis_cluster = Setup::own_redis_cluster(Durability::None),
);
