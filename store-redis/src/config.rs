//! The settings of a store: defaults, setters, URL and file, checks.

use std::{fmt, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};
use session_core::Limits;
use store_support::{
    settings::{
        DEADLINE_RANGE, deserialize_section, invalid, is_valid_deadline, milliseconds, parse,
    },
    url::printable_key,
};

use crate::{
    connect::address::Servers,
    error::{ConfigError, SETTINGS},
    foreign,
    keys::MAX_PREFIX_BYTES,
    url::UrlParts,
};

/// What to write instead of an older protocol.
const PROTOCOL: &str = "3, because the store needs RESP3, which Redis 6 and later and Valkey have";

/// The settings of a [`RedisStore`](crate::RedisStore), from code, a URL or a configuration file.
///
/// | URL | servers |
/// |---|---|
/// | `redis://user:password@host:6379/0` | one server, over TCP |
/// | `rediss://`, `rediss-cluster://`, `rediss-sentinel://` | the same servers over TLS |
/// | `valkey://`, `valkeys://` | as `redis://` and `rediss://` |
/// | `unix:/run/redis/redis.sock` | one server, over a Unix-domain socket |
/// | `redis+unix://`, `redis+socket://`, `redis-socket://`, `valkey+unix://` | as `unix:` |
/// | `redis-cluster://host1,host2:7001` | the Cluster to which these nodes belong |
/// | `redis-sentinel://host1,host2,host3/mymaster` | the primary `mymaster` of these Sentinels |
///
/// The settings follow a `?`: `prefix`, `deadline_ms`, `connections`, `max_in_flight`,
/// `data_bytes`, `db`, `tls_ca`, `tls_cert`, `tls_key`, `wait_replicas`, `wait_ms`, `user`,
/// `password`, `password_file`, `sentinel_user`, `sentinel_password`, `sentinel_password_file`,
/// `declared_keys`. The only value of `protocol` is 3. User, password and values are
/// percent-decoded. A section of a configuration file has the same names beside `url`.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_redis::Config;
/// let config =
///     Config::new("redis://127.0.0.1:6379/0?prefix=shop:")?.deadline(Duration::from_millis(500));
/// # Ok::<(), store_redis::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) servers: Servers,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
    pub(crate) sentinel_password_file: Option<PathBuf>,
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
    pub(crate) declared_keys: bool,
}

/// How many replicas must have an end, a sign-in or a rotation before the store acknowledges it,
/// and how long the store waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The number of replicas.
    pub replicas: NonZeroUsize,
    /// The longest wait. After that the call is `Unavailable`, although the primary has made the
    /// change.
    pub within: Duration,
}

impl Config {
    /// Reads a URL with its settings.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is not one of Redis, a setting is unknown, or a value is out of
    /// range. The error shows no password.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let parts = UrlParts::read(url)?;
        let (settings, in_path) = (parts.settings(), parts.database);
        let mut config = Self::with_defaults(parts);
        for setting in settings {
            let (key, value) = setting?;
            config.set(key, &value)?;
        }
        if let Some(in_path) = in_path.filter(|in_path| *in_path != config.database) {
            let usable = format!("{in_path}, the number in the path, or remove one of the two");
            return invalid("db", &config.database, &usable);
        }
        config.check()?;
        Ok(config)
    }

    fn with_defaults(parts: UrlParts<'_>) -> Self {
        Self {
            servers: parts.servers,
            tls: parts.tls,
            username: parts.username,
            password: parts.password,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            database: parts.database.unwrap_or(0),
            prefix: "session:".into(),
            deadline: Duration::from_secs(2),
            // The compiler evaluates both `unwrap`s, so they cannot panic at run time.
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
            declared_keys: false,
        }
    }

    /// Whether the index of a user has its own commands. Otherwise the script that changes a
    /// session changes the index as well.
    pub(crate) fn has_separate_index(&self) -> bool {
        self.declared_keys || self.servers.is_cluster()
    }

    /// How many replicas the store waits for, and how long. `None` without `wait_replicas`.
    pub(crate) fn wait_settings(&self) -> Option<Wait> {
        self.wait_replicas.map(|replicas| Wait { replicas, within: self.wait_within })
    }

    /// Replaces the user and the password of the URL. An empty user stands for the server's default
    /// user.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.username = (!user.is_empty()).then(|| user.to_owned());
        self.password = (!password.is_empty()).then(|| password.to_owned());
        self
    }

    /// The file with the password, instead of a password in the URL. A line break at its end is not
    /// a part of the password.
    ///
    /// The store reads the file when it starts and again at each connect. So the password can
    /// change without a restart. Until the file has the server's new password, calls fail with
    /// [`StoreError::Unavailable`](session_core::StoreError::Unavailable).
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// The file with the password for the Sentinels; as [`Self::password_file`].
    #[must_use]
    pub fn sentinel_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sentinel_password_file = Some(path.into());
        self
    }

    /// The prefix of the names of all keys: the application's namespace. It has 1 to 64 bytes
    /// without braces and control characters. The default is `session:`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take, including the wait for a permit and for a connection. After that
    /// it fails with [`StoreError::Timeout`](session_core::StoreError::Timeout). The default
    /// is 2 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The most connections to a server. Each thread uses one of them for many calls at once. If
    /// there are more threads than connections, threads share connections. With [`Self::wait`] the
    /// store opens one more. The default is the number of cores, and at least 4.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroUsize) -> Self {
        self.connections = connections;
        self
    }

    /// The most calls in flight at once. Further calls wait for a permit, within their deadline.
    /// The default is 1,024.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// The limits of a record. The default is 64 KiB of data.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes ends, sign-ins and rotations wait until replicas have them. By default they do not
    /// wait, and a failover can undo changes that were acknowledged shortly before.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        (self.wait_replicas, self.wait_within) = (Some(wait.replicas), wait.within);
        self
    }

    /// The file (PEM) with the certificates of the trusted authorities. It replaces the system's
    /// authorities. Only with TLS.
    #[must_use]
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_ca = Some(path.into());
        self
    }

    /// The files (PEM) with the client's certificate and its key. Only with TLS.
    #[must_use]
    pub fn tls_client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls_cert = Some(certificate.into());
        self.tls_key = Some(key.into());
        self
    }

    /// Makes each script access only the key that its command declares. Some servers require that,
    /// such as Dragonfly. On one server, a sign-in and a list then take more round trips, as in a
    /// Cluster. The default is `false`. In a Cluster all keys are always declared.
    #[must_use]
    pub fn declared_keys(mut self, declared_keys: bool) -> Self {
        self.declared_keys = declared_keys;
        self
    }

    /// Sets a setting by its name in a URL or a file.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match key {
            "db" => self.database = parse("db", text, "0 or above")?,
            "prefix" => self.prefix = text.into(),
            "deadline_ms" => self.deadline = milliseconds("deadline_ms", text)?,
            "connections" => self.connections = parse("connections", text, "1 to 1024")?,
            "max_in_flight" => self.max_in_flight = parse("max_in_flight", text, "1 to 1048576")?,
            "data_bytes" => self.limits.data_bytes = parse("data_bytes", text, "a whole number")?,
            "declared_keys" => {
                self.declared_keys = parse("declared_keys", text, "true or false")?;
            }
            "wait_replicas" => {
                self.wait_replicas = Some(parse("wait_replicas", text, "1 or more")?);
            }
            "wait_ms" => self.wait_within = milliseconds("wait_ms", text)?,
            "tls_ca" => self.tls_ca = Some(text.into()),
            "tls_cert" => self.tls_cert = Some(text.into()),
            "tls_key" => self.tls_key = Some(text.into()),
            "sentinel_user" => self.sentinel_username = Some(text.to_owned()),
            "sentinel_password" => self.sentinel_password = Some(text.to_owned()),
            "user" => self.username = Some(text.to_owned()),
            "password" => self.password = Some(text.to_owned()),
            "password_file" => self.password_file = Some(text.into()),
            "sentinel_password_file" => self.sentinel_password_file = Some(text.into()),
            // The store always uses RESP3.
            "protocol" if matches!(text, "3" | "resp3") => {}
            "protocol" => return invalid("protocol", &text, PROTOCOL),
            _ => {
                let usable = foreign::setting_advice(key).unwrap_or(SETTINGS).to_owned();
                return Err(ConfigError::UnknownKey { key: printable_key(key, "_"), usable });
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
            return invalid(
                "prefix",
                &self.prefix,
                "1 to 64 bytes without braces and control characters",
            );
        }
        if !is_valid_deadline(self.deadline) {
            return invalid("deadline_ms", &self.deadline.as_millis(), DEADLINE_RANGE);
        }
        if self.database < 0 || (self.servers.is_cluster() && self.database != 0) {
            return invalid("db", &self.database, "0 or above, and 0 with a Cluster");
        }
        if self.connections.get() > 1024 {
            return invalid("connections", &self.connections, "1 to 1024");
        }
        // tokio limits the permits of a semaphore to fewer than `usize::MAX`.
        if self.max_in_flight.get() > 1 << 20 {
            return invalid("max_in_flight", &self.max_in_flight, "1 to 1048576");
        }
        if self.wait_replicas.is_some()
            // `WAIT` with 0 ms would wait without a limit.
            && (self.wait_within < Duration::from_millis(1) || self.wait_within >= self.deadline)
        {
            return invalid(
                "wait_ms",
                &self.wait_within.as_millis(),
                "1 or more, and less than deadline_ms",
            );
        }
        for (key, file, password) in [
            ("password_file", &self.password_file, &self.password),
            ("sentinel_password_file", &self.sentinel_password_file, &self.sentinel_password),
        ] {
            if let (Some(path), Some(_)) = (file, password) {
                let why = format!("there is also a password; remove the password or {key}");
                return Err(ConfigError::File { key, path: path.display().to_string(), why });
            }
        }
        if self.username.is_some() && self.password.is_none() && self.password_file.is_none() {
            // A user without a password is often a password, so the error does not show it.
            let expected = "add a password, as in redis://user:password@host; without a user \
                            write redis://:password@host";
            return Err(ConfigError::Url { part: "user", expected });
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
            return invalid("tls_cert", "only one file", "tls_cert and tls_key together");
        }
        Ok(())
    }
}

/// Shows the addresses of the servers and the limits. Passwords are masked.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |password: &Option<String>| password.as_ref().map(|_| "***");
        f.debug_struct("Config")
            .field("servers", &self.servers.to_string())
            .field("tls", &self.tls)
            .field("user", &self.username)
            .field("password", &masked(&self.password))
            .field("password_file", &self.password_file)
            .field("sentinel_password", &masked(&self.sentinel_password))
            .field("sentinel_password_file", &self.sentinel_password_file)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("connections", &self.connections)
            .field("max_in_flight", &self.max_in_flight)
            .field("limits", &self.limits)
            .field("wait_replicas", &self.wait_replicas)
            .field("declared_keys", &self.declared_keys)
            .finish_non_exhaustive()
    }
}

/// A section of a configuration file: a `url` and settings.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_section(deserializer, Self::new, Self::set, Self::check)
    }
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
    fn contradictory_settings_are_refused() {
        for url in [
            "redis://host?wait_replicas=1&wait_ms=2000",
            "redis-cluster://host?db=1",
            "rediss://host?tls_cert=/a.pem",
            "redis://host?prefix=",
            "redis://user@host",
            "redis://:secret@host?password_file=/run/secrets/redis",
            "redis-sentinel://host/main?sentinel_password=a&sentinel_password_file=/a",
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

    #[test]
    fn url_changes_only_the_settings_that_it_names() {
        let config = Config::new(
            "rediss://app:p%40ss@host/3?prefix=shop%3A&deadline_ms=600&connections=2\
             &wait_replicas=1",
        )
        .unwrap();
        assert_eq!(
            (config.username.as_deref(), config.password.as_deref()),
            (Some("app"), Some("p@ss"))
        );
        assert_eq!((config.database, config.tls, &*config.prefix), (3, true, "shop:"));
        assert_eq!(config.deadline, Duration::from_millis(600));
        assert_eq!(config.wait_settings().map(|wait| wait.replicas.get()), Some(1));
        assert_eq!(
            Config::new("redis://:se@cret@host").unwrap().password.as_deref(),
            Some("se@cret")
        );
        assert_eq!(Config::new("redis://host?").unwrap(), Config::new("redis://host").unwrap());
    }

    #[test]
    fn c45_errors_and_debug_show_no_password_of_the_url() {
        for url in [
            "redis://app:42?hunter=ter@host",
            "redis://app:42?prefix=hun{ter@host",
            "redis://app:42?tls_ca=hunter@host",
            "redis://app:42/hunter@host",
            "redis-sentinel://app:42/hunter@host",
            "redis://app:hun@ter@host:x",
            "redis://app:hun%ffter@host",
        ] {
            let shown = format!("{:?}", Config::new(url).map_err(|error| error.to_string()));
            assert!(!shown.contains("hun") && !shown.contains("ter@"), "{url}: {shown}");
        }
    }

    #[test]
    fn error_names_the_invalid_part_of_a_url() {
        for (url, shown) in [
            ("http://host", "the scheme \"http\""),
            ("host:6379", "the scheme \"\""),
            ("redis://", "the host"),
            ("redis://a,b", "several hosts"),
            ("redis://host:0", "the host"),
            ("redis://host:s3cret", "the host"),
            ("redis://host/zero", "the database"),
            ("redis-sentinel://host", "the name of the primary"),
            ("redis-cluster://host/1", "one database"),
            ("unix:redis.sock", "absolute path"),
            ("redis://host?prefix=a%7Bb", "prefix: \"a{b\" is not valid"),
            ("redis://host?deadline=1", "unknown setting \"deadline\""),
            ("redis://host?deadline_ms=soon", "deadline_ms: \"soon\" is not valid"),
            ("redis://host?connections=0", "connections: \"0\" is not valid"),
            ("redis://host?tls_ca=/nowhere", "tls_ca needs a rediss"),
            ("redis://app:42?s3cret@host", "the login"),
        ] {
            let error = Config::new(url).unwrap_err().to_string();
            assert!(error.contains(shown), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn d05_table_of_settings_has_each_name_once_and_none_of_ours() {
        for (at, (name, advice)) in foreign::SETTINGS.iter().enumerate() {
            let again =
                foreign::SETTINGS[..at].iter().any(|(before, _)| before.eq_ignore_ascii_case(name));
            assert!(!again, "{name} is listed twice");
            let error = Config::new(&format!("redis://host?{name}=1")).expect_err(name);
            assert!(
                matches!(&error, ConfigError::UnknownKey { key, usable } if key == name
                    && usable == advice),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn d05_text_of_another_client_has_its_own_remedy() {
        for (text, remedy) in [
            ("redis+tls://:s3cret@host", "write rediss://"),
            ("redis+sentinel://host/mymaster", "write redis-sentinel://host1,host2/mymaster"),
            ("https://eu1.upstash.io", "begins with rediss://"),
            ("shop.redis.cache.windows.net:6380,password=s3cret=,ssl=True", "rediss://:secret@"),
            ("redis-cli --tls -u redis://default:s3cret@host:6379", "behind -u"),
            ("redis-cli -u redis://default:s3cret@host:6379", "behind -u"),
            ("gopher://host", "use redis://"),
        ] {
            let error = Config::new(text).expect_err(text).to_string();
            assert!(error.contains(remedy) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
