//! Servers that replicate the sessions, so that one can take over from another.

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

/// The flags of the Redis nodes. They write an append-only file, as production servers do.
const FLAGS: &[&str] = &["--requirepass", PASSWORD, "--appendonly", "yes"];
/// The distance between the client port and the bus port of a Cluster node.
const BUS: u16 = 10_000;

/// The time to wait for the servers to be complete, before another fault is chosen.
const COMPLETE_WITHIN: Duration = Duration::from_secs(2);

/// Replicated servers, with the means to kill, freeze and restart each of them.
#[derive(Debug)]
pub struct ReplicatedServers {
    servers: Servers,
    /// The spans in which a server certainly answered no client.
    downtimes: Vec<Downtime>,
    /// Whether a fault hit the servers since they were last complete.
    had_fault: bool,
    monitor: Option<ReplicationMonitor>,
}

#[derive(Debug)]
enum Servers {
    Sentinel(RedisSentinel),
    Cluster(RedisCluster),
    Set(MongoSet),
}

/// Makes a call that all kinds of servers have.
macro_rules! on_servers {
    ($servers:expr, $call:ident($port:expr)) => {
        match $servers {
            Servers::Sentinel(redis) => redis.$call($port).await,
            Servers::Cluster(redis) => redis.$call($port).await,
            Servers::Set(mongo) => mongo.$call($port).await,
        }
    };
}

impl ReplicatedServers {
    /// Starts the servers with this name. Returns `None` if they are not available, or if they were
    /// not started by this program, and prints the reason.
    ///
    /// # Panics
    /// If the servers do not start, or are missing although `REQUIRE_SERVICES` asks for them.
    #[expect(clippy::print_stderr, reason = "a skipped run reports its reason on standard error")]
    pub(super) async fn open(name: &str) -> Option<Self> {
        let servers = match name {
            "redis-sentinel" => Servers::Sentinel(RedisSentinel::start_with(FLAGS).await?),
            "redis-cluster" => Servers::Cluster(RedisCluster::start_with(FLAGS).await?),
            _ => Servers::Set(MongoSet::start().await?),
        };
        let ports = servers
            .ports()
            .inspect_err(|external| {
                eprintln!("SKIPPED, a run must stop and start its servers: {external}");
            })
            .ok()?;
        // MongoDB must lose no acknowledged write in an election, so its elections need no monitor.
        let monitor =
            (!matches!(servers, Servers::Set(_))).then(|| ReplicationMonitor::begin(&ports));
        Some(Self { servers, downtimes: Vec::new(), had_fault: false, monitor })
    }

    pub(super) fn url(&self) -> String {
        match &self.servers {
            Servers::Sentinel(redis) => format!("{}?prefix=torture:", redis.url()),
            Servers::Cluster(redis) => format!("{}?prefix=torture:", redis.url()),
            Servers::Set(mongo) => format!("{}&collection=torture", mongo.url()),
        }
    }

    /// Whether a session and its list may be on different servers.
    pub(super) fn has_separate_lists(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Stops the monitor. Returns the failovers, and the spans in which answers may be undone. The
    /// workers must have made their last call.
    ///
    /// # Errors
    /// If the monitor has too few samples of a server.
    pub(super) async fn failovers(&mut self) -> Result<Vec<Failover>, BoxError> {
        match self.monitor.take() {
            Some(monitor) => monitor.end(&self.downtimes).await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether all servers run and replicate again, so that the next fault meets a complete set.
    pub(super) async fn is_complete(&mut self) -> bool {
        let had_fault = std::mem::replace(&mut self.had_fault, true);
        !had_fault || tokio::time::timeout(COMPLETE_WITHIN, self.servers.complete()).await.is_ok()
    }

    /// Returns one of the primaries.
    pub(super) async fn primary(&self, rng: &mut Rng) -> Result<u16, BoxError> {
        let primaries = self.servers.primaries().await?;
        Ok(primaries[rng.usize(..primaries.len())])
    }

    /// Returns one of the servers that hold data.
    pub(super) fn any_server(&self, rng: &mut Rng) -> Result<u16, BoxError> {
        let ports = self.servers.ports()?;
        Ok(ports[rng.usize(..ports.len())])
    }

    /// Returns the ports of a server: for clients, and in a Cluster also for the other nodes.
    pub(super) fn ports_of(&self, port: u16) -> Vec<u16> {
        if self.has_separate_lists() { vec![port, port + BUS] } else { vec![port] }
    }

    /// Returns the client ports of all servers that hold data.
    pub(super) fn ports(&self) -> Result<Vec<u16>, BoxError> {
        Ok(self.servers.ports()?)
    }

    pub(super) async fn inject(&mut self, port: u16, outage: Outage) -> Result<(), BoxError> {
        match outage {
            Outage::Killed => on_servers!(&mut self.servers, stop(port))?,
            Outage::Frozen => on_servers!(&self.servers, freeze(port))?,
        }
        self.downtimes.push(Downtime { port, from: now(), until: u64::MAX });
        Ok(())
    }

    /// Ends an outage. The server may still need time to follow its successor: Sentinel watches it
    /// for 8 seconds first.
    pub(super) async fn recover(&mut self, port: u16, outage: Outage) -> Result<(), BoxError> {
        if let Some(last) = self.downtimes.last_mut() {
            last.until = now();
        }
        match outage {
            Outage::Killed => on_servers!(&mut self.servers, start_again(port))?,
            Outage::Frozen => on_servers!(&self.servers, thaw(port))?,
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
        Err(format!("no server took over from the primary on port {port} within {PATIENCE:?}")
            .into())
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
