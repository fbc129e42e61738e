//! Errors, and the [`StoreError`] that each of them becomes.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use session_core::{BoxError, Rejection, StoreError};
use store_support::{
    settings::InvalidValue,
    tls_failure::{TlsFailure, TlsWords},
};

use crate::codes::{self, Class};

/// The name of the store in errors.
pub(crate) const STORE: &str = "redis";

/// The oldest supported server.
pub(crate) const OLDEST: (u32, u32) = (6, 2);

/// What to do if a scheme is unknown.
pub(crate) const SCHEMES: &str = "use redis://, rediss://, valkey://, valkeys://, unix:, \
                                  redis-cluster://, rediss-cluster://, redis-sentinel:// or \
                                  rediss-sentinel://";

/// What to do if a setting is unknown.
pub(crate) const SETTINGS: &str = "use connections, data_bytes, db, deadline_ms, declared_keys, max_in_flight, password, \
     password_file, prefix, protocol, sentinel_password, sentinel_password_file, sentinel_user, \
     tls_ca, tls_cert, tls_key, user, wait_ms or wait_replicas";

/// The settings that a remedy of TLS names.
pub(crate) const TLS_WORDS: TlsWords = TlsWords {
    authority: "tls_ca",
    client: "tls_cert and tls_key",
    with_tls: "rediss:// instead of redis:// at the start of the URL (rediss-cluster://, \
               rediss-sentinel://)",
    without_tls: "redis:// instead of rediss:// at the start of the URL",
};

/// Settings that are not valid.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The scheme of the URL is not one of Redis. The error does not show the rest of the URL,
    /// because it can contain a password.
    #[error("the scheme {scheme:?} is not valid for a Redis server; {usable}")]
    Scheme {
        /// The scheme, empty if the URL has none.
        scheme: String,
        /// What to write instead.
        usable: String,
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
    #[error("unknown setting {key:?} in a Redis URL; {usable}")]
    UnknownKey {
        /// The name in the URL.
        key: String,
        /// What to do instead, or the settings that exist.
        usable: String,
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
    /// The store cannot load the certificates of the system's authorities, with which it verifies
    /// servers.
    #[error(
        "cannot use the certificates of the system's authorities: {why}; install the package \
         ca-certificates or correct SSL_CERT_FILE and SSL_CERT_DIR; for an authority that is not \
         public also set tls_ca"
    )]
    SystemAuthorities {
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
    /// The store reached the server and cannot use it: the server is too old, refuses the login,
    /// does not have the mode that the URL's scheme names, or has a certificate that the store does
    /// not trust.
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
    #[error(
        "the limit of requests of the plan is used up; wait for the next period, or choose a larger \
         plan at the provider: {0}"
    )]
    Quota(String),
    #[error("the server is full: {0}")]
    Full(String),
    #[error(
        "the request exceeds a limit of the server; store less in a session (data_bytes limits it), \
         or choose a larger plan at the provider: {0}"
    )]
    TooLarge(String),
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    #[error(
        "the server accepts only connections from its own machine; set a password at the server \
         (requirepass), and write it into the URL"
    )]
    Protected,
    #[error(
        "the server does not offer a command that the store needs; the README of store-redis lists \
         them and the services that offer them: {0}"
    )]
    NoCommand(String),
    #[error(
        "the server does not have the database of the URL; write a smaller number as the path, or \
         set databases at the server: {0}"
    )]
    NoDatabase(String),
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
            || matches!(
                self,
                Self::Lost(_) | Self::Demoted(_) | Self::Tls(_) | Self::UnexpectedAnswer(_)
            )
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
        if error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
            && let Some((host, port)) = ask_target(&error)
        {
            return Self::Moving { host, port };
        }
        if let Some(class) = codes::of_kind(error.kind()) {
            return match TlsFailure::of_text(&why, &TLS_WORDS) {
                Some(failure) => Self::Tls(failure),
                None => Self::of_class(class, why),
            };
        }
        let code = nested_code(&error).or(error.code()).unwrap_or_default();
        Self::of_class(codes::of_code(code, &why), why)
    }
}

impl ClientError {
    fn of_class(class: Class, why: String) -> Self {
        match class {
            Class::Busy => Self::Busy(why),
            Class::Demoted => Self::Demoted(why),
            Class::NoScript => Self::NoScript,
            Class::Lost => Self::Lost(why),
            Class::Quota => Self::Quota(why),
            Class::Full => Self::Full(why),
            Class::TooLarge => Self::TooLarge(why),
            Class::LoginRequired => Self::LoginRequired,
            Class::WrongLogin => Self::WrongLogin,
            Class::NoPermission => Self::NoPermission(why),
            Class::Protected => Self::Protected,
            Class::TooOld => {
                Self::TooOld { found: "a protocol older than that of Redis 6".to_owned() }
            }
            Class::NoCommand => Self::NoCommand(why),
            Class::NoDatabase => Self::NoDatabase(why),
            Class::IsCluster => {
                Self::WrongMode { found: "a node of a Cluster", scheme: "redis-cluster://" }
            }
            Class::IsNoCluster => {
                Self::WrongMode { found: "not a node of a Cluster", scheme: "redis://" }
            }
            Class::Unreadable => Self::UnexpectedAnswer("the driver cannot read it"),
            Class::UndeclaredKeys => Self::UndeclaredKeys,
            Class::Refused => Self::Refused(why),
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
            | ClientError::Quota(_)
            | ClientError::NotReplicated { .. } => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            // No waiting helps.
            error => Self::Other { store: STORE, source: error.into() },
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
mod tests;
