//! One Redis server or a Redis Cluster, with the same methods.

use redis::{RedisResult, Value};

use super::{
    Durability, ExternalServer, Redis, RedisCluster,
    by_port::impl_for_one_or_all,
    kind::{Kind, PASSWORD, REDIS, REDIS_CLUSTER},
};

/// One Redis server or a Redis Cluster.
#[derive(Debug)]
pub enum AnyRedis {
    /// One server.
    Server(Redis),
    /// A Cluster of three primaries with one replica each.
    Cluster(RedisCluster),
}

impl_for_one_or_all!(AnyRedis, Cluster);

impl AnyRedis {
    /// One server, which other tests may use at the same time: the test keeps to its own prefix. It
    /// has [`PASSWORD`], unless the environment names it; then its URL has its password.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn server() -> Option<Self> {
        match Redis::shared().await {
            Some(shared) => Some(Self::Server(shared)),
            None => Redis::start_with(&flags_for_any(&REDIS)).await.map(Self::Server),
        }
    }

    /// A Cluster; as [`server`](Self::server).
    ///
    /// # Panics
    /// As [`RedisCluster::start`].
    pub async fn cluster() -> Option<Self> {
        match RedisCluster::shared().await {
            Some(shared) => Some(Self::Cluster(shared)),
            None => {
                RedisCluster::start_with(&flags_for_any(&REDIS_CLUSTER)).await.map(Self::Cluster)
            }
        }
    }

    /// The test's own server. If the environment names one, the test is skipped.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn own_server(kept: Durability) -> Option<Self> {
        Redis::start_with(&flags(kept)).await.map(Self::Server)
    }

    /// The test's own Cluster. If the environment names one, the test is skipped.
    ///
    /// # Panics
    /// As [`RedisCluster::start`].
    pub async fn own_cluster(kept: Durability) -> Option<Self> {
        RedisCluster::start_with(&flags(kept)).await.map(Self::Cluster)
    }

    /// The URL with these settings.
    #[must_use]
    pub fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Server(redis) => redis.url(),
            Self::Cluster(cluster) => {
                let mut settings = settings.split('&');
                if let Some(prefix) = settings.find_map(|setting| setting.strip_prefix("prefix=")) {
                    cluster.claim(prefix);
                }
                cluster.url()
            }
        };
        format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
    }

    /// All that its processes have written; empty if the environment names it.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::Server(redis) => redis.output(),
            Self::Cluster(cluster) => cluster.output(),
        }
        .unwrap_or_default()
    }

    /// The answer of the server, or of each primary of a Cluster.
    ///
    /// # Panics
    /// If one of them refuses the command or does not answer.
    pub async fn ask_all(&self, words: &[&str]) -> Vec<Value> {
        match self {
            Self::Server(redis) => vec![redis.command(words).await.expect("the server answers")],
            Self::Cluster(cluster) => {
                let mut answers = Vec::new();
                for port in cluster.primaries().await {
                    answers.push(cluster.command(port, words).await.expect("the node answers"));
                }
                answers
            }
        }
    }

    /// The same, with refusals as answers.
    pub async fn try_all(&self, words: &[&str]) -> Vec<RedisResult<Value>> {
        match self {
            Self::Server(redis) => vec![redis.command(words).await],
            Self::Cluster(cluster) => {
                let mut answers = Vec::new();
                for port in cluster.primaries().await {
                    answers.push(cluster.command(port, words).await);
                }
                answers
            }
        }
    }

    /// The test's own server with further flags and [`PASSWORD`].
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn server_with(flags: &[&str]) -> Option<Self> {
        let flags = [flags_for_any(&REDIS).as_slice(), flags].concat();
        Redis::start_with(&flags).await.map(Self::Server)
    }

    /// The answer of the server that has the key.
    ///
    /// # Panics
    /// If no server has it.
    pub async fn ask(&self, words: &[&str]) -> Value {
        match self {
            Self::Server(redis) => redis.command(words).await.expect("the server answers"),
            Self::Cluster(cluster) => {
                for port in cluster.primaries().await {
                    if let Ok(answer) = cluster.command(port, words).await {
                        return answer;
                    }
                }
                panic!("every node of the cluster refuses {}", words[0]);
            }
        }
    }

    /// The names of all keys that match the pattern, in order, each with its whole content. `DUMP`
    /// would compress it.
    ///
    /// # Panics
    /// If the server does not answer, or if a key is not a hash or a sorted set.
    pub async fn dump(&self, pattern: &str) -> Vec<(String, Vec<u8>)> {
        let mut dumped = Vec::new();
        for names in self.ask_all(&["KEYS", pattern]).await {
            for name in redis::from_redis_value::<Vec<String>>(names).expect("names are texts") {
                let kind: String = redis::from_redis_value(self.ask(&["TYPE", &name]).await)
                    .expect("a type is a text");
                let words = match kind.as_str() {
                    "hash" => vec!["HGETALL", &name],
                    "zset" => vec!["ZRANGE", &name, "0", "-1", "WITHSCORES"],
                    other => panic!("{name} is a {other}"),
                };
                let parts: Vec<Vec<u8>> =
                    redis::from_redis_value(self.ask(&words).await).expect("a list of texts");
                let mut pairs: Vec<_> = parts.chunks(2).map(|pair| pair.join(&b'=')).collect();
                pairs.sort();
                dumped.push((name, pairs.join(&b'\n')));
            }
        }
        dumped.sort();
        dumped
    }
}

/// The flags of a server that the tests start.
fn flags(kept: Durability) -> Vec<&'static str> {
    let on_disk: &[&str] = match kept {
        Durability::Full => &["--appendonly", "yes", "--appendfsync", "always"],
        Durability::None => &[],
    };
    [&["--requirepass", PASSWORD], on_disk].concat()
}

/// The same, or none if the environment names such a server, which takes no flags.
fn flags_for_any(kind: &Kind) -> Vec<&'static str> {
    if kind.url().is_some() { Vec::new() } else { flags(Durability::None) }
}
