//! Redis in either form, behind one set of hands.

use redis::{RedisResult, Value};

use super::{
    Durability, ExternalServer, Redis, RedisCluster,
    kind::{Kind, PASSWORD, REDIS, REDIS_CLUSTER},
};

/// Redis, in whichever form.
#[derive(Debug)]
pub enum AnyRedis {
    /// One server.
    Server(Redis),
    /// Three primaries, a replica each.
    Cluster(RedisCluster),
}

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

    /// A Cluster, likewise.
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

    /// One server of the test's own: with one that the environment names the test is skipped.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn own_server(kept: Durability) -> Option<Self> {
        Redis::start_with(&flags(kept)).await.map(Self::Server)
    }

    /// A Cluster of the test's own, likewise.
    ///
    /// # Panics
    /// As [`RedisCluster::start`].
    pub async fn own_cluster(kept: Durability) -> Option<Self> {
        RedisCluster::start_with(&flags(kept)).await.map(Self::Cluster)
    }

    /// The URL, with settings.
    #[must_use]
    pub fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Server(redis) => redis.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
    }

    /// Kills it.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        match self {
            Self::Server(redis) => redis.stop().await,
            Self::Cluster(cluster) => cluster.stop_all().await,
        }
    }

    /// Starts it again at the same address.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        match self {
            Self::Server(redis) => redis.start_again().await,
            Self::Cluster(cluster) => cluster.start_all().await,
        }
    }

    /// Makes it hang: it holds its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        match self {
            Self::Server(redis) => redis.freeze().await,
            Self::Cluster(cluster) => cluster.freeze_all().await,
        }
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        match self {
            Self::Server(redis) => redis.thaw().await,
            Self::Cluster(cluster) => cluster.thaw_all().await,
        }
    }

    /// All that its processes have written, if they are the test's own.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::Server(redis) => redis.output(),
            Self::Cluster(cluster) => cluster.output(),
        }
        .unwrap_or_default()
    }

    /// What the server answers, of a Cluster each primary.
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

    /// The same, where a refusal is an answer too.
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

    /// One server with further flags, with [`PASSWORD`] if it is the test's own.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn server_with(flags: &[&str]) -> Option<Self> {
        let flags = [flags_for_any(&REDIS).as_slice(), flags].concat();
        Redis::start_with(&flags).await.map(Self::Server)
    }

    /// What the server answers that has the key.
    ///
    /// # Panics
    /// If none does.
    pub async fn ask(&self, words: &[&str]) -> Value {
        match self {
            Self::Server(redis) => redis.command(words).await.expect("the server answers"),
            Self::Cluster(cluster) => {
                for port in cluster.primaries().await {
                    if let Ok(answer) = cluster.command(port, words).await {
                        return answer;
                    }
                }
                panic!("no node of the cluster does {}", words[0]);
            }
        }
    }

    /// The names of all keys that fit the pattern, in order, each with all that it holds: plainly,
    /// as `DUMP` may compress it.
    ///
    /// # Panics
    /// If the server does not answer, or if a key holds neither hash nor sorted set.
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

/// The flags of a server of the test's own.
fn flags(kept: Durability) -> Vec<&'static str> {
    let on_disk: &[&str] = match kept {
        Durability::Full => &["--appendonly", "yes", "--appendfsync", "always"],
        Durability::None => &[],
    };
    [&["--requirepass", PASSWORD], on_disk].concat()
}

/// The flags of a server of this kind that may be somebody else's, and then takes none.
fn flags_for_any(kind: &Kind) -> Vec<&'static str> {
    if kind.url().is_some() { Vec::new() } else { flags(Durability::None) }
}
