//! The store follows the Sentinels while a former primary still acts as primary. Sentinels demote
//! it after about 8 s.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use session_core::SessionStore;
use store_redis::{Config, RedisStore};
use tests::{
    PATIENCE,
    service::{RedisSentinel, Tap},
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    network::Network,
    session::{Session, connect, hash, with},
};

/// How long calls may take to reach the new primary once the Sentinels name it.
const FOLLOWED: Duration = Duration::from_secs(4);

/// An idle store leaves the former primary, even if one of the Sentinels does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_store_leaves_a_former_primary_before_its_demotion() {
    let Some(servers) = RedisSentinel::start().await else { return };
    let _ = ours!(servers.ports());
    let silent = Network::to(sentinels(&servers)[0], Duration::ZERO).await;
    let store = connect(&through(&servers, silent.address)).await;
    let session = Session::signed_in(&store, "bob").await;
    replicated(&servers, &session).await;
    silent.fall_silent();
    // The test makes no calls meanwhile, so the store keeps its connection.
    let former = ours!(servers.freeze_primary().await);
    promoted(&servers, former).await;
    ours!(servers.thaw(former).await);
    let others = connect(&servers.url()).await;
    wait::until("a change to reach the new primary", FOLLOWED, async || {
        let _ = store.commit(&session.key, session.add("n", 1)).await.ok()?;
        others.load(&session.key).await.ok().flatten()?.into_record().data.get("n").map(drop)
    })
    .await;
    assert_acts_as_primary(&servers, former).await;
}

/// The other Sentinels report a later failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_stale_sentinel_is_ignored() {
    let Some(servers) = RedisSentinel::start().await else { return };
    let former = ours!(servers.freeze_primary().await);
    promoted(&servers, former).await;
    let stale =
        StaleSentinel::of(sentinels(&servers)[0], servers.primary_port().await, former).await;
    ours!(servers.thaw(former).await);
    let (store, others) =
        (connect(&through(&servers, stale.address)).await, connect(&servers.url()).await);
    let session = Session::signed_in(&store, "bob").await;
    assert!(
        others.load(&session.key).await.expect("an answer").is_some(),
        "the session is on the new primary"
    );
    assert_acts_as_primary(&servers, former).await;
    assert!(stale.is_stale().await, "the test needs a stale Sentinel");
}

/// While there are calls, and not more often. The test counts the polls of the first Sentinel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_polled_once_a_second() {
    let Some(servers) = RedisSentinel::start().await else { return };
    let tap = Tap::before(&servers.url()).await;
    let store = connect(tap.url()).await;
    let session = Session::signed_in(&store, "bob").await;
    let _ = tap.heard();
    let (begun, mut asked) = (Instant::now(), 0);
    // A poll is two commands.
    while asked < 2 * 6 {
        assert!(store.load(&session.key).await.expect("an answer").is_some());
        asked += tap.heard().iter().flatten().filter(|command| *command == "SENTINEL").count();
        sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(5) && took < Duration::from_secs(10),
        "six polls in {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_login_is_separate() {
    let Some(servers) = RedisSentinel::start().await else { return };
    let _ = ours!(servers.ports());
    // Exactly the commands that the README lists.
    let app = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">hunter2",
        "+hello",
        "+sentinel|masters",
        "+sentinel|get-master-addr-by-name",
    ];
    let default = ["ACL", "SETUSER", "default", "resetpass", ">hunter4"];
    for port in sentinels(&servers) {
        for words in [&app[..], &default] {
            let _ = servers.command(port, words).await.expect("a Sentinel with users");
        }
    }
    for wrong in [
        "deadline_ms=2000",
        "sentinel_password=hunter3",
        "sentinel_user=bob&sentinel_password=hunter2",
    ] {
        let config = Config::new(&with(&servers.url(), wrong)).expect("a URL");
        let refused =
            RedisStore::connect(&config).await.expect_err("the Sentinels refuse the login");
        let why = std::error::Error::source(&refused).expect("a reason").to_string();
        assert!(why.contains("sentinel_password"), "{wrong}: {why}");
        assert!(!format!("{refused} {refused:?} {why}").contains("hunter"), "{refused:?}");
    }
    for right in ["sentinel_password=hunter4", "sentinel_user=app&sentinel_password=hunter2"] {
        let store = connect(&with(&servers.url(), right)).await;
        let session = Session::signed_in(&store, "bob").await;
        assert!(store.load(&session.key).await.expect("an answer").is_some(), "{right}");
    }
}

/// Waits until both replicas have the session.
async fn replicated(servers: &RedisSentinel, session: &Session) {
    let hash = hash(session, "session:");
    for port in servers.ports().expect("servers of this test") {
        wait::until("a replica to have the session", PATIENCE, async || {
            (servers.command(port, &["EXISTS", &hash]).await.ok()? == redis::Value::Int(1))
                .then_some(())
        })
        .await;
    }
}

/// Waits until all Sentinels name another primary.
async fn promoted(servers: &RedisSentinel, former: u16) {
    wait::until("all Sentinels to name another primary", PATIENCE, async || {
        for port in sentinels(servers) {
            let named = servers
                .command(port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"])
                .await
                .ok()?;
            let (_, port): (String, u16) = redis::from_redis_value(named).ok()?;
            (port != former).then_some(())?;
        }
        Some(())
    })
    .await;
}

async fn assert_acts_as_primary(servers: &RedisSentinel, former: u16) {
    let role = servers.command(former, &["ROLE"]).await.expect("the former primary answers");
    assert!(
        format!("{role:?}").contains("master"),
        "the test needs a former primary that is not demoted yet: {role:?}"
    );
}

/// The ports of the Sentinels.
fn sentinels(servers: &RedisSentinel) -> Vec<u16> {
    let url = servers.url();
    let (hosts, _) = url.rsplit_once('/').expect("the name of the primary");
    hosts
        .split("127.0.0.1:")
        .skip(1)
        .map(|host| host.trim_end_matches(',').parse().expect("a port"))
        .collect()
}

/// The URL of the servers, with this address in place of the first Sentinel's.
fn through(servers: &RedisSentinel, address: SocketAddr) -> String {
    servers.url().replacen(
        &format!(":{},", sentinels(servers)[0]),
        &format!(":{},", address.port()),
        1,
    )
}

/// A stale Sentinel: a proxy that replaces the new primary and epoch with the former ones in the
/// answers of a Sentinel.
struct StaleSentinel {
    address: SocketAddr,
    former: u16,
    accepting: JoinHandle<()>,
}

impl StaleSentinel {
    async fn of(sentinel: u16, primary: u16, former: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accepting = tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let there = TcpStream::connect(("127.0.0.1", sentinel))
                    .await
                    .expect("the Sentinel accepts");
                tokio::spawn(carry(here, there, primary, former));
            }
        });
        Self { address, former, accepting }
    }

    /// Whether it names the former primary.
    async fn is_stale(&self) -> bool {
        let client = redis::Client::open(format!("redis://{}", self.address)).expect("a URL");
        let mut connection =
            client.get_multiplexed_async_connection().await.expect("the proxy accepts");
        let mut asked = redis::cmd("SENTINEL");
        let named: (String, u16) = asked
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg("mymaster")
            .query_async(&mut connection)
            .await
            .expect("an answer");
        named.1 == self.former
    }
}

impl Drop for StaleSentinel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(here: TcpStream, there: TcpStream, primary: u16, former: u16) {
    let ((mut requests, mut forth), (mut answers, mut back)) =
        (here.into_split(), there.into_split());
    let asked = async move { tokio::io::copy(&mut requests, &mut back).await };
    let answered = async move {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = answers.read(&mut bytes).await {
            // Both ports have five digits, and a Sentinel writes its answer at once.
            let text = String::from_utf8_lossy(&bytes[..count])
                .replace(&format!("\r\n{primary}\r\n"), &format!("\r\n{former}\r\n"));
            let text = match text.split_once("config-epoch\r\n$1\r\n") {
                Some((before, after)) => format!("{before}config-epoch\r\n$1\r\n0{}", &after[1..]),
                None => text,
            };
            forth.write_all(text.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::join!(asked, answered);
}
