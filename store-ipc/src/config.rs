//! [`Config`]: the settings of a client store.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use session_core::Limits;
use store_support::{
    settings::{
        DEADLINE_RANGE, invalid, is_valid_deadline, milliseconds as parse_milliseconds, parse,
    },
    url::{printable_scheme, query_pairs},
};

use crate::{
    error::ConfigError,
    trusted_owner::TrustedOwner,
    wire::frame::{DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES},
};

/// The valid values of most settings.
const NUMBER: &str = "a whole number above 0";

/// The settings of an [`IpcStore`](crate::IpcStore), from code, a URL or a configuration file.
///
/// In a file the deadline is `deadline_ms`, an integer. Every setting except `path` is optional.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use store_ipc::Config;
/// let config = Config::from_url("ipc:/run/app/sessions.sock?deadline_ms=500")?;
/// assert_eq!(config, Config::new("/run/app/sessions.sock").deadline(Duration::from_millis(500)));
/// # Ok::<(), store_ipc::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The path of the owner's socket. Empty for an inherited stream.
    #[serde(default)]
    pub(crate) path: PathBuf,
    #[serde(rename = "deadline_ms", with = "milliseconds", default = "default_deadline")]
    pub(crate) deadline: Duration,
    #[serde(default = "default_max_in_flight")]
    pub(crate) max_in_flight: NonZeroUsize,
    #[serde(default = "default_frame_bytes")]
    pub(crate) frame_bytes: NonZeroUsize,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner_uid: Option<u32>,
}

impl Config {
    /// The default settings for an owner that listens at `path`.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            deadline: default_deadline(),
            max_in_flight: default_max_in_flight(),
            frame_bytes: default_frame_bytes(),
            limits: Limits::default(),
            owner_uid: None,
        }
    }

    /// Parses a URL of this form. All settings are optional:
    ///
    /// ```text
    /// ipc:/path/to.sock?deadline_ms=2000&max_in_flight=1024&frame_bytes=1048576
    ///     &data_bytes=65536&owner_uid=1000
    /// ```
    ///
    /// The path is absolute and is not percent-decoded. `ipc:///path` means the same as
    /// `ipc:/path`.
    ///
    /// # Errors
    /// [`ConfigError`] for another scheme, a relative path, an unknown setting or a value out of
    /// range.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let rest = url.strip_prefix("ipc:").ok_or_else(|| ConfigError::Scheme {
            scheme: printable_scheme(url, "://").to_owned(),
        })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path.strip_prefix("//") {
            // A URL with a host belongs to another store. A password may precede the host, so
            // neither is shown.
            Some(host) if !host.starts_with('/') => {
                return Err(ConfigError::Url { url: "ipc://…".to_owned() });
            }
            Some(path) => path,
            None => path,
        };
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            // For example ipc:redis://:password@host.
            let shown = if rest.contains('@') { "…" } else { path };
            return Err(ConfigError::Url { url: format!("ipc:{shown}") });
        }
        let mut config = Self::new(path);
        for (key, value) in query_pairs(query) {
            match key {
                "deadline_ms" => config.deadline = parse_milliseconds("deadline_ms", value)?,
                "max_in_flight" => config.max_in_flight = parse("max_in_flight", value, NUMBER)?,
                "frame_bytes" => config.frame_bytes = parse("frame_bytes", value, NUMBER)?,
                "data_bytes" => config.limits.data_bytes = parse("data_bytes", value, NUMBER)?,
                "owner_uid" => {
                    config.owner_uid =
                        Some(parse("owner_uid", value, "a numeric user id such as 1000")?);
                }
                _ => return Err(ConfigError::UnknownKey { key: key.to_owned() }),
            }
        }
        config.check()?;
        Ok(config)
    }

    /// The longest time of a call, from its start to its reply. 2 s by default. A call that exceeds
    /// it fails with [`StoreError::Timeout`](session_core::StoreError::Timeout).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The largest number of calls that wait for a reply at the same time. 1,024 by default.
    /// Further calls wait until one of these ends, within their own deadline.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// The longest request or reply. 1 MiB by default. The smaller limit of the two sides applies.
    #[must_use]
    pub fn frame_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.frame_bytes = bytes;
        self
    }

    /// The limits of a record, which the client checks before it sends anything. 64 KiB of data by
    /// default. Use the limits of the owner's store. That store checks its own limits again.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The only user whose process the client accepts as the owner. By default the owner must run
    /// as the user of this process or as root.
    ///
    /// The kernel reports which user listens at the path. If it is another user, the client sends
    /// nothing, and each call fails with [`StoreError::Other`](session_core::StoreError::Other),
    /// which names both users. A later call connects again, so the client finds an owner of the
    /// right user within 250 ms. The setting has no effect on a stream.
    #[must_use]
    pub fn owner_uid(mut self, uid: u32) -> Self {
        self.owner_uid = Some(uid);
        self
    }

    /// The path of the owner's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users whose process the client accepts as the owner.
    pub(crate) fn trusted_owner(&self) -> TrustedOwner {
        self.owner_uid
            .map_or_else(|| TrustedOwner::UserOrRoot(geteuid().as_raw()), TrustedOwner::Uid)
    }

    /// Checks that there is a path to connect to.
    pub(crate) fn check_path(&self) -> Result<(), ConfigError> {
        if self.path.as_os_str().is_empty() {
            return invalid(
                "path",
                "",
                "the path of an owner's socket, such as /run/app/sessions.sock",
            );
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !is_valid_deadline(self.deadline) {
            return invalid("deadline_ms", &self.deadline.as_millis(), DEADLINE_RANGE);
        }
        // This is below the limit of tokio's semaphore.
        if self.max_in_flight.get() > 1 << 20 {
            return invalid("max_in_flight", &self.max_in_flight, "1 to 1048576");
        }
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&self.frame_bytes.get()) {
            return invalid(
                "frame_bytes",
                &self.frame_bytes,
                &format!("{MIN_FRAME_BYTES} to {MAX_FRAME_BYTES}"),
            );
        }
        // The worst case doubles the size of a value: a name and a text of one byte each.
        let max = (self.frame_bytes.get() - MIN_FRAME_BYTES / 2) / 2;
        if self.limits.data_bytes > max {
            return invalid(
                "data_bytes",
                &self.limits.data_bytes,
                &format!("at most {max}, or raise frame_bytes"),
            );
        }
        Ok(())
    }
}

fn default_deadline() -> Duration {
    Duration::from_secs(2)
}

fn default_max_in_flight() -> NonZeroUsize {
    // Evaluated at compile time: a zero would not compile.
    const { NonZeroUsize::new(1_024).unwrap() }
}

fn default_frame_bytes() -> NonZeroUsize {
    // Evaluated at compile time: a zero would not compile.
    const { NonZeroUsize::new(DEFAULT_FRAME_BYTES).unwrap() }
}

/// A duration as an integer of milliseconds, as in configuration files.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.as_millis().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_sets_the_named_settings_and_keeps_the_defaults() {
        let config = Config::from_url(
            "ipc:/run/a b/s.sock?deadline_ms=250&max_in_flight=7&frame_bytes=2000000\
                 &data_bytes=100000&owner_uid=0",
        )
        .unwrap();
        assert_eq!(config.owner_uid, Some(0));
        assert_eq!(config.path(), Path::new("/run/a b/s.sock"));
        assert_eq!((config.deadline, config.max_in_flight.get()), (Duration::from_millis(250), 7));
        assert_eq!((config.frame_bytes.get(), config.limits.data_bytes), (2_000_000, 100_000));
        assert_eq!(Config::from_url("ipc:///run/s.sock").unwrap(), Config::new("/run/s.sock"));
    }

    #[test]
    fn invalid_url_error_names_key_value_and_valid_values() {
        for (url, shown) in [
            (
                "redis://:s3cret@host/0",
                r#"the URL scheme "redis" is not supported; use ipc:/run/app/sessions.sock"#,
            ),
            (
                "user:s3cret@host",
                r#"the URL scheme "" is not supported; use ipc:/run/app/sessions.sock"#,
            ),
            (
                "ipc:redis://:s3cret@host/0",
                r#""ipc:…" is not the address of an owner; use ipc:/run/app/sessions.sock"#,
            ),
            (
                "ipc://:s3cret@host/0",
                r#""ipc://…" is not the address of an owner; use ipc:/run/app/sessions.sock"#,
            ),
            (
                "ipc:s.sock",
                r#""ipc:s.sock" is not the address of an owner; use ipc:/run/app/sessions.sock"#,
            ),
            (
                "ipc:/s?deadline=1",
                "unknown setting \"deadline\" in an ipc: URL; use deadline_ms, max_in_flight, \
                 frame_bytes, data_bytes or owner_uid",
            ),
            (
                "ipc:/s?deadline_ms=2s",
                r#"deadline_ms: "2s" is not valid; use a whole number above 0"#,
            ),
            (
                "ipc:/s?deadline_ms=0",
                r#"deadline_ms: "0" is not valid; use 1 or more, at most 86400000 (a day)"#,
            ),
            (
                "ipc:/s?max_in_flight=0",
                r#"max_in_flight: "0" is not valid; use a whole number above 0"#,
            ),
            (
                "ipc:/s?owner_uid=root",
                r#"owner_uid: "root" is not valid; use a numeric user id such as 1000"#,
            ),
            ("ipc:/s?frame_bytes=9", r#"frame_bytes: "9" is not valid; use 16384 to 1073741824"#),
            (
                "ipc:/s?data_bytes=600000",
                r#"data_bytes: "600000" is not valid; use at most 520192, or raise frame_bytes"#,
            ),
        ] {
            assert_eq!(Config::from_url(url).unwrap_err().to_string(), shown);
        }
    }
}
