//! Connecting: TCP, sockets, TLS, restricted users, and servers that are down, refuse the store, or
//! close connections.

use std::{
    collections::HashSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use redis::Value;
use session_core::{Claim, Created, Cursor, Deleted, Outcome, SessionStore, StoreError};
use store_redis::{Config, ConnectError, RedisStore};
use tests::{
    PATIENCE,
    service::{AnyRedis, Durability, PASSWORD, Redis, RedisCluster},
    wait,
};

use crate::{
    reshard::Move,
    session::{LONG, Session, connect, hash, is_done, listed, loaded, principal, with},
};

/// Makes every call of a store and checks its result.
pub(crate) async fn every_call_works(store: &RedisStore) {
    let session = Session::signed_in(store, "bob").await;
    assert!(store.load(&session.key).await.expect("a load").is_some());
    let changed = store.commit(&session.key, session.add("n", 1)).await;
    assert!(is_done(&changed), "{changed:?}");
    let changed = store.commit(&session.key, session.set("a", "1").clear().ttl(LONG * 2)).await;
    assert!(is_done(&changed), "{changed:?}");
    let next = session.rotated();
    let signed_in = store.commit(&session.key, session.sign_in("carol", &next).ttl(LONG)).await;
    assert!(is_done(&signed_in), "{signed_in:?}");
    let renewed = store.commit(&next.key, next.renew(&next.rotated())).await;
    assert!(is_done(&renewed), "{renewed:?}");
    assert_eq!(listed(store, "carol").await.len(), 1);
    let (mut visited, mut after): (HashSet<_>, Option<Cursor>) = (HashSet::new(), None);
    loop {
        let page = store.scan(after, 100).await.expect("a page");
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(visited.contains(&next.key), "a scan");
    assert_eq!(store.delete_all(&principal("carol"), None).await.expect("a delete of all"), 1);
    let other = Session::signed_in(store, "dave").await;
    assert_eq!(store.delete(&other.key, Claim::Any).await.expect("a delete"), Deleted::Ended);
    assert_eq!(
        store.delete(&other.key, Claim::Any).await.expect("a second delete"),
        Deleted::Missing
    );
    let _ = store.delete_everyone(None, 1).await.expect("a page");
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    store.ping().await.expect("an answer");
}

pub(crate) async fn refusal(url: &str) -> String {
    let begun = Instant::now();
    let error = RedisStore::connect(&Config::new(url).expect("a URL"))
        .await
        .expect_err("the server cannot be used");
    assert!(begun.elapsed() < Duration::from_secs(4), "the error took {:?}", begun.elapsed());
    let ConnectError::Server { source, .. } = error else { panic!("{error:?}") };
    source.to_string()
}

#[tokio::test]
async fn store_works_over_tcp_and_sockets_in_any_database() {
    let Some(redis) = Redis::start().await else { return };
    let socket = ours!(redis.socket_url()).replace("redis+unix://", "unix:");
    for url in [redis.url(), format!("{socket}?db=3"), redis.url().replace("/0", "/7")] {
        let store = connect(&url).await;
        every_call_works(&store).await;
        let session = Session::anonymous(&store).await;
        for other in [format!("{socket}?db=1"), redis.url().replace("/0", "/2")] {
            assert!(connect(&other).await.load(&session.key).await.expect("an answer").is_none());
        }
        assert!(connect(&url).await.load(&session.key).await.expect("an answer").is_some());
    }
}

/// A certificate authority and the files of its certificates.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("ca.pem"), certificate.pem()).expect("a file");
        Self { folder, issuer: Issuer::new(parameters, key) }
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).expect("a file");
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}

/// Makes a server listen for TLS on another port. Returns the port.
async fn speak_tls(redis: &Redis, authority: &Authority) -> u16 {
    let set = async |name: &str, value: &str| redis.command(&["CONFIG", "SET", name, value]).await;
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    set("tls-auth-clients", "no").await.expect("a server with TLS");
    redis
        .command(&[
            "CONFIG",
            "SET",
            "tls-cert-file",
            &certificate,
            "tls-key-file",
            &key,
            "tls-ca-cert-file",
            &authority.path("ca.pem"),
        ])
        .await
        .expect("certificates");
    wait::until("a free port", PATIENCE, async || {
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("an address")
            .port();
        set("tls-port", &port.to_string()).await.is_ok().then_some(port)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_uses_the_configured_authorities_and_certificates() {
    let Some(redis) = Redis::start().await else { return };
    // The server can read its own folder, also if it runs in a container.
    let socket = ours!(redis.socket_url()).replace("redis+unix://", "");
    let folder = Path::new(&socket).parent().expect("a socket is in a folder");
    let (trusted, other) = (Authority::new(folder, "trusted"), Authority::new(folder, "other"));
    for name in ["server", "client"] {
        trusted.sign(name);
        other.sign(name);
    }
    let port = speak_tls(&redis, &trusted).await;
    let url = format!("rediss://127.0.0.1:{port}");
    let trusted_url = format!("{url}?tls_ca={}", trusted.path("ca.pem"));
    every_call_works(&connect(&trusted_url).await).await;

    // Waiting does not end these failures. The error names the remedy.
    let refusal = async |url: &str| {
        let store = RedisStore::new(&Config::new(url).expect("a URL")).expect("settings that fit");
        let begun = Instant::now();
        let StoreError::Other { source, .. } = store.ping().await.expect_err("a refusal") else {
            panic!("{url}")
        };
        assert!(begun.elapsed() < Duration::from_secs(1), "the error took {:?}", begun.elapsed());
        source.to_string()
    };
    for url in [url.clone(), format!("{url}?tls_ca={}", other.path("ca.pem"))] {
        let shown = refusal(&url).await;
        assert!(shown.contains("set tls_ca"), "{shown}");
    }

    redis.command(&["CONFIG", "SET", "tls-auth-clients", "yes"]).await.expect("a server with TLS");
    let client = |of: &Authority| {
        format!(
            "{trusted_url}&tls_cert={}&tls_key={}",
            of.path("client.pem"),
            of.path("client.key")
        )
    };
    every_call_works(&connect(&client(&trusted)).await).await;
    for url in [trusted_url.clone(), client(&other)] {
        let shown = refusal(&url).await;
        assert!(shown.contains("tls_cert"), "{shown}");
    }
}

/// The commands that the README lists in the sentence that begins with these words.
fn listed_after(words: &str) -> Vec<String> {
    let readme = include_str!("../../../store-redis/README.md").replace('\n', " ");
    let (_, after) = readme.split_once(words).expect("the README lists the commands");
    let list = after.split('.').next().unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(|word| format!("+{}", word.to_lowercase())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_needs_only_the_commands_in_the_readme() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    let allowed = listed_after("A restricted user needs these commands:");
    assert!(allowed.len() > 15, "{allowed:?}");
    let user =
        [&["ACL", "SETUSER", "app", "on", ">appspassword", "~shop:*", "-@all"], &*words(&allowed)]
            .concat();
    server.ask(&user).await;
    let url = server.url("prefix=shop:").replace(&format!(":{PASSWORD}@"), "app:appspassword@");
    every_call_works(&connect(&url).await).await;
    server
        .ask(
            &[
                &["ACL", "SETUSER", "app"],
                &*words(&listed_after("With `wait_replicas` it also needs")),
            ]
            .concat(),
        )
        .await;
    // The server has no replicas, so each call is `Unavailable`. No call is forbidden.
    let session = Session::signed_in(&connect(&url).await, "bob").await;
    let store = connect(&with(&url, "wait_replicas=1&wait_ms=10")).await;
    for result in [
        store.commit(&session.key, session.renew(&session.rotated())).await.map(drop),
        store
            .create(&Session::new().key, session.record().principal(principal("bob")))
            .await
            .map(drop),
        store.delete(&session.key, Claim::Any).await.map(drop),
        store.delete_all(&principal("bob"), None).await.map(drop),
        store.delete_all(&principal("bob"), None).await.map(drop),
    ] {
        assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_user_needs_only_the_commands_in_the_readme() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let mut allowed = listed_after("A restricted user needs these commands:");
    allowed.extend(listed_after("In a Cluster it also needs"));
    let user = [
        &["ACL", "SETUSER", "app", "on", ">appspassword", "~session:*", "-@all"],
        &*words(&allowed),
    ]
    .concat();
    for port in all_ports(&cluster).await {
        cluster.command(port, &user).await.expect("the node answers");
    }
    let url = cluster.url().replace(&format!(":{PASSWORD}@"), "app:appspassword@");
    let store = connect(&url).await;
    every_call_works(&store).await;
    let session = Session::signed_in(&store, "bob").await;
    let moving = Move::of(&cluster, &session).await;
    moving.begin().await;
    moving.migrate(&hash(&session, "session:")).await;
    assert!(store.load(&session.key).await.expect("an answer while the slot moves").is_some());
    assert!(
        is_done(&store.commit(&session.key, session.add("n", 1)).await),
        "a commit while the slot moves"
    );
    let mut after = None;
    loop {
        let page = store.scan(after, 1000).await.expect("an answer while the slot moves");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    moving.complete().await;
    every_call_works(&store).await;
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

pub(crate) async fn all_ports(cluster: &RedisCluster) -> Vec<u16> {
    let first = cluster.primaries().await[0];
    let nodes: String = redis::from_redis_value(
        cluster.command(first, &["CLUSTER", "NODES"]).await.expect("the node answers"),
    )
    .expect("a text");
    let port =
        |line: &str| line.split(' ').nth(1)?.split('@').next()?.rsplit(':').next()?.parse().ok();
    nodes.lines().filter_map(port).collect()
}

#[tokio::test]
async fn wrong_password_and_old_server_are_reported_at_once() {
    let Some(server) = AnyRedis::server().await else { return };
    let wrong = server.url("").replace(PASSWORD, "wrongpassword");
    let why = refusal(&wrong).await;
    assert!(why.contains("WRONGPASS") || why.to_lowercase().contains("password"), "{why}");
    assert!(!why.contains("wrongpassword"), "{why}");
    // Servers before Redis 6 do not have this command.
    let Some(redis) = Redis::start_with(&["--rename-command", "HELLO", ""]).await else { return };
    let why = refusal(&redis.url()).await;
    eprintln!("a server without HELLO: {why}");
    assert!(why.contains("6.2"), "{why}");
}

#[tokio::test]
async fn store_uses_a_server_that_starts_later() {
    let Some(mut redis) = Redis::start().await else { return };
    ours!(redis.stop().await);
    let begun = Instant::now();
    let store = connect(&redis.url()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "a refused connection needs no timeout");
    assert!(store.ping().await.expect_err("the server is down").is_transient());
    ours!(redis.start_again().await);
    wait::until("the store to connect", Duration::from_secs(1), async || store.ping().await.ok())
        .await;
    every_call_works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_idle_connection_fails_no_call() {
    let Some(redis) = Redis::start().await else { return };
    let store = connect(&redis.url()).await;
    let session = Session::anonymous(&store).await;
    for round in 0..20 {
        redis
            .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await
            .expect("the server answers");
        // The store has to receive the end of the connection first.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let changed = store.commit(&session.key, session.add("n", 1)).await;
        assert!(is_done(&changed), "round {round}: {changed:?}");
    }
    let record = loaded(&store, &session.key).await;
    assert_eq!(record.data.get("n").and_then(session_core::Json::as_integer), Some(20));
}

#[tokio::test]
async fn store_loads_scripts_again_after_a_flush() {
    let Some(redis) = Redis::start().await else { return };
    let store = connect(&redis.url()).await;
    every_call_works(&store).await;
    redis.command(&["SCRIPT", "FLUSH"]).await.expect("the server answers");
    every_call_works(&store).await;
    let session = Session::anonymous(&store).await;
    for _ in 0..10 {
        redis.command(&["SCRIPT", "FLUSH"]).await.expect("the server answers");
        assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
    }
    let record = loaded(&store, &session.key).await;
    assert_eq!(record.data.get("n").and_then(session_core::Json::as_integer), Some(10));
}

#[tokio::test]
async fn foreign_key_with_a_sessions_name_is_corrupt() {
    let Some(redis) = Redis::start().await else { return };
    let (own, other) = (
        connect(&with(&redis.url(), "prefix=own:")).await,
        connect(&with(&redis.url(), "prefix=other:")).await,
    );
    let session = Session::new();
    let hash = hash(&session, "own:");
    redis.command(&["RPUSH", &hash, "a", "b"]).await.expect("the server answers");
    assert!(other.load(&session.key).await.expect("another prefix").is_none());
    assert_eq!(
        other.create(&session.key, session.record()).await.expect("another prefix"),
        Created::New
    );
    assert!(matches!(own.load(&session.key).await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(
        own.commit(&session.key, session.set("a", "1")).await,
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(
        own.create(&session.key, session.record()).await.expect("an answer"),
        Created::Taken
    );
    let held = redis.command(&["LLEN", &hash]).await.expect("the server answers");
    assert_eq!(held, Value::Int(2), "the list is unchanged");
    assert_eq!(own.delete(&session.key, Claim::Any).await.expect("a delete"), Deleted::Ended);
    assert_eq!(
        own.commit(&session.key, session.set("a", "1")).await.expect("an answer"),
        Outcome::Gone
    );
    assert!(
        other.load(&session.key).await.expect("an answer").is_some(),
        "the session with the other prefix is unchanged"
    );
}
