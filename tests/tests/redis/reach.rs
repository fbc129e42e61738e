//! The ways to reach a server, and what becomes of a store whose server is not there, refuses it,
//! or hangs up.

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
    session::{LONG, Session, connect, hash, is_done, listed, principal, with},
};

/// Every call of a store does what it is for.
async fn every_call_works(store: &RedisStore) {
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
    assert_eq!(store.delete_all(&principal("carol"), None).await.expect("an end of all"), 1);
    let other = Session::signed_in(store, "dave").await;
    assert_eq!(store.delete(&other.key, Claim::Any).await.expect("an end"), Deleted::Ended);
    assert_eq!(
        store.delete(&other.key, Claim::Any).await.expect("an end of what is gone"),
        Deleted::Missing
    );
    let _ = store.delete_everyone(None, 1).await.expect("a page");
    assert_eq!(store.delete_expired(10).await.expect("a purge"), 0);
    store.ping().await.expect("an answer");
}

async fn refusal(url: &str) -> String {
    let begun = Instant::now();
    let error = RedisStore::connect(&Config::new(url).expect("a URL"))
        .await
        .expect_err("the server cannot be used");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it says so only after {:?}",
        begun.elapsed()
    );
    let ConnectError::Server { source, .. } = error else { panic!("{error:?}") };
    source.to_string()
}

#[tokio::test]
async fn over_tcp_and_a_socket_in_any_database() {
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

/// An authority, and what it has signed, as files.
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

/// Lets a server speak TLS on a port of its own, which is returned.
async fn speak_tls(redis: &Redis, authority: &Authority) -> u16 {
    let set = async |name: &str, value: &str| redis.command(&["CONFIG", "SET", name, value]).await;
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    set("tls-auth-clients", "no").await.expect("a server that can speak TLS");
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
async fn over_tls_with_authorities_and_certificates_of_ones_own() {
    let Some(redis) = Redis::start().await else { return };
    // The server's own folder, which it can read wherever it runs.
    let socket = ours!(redis.socket_url()).replace("redis+unix://", "");
    let folder = Path::new(&socket).parent().expect("a socket is in a folder");
    let (ours, theirs) = (Authority::new(folder, "ours"), Authority::new(folder, "theirs"));
    for name in ["server", "client"] {
        ours.sign(name);
        theirs.sign(name);
    }
    let port = speak_tls(&redis, &ours).await;
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = format!("{url}?tls_ca={}", ours.path("ca.pem"));
    every_call_works(&connect(&trusting).await).await;

    // What nobody vouches for is an error that says so. It is one of those that may pass, like any
    // connection that cannot be made.
    for url in [url.clone(), format!("{url}?tls_ca={}", theirs.path("ca.pem"))] {
        let store = RedisStore::new(&Config::new(&url).expect("a URL")).expect("settings that fit");
        let begun = Instant::now();
        let StoreError::Unavailable { source, .. } =
            store.ping().await.expect_err("the server is a stranger")
        else {
            panic!("{url}")
        };
        assert!(source.to_string().contains("certificate"), "{source}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "it says so only after {:?}",
            begun.elapsed()
        );
        eprintln!("{source}");
    }

    redis
        .command(&["CONFIG", "SET", "tls-auth-clients", "yes"])
        .await
        .expect("a server that can speak TLS");
    let client = |of: &Authority| {
        format!("{trusting}&tls_cert={}&tls_key={}", of.path("client.pem"), of.path("client.key"))
    };
    every_call_works(&connect(&client(&ours)).await).await;
    for url in [trusting.clone(), client(&theirs)] {
        let store = RedisStore::new(&Config::new(&url).expect("a URL")).expect("settings that fit");
        let begun = Instant::now();
        let error = store.ping().await.expect_err("the client is a stranger");
        assert!(
            matches!(error, StoreError::Unavailable { .. })
                && begun.elapsed() < Duration::from_secs(1),
            "{error:?}"
        );
    }
}

/// The commands that the crate's page lists after these words.
fn listed_after(words: &str) -> Vec<String> {
    let page = include_str!("../../../store-redis/README.md").replace('\n', " ");
    let (_, after) = page.split_once(words).expect("the page says what a user needs");
    let list = after.split([';', '.']).next().unwrap_or_default();
    list.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| *word != "wait_replicas")
        .map(|word| format!("+{}", word.to_lowercase()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_its_own_needs_no_more_than_the_page_says() {
    let Some(server) = AnyRedis::own_server(Durability::None).await else { return };
    let allowed = listed_after("A user of its own needs these commands:");
    assert!(allowed.len() > 15, "{allowed:?}");
    let user =
        [&["ACL", "SETUSER", "app", "on", ">appspassword", "~shop:*", "-@all"], &*words(&allowed)]
            .concat();
    server.ask(&user).await;
    let url = server.url("prefix=shop:").replace(&format!(":{PASSWORD}@"), "app:appspassword@");
    every_call_works(&connect(&url).await).await;
    server
        .ask(
            &[&["ACL", "SETUSER", "app"], &*words(&listed_after("with `wait_replicas` also"))]
                .concat(),
        )
        .await;
    // There are no replicas, so nothing counts; and nothing is forbidden.
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
async fn in_a_cluster_a_user_of_its_own_needs_no_more_than_the_page_says() {
    let Some(AnyRedis::Cluster(cluster)) = AnyRedis::own_cluster(Durability::None).await else {
        return;
    };
    let mut allowed = listed_after("A user of its own needs these commands:");
    allowed.extend(listed_after("in a Cluster also"));
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
    moving.carry(&hash(&session, "session:")).await;
    assert!(store.load(&session.key).await.expect("half of the slot has moved").is_some());
    assert!(
        is_done(&store.commit(&session.key, session.add("n", 1)).await),
        "half of the slot has moved"
    );
    let mut after = None;
    loop {
        let page = store.scan(after, 1000).await.expect("half of the slot has moved");
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

async fn all_ports(cluster: &RedisCluster) -> Vec<u16> {
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
async fn a_wrong_password_and_a_server_that_is_too_old_are_said_at_once() {
    let Some(server) = AnyRedis::server().await else { return };
    let wrong = server.url("").replace(PASSWORD, "wrongpassword");
    let why = refusal(&wrong).await;
    assert!(why.contains("WRONGPASS") || why.to_lowercase().contains("password"), "{why}");
    assert!(!why.contains("wrongpassword"), "{why}");
    // A server from before the sixth version does not know this command.
    let Some(redis) = Redis::start_with(&["--rename-command", "HELLO", ""]).await else { return };
    let why = refusal(&redis.url()).await;
    eprintln!("a server without HELLO: {why}");
    assert!(why.contains("6.2"), "{why}");
}

#[tokio::test]
async fn a_server_that_is_down_at_first_is_used_once_it_is_up() {
    let Some(mut redis) = Redis::start().await else { return };
    ours!(redis.stop().await);
    let begun = Instant::now();
    let store = connect(&redis.url()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "nobody listens, so there is nothing to wait for"
    );
    assert!(store.ping().await.expect_err("nobody listens").is_transient());
    ours!(redis.start_again().await);
    wait::until("the store to find it", Duration::from_secs(1), async || store.ping().await.ok())
        .await;
    every_call_works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_ends_while_it_is_idle_costs_no_call() {
    let Some(redis) = Redis::start().await else { return };
    let store = connect(&redis.url()).await;
    let session = Session::anonymous(&store).await;
    for round in 0..20 {
        redis
            .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await
            .expect("the server answers");
        // The end has to arrive, as it has when a connection was idle for long.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let changed = store.commit(&session.key, session.add("n", 1)).await;
        assert!(is_done(&changed), "round {round}: {changed:?}");
    }
    let record =
        store.load(&session.key).await.expect("an answer").expect("a live session").into_record();
    assert_eq!(record.data.get("n").and_then(session_core::Json::as_integer), Some(20));
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_learns_them_again() {
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
    let record =
        store.load(&session.key).await.expect("an answer").expect("a live session").into_record();
    assert_eq!(record.data.get("n").and_then(session_core::Json::as_integer), Some(10));
}

#[tokio::test]
async fn a_key_of_somebody_else_under_a_sessions_name_is_corrupt_and_can_be_deleted() {
    let Some(redis) = Redis::start().await else { return };
    let (ours, theirs) = (
        connect(&with(&redis.url(), "prefix=ours:")).await,
        connect(&with(&redis.url(), "prefix=theirs:")).await,
    );
    let session = Session::new();
    let hash = hash(&session, "ours:");
    redis.command(&["RPUSH", &hash, "a", "b"]).await.expect("the server answers");
    assert!(theirs.load(&session.key).await.expect("it is not theirs").is_none());
    assert_eq!(
        theirs.create(&session.key, session.record()).await.expect("it is not theirs"),
        Created::New
    );
    assert!(matches!(ours.load(&session.key).await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(
        ours.commit(&session.key, session.set("a", "1")).await,
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(
        ours.create(&session.key, session.record()).await.expect("an answer"),
        Created::Taken
    );
    let held = redis.command(&["LLEN", &hash]).await.expect("the server answers");
    assert_eq!(held, Value::Int(2), "it is left as it is");
    assert_eq!(
        ours.delete(&session.key, Claim::Any).await.expect("it can be deleted"),
        Deleted::Ended
    );
    assert_eq!(
        ours.commit(&session.key, session.set("a", "1")).await.expect("it is gone"),
        Outcome::Gone
    );
    assert!(
        theirs.load(&session.key).await.expect("an answer").is_some(),
        "the other one is not touched"
    );
}
