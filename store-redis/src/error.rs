//! Errors, and the [`StoreError`] that each of them becomes.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use session_core::{BoxError, Rejection, StoreError};
use store_support::settings::InvalidValue;

/// The name of the store in errors.
pub(crate) const STORE: &str = "redis";

/// The oldest supported server.
pub(crate) const OLDEST: (u32, u32) = (6, 2);

/// Settings that are not valid.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The scheme of the URL is not one of Redis. The error does not show the rest of the URL,
    /// because it can contain a password.
    #[error(
        "the scheme {scheme:?} is not valid for a Redis server; use redis://, rediss://, unix:, \
         redis-cluster://, rediss-cluster://, redis-sentinel:// or rediss-sentinel://"
    )]
    Scheme {
        /// The scheme, empty if the URL has none.
        scheme: String,
    },
    /// A part of the URL is missing or not valid. The error does not show it, because it can
    /// contain a password.
    #[error("the {part} of the Redis URL is not valid; {expected}")]
    Url {
        /// The part.
        part: &'static str,
        /// What is valid.
        expected: &'static str,
    },
    /// The URL has an unknown setting. The error shows its name only if it looks like one, because
    /// otherwise it may be a part of a password.
    #[error(
        "unknown setting {key:?} in a Redis URL; use connections, data_bytes, db, deadline_ms, \
         declared_keys, max_in_flight, password, password_file, prefix, sentinel_password, \
         sentinel_password_file, sentinel_user, tls_ca, tls_cert, tls_key, user, wait_ms or \
         wait_replicas"
    )]
    UnknownKey {
        /// The name in the URL.
        key: String,
    },
    /// The value of a setting is not valid.
    #[error("{key}: {value:?} is not valid; use {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// The value.
        value: String,
        /// What is valid.
        expected: String,
    },
    /// The store cannot use a certificate or a key.
    #[error("cannot use the file {path:?} of the setting {key}: {why}")]
    File {
        /// The setting.
        key: &'static str,
        /// The path of the file.
        path: String,
        /// The reason.
        why: String,
    },
    /// The driver refuses the settings.
    #[error("cannot use the settings for Redis: {why}")]
    Driver {
        /// The driver's reason.
        why: String,
    },
}

#[doc(hidden)]
impl From<InvalidValue> for ConfigError {
    fn from(InvalidValue { key, value, expected }: InvalidValue) -> Self {
        Self::Value { key, value, expected }
    }
}

/// Why [`RedisStore::connect`](crate::RedisStore::connect) failed.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store reached the server and cannot use it: the server is too old, refuses the login, or
    /// does not have the mode that the URL's scheme names.
    #[error("cannot use the Redis server at {server}")]
    Server {
        /// The address of the server.
        server: String,
        /// The reason.
        source: BoxError,
    },
}

session_core::debug_as_display!(ConfigError, ConnectError);

/// Why a call failed. The variants hold texts instead of the driver's errors, because those can
/// quote a command with its keys.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to {server}: {why}")]
    Connect { server: String, why: String },
    #[error(
        "the Sentinels know no primary with the name {name:?}; the URL ends with its name: \
         redis-sentinel://host1,host2,host3/name"
    )]
    NoPrimary { name: String },
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    #[error("the call cannot be executed at the moment: {0}")]
    Busy(String),
    #[error("the server is no longer the primary: {0}")]
    Demoted(String),
    #[error("the slot is moving to {host}:{port}")]
    Moving { host: String, port: u16 },
    #[error("the server does not have the script")]
    NoScript,
    #[error(
        "{acknowledged} of {wanted} replicas acknowledged the change within {within:?}; \
         the primary has made the change"
    )]
    NotReplicated { wanted: usize, acknowledged: usize, within: Duration },
    #[error("the server is full: {0}")]
    Full(String),
    #[error(
        "the server requires a login; put it into the URL: redis://user:password@host, or set \
         password_file"
    )]
    LoginRequired,
    #[error("the server refuses the login; check user and password in the URL, or password_file")]
    WrongLogin,
    #[error(
        "the Sentinel {sentinel} refuses the login; check sentinel_user and sentinel_password in \
         the URL, or sentinel_password_file"
    )]
    SentinelLogin { sentinel: String },
    #[error(
        "the server's user lacks a permission; the README of store-redis lists the commands that \
         the user needs: {0}"
    )]
    NoPermission(String),
    #[error("the server refuses the command: {0}")]
    Refused(String),
    #[error(
        "the server is too old ({found}); use Redis {}.{} or later, or Valkey",
        OLDEST.0,
        OLDEST.1
    )]
    TooOld { found: String },
    #[error("the server is {found}; use a URL with {scheme}")]
    WrongMode { found: &'static str, scheme: &'static str },
    #[error(
        "the server's scripts may only access declared keys; add declared_keys=true to the URL"
    )]
    UndeclaredKeys,
    #[error("the server's answer has an unexpected form: {0}")]
    UnexpectedAnswer(&'static str),
    #[error("the cursor is not from this store; start again from the first page")]
    InvalidCursor,
}

impl ClientError {
    /// Whether the connection cannot be used any more.
    pub(crate) fn ends_connection(&self) -> bool {
        self.is_refused_login()
            || matches!(self, Self::Lost(_) | Self::Demoted(_) | Self::UnexpectedAnswer(_))
    }

    /// Whether a server refused the login.
    pub(crate) fn is_refused_login(&self) -> bool {
        matches!(self, Self::LoginRequired | Self::WrongLogin | Self::SentinelLogin { .. })
    }

    /// Whether the server did not execute the command and may execute it a moment later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Demoted(_))
    }
}

impl From<RedisError> for ClientError {
    fn from(error: RedisError) -> Self {
        let why = describe(&error);
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => {
                Self::Lost(why)
            }
            ErrorKind::AuthenticationFailed => Self::WrongLogin,
            ErrorKind::RESP3NotSupported => {
                Self::TooOld { found: "a protocol older than that of Redis 6".to_owned() }
            }
            ErrorKind::Server(ServerErrorKind::Ask) => match ask_target(&error) {
                Some((host, port)) => Self::Moving { host, port },
                None => Self::Busy(why),
            },
            _ => Self::from_code(nested_code(&error).or(error.code()).unwrap_or_default(), why),
        }
    }
}

impl ClientError {
    /// The error for the code with which a server's error begins.
    fn from_code(code: &str, why: String) -> Self {
        match code {
            // NOREPLICAS: min-replicas-to-write. BUSY: a script of another client takes too long.
            // MISCONF: snapshots fail. UNBLOCKED: the server ended WAIT because it was demoted.
            "LOADING" | "MOVED" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS"
            | "BUSY" | "MISCONF" | "UNBLOCKED" => Self::Busy(why),
            "READONLY" => Self::Demoted(why),
            "NOSCRIPT" => Self::NoScript,
            "NOPERM" => Self::NoPermission(why),
            "OOM" => Self::Full(why),
            "NOAUTH" => Self::LoginRequired,
            "WRONGPASS" => Self::WrongLogin,
            // Redis closes the connection after it. The clients of the server share the limit.
            _ if why.contains("max number of clients") => Self::Busy(why),
            // Dragonfly: "script tried accessing undeclared key, key: …".
            _ if why.contains("undeclared key") => Self::UndeclaredKeys,
            // A command in a script without permission: this error does not have its own code.
            _ if why.contains("can't run this command") => Self::NoPermission(why),
            _ => Self::Refused(why),
        }
    }
}

/// The node that an `ASK` error names: the slot is moving there.
pub(crate) fn ask_target(error: &RedisError) -> Option<(String, u16)> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// The code of an error within a script. Redis 6.2 wraps it: `ERR Error running script (…):
/// @user_script:31: @user_script: 31: -OOM …`, or `@user_script: 31: -OOM …`.
fn nested_code(error: &RedisError) -> Option<&str> {
    let (code, detail) = (error.code().unwrap_or_default(), error.detail()?);
    let from_script = code.starts_with("@user_script") || detail.contains("@user_script: ");
    let (_, inner) = detail.split_once(": -").filter(|_| from_script)?;
    inner.split(' ').next()
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Full(_) => {
                Rejection::Full { store: STORE.into(), what: "maxmemory".into() }.into()
            }
            ClientError::Connect { .. }
            | ClientError::NoPrimary { .. }
            | ClientError::Lost(_)
            | ClientError::Busy(_)
            | ClientError::Demoted(_)
            | ClientError::Moving { .. }
            | ClientError::NotReplicated { .. } => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            ClientError::LoginRequired
            | ClientError::WrongLogin
            | ClientError::SentinelLogin { .. }
            | ClientError::NoPermission(_)
            | ClientError::Refused(_)
            | ClientError::NoScript
            | ClientError::TooOld { .. }
            | ClientError::WrongMode { .. }
            | ClientError::UndeclaredKeys
            | ClientError::UnexpectedAnswer(_)
            | ClientError::InvalidCursor => Self::Other { store: STORE, source: error.into() },
        }
    }
}

/// The text of the driver's error without the command that a server quotes in it, because that
/// contains keys, names and values.
pub(crate) fn describe(error: &RedisError) -> String {
    let text = error.to_string();
    // For an error within a script, Redis 6.2 puts the error behind this text, and later versions
    // put the line of the script there.
    let text = text.rsplit_once("@user_script: ").map_or(text.as_str(), |(_, inner)| inner);
    let end =
        ["with args beginning", " script: "].iter().filter_map(|quoted| text.find(quoted)).min();
    text[..end.unwrap_or(text.len())].trim_end_matches([',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(line: &str) -> ClientError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err().into()
    }

    #[test]
    fn each_failure_becomes_the_right_store_error() {
        let transient = [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "CLUSTERDOWN The cluster is down",
            "MOVED 3999 127.0.0.1:6381",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
            "BUSY Redis is busy running a script.",
            "MISCONF Redis is configured to save RDB snapshots",
        ];
        for line in transient {
            assert!(server(line).is_retryable(), "{line}: {:?}", server(line));
            assert!(StoreError::from(server(line)).is_transient(), "{line}");
        }
        for line in [
            "NOPERM User default has no permissions",
            "WRONGPASS invalid username-password pair",
            "ERR unknown command",
        ] {
            assert!(
                matches!(StoreError::from(server(line)), StoreError::Other { store: "redis", .. }),
                "{line}"
            );
        }
        let full = server(
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, \
             on @user_script:2.",
        );
        assert!(matches!(StoreError::from(full), StoreError::Rejected(Rejection::Full { .. })));
        let full = server(
            "ERR Error running script (call to f_c0): @user_script:31: @user_script: 31: \
             -OOM command not allowed when used memory",
        );
        assert!(matches!(full, ClientError::Full(_)), "{full:?}");
        let demoted = server(
            "ERR Error running script (call to f_c0): @user_script:3: @user_script: 3: \
             -READONLY You can't write against a read",
        );
        assert!(
            matches!(&demoted, ClientError::Demoted(why) if why.contains("-READONLY You can't")),
            "{demoted:?}"
        );
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(StoreError::from(ClientError::from(broken)).is_transient());
        assert!(ClientError::Lost(String::new()).ends_connection());
        assert!(server("READONLY You can't write against a read only replica.").ends_connection());
    }

    #[test]
    fn c45_error_does_not_quote_the_command() {
        let error = server(
            "ERR unknown command 'EVALSHA', with args beginning with: 'f00' '1' \
             'session:{AbCd}secret'",
        );
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
