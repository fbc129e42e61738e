//! The servers of these tests, one or a Cluster, behind one set of hands.

use redis::Value;
use tests::service::{NotOurs, Redis, RedisCluster};

/// The password that every server here has, so that what must not show is there to show.
pub(crate) const PASSWORD: &str = "correcthorse";

/// Where sessions are kept.
#[derive(Debug)]
pub(crate) enum Server {
    /// One server.
    Node(Redis),
    /// Three primaries, a replica each.
    Cluster(RedisCluster),
}

impl Server {
    pub(crate) async fn node() -> Option<Self> {
        Self::node_with(&[]).await
    }

    pub(crate) async fn node_with(flags: &[&str]) -> Option<Self> {
        // A server that is not ours has the password that its URL has.
        let flags =
            if std::env::var_os("TEST_REDIS_URL").is_some() { flags.to_vec() } else { [&["--requirepass", PASSWORD], flags].concat() };
        Redis::start_with(&flags).await.map(Self::Node)
    }

    pub(crate) async fn cluster() -> Option<Self> {
        let theirs = std::env::var_os("TEST_REDIS_CLUSTER_URL").is_some();
        let flags: &[&str] = if theirs { &[] } else { &["--requirepass", PASSWORD, "--masterauth", PASSWORD] };
        RedisCluster::start_with(flags).await.map(Self::Cluster)
    }

    /// The URL, with settings.
    pub(crate) fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Node(redis) => redis.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
    }

    pub(crate) async fn stop(&mut self) -> Result<(), NotOurs> {
        match self {
            Self::Node(redis) => redis.stop().await,
            Self::Cluster(cluster) => cluster.stop_all().await,
        }
    }

    pub(crate) async fn start_again(&mut self) -> Result<(), NotOurs> {
        match self {
            Self::Node(redis) => redis.start_again().await,
            Self::Cluster(cluster) => cluster.start_all().await,
        }
    }

    pub(crate) async fn freeze(&self) -> Result<(), NotOurs> {
        match self {
            Self::Node(redis) => redis.freeze().await,
            Self::Cluster(cluster) => cluster.freeze_all().await,
        }
    }

    pub(crate) async fn thaw(&self) -> Result<(), NotOurs> {
        match self {
            Self::Node(redis) => redis.thaw().await,
            Self::Cluster(cluster) => cluster.thaw_all().await,
        }
    }

    /// What each server answers, of a Cluster each primary.
    pub(crate) async fn ask_all(&self, words: &[&str]) -> Vec<Value> {
        match self {
            Self::Node(redis) => vec![redis.command(words).await.expect("the server answers")],
            Self::Cluster(cluster) => {
                let mut answers = Vec::new();
                for port in cluster.primaries().await {
                    answers.push(cluster.command(port, words).await.expect("the node answers"));
                }
                answers
            }
        }
    }

    /// What the server answers that has the key.
    pub(crate) async fn ask(&self, words: &[&str]) -> Value {
        match self {
            Self::Node(redis) => redis.command(words).await.expect("the server answers"),
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

    /// The names of all keys that fit the pattern, in order, each with the server's own dump of it.
    pub(crate) async fn dump(&self, pattern: &str) -> Vec<(String, Vec<u8>)> {
        let mut dumped = Vec::new();
        for names in self.ask_all(&["KEYS", pattern]).await {
            for name in redis::from_redis_value::<Vec<String>>(names).expect("names are texts") {
                let bytes = redis::from_redis_value(self.ask(&["DUMP", &name]).await).expect("a dump is bytes");
                dumped.push((name, bytes));
            }
        }
        dumped.sort();
        dumped
    }
}
