//! One `redis-server` process: an ordinary server, a node of a cluster, or a sentinel.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, aio::MultiplexedConnection};

use super::place::{Place, Running};
use crate::{PATIENCE, wait};

/// How long a look at a server may take. One that hangs is not waited for.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// What a node is to be.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where it listens.
    pub(super) port: u16,
    /// Lines of its configuration file, beyond those that every node has.
    pub(super) lines: Vec<String>,
    /// Further words of its command line.
    pub(super) flags: Vec<String>,
    /// What a connection to it says first.
    pub(super) password: Option<String>,
}

impl Settings {
    /// Those of a node with these lines and flags. A password among the flags is also what it tells its primary.
    pub(super) fn new(port: u16, mut lines: Vec<String>, flags: &[&str]) -> Self {
        let password = flags.iter().position(|flag| *flag == "--requirepass").and_then(|at| flags.get(at + 1)).map(ToString::to_string);
        lines.extend(password.iter().map(|password| format!("masterauth {password}")));
        Self { port, lines, flags: flags.iter().map(ToString::to_string).collect(), password }
    }
}

/// Another process was faster in taking one of the ports.
#[derive(Debug)]
pub(super) struct PortTaken;

/// One `redis-server` process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) port: u16,
    pub(super) running: Option<Running>,
    /// Whether it was made to hang.
    pub(super) is_frozen: AtomicBool,
    password: Option<String>,
    config: PathBuf,
    output: PathBuf,
    /// The shell's line that starts it.
    line: String,
}

impl Node {
    /// Writes its configuration; it does not run yet.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub(super) fn prepare(place: &Place, settings: Settings) -> Self {
        let Settings { port, lines, flags, password } = settings;
        let folder = place.folder().display();
        let config = place.folder().join(format!("{port}.conf"));
        let text = format!("bind 127.0.0.1\nport {port}\ndir {folder}\n{}\n", lines.join("\n"));
        fs::write(&config, text).expect("a temporary folder can be written to");
        let words = [place.program.clone(), config.display().to_string()].into_iter().chain(flags);
        let line = words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ");
        Self { port, running: None, is_frozen: AtomicBool::new(false), password, output: config.with_extension("out"), config, line }
    }

    /// What starts it, and where its output goes.
    pub(super) fn launch(&self) -> (String, &Path) {
        (self.line.clone(), &self.output)
    }

    /// Whether it can answer: it was neither stopped nor made to hang.
    pub(super) fn is_awake(&self) -> bool {
        self.running.is_some() && !self.is_frozen.load(SeqCst)
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// If its port was not free.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn answer(&self) -> Result<(), PortTaken> {
        let what = format!("redis-server on port {} to answer", self.port);
        wait::until(&what, PATIENCE, async || {
            let said = self.output();
            if said.contains("Failed listening") {
                return Some(Err(PortTaken));
            }
            assert!(!said.contains("FATAL CONFIG FILE ERROR"), "redis-server refuses its settings: {said}");
            // Somebody else may be there: it has to be the one with this file.
            let is_ours = self.info("server", "config_file").await.is_ok_and(|file| Path::new(&file) == self.config);
            is_ours.then_some(Ok(()))
        })
        .await
    }

    /// All it has written.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// One line of its `INFO`; empty if it has none of that name.
    pub(super) async fn info(&self, section: &str, name: &str) -> RedisResult<String> {
        info(&self.url(), section, name).await
    }

    /// The answer to one command on a connection of its own.
    pub(super) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        command(&self.url(), words).await
    }

    /// What a connection to it says first.
    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", credentials(self.password.as_deref()), self.port)
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

/// What the server is: `redis 7.0.15`, or `valkey 8.1.1`, which has a line for the Redis that it stands in for as well.
pub(super) async fn product(url: &str) -> RedisResult<String> {
    let valkey = info(url, "server", "valkey_version").await?;
    if valkey.is_empty() {
        return Ok(format!("redis {}", info(url, "server", "redis_version").await?));
    }
    Ok(format!("valkey {valkey}"))
}

/// A server's answer to one command on a connection of its own.
pub(super) async fn command<T: FromRedisValue>(url: &str, words: &[&str]) -> RedisResult<T> {
    let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(LOOK_WITHIN)).set_response_timeout(Some(LOOK_WITHIN));
    let mut connection: MultiplexedConnection = Client::open(url)?.get_multiplexed_async_connection_with_config(&limits).await?;
    let (name, arguments) = words.split_first().expect("a command has a name");
    redis::cmd(name).arg(arguments).query_async(&mut connection).await
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
