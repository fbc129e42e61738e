//! A replicated Redis with sentinels.

use std::time::Instant;

use redis::{RedisResult, Value};

use super::{
    by_port::impl_by_port,
    kind::REDIS_SENTINEL,
    node::Node,
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    redis_node::{RedisNode, command, credentials, product},
    url::hosts_of,
};
use crate::{PATIENCE, wait};

/// The name of the primary among the sentinels.
const NAME: &str = "mymaster";

/// How many nodes hold data: the first is the first primary. As many sentinels follow.
const DATA_NODES: usize = 3;

/// After this many milliseconds of silence the primary counts as dead.
const DOWN_AFTER: u16 = 1_200;

/// A primary, two replicas and three sentinels, two of which have to agree. Dropping it ends it.
#[derive(Debug)]
pub struct RedisSentinel {
    server: ServerOwnership<RedisNode>,
    version: String,
}

impl_by_port!(RedisSentinel);

impl RedisSentinel {
    /// Starts one, new and empty, or takes the one of `TEST_REDIS_SENTINEL_URL`. `None` means that
    /// the test has to return: it is skipped, and its output says why. The sentinels know each
    /// other and both replicas, and could promote one.
    ///
    /// # Panics
    /// If none can be had and `REQUIRE_SERVICES` asks for it, or if it does not become complete.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further flags for the nodes that hold data; as
    /// [`Redis::start_with`](super::Redis::start_with).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        let began = Instant::now();
        let server = match Origin::find(&REDIS_SENTINEL).await? {
            Origin::External(url) => ServerOwnership::external(url, &REDIS_SENTINEL, flags)?,
            origin => ServerOwnership::Own(Box::new(start(&origin, flags).await)),
        };
        let mut sentinel = Self { server, version: String::new() };
        sentinel.complete().await;
        let version = product(&sentinel.sentinels()[0]).await;
        sentinel.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", sentinel.server.description())
        });
        eprintln!(
            "sentinels of {} {}, there after {:?}",
            sentinel.version,
            sentinel.server.description(),
            began.elapsed()
        );
        Some(sentinel)
    }

    /// Its URL: `redis-sentinel://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT/mymaster`, with the
    /// sentinels. A password in it is that of the nodes that hold data; the sentinels have none.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => {
                let (data, sentinels) = nodes.list().split_at(DATA_NODES);
                let hosts: Vec<_> =
                    sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
                format!(
                    "redis-sentinel://{}{}/{NAME}",
                    credentials(data[0].password()),
                    hosts.join(",")
                )
            }
            ServerOwnership::Shared(shared) => shared.refuse(),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    /// The ports on 127.0.0.1 of the nodes that hold data.
    ///
    /// # Errors
    /// If the environment names it.
    pub fn ports(&self) -> Result<Vec<u16>, ExternalServer> {
        Ok(self.server.own()?.list()[..DATA_NODES].iter().map(|node| node.port).collect())
    }

    /// The port of the primary, as the first sentinel says that answers.
    ///
    /// # Panics
    /// If no server has it.
    pub async fn primary_port(&self) -> u16 {
        let name = self.name();
        let mut refusals = Vec::new();
        for url in self.sentinels() {
            match command::<(String, u16)>(&url, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &name])
                .await
            {
                Ok((_, port)) => return port,
                Err(error) => refusals.push(error.to_string()),
            }
        }
        panic!("no sentinel answers: {refusals:?}")
    }

    /// Kills the primary and returns its port.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If no sentinel answers.
    pub async fn kill_primary(&mut self) -> Result<u16, ExternalServer> {
        let nodes = self.server.own()?;
        let port = nodes.on(self.primary_port().await).port;
        self.server.own_mut()?.stop(port).await;
        Ok(port)
    }

    /// Freezes the primary and returns its port.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If no sentinel answers.
    pub async fn freeze_primary(&self) -> Result<u16, ExternalServer> {
        let nodes = self.server.own()?;
        let port = self.primary_port().await;
        nodes.freeze(port).await;
        Ok(port)
    }

    /// Waits until every sentinel that runs reaches its quorum, and knows the other two and two
    /// replicas that follow the primary.
    ///
    /// # Panics
    /// If that does not happen.
    pub async fn complete(&self) {
        let Ok(nodes) = self.server.own() else { return };
        wait::until(
            "every sentinel to know a primary, two replicas and two other sentinels",
            PATIENCE,
            async || {
                for sentinel in nodes.list()[DATA_NODES..].iter().filter(|node| node.is_awake()) {
                    sentinel.command::<String>(&["SENTINEL", "CKQUORUM", NAME]).await.ok()?;
                    // As text:
                    // `name=mymaster,status=ok,address=127.0.0.1:10240,slaves=2,sentinels=3`.
                    let state = sentinel.info("sentinel", "master0").await.ok()?;
                    if !state.contains("status=ok") || !state.contains("slaves=2,sentinels=3") {
                        return None;
                    }
                    let replicas: Vec<Vec<String>> =
                        sentinel.command(&["SENTINEL", "REPLICAS", NAME]).await.ok()?;
                    let link = "master-link-status".to_owned();
                    if !replicas.iter().all(|replica| {
                        replica.windows(2).any(|pair| pair == [link.clone(), "ok".to_owned()])
                    }) {
                        return None;
                    }
                }
                Some(())
            },
        )
        .await;
    }

    /// The answer of the node or sentinel on this port to one command, or of the first sentinel if
    /// the environment names it.
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
                command(&self.sentinels()[0], words).await
            }
        }
    }

    /// URLs of the sentinels: of those that run, or those that its URL names.
    fn sentinels(&self) -> Vec<String> {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[DATA_NODES..]
                .iter()
                .filter(|node| node.is_awake())
                .map(Node::<RedisNode>::url)
                .collect(),
            ServerOwnership::Shared(shared) => shared.refuse(),
            ServerOwnership::External { url, .. } => {
                hosts_of(url).into_iter().map(|host| format!("redis://{host}/")).collect()
            }
        }
    }

    /// The name of the primary among the sentinels: the path of the URL.
    fn name(&self) -> String {
        let url = self.url();
        url.rsplit_once('/').map_or(NAME, |(_, name)| name).to_owned()
    }
}

/// Starts six processes that know each other from the start: sentinels find in their files what
/// they would need seconds to tell each other.
async fn start(origin: &Origin, flags: &[&str]) -> Nodes<RedisNode> {
    Nodes::start(&REDIS_SENTINEL, origin, 2 * DATA_NODES, |_, ports| {
        let (data, sentinels) = ports.split_at(DATA_NODES);
        let ids: Vec<_> = sentinels
            .iter()
            .map(|_| format!("{:032x}{:08x}", fastrand::u128(..), fastrand::u32(..)))
            .collect();
        let mut nodes: Vec<_> =
            data.iter().map(|port| RedisNode::new(data_lines(*port, data[0]), flags)).collect();
        let password = nodes[0].password.clone();
        for own in 0..sentinels.len() {
            let lines = sentinel_lines(data, sentinels, &ids, own, password.as_deref());
            nodes.push(RedisNode::new(lines, &["--sentinel"]));
        }
        nodes
    })
    .await
}

fn data_lines(port: u16, primary: u16) -> Vec<String> {
    let mut lines = vec![
        r#"save """#.to_owned(),
        "repl-diskless-sync yes".to_owned(),
        "repl-diskless-sync-delay 0".to_owned(),
        "replica-announce-ip 127.0.0.1".to_owned(),
        // They share a folder.
        format!("appendfilename {port}.aof"),
    ];
    if port != primary {
        lines.push(format!("replicaof 127.0.0.1 {primary}"));
    }
    lines
}

fn sentinel_lines(
    data: &[u16],
    sentinels: &[u16],
    ids: &[String],
    own: usize,
    password: Option<&str>,
) -> Vec<String> {
    let mut lines = vec![
        format!("sentinel myid {}", ids[own]),
        "sentinel announce-ip 127.0.0.1".to_owned(),
        format!("sentinel monitor {NAME} 127.0.0.1 {} 2", data[0]),
        format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER}"),
        format!("sentinel failover-timeout {NAME} 3000"),
        format!("sentinel parallel-syncs {NAME} 2"),
    ];
    lines.extend(password.map(|password| format!("sentinel auth-pass {NAME} {password}")));
    lines.extend(
        data[1..].iter().map(|port| format!("sentinel known-replica {NAME} 127.0.0.1 {port}")),
    );
    let others = sentinels.iter().zip(ids).filter(|(port, _)| **port != sentinels[own]);
    lines.extend(
        others.map(|(port, id)| format!("sentinel known-sentinel {NAME} 127.0.0.1 {port} {id}")),
    );
    lines
}
