//! A primary is killed or frozen under load, and a replica is promoted.
//!
//! Requests fail only for a short time, with 503 and an unchanged cookie. Afterwards the same
//! workers serve all users, and no add was made twice. Changes that Redis acknowledged before its
//! replicas had them may be lost. The tests print how many.

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
    load::{Load, Observed},
    session::with,
};

/// The number of visitors.
const VISITORS: usize = 16;

/// How long after a promotion a request may still fail. A worker notices a frozen primary when a
/// call times out after 2 s. An idle worker notices it later than the others.
const AFTERWARDS: Duration = Duration::from_secs(6);

/// How long before the outage a failed request may have begun.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// The outage of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// The process ends, and the kernel closes its connections.
    Killed,
    /// The process keeps its connections and does not answer. When it continues, it still acts as
    /// primary.
    Frozen,
}

/// Servers whose primary can fail.
trait Servers {
    fn url(&self) -> String;
    /// Waits until the replicas have all writes.
    async fn replicated(&self);
    async fn fail_primary(&mut self, outage: Outage) -> Result<u16, ExternalServer>;
    async fn promoted(&self, former: u16);
    /// Brings the former primary back, if that can matter, and waits until it is a replica.
    async fn heal(&mut self, outage: Outage, former: u16) -> Result<(), ExternalServer>;
}

impl Servers for RedisSentinel {
    fn url(&self) -> String {
        Self::url(self)
    }

    async fn replicated(&self) {
        let primary = self.primary_port().await;
        replicated(2, async |words| self.command(primary, words).await.ok()).await;
    }

    async fn fail_primary(&mut self, outage: Outage) -> Result<u16, ExternalServer> {
        match outage {
            Outage::Killed => self.kill_primary().await,
            Outage::Frozen => self.freeze_primary().await,
        }
    }

    async fn promoted(&self, former: u16) {
        wait::until("a new primary", PATIENCE, async || {
            (self.primary_port().await != former).then_some(())
        })
        .await;
    }

    async fn heal(&mut self, outage: Outage, former: u16) -> Result<(), ExternalServer> {
        // Sentinels demote a former primary 8 s after its return. A killed one has no connections
        // left, so its return has no effect.
        if outage == Outage::Frozen {
            self.thaw(former).await?;
            follows(async |words| self.command(former, words).await.ok()).await;
        }
        Ok(())
    }
}

impl Servers for RedisCluster {
    fn url(&self) -> String {
        Self::url(self)
    }

    async fn replicated(&self) {
        for primary in self.primaries().await {
            replicated(1, async |words| self.command(primary, words).await.ok()).await;
        }
    }

    async fn fail_primary(&mut self, outage: Outage) -> Result<u16, ExternalServer> {
        match outage {
            Outage::Killed => self.kill_primary(1).await,
            Outage::Frozen => self.freeze_primary(1).await,
        }
    }

    async fn promoted(&self, former: u16) {
        wait::until("a new primary", PATIENCE, async || {
            let primaries = self.primaries().await;
            (primaries.len() == 3 && !primaries.contains(&former)).then_some(())
        })
        .await;
    }

    async fn heal(&mut self, outage: Outage, former: u16) -> Result<(), ExternalServer> {
        match outage {
            Outage::Killed => self.start_again(former).await?,
            Outage::Frozen => self.thaw(former).await?,
        }
        follows(async |words| self.command(former, words).await.ok()).await;
        self.complete().await;
        Ok(())
    }
}

/// Waits until this many replicas have acknowledged all writes that the primary has made so far.
async fn replicated(replicas: usize, ask: impl AsyncFn(&[&str]) -> Option<Value>) {
    let replication =
        async || from_redis_value::<String>(ask(&["INFO", "replication"]).await?).ok();
    let number = |text: &str| {
        text.split(|character: char| !character.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse::<u64>().ok())
    };
    let written = wait::until("the offset of the primary", PATIENCE, async || {
        replication()
            .await?
            .lines()
            .find_map(|line| number(line.strip_prefix("master_repl_offset:")?))
    })
    .await;
    wait::until("the replicas to reach the offset", PATIENCE, async || {
        let text = replication().await?;
        let acknowledged = text.lines().filter_map(|line| number(line.split_once(",offset=")?.1));
        (acknowledged.filter(|offset| *offset >= written).count() == replicas).then_some(())
    })
    .await;
}

/// Waits until a server is a replica in sync with its primary.
async fn follows(ask: impl AsyncFn(&[&str]) -> Option<Value>) {
    wait::until("the former primary to follow the new one", PATIENCE, async || {
        let text: String = from_redis_value(ask(&["INFO", "replication"]).await?).ok()?;
        (text.contains("role:slave") && text.contains("master_link_status:up")).then_some(())
    })
    .await;
}

/// Fails the primary under load and brings it back as a replica.
async fn primary_outage(
    servers: &mut impl Servers,
    outage: Outage,
    what: &str,
) -> Result<Observed, ExternalServer> {
    let mut demo =
        Demo::start(&["--store", "redis", "--store-url", &servers.url(), "--workers", "4"]).await;
    let load = Load::begin(&demo, VISITORS).await;
    let workers = demo.workers();
    load.succeeds(20).await;
    assert_eq!(load.failures(), 0, "no request fails before the outage");
    servers.replicated().await;

    let failed_at = Instant::now();
    let former = servers.fail_primary(outage).await?;
    servers.promoted(former).await;
    let promotion = Instant::now();
    load.succeeds(20).await;
    let served = Instant::now();
    // By then every worker has learned of the promotion.
    sleep((promotion + AFTERWARDS).saturating_duration_since(served)).await;
    let failed = load.failures();
    servers.heal(outage, former).await?;
    load.succeeds(20).await;
    assert_eq!(load.failures(), failed, "the return of the former primary fails no request");

    let observed = load.end().await;
    assert_eq!(demo.workers(), workers, "no worker was restarted");
    demo.stop().await;
    let window = observed
        .window
        .map(|(from, to)| (from.saturating_duration_since(failed_at), to - failed_at))
        .unwrap_or_default();
    eprintln!(
        "{what} {outage:?}: promoted after {:?}, requests failed from {:?} to {:?}, \
         all served again by {:?}; {} failed, the slowest took {:?}; {} adds acknowledged, {} lost, {} doubled; \
         {} signed out",
        promotion - failed_at,
        window.0,
        window.1,
        served - failed_at,
        observed.failed,
        observed.longest,
        observed.acknowledged,
        observed.lost,
        observed.doubled,
        observed.signed_out,
    );
    assert!(observed.failed > 0, "an outage without a failed request tests nothing");
    let (first, last) = observed.window.unwrap_or((failed_at, failed_at));
    assert!(
        first + IN_FLIGHT >= failed_at,
        "a request failed {:?} before the outage",
        failed_at - first
    );
    assert!(
        last <= promotion + AFTERWARDS,
        "a request failed {:?} after the promotion",
        last - promotion
    );
    assert_eq!(observed.doubled, 0, "an add was made twice");
    assert_eq!(observed.signed_out, 0, "the replicas had every session before the outage");
    Ok(observed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_sentinel_promotes_a_replica_of_a_killed_primary() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    ours!(primary_outage(&mut servers, Outage::Killed, "sentinel").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_sentinel_promotes_a_replica_of_a_frozen_primary() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    ours!(primary_outage(&mut servers, Outage::Frozen, "sentinel").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_cluster_promotes_a_replica_of_a_killed_primary() {
    let Some(mut servers) = RedisCluster::start().await else { return };
    ours!(primary_outage(&mut servers, Outage::Killed, "cluster").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_cluster_promotes_a_replica_of_a_frozen_primary() {
    let Some(mut servers) = RedisCluster::start().await else { return };
    ours!(primary_outage(&mut servers, Outage::Frozen, "cluster").await);
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    signed_out: AtomicUsize,
    refused: AtomicUsize,
}

/// Signs in and out until `stop` is set. Returns the cookies of the acknowledged sign-outs.
async fn sign_in_and_out(address: SocketAddr, user: String, tally: Arc<Tally>) -> Vec<String> {
    let mut signed_out = Vec::new();
    while !tally.stop.load(Relaxed) {
        let mut browser = Browser::new(address);
        if browser.login(&user).await.status != 200 {
            // A sign-in waits for replicas too.
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
                "a failed sign-out must not change the cookie: {response:?}"
            );
            tally.refused.fetch_add(1, Relaxed);
        }
    }
    signed_out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h20_wait_replicas_keeps_sign_outs_of_a_killed_primary() {
    let Some(mut servers) = RedisSentinel::start().await else { return };
    let url = with(&servers.url(), "wait_replicas=1");
    let demo = Demo::start(&["--store", "redis", "--store-url", &url, "--workers", "4"]).await;
    let tally = Arc::new(Tally::default());
    let visitors: Vec<_> = (0..VISITORS)
        .map(|number| {
            tokio::spawn(sign_in_and_out(
                demo.address,
                format!("visitor-{number}"),
                Arc::clone(&tally),
            ))
        })
        .collect();
    wait::until_true("sign-outs before the outage", PATIENCE, || {
        tally.signed_out.load(Relaxed) > 20 * VISITORS
    })
    .await;
    // All later writes of the primary are lost with it.
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
    wait::until_true("failed sign-ins and sign-outs", PATIENCE, || {
        tally.refused.load(Relaxed) > VISITORS
    })
    .await;
    let former = ours!(servers.kill_primary().await);
    for port in &replicas {
        ours!(servers.thaw(*port).await);
    }
    let (before, refused) = (tally.signed_out.load(Relaxed), tally.refused.load(Relaxed));
    servers.promoted(former).await;
    let promoted = tally.signed_out.load(Relaxed);
    wait::until_true("sign-outs after the promotion", PATIENCE, || {
        tally.signed_out.load(Relaxed) > promoted + 5 * VISITORS
    })
    .await;
    tally.stop.store(true, Relaxed);
    let mut signed_out = Vec::new();
    for visitor in visitors {
        signed_out.extend(visitor.await.expect("the visitor did not panic"));
    }
    let mut undone = 0;
    for cookie in &signed_out {
        // A worker may notice only now that its connection leads to the former primary. It answers
        // 503, which says nothing about the session.
        let answered = async || {
            let answer = Browser::holding(demo.address, cookie).get("/session").await;
            (answer.status != 503).then_some(answer)
        };
        let answer = wait::until("an answer about a signed-out session", PATIENCE, answered).await;
        undone += usize::from(!answer.expect(200).json::<Page>().is_anonymous());
    }
    eprintln!(
        "{} sign-outs acknowledged, {before} of them before the outage; {refused} sign-ins and \
         sign-outs failed until then; {undone} sign-outs undone",
        signed_out.len()
    );
    assert_eq!(undone, 0, "an acknowledged sign-out was undone");
}
