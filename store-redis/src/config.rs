//! The settings of a store.

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::Deserialize;
use session_core::Limits;

use crate::{address::Servers, error::ConfigError, keys::MAX_PREFIX_BYTES, url};

/// The settings of a [`RedisStore`](crate::RedisStore), from code, a URL or a configuration file.
///
/// | URL | servers |
/// |---|---|
/// | `redis://user:password@host:6379/0` | one, over TCP |
/// | `rediss://…` | the same over TLS; so with `rediss-cluster://` and `rediss-sentinel://` |
/// | `unix:/run/redis/redis.sock` | one, over a Unix-domain socket |
/// | `redis-cluster://host1,host2:7001` | a Cluster that these nodes know |
/// | `redis-sentinel://host1,host2,host3/mymaster` | the primary of that name, as these Sentinels say |
///
/// Settings follow a `?` and are named like the methods here: `prefix`, `deadline_ms`,
/// `connections`, `max_in_flight`, `data_bytes`, `db`, `tls_ca`, `tls_cert`, `tls_key`,
/// `wait_replicas`, `wait_ms`, `user`, `password`, `sentinel_user`, `sentinel_password`. User,
/// password and values are percent-decoded. In a file the same names stand beside `url`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_redis::Config;
/// let config = Config::new("redis://127.0.0.1:6379/0?prefix=shop:")?.deadline(Duration::from_millis(500));
/// # Ok::<(), store_redis::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    pub(crate) servers: Servers,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
    pub(crate) database: i64,
    pub(crate) prefix: Box<str>,
    pub(crate) deadline: Duration,
    pub(crate) connections: NonZeroUsize,
    pub(crate) max_in_flight: NonZeroUsize,
    pub(crate) limits: Limits,
    pub(crate) wait_replicas: Option<NonZeroUsize>,
    pub(crate) wait_within: Duration,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
}

/// How many replicas must have an end, a sign-in or a rotation before the store acknowledges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// At least this many.
    pub replicas: NonZeroUsize,
    /// Within this time; else the call is `Unavailable`, although the primary has made the change.
    pub within: Duration,
}

impl Config {
    /// Reads a URL with its settings.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is none of Redis, a setting is unknown, or a value is out of
    /// range. It shows no password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        url::read(url)
    }

    pub(crate) fn at(servers: Servers, tls: bool) -> Self {
        Self {
            servers,
            tls,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            database: 0,
            prefix: "session:".into(),
            deadline: Duration::from_secs(2),
            // The compiler evaluates both `unwrap`s: a zero would not build.
            connections: std::thread::available_parallelism()
                .unwrap_or(NonZeroUsize::MIN)
                .max(const { NonZeroUsize::new(4).unwrap() }),
            max_in_flight: const { NonZeroUsize::new(1_024).unwrap() },
            limits: Limits::default(),
            wait_replicas: None,
            wait_within: Duration::from_millis(500),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }

    /// How many replicas it waits for, if any, and how long.
    pub(crate) fn waits(&self) -> Option<Wait> {
        self.wait_replicas.map(|replicas| Wait { replicas, within: self.wait_within })
    }

    /// The user and password, in place of those in the URL. With an empty user it is the server's
    /// default user.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.username = (!user.is_empty()).then(|| user.to_owned());
        self.password = (!password.is_empty()).then(|| password.to_owned());
        self
    }

    /// What the names of all keys begin with: the application's namespace. 1 to 64 bytes without
    /// braces and control characters; `session:` by default.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take, waiting for a connection included; then it is
    /// [`StoreError::Timeout`](session_core::StoreError::Timeout). 2 s by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The most connections to a server. Each thread that uses the store keeps to one, which
    /// carries many calls at once; with more threads than this some share one. As many as the
    /// machine has cores by default, and at least 4.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroUsize) -> Self {
        self.connections = connections;
        self
    }

    /// How many calls may wait for an answer at once; more wait for their turn, within their
    /// deadline. 1,024 by default.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// The caps on a record. 64 KiB of data by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets ends, sign-ins and rotations wait until replicas have them. Not by default: then a
    /// failover may undo what was acknowledged shortly before.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        (self.wait_replicas, self.wait_within) = (Some(wait.replicas), wait.within);
        self
    }

    /// The file with the certificates of the authorities to trust (PEM), in place of the system's.
    /// Only with TLS.
    #[must_use]
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_ca = Some(path.into());
        self
    }

    /// The files with the client's own certificate and its key (PEM). Only with TLS.
    #[must_use]
    pub fn tls_client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls_cert = Some(certificate.into());
        self.tls_key = Some(key.into());
        self
    }

    /// Sets what a URL or a file names.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match key {
            "db" => self.database = number("db", text, "0 or above")?,
            "prefix" => self.prefix = text.into(),
            "deadline_ms" => {
                self.deadline =
                    Duration::from_millis(number("deadline_ms", text, "a whole number above 0")?)
            }
            "connections" => self.connections = number("connections", text, "1 to 1024")?,
            "max_in_flight" => self.max_in_flight = number("max_in_flight", text, "1 to 1048576")?,
            "data_bytes" => self.limits.data_bytes = number("data_bytes", text, "a whole number")?,
            "wait_replicas" => {
                self.wait_replicas = Some(number("wait_replicas", text, "1 or more")?)
            }
            "wait_ms" => {
                self.wait_within =
                    Duration::from_millis(number("wait_ms", text, "a whole number above 0")?)
            }
            "tls_ca" => self.tls_ca = Some(text.into()),
            "tls_cert" => self.tls_cert = Some(text.into()),
            "tls_key" => self.tls_key = Some(text.into()),
            "sentinel_user" => self.sentinel_username = Some(text.to_owned()),
            "sentinel_password" => self.sentinel_password = Some(text.to_owned()),
            "user" => self.username = Some(text.to_owned()),
            "password" => self.password = Some(text.to_owned()),
            _ => {
                let looks_like_one = key.len() <= 32
                    && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                return Err(ConfigError::UnknownKey {
                    key: if looks_like_one { key.to_owned() } else { "…".to_owned() },
                });
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let control_or_brace =
            |character: char| character.is_control() || matches!(character, '{' | '}');
        if self.prefix.is_empty()
            || self.prefix.len() > MAX_PREFIX_BYTES
            || self.prefix.contains(control_or_brace)
        {
            return Err(value(
                "prefix",
                &self.prefix,
                "1 to 64 bytes without braces and control characters",
            ));
        }
        if self.deadline.is_zero() {
            return Err(value("deadline_ms", "0", "a millisecond or more"));
        }
        if self.database < 0 || (self.servers.is_cluster() && self.database != 0) {
            return Err(value(
                "db",
                &self.database.to_string(),
                "0 or above, and 0 with a Cluster",
            ));
        }
        if self.connections.get() > 1024 {
            return Err(value("connections", &self.connections.to_string(), "1 to 1024"));
        }
        // tokio's semaphore counts to a little less than this.
        if self.max_in_flight.get() > 1 << 20 {
            return Err(value("max_in_flight", &self.max_in_flight.to_string(), "1 to 1048576"));
        }
        if self.wait_replicas.is_some()
            && (self.wait_within.is_zero() || self.wait_within >= self.deadline)
        {
            return Err(value(
                "wait_ms",
                &self.wait_within.as_millis().to_string(),
                "1 or more, and less than deadline_ms",
            ));
        }
        if self.username.is_some() && self.password.is_none() {
            // What stands there alone is often the password, so it is not shown.
            let usable = "it goes with a password, as redis://user:password@host; a password alone is redis://:password@host";
            return Err(ConfigError::Url { part: "user", usable });
        }
        for (key, file) in
            [("tls_ca", &self.tls_ca), ("tls_cert", &self.tls_cert), ("tls_key", &self.tls_key)]
        {
            if let Some(path) = file
                && !self.tls
            {
                return Err(ConfigError::File {
                    key,
                    path: path.display().to_string(),
                    why: format!("{key} needs a rediss URL"),
                });
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(value("tls_cert", "one of two", "tls_cert and tls_key together"));
        }
        Ok(())
    }
}

/// Shows where the servers are and how calls are bounded; passwords are masked.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |password: &Option<String>| password.as_ref().map(|_| "***");
        f.debug_struct("Config")
            .field("servers", &self.servers.to_string())
            .field("tls", &self.tls)
            .field("user", &self.username)
            .field("password", &masked(&self.password))
            .field("sentinel_password", &masked(&self.sentinel_password))
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("connections", &self.connections)
            .field("max_in_flight", &self.max_in_flight)
            .field("limits", &self.limits)
            .field("wait_replicas", &self.wait_replicas)
            .finish_non_exhaustive()
    }
}

/// A section of a configuration file: a URL, and settings beside it.
#[derive(Deserialize)]
struct File {
    url: String,
    #[serde(flatten)]
    settings: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(i64),
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let mut config = Self::new(&file.url)?;
        for (key, value) in &file.settings {
            match value {
                Scalar::Text(text) => config.set(key, text)?,
                Scalar::Number(number) => config.set(key, &number.to_string())?,
            }
        }
        config.check()?;
        Ok(config)
    }
}

fn number<T: std::str::FromStr>(
    key: &'static str,
    text: &str,
    usable: &str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|_| value(key, text, usable))
}

fn value(key: &'static str, value: &str, usable: &str) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), usable: usable.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c45_debug_shows_no_password() {
        let config =
            Config::new("redis-sentinel://app:hunter2@host/main?sentinel_password=hunter3")
                .unwrap()
                .login("app", "hunter4");
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter") && shown.contains("app"), "{shown}");
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        for url in [
            "redis://host?wait_replicas=1&wait_ms=2000",
            "redis-cluster://host?db=1",
            "rediss://host?tls_cert=/a.pem",
            "redis://host?prefix=",
            "redis://user@host",
        ] {
            assert!(Config::new(url).is_err(), "{url}");
        }
        let config = Config::new("redis://host?wait_ms=100&wait_replicas=2").unwrap();
        assert_eq!(
            (config.wait_replicas.map(NonZeroUsize::get), config.wait_within.as_millis()),
            (Some(2), 100)
        );
        let error = Config::new("redis://app:42?hunter2@host").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
