//! Start with `--store redis`: wrong URLs and unusable servers. Each mistake gets an error that
//! names the input and the remedy, without a password.

use tests::{
    Demo, Ended, PATIENCE, Setup,
    client::Request,
    service::{AnyRedis, Durability, PASSWORD},
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// The password in URLs that reach no server.
pub(crate) const SECRET: &str = "hunter2";

/// A URL, and the words that its message must contain.
pub(crate) type Mistake = (&'static str, &'static [&'static str]);

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

/// Expects the end of the demo with this code and these words, without a password.
pub(crate) fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    let Ended { status, stdout, stderr } = ended;
    assert_eq!(status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    assert!(!stdout.contains("listening") && !stderr.contains("panicked"), "{stderr}");
    for secret in [SECRET, PASSWORD] {
        assert!(
            !stdout.contains(secret) && !stderr.contains(secret),
            "a password is shown: {stdout}{stderr}"
        );
    }
}

async fn run(url: &str) -> Ended {
    run_with("redis", url).await
}

/// Starts a demo with this store. The URL is passed in the environment variable.
pub(crate) async fn run_with(store: &str, url: &str) -> Ended {
    let arguments =
        ["--listen", "127.0.0.1:0", "--workers", "2", "--store", store, "--log", "trace"];
    Demo::run(&arguments, &[("DEMO_STORE_URL", url)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_urls_are_named_with_the_allowed_values() {
    for (url, words) in MISTAKES {
        assert_refused(&run(url).await, 2, words);
    }
    // Without --store the demo would keep the sessions itself.
    let ended = Demo::run(&["--store-url", "redis://:hunter2@host"], &[]).await;
    assert_refused(&ended, 2, &["--store-url", "--store redis"]);
    println!("usage: {} wrong URLs, each ends with 2 and names the remedy", MISTAKES.len() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_settings_and_startup_message_show_no_password() {
    for url in [
        "redis://app:hunter2@host:7000/1",
        "redis-sentinel://:hunter2@a,b/main?sentinel_password=hunter2",
        "redis-cluster://:hunter2@a,b",
    ] {
        let shown =
            Demo::run(&["--print-config", "--store", "redis", "--store-url", url], &[]).await;
        assert!(shown.status.success(), "{}", shown.stderr);
        assert!(shown.stdout.contains("***") && !shown.stdout.contains(SECRET), "{}", shown.stdout);
        assert!(
            shown.stdout.contains(
                url.rsplit('@').next().and_then(|rest| rest.split('?').next()).expect("a host")
            ),
            "{}",
            shown.stdout
        );
    }
    let Some(redis) = AnyRedis::server().await else { return };
    let demo = Demo::start(&[
        "--store",
        "redis",
        "--workers",
        "1",
        "--store-url",
        &redis.url("prefix=greeting:"),
    ])
    .await;
    wait::until_true("the whole startup message", PATIENCE, || demo.output().contains("/login"))
        .await;
    let output = demo.output();
    assert!(output.contains("  store    redis://") && !output.contains(PASSWORD), "{output}");
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
        &["cluster support disabled"],
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
    let demo = Demo::start(&[
        "--store",
        "redis",
        "--workers",
        "1",
        "--store-url",
        &server_of_version("6.2.0").await,
    ])
    .await;
    let _ = demo.browser().get("/readyz").await.expect(200);
}

on_own_setup!(
    redis = Setup::own_redis(Durability::None),
    demo_starts_while_its_servers_are_down_and_serves_later
);
on_own_setup!(
    redis_cluster = Setup::own_redis_cluster(Durability::None),
    demo_starts_while_its_servers_are_down_and_serves_later
);

pub(crate) async fn demo_starts_while_its_servers_are_down_and_serves_later(setup: &mut Setup) {
    setup.service().stop().await;
    let demo = setup.start_with(&["--deadline", "500ms"]).await;
    wait::until_true("a warning", PATIENCE, || {
        demo.output().contains("sessions cannot be reached yet")
    })
    .await;
    let mut browser = demo.browser();
    let _ = browser.get("/healthz").await.expect(200);
    let _ = browser.get("/readyz").await.expect(503);
    for request in [
        Request::post("/login").json(r#"{"user":"bob"}"#),
        Request::put("/session/n", "1"),
        Request::get("/"),
    ] {
        assert!(browser.send(request).await.expect(503).set_cookie().is_none());
    }
    setup.service().restart().await;
    demo.ready().await;
    wait::until("a sign-in", PATIENCE, async || {
        (browser.login("bob").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}
