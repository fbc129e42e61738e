//! What can go wrong, and what the caller learns of it.

use mongodb::error::{Error, ErrorKind, WriteFailure};
use session_core::{BoxError, Rejection, StoreError};

use crate::STORE;

/// The oldest server that is spoken to, and the version of the wire protocol by which it is known.
pub(crate) const OLDEST: (&str, i32) = ("5.0", 13);

/// Settings that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL has a scheme that is not one of MongoDB. The rest of it is not shown, because it can
    /// hold a password.
    #[error(
        "a URL of the scheme {scheme:?} is no address of a MongoDB server; use mongodb:// or mongodb+srv://"
    )]
    Scheme {
        /// What came; empty if there is none.
        scheme: String,
    },
    /// A part of the URL cannot be used. What it is is not shown, because it can hold a password.
    #[error("the {part} of the MongoDB URL cannot be used; {usable}")]
    Url {
        /// Which part.
        part: &'static str,
        /// What would do.
        usable: &'static str,
    },
    /// There is no such setting. Its name is shown if it looks like one; else it may be a part of a
    /// password.
    #[error(
        "there is no setting {key:?} of a MongoDB store; use collection, data_bytes, database (in a file), deadline_ms, or in the \
         URL one of the driver's"
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
    /// The driver refuses the URL.
    #[error("the MongoDB URL cannot be used: {why}")]
    Driver {
        /// What it said; nothing of the URL if that has a login.
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
    /// The server is reached and cannot be used: it is too old, refuses the login, or has another
    /// index in the way.
    #[error("MongoDB at {server} cannot be used")]
    Server {
        /// Where it is.
        server: String,
        /// What is wrong.
        source: BoxError,
    },
}

/// Why a call did not end with an answer. Holds texts of the driver's own and names of the server's
/// codes, and not what a server says: that quotes commands and documents, with keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no server can be reached: {0}")]
    Unreachable(String),
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    #[error("the server cannot serve now: {0}")]
    Busy(String),
    #[error(
        "the write is not acknowledged by as many members as it should be, though the primary may have made it: {0}"
    )]
    Unacknowledged(String),
    #[error("the server has no room left: {0}")]
    Full(String),
    #[error("the server refuses the login; look at user, password and authSource in the URL")]
    Login,
    #[error("the server's user lacks a right that sessions need; the crate's page lists them: {0}")]
    NoRight(String),
    #[error("the server refuses to be used like this: {0}")]
    Refused(String),
    #[error(
        "directConnection=true leads to one member of a replica set, which may be no primary; leave it out and give the set's name as replicaSet"
    )]
    Direct,
    #[error(
        "an index of the collection has the name or the fields of one that sessions need, and is another; remove it: {0}"
    )]
    OtherIndex(String),
    #[error(
        "the collection has the unique index {0:?}, as collections of this crate's first version have; sessions of that version cannot be \
         read: drop the collection, or give another name as collection"
    )]
    UniqueIndex(String),
    #[error(
        "the collection has a collation, by which different users can be equal; drop it, or give another name as collection"
    )]
    Collation,
    #[error(
        "the collection is sharded by another key than {{_id: \"hashed\"}}; drop it, or give another name as collection"
    )]
    ShardKey,
    #[error("the server speaks version {found} of the wire protocol; MongoDB {} or later is needed", OLDEST.0)]
    TooOld { found: i32 },
    #[error("the server's answer has another shape than expected: {0}")]
    Answer(&'static str),
    #[error("the cursor is not one of this store; begin again without one")]
    Cursor,
    /// A duplicate key.
    #[error("a unique index keeps the session out; the collection must have none but that of _id")]
    Taken,
    /// An index that a hint names is not there.
    #[error("the collection has lost its indexes")]
    NoIndex,
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
                // What is no member of a set, or no such number of members, stays so.
                79 | 100 => Self::Refused(named(concern.code, &concern.code_name)),
                _ => Self::Unacknowledged(named(concern.code, &concern.code_name)),
            },
            // What the driver says there quotes what servers said last, documents and all.
            ErrorKind::ServerSelection { .. } => {
                Self::Unreachable("there is no primary, or it does not answer".to_owned())
            }
            ErrorKind::DnsResolve { .. } => {
                Self::Unreachable("the name in the URL cannot be looked up".to_owned())
            }
            ErrorKind::Io(error) => Self::Lost(error.to_string()),
            ErrorKind::ConnectionPoolCleared { .. } => {
                Self::Lost("the server it led to is not what it was".to_owned())
            }
            ErrorKind::Shutdown => Self::Lost("the client was shut down".to_owned()),
            ErrorKind::Authentication { .. } => Self::Login,
            ErrorKind::IncompatibleServer { .. } => {
                Self::Refused("the driver does not speak with a server of this version".to_owned())
            }
            ErrorKind::InvalidArgument { .. } => {
                Self::Refused("the driver refuses the settings".to_owned())
            }
            // It is about files; nothing has been sent yet.
            ErrorKind::InvalidTlsConfig { message, .. } => Self::Refused(message.clone()),
            ErrorKind::InvalidResponse { .. } => {
                Self::Answer("it is none that the driver can read")
            }
            // The rest belongs to calls that are not made here; its words might quote what was
            // sent.
            _ => Self::Refused("the driver failed".to_owned()),
        }
    }
}

impl ClientError {
    /// What a server's code means. The codes are MongoDB's own, from its `error_codes.yml`.
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
            // A cursor of a server that is another one now, or of an index that is being made:
            // CursorNotFound, CursorKilled, QueryPlanKilled, ConflictingOperationInProgress,
            // IndexBuildAlreadyInProgress, BackgroundOperationInProgressFor…, KeyNotFound.
            | 43 | 237 | 175 | 117 | 276 | 12586 | 12587 | 211
            // A cluster that moves data: StaleShardVersion, StaleEpoch, StaleConfig,
            // SnapshotUnavailable.
            | 63 | 150 | 13388 | 246
            // Too much work: LockTimeout, MaxTimeMSExpired, WriteConflict, ExceededTimeLimit,
            // Interrupted, TemporarilyUnavailable, IngressRequestRateLimitExceeded.
            | 24 | 50 | 112 | 262 | 11601 | 365 | 462 => Self::Busy(named),
            // WriteConcernFailed.
            64 => Self::Unacknowledged(named),
            13 => Self::NoRight(named),
            // AuthenticationFailed, and a session of nobody.
            18 => Self::Login,
            14031 | 39 => Self::Full(named),
            85 | 86 => Self::OtherIndex(named),
            11000 | 11001 => Self::Taken,
            2 if message.contains("hint provided does not correspond to an existing index") => Self::NoIndex,
            27 => Self::NoIndex,
            _ => Self::Refused(named),
        }
    }
}

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
            | ClientError::NoRight(_)
            | ClientError::Refused(_)
            | ClientError::OtherIndex(_)
            | ClientError::UniqueIndex(_)
            | ClientError::Collation
            | ClientError::ShardKey
            | ClientError::Direct
            | ClientError::TooOld { .. }
            | ClientError::Answer(_)
            | ClientError::Cursor
            | ClientError::Taken
            | ClientError::NoIndex => Self::Other { store: STORE, source: error.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_the_decision_that_fits() {
        let of = |code| ClientError::by_code(code, "Name", "message");
        for code in [91, 189, 10107, 11600, 11602, 13435, 13436, 112, 50, 64] {
            assert!(StoreError::from(of(code)).is_transient(), "{code}");
        }
        for code in [13, 18, 85, 26, 59, 9] {
            assert!(
                matches!(StoreError::from(of(code)), StoreError::Other { store: "mongo", .. }),
                "{code}"
            );
        }
        assert!(matches!(
            StoreError::from(of(14031)),
            StoreError::Rejected(Rejection::Full { .. })
        ));
        assert!(matches!(of(11000), ClientError::Taken));
        let broken = Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(StoreError::from(ClientError::from(broken)).is_transient());
    }

    #[test]
    fn c45_nothing_that_a_server_says_is_quoted() {
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
