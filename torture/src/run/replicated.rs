//! Servers that hold sessions together, one of which takes over from another.

use std::time::Duration;

use fastrand::Rng;
use tests::{
    PATIENCE,
    service::{ExternalServer, MongoSet, PASSWORD, RedisCluster, RedisSentinel},
};

use super::{
    downtime::{Downtime, Outage},
    error::BoxError,
    replication_monitor::ReplicationMonitor,
};
use crate::history::{Failover, now};

/// What Redis' nodes are started with: as in the field, what they hold is on disk too.
const FLAGS: &[&str] = &["--requirepass", PASSWORD, "--appendonly", "yes"];
/// How far above its port a node of a Cluster listens for the others.
const BUS: u16 = 10_000;

/// How long is waited for servers to be complete before something else is done instead.
const COMPLETE_WITHIN: Duration = Duration::from_secs(2);

/// Servers that hold sessions together, and the hands on them.
#[derive(Debug)]
pub struct ReplicatedServers {
    servers: Servers,
    /// When servers could certainly not answer anybody.
    downtimes: Vec<Downtime>,
    /// Whether anything was done to them since they were complete.
    is_disturbed: bool,
    monitor: Option<ReplicationMonitor>,
}

#[derive(Debug)]
enum Servers {
    Sentinel(RedisSentinel),
    Cluster(RedisCluster),
    Set(MongoSet),
}

impl ReplicatedServers {
    /// Starts those of this name. `None` if there are none here, or only somebody else's: the
    /// output says so.
    ///
    /// # Panics
    /// If they do not start, or there are none and `REQUIRE_SERVICES` asks for them.
    #[expect(
        clippy::print_stderr,
        reason = "what a run cannot do stands on its output, as with other servers"
    )]
    pub(super) async fn open(name: &str) -> Option<Self> {
        let servers = match name {
            "redis-sentinel" => Servers::Sentinel(RedisSentinel::start_with(FLAGS).await?),
            "redis-cluster" => Servers::Cluster(RedisCluster::start_with(FLAGS).await?),
            _ => Servers::Set(MongoSet::start().await?),
        };
        let ports = servers
            .ports()
            .inspect_err(|not_ours| {
                eprintln!("SKIPPED, a run stops and starts its servers: {not_ours}");
            })
            .ok()?;
        // MongoDB's majority is asked to lose nothing, so nothing has to be known of its elections.
        let monitor =
            (!matches!(servers, Servers::Set(_))).then(|| ReplicationMonitor::begin(&ports));
        Some(Self { servers, downtimes: Vec::new(), is_disturbed: false, monitor })
    }

    pub(super) fn url(&self) -> String {
        match &self.servers {
            Servers::Sentinel(redis) => format!("{}?prefix=torture:", redis.url()),
            Servers::Cluster(redis) => format!("{}?prefix=torture:", redis.url()),
            Servers::Set(mongo) => format!("{}&collection=torture", mongo.url()),
        }
    }

    /// Whether a session and the list that it is in may be on different servers.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Ends the monitor, and says what servers took over from others meanwhile and what that may have
    /// undone. No call may be made any more.
    ///
    /// # Errors
    /// If too little was seen of a server.
    pub(super) async fn failovers(&mut self) -> Result<Vec<Failover>, BoxError> {
        match self.monitor.take() {
            Some(monitor) => monitor.end(&self.downtimes).await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether all run, follow and are followed, so that another fault, which has to follow, finds
    /// them as they are meant to be.
    pub(super) async fn is_complete(&mut self) -> bool {
        let was_disturbed = std::mem::replace(&mut self.is_disturbed, true);
        !was_disturbed
            || tokio::time::timeout(COMPLETE_WITHIN, self.servers.complete()).await.is_ok()
    }

    /// One of the primaries.
    pub(super) async fn primary(&self, rng: &mut Rng) -> Result<u16, BoxError> {
        let primaries = self.servers.primaries().await?;
        Ok(primaries[rng.usize(..primaries.len())])
    }

    /// One of the servers that hold data.
    pub(super) fn any(&self, rng: &mut Rng) -> Result<u16, BoxError> {
        let ports = self.servers.ports()?;
        Ok(ports[rng.usize(..ports.len())])
    }

    /// All ports that a server is reached at, by clients and by the others.
    pub(super) fn ports_of(&self, port: u16) -> Vec<u16> {
        if self.is_apart() { vec![port, port + BUS] } else { vec![port] }
    }

    /// All servers that hold data.
    pub(super) fn ports(&self) -> Result<Vec<u16>, BoxError> {
        Ok(self.servers.ports()?)
    }

    pub(super) async fn inject(&mut self, port: u16, outage: Outage) -> Result<(), BoxError> {
        match (&mut self.servers, outage) {
            (Servers::Sentinel(redis), Outage::Killed) => redis.stop(port).await?,
            (Servers::Cluster(redis), Outage::Killed) => redis.stop(port).await?,
            (Servers::Set(mongo), Outage::Killed) => mongo.stop(port).await?,
            (Servers::Sentinel(redis), Outage::Frozen) => redis.freeze(port).await?,
            (Servers::Cluster(redis), Outage::Frozen) => redis.freeze(port).await?,
            (Servers::Set(mongo), Outage::Frozen) => mongo.freeze(port).await?,
        }
        self.downtimes.push(Downtime { port, from: now(), until: u64::MAX });
        Ok(())
    }

    /// Lets it come back. Whether it follows its successor by then is another question: sentinels
    /// look at it for eight seconds first.
    pub(super) async fn recover(&mut self, port: u16, outage: Outage) -> Result<(), BoxError> {
        if let Some(last) = self.downtimes.last_mut() {
            last.until = now();
        }
        match (&mut self.servers, outage) {
            (Servers::Sentinel(redis), Outage::Killed) => redis.start_again(port).await?,
            (Servers::Cluster(redis), Outage::Killed) => redis.start_again(port).await?,
            (Servers::Set(mongo), Outage::Killed) => mongo.start_again(port).await?,
            (Servers::Sentinel(redis), Outage::Frozen) => redis.thaw(port).await?,
            (Servers::Cluster(redis), Outage::Frozen) => redis.thaw(port).await?,
            (Servers::Set(mongo), Outage::Frozen) => mongo.thaw(port).await?,
        }
        Ok(())
    }

    /// Waits until another server has taken over from this one.
    pub(super) async fn wait_for_successor(&self, port: u16) -> Result<(), BoxError> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            let primaries = self.servers.primaries().await?;
            if primaries.len() == self.servers.shards() && !primaries.contains(&port) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("nobody took over from the primary on port {port} within {PATIENCE:?}").into())
    }
}

impl Servers {
    fn ports(&self) -> Result<Vec<u16>, ExternalServer> {
        match self {
            Self::Sentinel(redis) => redis.ports(),
            Self::Cluster(redis) => redis.ports(),
            Self::Set(mongo) => mongo.ports(),
        }
    }

    fn shards(&self) -> usize {
        if matches!(self, Self::Cluster(_)) { 3 } else { 1 }
    }

    async fn primaries(&self) -> Result<Vec<u16>, ExternalServer> {
        Ok(match self {
            Self::Sentinel(redis) => vec![redis.primary_port().await],
            Self::Cluster(redis) => redis.primaries().await,
            Self::Set(mongo) => vec![mongo.primary().await?],
        })
    }

    async fn complete(&self) {
        match self {
            Self::Sentinel(redis) => redis.complete().await,
            Self::Cluster(redis) => redis.complete().await,
            Self::Set(mongo) => mongo.complete().await,
        }
    }
}
