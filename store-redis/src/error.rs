//! What can go wrong, and what the caller learns of it.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use session_core::{BoxError, Rejection, StoreError};

use crate::STORE;

/// The oldest server that is spoken to.
pub(crate) const OLDEST: (u32, u32) = (6, 2);

/// Settings that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL has a scheme that is not one of Redis. The rest of it is not shown, because it can
    /// hold a password.
    #[error(
        "a URL of the scheme {scheme:?} is no address of a Redis server; use redis://, rediss://, unix:, redis-cluster://, \
         rediss-cluster://, redis-sentinel:// or rediss-sentinel://"
    )]
    Scheme {
        /// What came; empty if there is none.
        scheme: String,
    },
    /// A part of the URL is missing or cannot be read. What it is is not shown, because it can hold
    /// a password.
    #[error("the {part} of the Redis URL cannot be used; {usable}")]
    Url {
        /// Which part.
        part: &'static str,
        /// What would do.
        usable: &'static str,
    },
    /// The URL has a setting that there is none of. Its name is shown if it looks like one; else it
    /// may be a part of a password.
    #[error(
        "there is no setting {key:?} in a Redis URL; use connections, data_bytes, db, deadline_ms, max_in_flight, password, \
         prefix, sentinel_password, sentinel_user, tls_ca, tls_cert, tls_key, user, wait_ms or wait_replicas"
    )]
    UnknownKey {
        /// What came.
        key: String,
    },
    /// A setting's value cannot be used.
    #[error("{key} cannot be {value:?}; use {usable}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What came.
        value: String,
        /// What would do.
        usable: String,
    },
    /// A certificate or key cannot be read.
    #[error("the file {path:?} of the setting {key} cannot be used: {why}")]
    File {
        /// Which setting.
        key: &'static str,
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The driver refuses the settings.
    #[error("the settings for Redis cannot be used: {why}")]
    Driver {
        /// What it said.
        why: String,
    },
}

/// A store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server is reached and cannot be used: it is too old, refuses the login, or is not what
    /// the URL's scheme says.
    #[error("Redis at {server} cannot be used")]
    Server {
        /// Where it is.
        server: String,
        /// What is wrong.
        source: BoxError,
    },
}

/// Why a call did not end with an answer. Holds texts and not the driver's errors, because those
/// can quote a command with its keys.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to {server}: {why}")]
    Connect { server: String, why: String },
    #[error(
        "the Sentinels know no primary {name:?}; the URL ends with its name: redis-sentinel://host1,host2,host3/name"
    )]
    NoPrimary { name: String },
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    #[error("the server cannot serve now: {0}")]
    Busy(String),
    #[error("the slot is on its way to {host}:{port}")]
    Moving { host: String, port: u16 },
    #[error("the server is no primary any more: {0}")]
    Demoted(String),
    #[error("the server does not have the script")]
    NoScript,
    #[error(
        "{wanted} replicas were to have the change within {within:?}, {acknowledged} said so; the primary has made it"
    )]
    Replicas { wanted: usize, acknowledged: usize, within: Duration },
    #[error("the server is full: {0}")]
    Full(String),
    #[error(
        "the server wants a login and got none; put it into the URL: redis://user:password@host"
    )]
    NoLogin,
    #[error("the server refuses the login; look at user and password in the URL")]
    WrongLogin,
    #[error(
        "the Sentinel {sentinel} refuses the login; look at sentinel_user and sentinel_password in the URL"
    )]
    SentinelLogin { sentinel: String },
    #[error("the server's user lacks a right that sessions need; the crate's page lists them: {0}")]
    NoRight(String),
    #[error("the server refuses to be used like this: {0}")]
    Refused(String),
    #[error("the server speaks {found}; Redis {}.{} or Valkey is needed", OLDEST.0, OLDEST.1)]
    TooOld { found: String },
    #[error("the server is {found}; the URL for that begins with {usable}")]
    Mode { found: &'static str, usable: &'static str },
    #[error("the server's answer has another shape than expected: {0}")]
    Answer(&'static str),
    #[error("the cursor is not one of this store; begin the walk again")]
    Cursor,
}

impl ClientError {
    /// Whether the connection on which it came is of no use any more.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Demoted(_) | Self::Answer(_))
    }

    /// Whether the server said that it did nothing, and may do it a moment later.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Demoted(_))
    }
}

impl From<RedisError> for ClientError {
    fn from(error: RedisError) -> Self {
        let why = described(&error);
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => {
                Self::Lost(why)
            }
            ErrorKind::AuthenticationFailed => Self::WrongLogin,
            ErrorKind::RESP3NotSupported => {
                Self::TooOld { found: "a protocol from before Redis 6".to_owned() }
            }
            ErrorKind::Server(ServerErrorKind::Ask) => match moving_to(&error) {
                Some((host, port)) => Self::Moving { host, port },
                None => Self::Busy(why),
            },
            _ => Self::by_code(nested_code(&error).or(error.code()).unwrap_or_default(), why),
        }
    }
}

impl ClientError {
    /// What the first word of a server's error means.
    fn by_code(code: &str, why: String) -> Self {
        match code {
            // NOREPLICAS: min-replicas-to-write. BUSY: a script of somebody else runs too long.
            // MISCONF: snapshots fail. UNBLOCKED: WAIT was ended, because the server is no primary
            // any more.
            "LOADING" | "MOVED" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS"
            | "BUSY" | "MISCONF" | "UNBLOCKED" => Self::Busy(why),
            "READONLY" => Self::Demoted(why),
            "NOSCRIPT" => Self::NoScript,
            "NOPERM" => Self::NoRight(why),
            "OOM" => Self::Full(why),
            "NOAUTH" => Self::NoLogin,
            "WRONGPASS" => Self::WrongLogin,
            // What a script may not do has no code of its own.
            _ if why.contains("can't run this command") => Self::NoRight(why),
            _ => Self::Refused(why),
        }
    }
}

/// Where an `ASK` says that a slot is on its way to.
pub(crate) fn moving_to(error: &RedisError) -> Option<(String, u16)> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// The code of the error that a script met. Redis 6.2 wraps it: `ERR Error running script (…):
/// @user_script:31: @user_script: 31: -OOM …`, or `@user_script: 31: -OOM …`.
fn nested_code(error: &RedisError) -> Option<&str> {
    let (code, detail) = (error.code().unwrap_or_default(), error.detail()?);
    let of_a_script = code.starts_with("@user_script") || detail.contains("@user_script: ");
    let (_, met) = detail.split_once(": -").filter(|_| of_a_script)?;
    met.split(' ').next()
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
            | ClientError::Replicas { .. } => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            ClientError::NoLogin
            | ClientError::WrongLogin
            | ClientError::SentinelLogin { .. }
            | ClientError::NoRight(_)
            | ClientError::Refused(_)
            | ClientError::NoScript
            | ClientError::TooOld { .. }
            | ClientError::Mode { .. }
            | ClientError::Answer(_)
            | ClientError::Cursor => Self::Other { store: STORE, source: error.into() },
        }
    }
}

/// What the driver says, without what a server quotes of the command: that holds keys, names and
/// values.
pub(crate) fn described(error: &RedisError) -> String {
    let text = error.to_string();
    // What a script met stands at the end in Redis 6.2, and where it met it in later ones.
    let text = text.rsplit_once("@user_script: ").map_or(text.as_str(), |(_, met)| met);
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
    fn each_failure_is_the_decision_that_fits() {
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
            assert!(server(line).is_worth_another_try(), "{line}: {:?}", server(line));
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
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:2.",
        );
        assert!(matches!(StoreError::from(full), StoreError::Rejected(Rejection::Full { .. })));
        let full = server(
            "ERR Error running script (call to f_c0): @user_script:31: @user_script: 31: -OOM command not allowed when used memory",
        );
        assert!(matches!(full, ClientError::Full(_)), "{full:?}");
        let demoted = server(
            "ERR Error running script (call to f_c0): @user_script:3: @user_script: 3: -READONLY You can't write against a read",
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
    fn c45_nothing_of_the_command_is_quoted() {
        let error = server(
            "ERR unknown command 'EVALSHA', with args beginning with: 'f00' '1' 'session:{AbCd}secret'",
        );
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
