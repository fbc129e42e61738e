//! A Redis cluster of three shards.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use parking_lot::Mutex;
use redis::{RedisResult, Value};

use super::{
    by_port::{impl_by_port, impl_for_all},
    cleanup::clean_up,
    kind::REDIS_CLUSTER,
    node::{Node, PortTaken},
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    redis_node::{RedisNode, command, credentials, info, product, remove_keys},
    shared::SharedServer,
    url::{credentials_of, hosts_of},
};
use crate::{PATIENCE, wait};

/// The slots of each shard.
const SHARDS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// After this many milliseconds of silence a node counts as dead: short for quick tests, and long
/// enough for a busy machine.
const NODE_TIMEOUT: u16 = 1_500;

/// A Redis cluster: three primaries, each with one replica. Dropping it ends it.
#[derive(Debug)]
pub struct RedisCluster {
    server: ServerOwnership<RedisNode>,
    version: String,
    /// Whose keys are removed at the end, if other tests use the cluster.
    prefixes: Mutex<Vec<String>>,
}

impl_by_port!(RedisCluster);
impl_for_all!(RedisCluster);

impl RedisCluster {
    /// Starts one, new and empty, or takes the one of `TEST_REDIS_CLUSTER_URL`. `None` means that
    /// the test has to return: it is skipped, and its output says why. All its nodes agree that it
    /// is complete, and all replicas follow their primaries.
    ///
    /// # Panics
    /// If none can be had and `REQUIRE_SERVICES` asks for it, or if it does not become complete.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Takes the one that the tests of this run share, or `None` if there is none.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        Some(Self::of(ServerOwnership::Shared(SharedServer::find(&REDIS_CLUSTER)?)).await)
    }

    /// The same with further flags for each node; as
    /// [`Redis::start_with`](super::Redis::start_with).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        let began = Instant::now();
        let server = match Origin::find(&REDIS_CLUSTER).await? {
            Origin::External(url) => ServerOwnership::external(url, &REDIS_CLUSTER, flags)?,
            origin => ServerOwnership::Own(Box::new(start(&origin, flags).await)),
        };
        let cluster = Self::of(server).await;
        eprintln!(
            "cluster of {} {}, there after {:?}",
            cluster.version,
            cluster.server.description(),
            began.elapsed()
        );
        Some(cluster)
    }

    async fn of(server: ServerOwnership<RedisNode>) -> Self {
        let mut cluster = Self { server, version: String::new(), prefixes: Mutex::default() };
        cluster.complete().await;
        let version = product(&cluster.seeds()[0]).await;
        cluster.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", cluster.server.description())
        });
        cluster
    }

    /// Its URL: `redis-cluster://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT`, with the three
    /// nodes that were the primaries at its start.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => {
                let hosts: Vec<_> = nodes.list()[..SHARDS.len()]
                    .iter()
                    .map(|node| format!("127.0.0.1:{}", node.port))
                    .collect();
                format!(
                    "redis-cluster://{}{}",
                    credentials(nodes.list()[0].password()),
                    hosts.join(",")
                )
            }
            ServerOwnership::Shared(shared) => shared.url().to_owned(),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    /// The keys with this prefix belong to the test. A scan reads all keys of a cluster, so that
    /// they must not stay on a shared one.
    pub(super) fn claim(&self, prefix: &str) {
        self.prefixes.lock().push(prefix.to_owned());
    }

    /// The ports of the primaries in the order of their slots, as the first node sees it that
    /// answers. It leaves out one that counts as dead.
    ///
    /// # Panics
    /// If no node answers.
    pub async fn primaries(&self) -> Vec<u16> {
        let mut refusals = Vec::new();
        for url in self.seeds() {
            match command::<String>(&url, &["CLUSTER", "NODES"]).await {
                Ok(text) => return primaries_of(&text),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        panic!("no node of the cluster answers: {refusals:?}")
    }

    /// Kills the primary of a shard, 0 to 2, and returns its port. What only it held is lost.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If the shard has no primary.
    pub async fn kill_primary(&mut self, shard: usize) -> Result<u16, ExternalServer> {
        let port = self.primary(shard).await?;
        self.server.own_mut()?.stop(port).await;
        Ok(port)
    }

    /// Freezes the primary of a shard and returns its port.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If the shard has no primary.
    pub async fn freeze_primary(&self, shard: usize) -> Result<u16, ExternalServer> {
        let port = self.primary(shard).await?;
        self.server.own()?.freeze(port).await;
        Ok(port)
    }

    /// Starts all nodes that do not run, and waits until the cluster is complete.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not become complete.
    pub async fn start_all(&mut self) -> Result<(), ExternalServer> {
        let started = self.server.own_mut()?.start_all().await;
        started.unwrap_or_else(|PortTaken| {
            panic!("another process took a port of the cluster while it was stopped")
        });
        self.complete().await;
        Ok(())
    }

    /// Waits until all nodes that run and are not frozen agree that every slot is served, and until
    /// the replicas among them follow a primary.
    ///
    /// # Panics
    /// If that does not happen.
    pub async fn complete(&self) {
        let seeds = self.seeds();
        wait::until(
            "every node to say cluster_state:ok and every replica to follow",
            PATIENCE,
            async || {
                for url in &seeds {
                    let state: String = command(url, &["CLUSTER", "INFO"]).await.ok()?;
                    let link = info(url, "replication", "master_link_status").await.ok()?;
                    if !state.contains("cluster_state:ok") || link == "down" {
                        return None;
                    }
                }
                Some(())
            },
        )
        .await;
    }

    /// The answer of the node on this port to  one command.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    ///
    /// # Panics
    /// If `words` is empty, or if no node of the test has this port.
    pub async fn command(&self, port: u16, words: &[&str]) -> RedisResult<Value> {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.on(port).command(words).await,
            ServerOwnership::Shared(_) | ServerOwnership::External { .. } => {
                let seeds = self.seeds();
                let seed = seeds
                    .iter()
                    .find(|seed| seed.ends_with(&format!(":{port}/")))
                    .unwrap_or(&seeds[0]);
                command(seed, words).await
            }
        }
    }

    async fn primary(&self, shard: usize) -> Result<u16, ExternalServer> {
        self.server.own()?;
        let primaries = self.primaries().await;
        Ok(*primaries
            .get(shard)
            .unwrap_or_else(|| panic!("no primary for shard {shard}; there are {primaries:?}")))
    }

    /// URLs of single nodes: of those that can answer, or those that its URL names.
    fn seeds(&self) -> Vec<String> {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes
                .list()
                .iter()
                .filter(|node| node.is_awake())
                .map(Node::<RedisNode>::url)
                .collect(),
            ServerOwnership::Shared(shared) => seeds_of(shared.url()),
            ServerOwnership::External { url, .. } => seeds_of(url),
        }
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        if let ServerOwnership::Shared(shared) = &self.server {
            let (nodes, prefixes) = (seeds_of(shared.url()), self.prefixes.lock().clone());
            clean_up("the data", move || remove(nodes, prefixes));
        }
    }
}

/// Removes all keys with these prefixes.
async fn remove(nodes: Vec<String>, prefixes: Vec<String>) -> RedisResult<()> {
    for node in &nodes {
        for prefix in &prefixes {
            remove_keys(node, prefix).await?;
        }
    }
    Ok(())
}

/// URLs of the single nodes that this URL names.
fn seeds_of(url: &str) -> Vec<String> {
    let own = credentials_of(url);
    hosts_of(url).into_iter().map(|host| format!("redis://{own}{host}/")).collect()
}

/// Starts six nodes that know each other from the start: each finds the state of the whole cluster
/// in its file, as after a restart. It would take seconds to introduce them one by one.
async fn start(origin: &Origin, flags: &[&str]) -> Nodes<RedisNode> {
    Nodes::start(&REDIS_CLUSTER, origin, 2 * SHARDS.len(), |folder, ports| {
        let ids: Vec<_> = ports
            .iter()
            .map(|_| format!("{:032x}{:08x}", fastrand::u128(..), fastrand::u32(..)))
            .collect();
        let nodes = ports.iter().enumerate().map(|(own, port)| {
            write_state(folder, ports, &ids, own);
            let lines = [
                r#"save """#.to_owned(),
                "cluster-enabled yes".to_owned(),
                format!("cluster-config-file {port}.nodes"),
                // They share a folder.
                format!("appendfilename {port}.aof"),
                format!("cluster-node-timeout {NODE_TIMEOUT}"),
                "cluster-announce-ip 127.0.0.1".to_owned(),
                // Replicas keep the primary that the test gave them.
                "cluster-migration-barrier 100".to_owned(),
                "repl-diskless-sync yes".to_owned(),
                "repl-diskless-sync-delay 0".to_owned(),
            ];
            RedisNode::new(lines.into(), flags)
        });
        nodes.collect()
    })
    .await
}

/// Writes what node `own` knows, in the words of `CLUSTER NODES`: the first three are primaries,
/// node `n + 3` is the replica of node `n`.
fn write_state(folder: &Path, ports: &[u16], ids: &[String], own: usize) {
    let mut text = String::new();
    for (node, port) in ports.iter().enumerate() {
        let shard = node % SHARDS.len();
        let (first, last) = SHARDS[shard];
        let myself = if node == own { "myself," } else { "" };
        // Each primary has a different epoch, as after an election.
        let epoch = shard + 1;
        let (role, primary, slots) = if node == shard {
            ("master", "-", format!(" {first}-{last}"))
        } else {
            ("slave", &*ids[shard], String::new())
        };
        let bus = port + 10_000;
        writeln!(
            text,
            "{} 127.0.0.1:{port}@{bus} {myself}{role} {primary} 0 0 {epoch} connected{slots}",
            ids[node]
        )
        .expect("text can be written to");
    }
    writeln!(text, "vars currentEpoch {} lastVoteEpoch 0", SHARDS.len())
        .expect("text can be written to");
    fs::write(folder.join(format!("{}.nodes", ports[own])), text)
        .expect("a temporary folder can be written to");
}

/// The ports of the living primaries in the text of `CLUSTER NODES`, in the order of their slots.
fn primaries_of(nodes: &str) -> Vec<u16> {
    let mut found: Vec<(u16, u16)> = nodes.lines().filter_map(primary_of).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, port)| port).collect()
}

/// The first slot and the port of a primary that lives and has slots.
fn primary_of(line: &str) -> Option<(u16, u16)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (address, flags, slots) = (fields.get(1)?, fields.get(2)?, fields.get(8)?);
    let is_primary = flags.split(',').any(|flag| flag == "master")
        && !flags.split(',').any(|flag| flag == "fail");
    let port = address.split('@').next()?.rsplit(':').next()?.parse().ok()?;
    let first = slots.split('-').next()?.parse().ok()?;
    is_primary.then_some((first, port))
}

#[cfg(test)]
mod tests {
    use super::primaries_of;

    #[test]
    fn a_dead_primary_and_one_without_slots_are_no_primaries() {
        let nodes = "\
            aa 127.0.0.1:7003@17003 master - 0 1 3 connected 10923-16383\n\
            bb 127.0.0.1:7001@17001 master,fail - 0 1 1 connected 0-5460\n\
            cc 127.0.0.1:7002@17002,host myself,master - 0 1 2 connected 5461-10922\n\
            dd 127.0.0.1:7004@17004 slave aa 0 1 3 connected\n\
            ee 127.0.0.1:7005@17005 master - 0 1 4 connected\n";
        assert_eq!(primaries_of(nodes), [7002, 7003]);
    }
}
