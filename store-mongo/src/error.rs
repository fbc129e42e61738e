//! Errors: invalid settings, failed connects, failed calls, and how a failed call becomes a
//! [`StoreError`].

use mongodb::error::{Error, ErrorKind, WriteFailure};
use session_core::{BoxError, Rejection, StoreError};
use store_support::settings::InvalidValue;

/// The name of this store in errors and metrics.
pub(crate) const STORE: &str = "mongo";

/// The oldest supported server, and the version of its wire protocol.
pub(crate) const OLDEST_SERVER: (&str, i32) = ("5.0", 13);

/// Invalid settings.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The scheme of the URL is not a scheme of MongoDB. The error omits the rest of the URL,
    /// because it can contain a password.
    #[error("URL scheme {scheme:?} is not a MongoDB scheme; use mongodb:// or mongodb+srv://")]
    Scheme {
        /// The scheme of the URL. Empty if the URL has none.
        scheme: String,
    },
    /// A part of the URL is not valid. The error omits its text, because it can contain a password.
    #[error("the {part} of the MongoDB URL is not valid: {usable}")]
    Url {
        /// Name of the part.
        part: &'static str,
        /// What a valid part looks like.
        usable: &'static str,
    },
    /// The setting is unknown. The error shows `…` instead of a name that may be a part of a
    /// password.
    #[error(
        "unknown setting {key:?} of a MongoDB store; use collection, data_bytes, deadline_ms, in a \
         file also database, or in the URL a setting of the MongoDB driver"
    )]
    UnknownKey {
        /// Name of the setting.
        key: String,
    },
    /// The value of a setting is not valid.
    #[error("{key}: {value:?} is not valid; use {usable}")]
    Value {
        /// Name of the setting.
        key: &'static str,
        /// The value that is not valid.
        value: String,
        /// Which values are valid.
        usable: String,
    },
    /// The driver rejected the URL.
    #[error("the MongoDB driver rejected the URL: {why}")]
    Driver {
        /// The driver's message. It does not quote a URL that has a login.
        why: String,
    },
}

#[doc(hidden)]
impl From<InvalidValue> for ConfigError {
    fn from(InvalidValue { key, value, expected }: InvalidValue) -> Self {
        Self::Value { key, value, usable: expected }
    }
}

/// The store cannot be opened.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server responds but the store cannot use it: the server is too old, it rejected the
    /// login, or the collection has a conflicting index.
    #[error("the store cannot use MongoDB at {server}")]
    Server {
        /// Address of the server.
        server: String,
        /// Why the store cannot use the server.
        source: BoxError,
    },
}

session_core::debug_as_display!(ConfigError, ConnectError);

/// A failed call. The texts come from the driver or name the server's error codes. They never
/// contain the server's message, because it quotes commands and documents with keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no server is reachable: {0}")]
    Unreachable(String),
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    #[error("the server cannot serve the call now: {0}")]
    Busy(String),
    #[error(
        "fewer members acknowledged the write than the write concern asks for, and the primary may \
         have applied it: {0}"
    )]
    Unacknowledged(String),
    #[error("the server has no disk space left: {0}")]
    Full(String),
    #[error("the server rejected the login; check user, password and authSource in the URL")]
    Login,
    #[error(
        "the user lacks a privilege that sessions need; the README of store-mongo lists all of \
         them: {0}"
    )]
    MissingPrivilege(String),
    #[error("the server or the driver rejected the call: {0}")]
    Rejected(String),
    #[error(
        "directConnection=true connects to one member of a replica set, which can become a \
         secondary; remove it and name the replica set with replicaSet"
    )]
    DirectConnection,
    #[error(
        "an index of the collection conflicts with an index that sessions need: it has the same \
         name or the same fields; remove it: {0}"
    )]
    ConflictingIndex(String),
    #[error(
        "the collection has the unique index {0:?}, as the first version of this crate created \
         it; this version cannot read those sessions: drop the collection, or set \
         `collection` to another name"
    )]
    UniqueIndex(String),
    #[error(
        "the collection has a collation, which can make different users equal; drop it, or set \
         `collection` to another name"
    )]
    Collation,
    #[error(
        "the shard key of the collection is not {{_id: \"hashed\"}}; drop the collection, or set \
         `collection` to another name"
    )]
    ShardKey,
    #[error(
        "the server speaks version {found} of the wire protocol; use MongoDB {} or later",
        OLDEST_SERVER.0
    )]
    UnsupportedServer { found: i32 },
    #[error("unexpected response of the server: {0}")]
    UnexpectedResponse(&'static str),
    #[error("the cursor is not a cursor of this store; start again without a cursor")]
    InvalidCursor,
    /// The server reported a duplicate key.
    #[error(
        "a unique index rejected the session; remove all unique indexes except that of _id from \
         the collection"
    )]
    DuplicateKey,
    /// An index that a hint names does not exist.
    #[error("the collection has lost its indexes")]
    MissingIndex,
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(command) => {
                Self::by_code(command.code, &command.code_name, &command.message)
            }
            ErrorKind::Write(WriteFailure::WriteError(refused)) => Self::by_code(
                refused.code,
                refused.code_name.as_deref().unwrap_or_default(),
                &refused.message,
            ),
            ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => match concern.code {
                // UnknownReplWriteConcern, UnsatisfiableWriteConcern: a retry cannot succeed.
                79 | 100 => Self::Rejected(named(concern.code, &concern.code_name)),
                _ => Self::Unacknowledged(named(concern.code, &concern.code_name)),
            },
            // The driver's message quotes the last errors of the servers, which can contain
            // documents.
            ErrorKind::ServerSelection { .. } => {
                Self::Unreachable("no primary exists, or it does not respond".to_owned())
            }
            ErrorKind::DnsResolve { .. } => {
                Self::Unreachable("the DNS lookup of the host in the URL failed".to_owned())
            }
            ErrorKind::Io(error) => Self::Lost(error.to_string()),
            ErrorKind::ConnectionPoolCleared { .. } => {
                Self::Lost("the driver closed its connections to the server".to_owned())
            }
            ErrorKind::Shutdown => Self::Lost("the client was shut down".to_owned()),
            ErrorKind::Authentication { .. } => Self::Login,
            ErrorKind::IncompatibleServer { .. } => {
                Self::Rejected("the driver does not support this version of the server".to_owned())
            }
            ErrorKind::InvalidArgument { .. } => {
                Self::Rejected("the driver rejected the settings".to_owned())
            }
            // The message names files. The driver has not sent anything yet.
            ErrorKind::InvalidTlsConfig { message, .. } => Self::Rejected(message.clone()),
            ErrorKind::InvalidResponse { .. } => {
                Self::UnexpectedResponse("the driver cannot decode it")
            }
            // The other kinds belong to calls that this store does not make. Their messages might
            // quote what was sent.
            _ => Self::Rejected("the driver failed".to_owned()),
        }
    }
}

impl ClientError {
    /// The error for a code of the server. MongoDB defines the codes in its `error_codes.yml`.
    fn by_code(code: i32, name: &str, message: &str) -> Self {
        let named = named(code, name);
        match code {
            // The network: HostUnreachable, HostNotFound, NetworkTimeout, SocketException,
            // ConnectionPoolExpired, NetworkInterfaceExceededTimeLimit, ConnectionError.
            6 | 7 | 89 | 9001 | 317 | 202 | 384
            // An election, a shutdown: ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary,
            // InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
            // NotPrimaryOrSecondary, ReadConcernMajorityNotAvailableYet,
            // FailedToSatisfyReadPreference.
            | 91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436 | 134 | 133
            // A cursor that the server no longer has, or an index under construction:
            // CursorNotFound, CursorKilled, QueryPlanKilled, ConflictingOperationInProgress,
            // IndexBuildAlreadyInProgress, BackgroundOperationInProgressFor…, KeyNotFound.
            | 43 | 237 | 175 | 117 | 276 | 12586 | 12587 | 211
            // A sharded cluster that migrates a chunk: StaleShardVersion, StaleEpoch, StaleConfig,
            // SnapshotUnavailable.
            | 63 | 150 | 13388 | 246
            // Overload: LockTimeout, MaxTimeMSExpired, WriteConflict, ExceededTimeLimit,
            // Interrupted, TemporarilyUnavailable, IngressRequestRateLimitExceeded.
            | 24 | 50 | 112 | 262 | 11601 | 365 | 462 => Self::Busy(named),
            // WriteConcernFailed.
            64 => Self::Unacknowledged(named),
            // Unauthorized.
            13 => Self::MissingPrivilege(named),
            // AuthenticationFailed.
            18 => Self::Login,
            // OutOfDiskSpace, FileStreamFailed.
            14031 | 39 => Self::Full(named),
            // IndexOptionsConflict, IndexKeySpecsConflict.
            85 | 86 => Self::ConflictingIndex(named),
            11000 | 11001 => Self::DuplicateKey,
            // BadValue, IndexNotFound.
            2 if message.contains(NO_SUCH_INDEX) => Self::MissingIndex,
            27 => Self::MissingIndex,
            _ => Self::Rejected(named),
        }
    }
}

/// Part of the server's message for a hint that names a missing index.
const NO_SUCH_INDEX: &str = "hint provided does not correspond to an existing index";

fn named(code: i32, name: &str) -> String {
    if name.is_empty() { format!("error {code}") } else { format!("{name} ({code})") }
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Full(_) => {
                Rejection::Full { store: STORE.into(), what: "disk".into() }.into()
            }
            ClientError::Unreachable(_)
            | ClientError::Lost(_)
            | ClientError::Busy(_)
            | ClientError::Unacknowledged(_) => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            ClientError::Login
            | ClientError::MissingPrivilege(_)
            | ClientError::Rejected(_)
            | ClientError::ConflictingIndex(_)
            | ClientError::UniqueIndex(_)
            | ClientError::Collation
            | ClientError::ShardKey
            | ClientError::DirectConnection
            | ClientError::UnsupportedServer { .. }
            | ClientError::UnexpectedResponse(_)
            | ClientError::InvalidCursor
            | ClientError::DuplicateKey
            | ClientError::MissingIndex => Self::Other { store: STORE, source: error.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_codes_map_to_store_errors() {
        let error = |code| ClientError::by_code(code, "Name", "message");
        for code in [91, 189, 10107, 11600, 11602, 13435, 13436, 112, 50, 64] {
            assert!(StoreError::from(error(code)).is_transient(), "{code}");
        }
        for code in [13, 18, 85, 26, 59, 9] {
            assert!(
                matches!(StoreError::from(error(code)), StoreError::Other { store: "mongo", .. }),
                "{code}"
            );
        }
        assert!(matches!(
            StoreError::from(error(14031)),
            StoreError::Rejected(Rejection::Full { .. })
        ));
        assert!(matches!(error(11000), ClientError::DuplicateKey));
        let broken = Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(StoreError::from(ClientError::from(broken)).is_transient());
    }

    #[test]
    fn debug_shows_the_message_and_the_sources() {
        let source = BoxError::from(ClientError::Login);
        let error = ConnectError::Server { server: "db:27017".to_owned(), source };
        assert_eq!(format!("{error:?}"), format!("{error}: {}", ClientError::Login));
    }

    #[test]
    fn c45_errors_do_not_quote_server_messages() {
        for code in [2, 9, 13, 26, 11000, 241, 112] {
            let error = ClientError::by_code(
                code,
                "Name",
                "not authorized to execute { findAndModify: 'sessions', query: { key: 'secret' } }",
            );
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
