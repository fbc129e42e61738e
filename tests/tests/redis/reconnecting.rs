//! Connecting in a difficult environment: addresses that drop packets, slow name servers, passwords
//! that change.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use redis::{Client, aio::MultiplexedConnection};
use session_core::{SessionStore, StoreError};
use store_redis::{Config, RedisStore};
use tempfile::TempDir;
use tests::{
    Demo, KEY, PATIENCE,
    client::Request,
    demo_server,
    names::{DeadAddress, NAME, Names, SlowNameServer, in_namespace},
    service::{AnyRedis, Durability, PASSWORD, Redis, RedisCluster, RedisSentinel},
    wait,
};

use crate::{
    connections::{all_ports, every_call_works, refusal},
    session::{Session, connect, loaded, with},
};

/// The limit for a response: the deadline of the store, and 2 s more for a busy machine.
const IN_TIME: Duration = Duration::from_secs(4);
/// The password after its change.
const NEXT: &str = "nextpassword";
/// How soon a store works after its file has the new password, on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// One server, a Cluster and Sentinels, behind a name instead of their addresses.
async fn named_servers() -> Option<(Redis, RedisCluster, RedisSentinel)> {
    let redis = Redis::start().await?;
    let cluster = RedisCluster::start().await?;
    let sentinel = RedisSentinel::start().await?;
    Some((redis, cluster, sentinel))
}

/// The URL with the name instead of its first host, and without its other hosts, and the port.
fn behind_the_name(url: &str) -> (String, u16) {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let first: SocketAddr =
        hosts.split(',').next().and_then(|host| host.parse().ok()).expect("an address");
    let slash = if path.is_empty() { "" } else { "/" };
    (format!("{scheme}://{NAME}:{}{slash}{path}", first.port()), first.port())
}

/// Signs in until it works. Each sign-in before ends in time, with 503.
async fn signs_in(demo: &Demo) -> Vec<Duration> {
    let mut took = Vec::new();
    wait::until("a sign-in", PATIENCE, async || {
        let begun = Instant::now();
        let status = demo.browser().login("alice").await.status;
        took.push(begun.elapsed());
        assert!(begun.elapsed() < IN_TIME, "the response took {:?}", begun.elapsed());
        assert!([200, 503].contains(&status), "{status}: {}", demo.output());
        (status == 200).then_some(())
    })
    .await;
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_first_address_that_drops_packets_is_no_outage() {
    let Some(names) = Names::of(&["::1", "127.0.0.1"]) else { return };
    let Some((redis, cluster, sentinel)) = named_servers().await else { return };
    for url in [redis.url(), cluster.url(), sentinel.url()] {
        let (url, port) = behind_the_name(&url);
        let _dead = DeadAddress::at(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))).await;
        let demo = names.demo("redis", &url).await;
        let took = signs_in(&demo).await;
        eprintln!("{url}: signed in after {took:?}");
        assert!(took.len() == 1, "the first sign-in works: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_name_server_that_needs_5_s_delays_only_the_start() {
    const DELAY: Duration = Duration::from_secs(5);
    let Some(server) = SlowNameServer::start(DELAY).await else { return };
    let Some(names) = Names::from_server(&server) else { return };
    let Some((redis, cluster, sentinel)) = named_servers().await else { return };
    let urls = [redis.url(), cluster.url(), sentinel.url()].map(|url| behind_the_name(&url).0);
    let names = &names;
    futures_util::future::join_all(urls.iter().map(|url| async move {
        let begun = Instant::now();
        let demo = names.demo("redis", url).await;
        let took = signs_in(&demo).await;
        eprintln!("{url}: {:?} after the start; sign-ins took {took:?}", begun.elapsed());
        assert!(begun.elapsed() > DELAY, "the name has an address only after {DELAY:?}");
        assert!(
            begun.elapsed() < DELAY + IN_TIME,
            "the store works soon after the answer, and not {:?} after the start",
            begun.elapsed()
        );
        // Every worker has its own connections, and no later call waits for a name.
        for mut connection in demo.connections(2).await {
            let response = connection.send(&Request::get("/readyz")).await.expect("an answer");
            assert_eq!(response.status, 200);
        }
    }))
    .await;
}

/// A file with a password, which is replaced as an orchestrator does.
struct PasswordFile(TempDir);

impl PasswordFile {
    fn with(password: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a temporary folder"));
        file.change_to(password);
        file
    }

    fn change_to(&self, password: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, [password, "\n"].concat()).expect("an own folder");
        fs::rename(new, self.path()).expect("an own folder");
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("password")
    }

    fn setting(&self) -> String {
        format!("password_file={}", self.path().display())
    }
}

/// A connection that stays logged in when the password changes.
async fn administrator(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("the server answers")
}

/// Runs these commands, and closes all other connections.
async fn change(administrator: &mut MultiplexedConnection, commands: &[&[&str]]) {
    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
    for words in commands.iter().copied().chain([kill.as_slice()]) {
        redis::cmd(words[0])
            .arg(&words[1..])
            .exec_async(administrator)
            .await
            .expect("the server executes the command");
    }
}

fn without_password(url: &str) -> String {
    let cut = url.replace(&format!(":{PASSWORD}@"), "");
    assert_ne!(cut, url);
    cut
}

/// Expects that calls are unavailable until the file has the new password, and work soon after.
async fn assert_outage_ends_with_the_file(store: &RedisStore, file: &PasswordFile) {
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) {
        let error = store.ping().await.expect_err("the file has the former password");
        let StoreError::Unavailable { source, .. } = &error else { panic!("{error:?}") };
        let text = format!("{error} {source}");
        assert!(!text.contains(PASSWORD) && !text.contains(NEXT), "{text}");
        if calls > 0 {
            assert!(text.contains("refuses the login") && text.contains("password_file"), "{text}");
        }
        calls += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    file.change_to(NEXT);
    let begun = Instant::now();
    wait::until("the store to log in", SOON, async || store.ping().await.ok()).await;
    eprintln!("{calls} calls during the outage; logged in after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_new_password_in_the_file_ends_the_outage() {
    let Some(redis) = Redis::start_with(&["--requirepass", PASSWORD]).await else { return };
    let mut administrator = administrator(&redis.url()).await;
    let file = PasswordFile::with(PASSWORD);
    let url = with(&without_password(&redis.url()), &file.setting());
    let store = connect(&url).await;
    let session = Session::signed_in(&store, "bob").await;
    change(&mut administrator, &[&["CONFIG", "SET", "requirepass", NEXT]]).await;
    assert_outage_ends_with_the_file(&store, &file).await;
    assert!(loaded(&store, &session.key).await.principal.is_some());
    every_call_works(&store).await;

    // The same with a user, and over the configuration in code.
    let add = ["ACL", "SETUSER", "app", "on", "allkeys", "allcommands", "resetpass"];
    let password = |password: &str| format!(">{password}");
    let first = password(PASSWORD);
    change(&mut administrator, &[&[&add[..], &[&first]].concat()]).await;
    file.change_to(PASSWORD);
    let url = without_password(&redis.url()).replace("redis://", "redis://app@");
    let config = Config::new(&with(&url, &file.setting())).expect("a user and a file");
    let store = RedisStore::connect(&config.password_file(file.path())).await.expect("a login");
    let next = password(NEXT);
    change(&mut administrator, &[&[&add[..], &[&next]].concat()]).await;
    assert_outage_ends_with_the_file(&store, &file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_new_password_in_the_file_ends_the_outage_of_a_cluster() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let file = PasswordFile::with(PASSWORD);
    let store = connect(&with(&without_password(&cluster.url()), &file.setting())).await;
    let session = Session::signed_in(&store, "bob").await;
    for port in all_ports(&cluster).await {
        let mut administrator =
            administrator(&format!("redis://:{PASSWORD}@127.0.0.1:{port}")).await;
        let next: &[&[&str]] =
            &[&["CONFIG", "SET", "masterauth", NEXT], &["CONFIG", "SET", "requirepass", NEXT]];
        change(&mut administrator, next).await;
    }
    assert_outage_ends_with_the_file(&store, &file).await;
    assert!(loaded(&store, &session.key).await.principal.is_some());
    every_call_works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_new_password_of_the_sentinels_is_read_from_its_file() {
    let Some(sentinel) = RedisSentinel::start_with(&["--requirepass", PASSWORD]).await else {
        return;
    };
    let hosts = sentinel.url();
    let (hosts, _) = hosts
        .rsplit_once('@')
        .map(|(_, rest)| rest.split_once('/'))
        .expect("a login")
        .expect("the name of the primary");
    let (primary, mut sentinels) = (sentinel.primary_port().await, Vec::new());
    for host in hosts.split(',') {
        sentinels.push(administrator(&format!("redis://{host}")).await);
    }
    let mut primary = administrator(&format!("redis://:{PASSWORD}@127.0.0.1:{primary}")).await;
    let set = |password: &str| format!(">{password}");
    let (first, next) = (set(PASSWORD), set(NEXT));
    for sentinel in &mut sentinels {
        change(sentinel, &[&["ACL", "SETUSER", "default", "resetpass", &first]]).await;
    }
    let file = PasswordFile::with(PASSWORD);
    let wrong = with(&sentinel.url(), &format!("sentinel_password={NEXT}"));
    assert!(refusal(&wrong).await.contains("sentinel_password"), "a wrong password at the start");
    let store = connect(&with(&sentinel.url(), &format!("sentinel_{}", file.setting()))).await;
    store.ping().await.expect("an answer");
    for sentinel in &mut sentinels {
        change(sentinel, &[&["ACL", "SETUSER", "default", "resetpass", &next]]).await;
    }
    change(&mut primary, &[]).await;
    assert_outage_ends_with_the_file(&store, &file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_refused_first_login_ends_the_start() {
    let file = PasswordFile::with("wrongpassword");
    let Some(server) = AnyRedis::server().await else { return };
    let Some(cluster) = AnyRedis::cluster().await else { return };
    for url in [server.url(""), cluster.url("")] {
        let why = refusal(&with(&without_password(&url), &file.setting())).await;
        assert!(why.contains("refuses the login"), "{why}");
        let why = refusal(&without_password(&url)).await;
        assert!(why.contains("requires a login") && why.contains("password_file"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_unusable_password_file_ends_the_start_with_the_cure() {
    let file = PasswordFile::with("");
    let path = file.path().display().to_string();
    for (url, words) in [
        (format!("redis://127.0.0.1:1?password_file={path}"), "is empty"),
        ("redis://127.0.0.1:1?password_file=/nowhere/password".to_owned(), "does not exist"),
        (format!("redis://:secret@127.0.0.1:1?password_file={path}"), "remove the password or"),
        (
            format!(
                "redis-sentinel://127.0.0.1:1/m?sentinel_password=a&sentinel_password_file={path}"
            ),
            "remove the password or",
        ),
        (
            "redis-sentinel://127.0.0.1:1/m?sentinel_password_file=/nowhere/password".to_owned(),
            "does not exist",
        ),
    ] {
        let ended = Demo::run(
            &["--listen", "127.0.0.1:0", "--store", "redis", "--store-url", &url],
            &[("DEMO_COOKIE_KEY", KEY)],
        )
        .await;
        assert!(!ended.status.success() && ended.stderr.contains(words), "{url}: {}", ended.stderr);
        assert!(ended.stderr.contains("password_file"), "{url}: {}", ended.stderr);
    }
}

/// In a container the demo is process 1, and nothing restarts its workers but itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_demo_as_process_1_answers_503_until_the_file_changes() {
    let Some(redis) = Redis::start_with(&["--requirepass", PASSWORD]).await else { return };
    let mut administrator = administrator(&redis.url()).await;
    let file = PasswordFile::with(PASSWORD);
    let url = with(&without_password(&redis.url()), &file.setting());
    let program = demo_server().display().to_string();
    let options = in_namespace("--pid");
    let arguments = [
        &*options,
        &["--fork", "--kill-child", &program, "--listen", "127.0.0.1:0", "--workers", "2"],
        &["--store", "redis", "--store-url", &url, "--cookie-key", KEY],
    ]
    .concat();
    let demo = Demo::start_as(Path::new("unshare"), &arguments, &[]).await;
    demo.ready().await;
    let mut alice = demo.signed_in("alice").await;
    change(&mut administrator, &[&["CONFIG", "SET", "requirepass", NEXT]]).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let response = alice.send(Request::get("/session")).await;
        assert_eq!(response.status, 503, "{}", demo.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    file.change_to(NEXT);
    for mut connection in demo.connections(2).await {
        let session = alice.dress(Request::get("/session"));
        wait::until("the session on every worker", SOON, async || {
            let response = connection.send(&session).await.expect("an answer");
            assert!([200, 503].contains(&response.status), "{}", response.status);
            (response.status == 200).then_some(())
        })
        .await;
    }
    assert!(!alice.page().await.is_anonymous(), "the session is still signed in");
    let output = demo.output();
    assert!(!output.contains(PASSWORD) && !output.contains(NEXT), "{output}");
    assert!(!output.contains("replacing a worker"), "{output}");
}
