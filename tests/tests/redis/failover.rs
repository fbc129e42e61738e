//! A primary dies or hangs under load, and another server takes over.
//!
//! Requests fail in a window only, with 503 and the cookie left alone; afterwards everybody is
//! served by the same workers, and no add was made that nobody asked for. What Redis had
//! acknowledged and not yet copied may be lost; the tests say how much it was.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use redis::{Value, from_redis_value};
use tests::{
    Browser, Demo, PATIENCE, Page,
    service::{ExternalServer, RedisCluster, RedisSentinel},
    wait,
};
use tokio::time::sleep;

use crate::{
    durability::replicas_of,
    load::{Load, Seen},
    session::with,
};

/// How many visitors there are.
const VISITORS: usize = 16;

/// How long after a promotion a request may still fail. A worker learns that its primary hangs when
/// a call waits in vain for 2 s, and one that has nobody to serve meanwhile learns it later than
/// the others.
const AFTERWARDS: Duration = Duration::from_secs(6);

/// How long before the blow a request may have begun that fails by it.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// What happens to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// It is gone, and the kernel says so to whoever asks.
    Killed,
    /// It keeps its connections and answers nothing. Later it comes back and takes itself for the
    /// primary.
    Frozen,
}

/// Servers with a primary that can be lost.
trait Servers {
    fn url(&self) -> String;
    /// Until all that was written is on the replicas.
    async fn copied(&self);
    async fn strike(&mut self, blow: Blow) -> Result<u16, ExternalServer>;
    async fn promoted(&self, struck: u16);
    /// Lets the former primary come back, where that can matter, and waits until it is a replica.
    async fn heal(&mut self, blow: Blow, struck: u16) -> Result<(), ExternalServer>;
}

impl Servers for RedisSentinel {
    fn url(&self) -> String {
        Self::url(self)
    }

    async fn copied(&self) {
        let primary = self.primary_port().await;
        copied(2, async |words| self.command(primary, words).await.ok()).await;
    }

    async fn strike(&mut self, blow: Blow) -> Result<u16, ExternalServer> {
        match blow {
            Blow::Killed => self.kill_primary().await,
            Blow::Frozen => self.freeze_primary().await,
        }
    }

    async fn promoted(&self, struck: u16) {
        wait::until("another primary", PATIENCE, async || {
            (self.primary_port().await != struck).then_some(())
        })
        .await;
    }

    async fn heal(&mut self, blow: Blow, struck: u16) -> Result<(), ExternalServer> {
        // Sentinels demote a former primary 8 s after they saw it again. One that was killed has no
        // connections left, so nobody could meet it.
        if blow == Blow::Frozen {
            self.thaw(struck).await?;
            follows(async |words| self.command(struck, words).await.ok()).await;
        }
        Ok(())
    }
}

impl Servers for RedisCluster {
    fn url(&self) -> String {
        Self::url(self)
    }

    async fn copied(&self) {
        for primary in self.primaries().await {
            copied(1, async |words| self.command(primary, words).await.ok()).await;
        }
    }

    async fn strike(&mut self, blow: Blow) -> Result<u16, ExternalServer> {
        match blow {
            Blow::Killed => self.kill_primary(1).await,
            Blow::Frozen => self.freeze_primary(1).await,
        }
    }

    async fn promoted(&self, struck: u16) {
        wait::until("another primary", PATIENCE, async || {
            let primaries = self.primaries().await;
            (primaries.len() == 3 && !primaries.contains(&struck)).then_some(())
        })
        .await;
    }

    async fn heal(&mut self, blow: Blow, struck: u16) -> Result<(), ExternalServer> {
        match blow {
            Blow::Killed => self.start_again(struck).await?,
            Blow::Frozen => self.thaw(struck).await?,
        }
        follows(async |words| self.command(struck, words).await.ok()).await;
        self.complete().await;
        Ok(())
    }
}

/// Waits until a primary has heard from `replicas` that they have what it had written when this
/// began.
async fn copied(replicas: usize, ask: impl AsyncFn(&[&str]) -> Option<Value>) {
    let replication =
        async || from_redis_value::<String>(ask(&["INFO", "replication"]).await?).ok();
    let number = |text: &str| {
        text.split(|character: char| !character.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse::<u64>().ok())
    };
    let written = wait::until("the primary to say how much it wrote", PATIENCE, async || {
        replication()
            .await?
            .lines()
            .find_map(|line| number(line.strip_prefix("master_repl_offset:")?))
    })
    .await;
    wait::until("the replicas to have it", PATIENCE, async || {
        let text = replication().await?;
        let acknowledged = text.lines().filter_map(|line| number(line.split_once(",offset=")?.1));
        (acknowledged.filter(|offset| *offset >= written).count() == replicas).then_some(())
    })
    .await;
}

/// Waits until a server is a replica and has what its primary has.
async fn follows(ask: impl AsyncFn(&[&str]) -> Option<Value>) {
    wait::until("the former primary to follow the new one", PATIENCE, async || {
        let text: String = from_redis_value(ask(&["INFO", "replication"]).await?).ok()?;
        (text.contains("role:slave") && text.contains("master_link_status:up")).then_some(())
    })
    .await;
}

/// Loses the primary under load and gets it back as a replica.
async fn lose_the_primary(
    servers: &mut impl Servers,
    blow: Blow,
    what: &str,
) -> Result<Seen, ExternalServer> {
    let mut demo =
        Demo::start(&["--store", "redis", "--store-url", &servers.url(), "--workers", "4"]).await;
    let load = Load::begin(&demo, VISITORS).await;
    let workers = demo.workers();
    load.goes_well(20).await;
    assert_eq!(load.failures(), 0, "nothing fails while nothing is wrong");
    servers.copied().await;

    let strike = Instant::now();
    let struck = servers.strike(blow).await?;
    servers.promoted(struck).await;
    let promotion = Instant::now();
    load.goes_well(20).await;
    let served = Instant::now();
    // Whoever learns of the promotion last has done so.
    sleep((promotion + AFTERWARDS).saturating_duration_since(served)).await;
    let failed = load.failures();
    servers.heal(blow, struck).await?;
    load.goes_well(20).await;
    assert_eq!(load.failures(), failed, "the former primary's return is nobody's concern");

    let seen = load.end().await;
    assert_eq!(demo.workers(), workers, "no worker was restarted");
    demo.stop().await;
    let window = seen
        .window
        .map(|(from, to)| (from.saturating_duration_since(strike), to - strike))
        .unwrap_or_default();
    eprintln!(
        "{what} {blow:?}: promoted after {:?}, requests failed from {:?} to {:?}, all served again by {:?}; {} failed, the slowest took \
         {:?}; {} adds acknowledged, {} lost, {} doubled; {} signed out",
        promotion - strike,
        window.0,
        window.1,
        served - strike,
        seen.failed,
        seen.longest,
        seen.acknowledged,
        seen.lost,
        seen.doubled,
        seen.signed_out,
    );
    assert!(seen.failed > 0, "a primary that is gone is noticed, or the test tests nothing");
    let (first, last) = seen.window.unwrap_or((strike, strike));
    assert!(
        first + IN_FLIGHT >= strike,
        "a request failed {:?} before anything was wrong",
        strike - first
    );
    assert!(
        last <= promotion + AFTERWARDS,
        "a request failed {:?} after the promotion",
        last - promotion
    );
    assert_eq!(seen.doubled, 0, "an add that was asked for once was made twice");
    assert_eq!(seen.signed_out, 0, "the replicas had every session before the blow");
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_sentinel_promotes_a_replica_of_a_killed_primary() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    ours!(lose_the_primary(&mut servers, Blow::Killed, "sentinel").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_sentinel_promotes_a_replica_of_a_frozen_primary() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    ours!(lose_the_primary(&mut servers, Blow::Frozen, "sentinel").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_cluster_promotes_a_replica_of_a_killed_primary() {
    let Some(mut servers) = RedisCluster::start().await else { return };
    ours!(lose_the_primary(&mut servers, Blow::Killed, "cluster").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_cluster_promotes_a_replica_of_a_frozen_primary() {
    let Some(mut servers) = RedisCluster::start().await else { return };
    ours!(lose_the_primary(&mut servers, Blow::Frozen, "cluster").await);
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    signed_out: AtomicUsize,
    refused: AtomicUsize,
}

/// Signs in and out again and again until told to stop. Returns the cookies of sign-outs that were
/// acknowledged.
async fn come_and_go(address: SocketAddr, user: String, tally: Arc<Tally>) -> Vec<String> {
    let mut signed_out = Vec::new();
    while !tally.stop.load(Relaxed) {
        let mut browser = Browser::new(address);
        if browser.login(&user).await.status != 200 {
            // A sign-in waits for replicas as well.
            tally.refused.fetch_add(1, Relaxed);
            continue;
        }
        let cookie = browser.cookie().to_owned();
        let response = browser.post("/logout").await;
        if response.status == 204 {
            signed_out.push(cookie);
            tally.signed_out.fetch_add(1, Relaxed);
        } else {
            assert_eq!(response.status, 503, "{response:?}");
            assert!(
                response.set_cookie().is_none(),
                "who is not signed out keeps the cookie: {response:?}"
            );
            tally.refused.fetch_add(1, Relaxed);
        }
    }
    signed_out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h20_with_wait_replicas_a_killed_primary_undoes_no_sign_out() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    let url = with(&servers.url(), "wait_replicas=1");
    let demo = Demo::start(&["--store", "redis", "--store-url", &url, "--workers", "4"]).await;
    let tally = Arc::new(Tally::default());
    let visitors: Vec<_> = (0..VISITORS)
        .map(|number| {
            tokio::spawn(come_and_go(demo.address, format!("visitor-{number}"), Arc::clone(&tally)))
        })
        .collect();
    wait::until_true("sign-outs before the blow", PATIENCE, || {
        tally.signed_out.load(Relaxed) > 20 * VISITORS
    })
    .await;
    // Whatever the primary does from now on is lost with it.
    let primary = servers.primary_port().await;
    let replicas = replicas_of(
        &servers.command(primary, &["INFO", "replication"]).await.expect("the primary answers"),
    );
    for port in &replicas {
        ours!(servers.freeze(*port).await);
    }
    servers
        .command(primary, &["CLIENT", "KILL", "TYPE", "replica"])
        .await
        .expect("the primary answers");
    wait::until_true("sign-ins and sign-outs that no replica has", PATIENCE, || {
        tally.refused.load(Relaxed) > VISITORS
    })
    .await;
    let struck = ours!(servers.kill_primary().await);
    for port in &replicas {
        ours!(servers.thaw(*port).await);
    }
    let (before, refused) = (tally.signed_out.load(Relaxed), tally.refused.load(Relaxed));
    servers.promoted(struck).await;
    let promoted = tally.signed_out.load(Relaxed);
    wait::until_true("sign-outs after the promotion", PATIENCE, || {
        tally.signed_out.load(Relaxed) > promoted + 5 * VISITORS
    })
    .await;
    tally.stop.store(true, Relaxed);
    let mut signed_out = Vec::new();
    for visitor in visitors {
        signed_out.extend(visitor.await.expect("no visitor met what may not be"));
    }
    let mut undone = 0;
    for cookie in &signed_out {
        // A worker may still notice only now that its connection led to the old primary; that is a
        // 503, which says nothing of the session.
        let answered = async || {
            let answer = Browser::holding(demo.address, cookie).get("/session").await;
            (answer.status != 503).then_some(answer)
        };
        let answer =
            wait::until("an answer about a session that was signed out", PATIENCE, answered).await;
        undone += usize::from(!answer.expect(200).json::<Page>().is_anonymous());
    }
    eprintln!(
        "{} sign-outs were acknowledged, {before} of them before the blow, and {refused} sign-ins and sign-outs refused by then; {undone} undone",
        signed_out.len()
    );
    assert_eq!(undone, 0, "a sign-out that was acknowledged is for good");
}
