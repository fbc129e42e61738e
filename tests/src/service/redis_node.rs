//! One `redis-server`: a single server, a node of a cluster, or a sentinel.

use std::{fs, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisResult, aio::MultiplexedConnection,
};

use super::node::{Node, Server, line};

/// How long a question to a server may take, so that a test does not wait for a frozen one.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// The settings of a `redis-server`.
#[derive(Debug)]
pub struct RedisNode {
    /// The password of its clients.
    pub(super) password: Option<String>,
    /// Lines of its configuration file, after those that every node has.
    lines: Vec<String>,
    /// Further flags of its command line.
    flags: Vec<String>,
}

impl RedisNode {
    /// One with these lines and flags. It uses a password among the flags for its primary as well.
    pub(super) fn new(mut lines: Vec<String>, flags: &[&str]) -> Self {
        let password = flags
            .iter()
            .position(|flag| *flag == "--requirepass")
            .and_then(|at| flags.get(at + 1))
            .map(ToString::to_string);
        lines.extend(password.iter().map(|password| format!("masterauth {password}")));
        Self { password, lines, flags: flags.iter().map(ToString::to_string).collect() }
    }
}

impl Server for RedisNode {
    const PORT_TAKEN: &'static str = "Failed listening";
    const REFUSALS: &'static [&'static str] = &["FATAL CONFIG FILE ERROR"];

    fn set_up(node: &Node<Self>, program: &str) -> String {
        let RedisNode { lines, flags, .. } = &node.server;
        let text = format!(
            "bind 127.0.0.1\nport {}\ndir {}\n{}\n",
            node.port,
            node.folder.display(),
            lines.join("\n")
        );
        let config = node.file("conf");
        fs::write(&config, text).expect("a temporary folder can be written to");
        format!(
            "exec {}",
            line(program, [config.display().to_string()].into_iter().chain(flags.iter().cloned()))
        )
    }

    async fn answers(node: &Node<Self>) -> bool {
        // Another server at its port has another file.
        node.info("server", "config_file")
            .await
            .is_ok_and(|file| Path::new(&file) == node.file("conf"))
    }
}

impl Node<RedisNode> {
    /// One line of its `INFO`; empty if it has none of that name.
    pub(super) async fn info(&self, section: &str, name: &str) -> RedisResult<String> {
        info(&self.url(), section, name).await
    }

    /// Sends one command on a new connection and returns the response.
    pub(super) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        command(&self.url(), words).await
    }

    /// The password of its clients.
    pub(super) fn password(&self) -> Option<&str> {
        self.server.password.as_deref()
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", credentials(self.password()), self.port)
    }
}

/// The part of a URL before the host.
pub(super) fn credentials(password: Option<&str>) -> String {
    password.map(|password| format!(":{password}@")).unwrap_or_default()
}

/// One line of a server's `INFO`; empty if it has none of that name.
pub(super) async fn info(url: &str, section: &str, name: &str) -> RedisResult<String> {
    let text: String = command(url, &["INFO", section]).await?;
    let found = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
    Ok(found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default())
}

/// The product and its version, as `redis 7.0.15` or `valkey 8.1.1`. A Valkey also names the Redis
/// that it is compatible with.
pub(super) async fn product(url: &str) -> RedisResult<String> {
    let valkey = info(url, "server", "valkey_version").await?;
    if valkey.is_empty() {
        return Ok(format!("redis {}", info(url, "server", "redis_version").await?));
    }
    Ok(format!("valkey {valkey}"))
}

/// Sends one command on a new connection and returns the response of the server.
pub(super) async fn command<T: FromRedisValue>(url: &str, words: &[&str]) -> RedisResult<T> {
    let mut connection = connect(url).await?;
    let (name, arguments) = words.split_first().expect("a command has a name");
    redis::cmd(name).arg(arguments).query_async(&mut connection).await
}

/// Removes all keys with this prefix.
pub(super) async fn remove_keys(url: &str, prefix: &str) -> RedisResult<()> {
    let mut connection = connect(url).await?;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await?;
    // One command for each, because the keys of one command have to be in one slot of a cluster.
    let mut removals = redis::pipe();
    for key in &keys {
        removals.unlink(key).ignore();
    }
    if keys.is_empty() { Ok(()) } else { removals.query_async(&mut connection).await }
}

async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LOOK_WITHIN))
        .set_response_timeout(Some(LOOK_WITHIN));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&limits).await
}
