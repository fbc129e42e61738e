//! What can go wrong, and what the caller learns of it.

use std::{io, path::PathBuf, sync::Arc};

use session_core::{Rejection, StoreError};

use crate::{trusted_owner::TrustedOwner, wire::frame::FrameError};

/// The name of this store in errors.
pub(crate) const STORE: &str = "ipc";

/// The owner cannot serve where it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// A living process serves this path already. Nothing was changed.
    #[error("another owner serves {}; stop it or choose another path", path.display())]
    AddressInUse {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Something that is no socket lies at the path. It was not removed.
    #[error("{} is there and is no socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The socket cannot be made: a missing directory, wrong rights, a path of more than 107 bytes.
    #[error("cannot serve the socket {}", path.display())]
    Bind {
        /// The path that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A stream cannot be served.
    #[error("cannot serve the stream")]
    Stream(#[source] io::Error),
    /// The owner's thread cannot be started.
    #[error("cannot start the owner's thread")]
    Thread(#[source] io::Error),
    /// The store for the owner's thread cannot be opened.
    #[error("cannot open the owner's store")]
    Open(#[source] session_core::BoxError),
    /// The store is not known to be in memory, so there is nothing to hand over.
    #[error(
        "only sessions in memory are handed over; make the owner with Owner::memory, or run two owners over one database side by side"
    )]
    NotInMemory,
    /// The predecessor has not handed the sessions over yet.
    #[error("the sessions are still with the predecessor; wait for takeover() first")]
    AwaitingHandover,
    /// The owner was shut down and serves nobody any more.
    #[error("the owner is shut down; start another one")]
    Stopped,
}

/// Settings that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL has another scheme than `ipc`. The rest of it is not shown, because another store's
    /// URL may hold a password.
    #[error(
        "a URL of the scheme {scheme:?} is no address of an owner; use ipc:/run/app/sessions.sock"
    )]
    Scheme {
        /// What came; empty if there is none.
        scheme: String,
    },
    /// The URL is not `ipc:` and an absolute path.
    #[error("{url:?} is no address of an owner; use ipc:/run/app/sessions.sock")]
    Url {
        /// What came, without its settings or a host.
        url: String,
    },
    /// The URL has a setting that there is none of.
    #[error(
        "there is no setting {key:?} in an ipc: URL; use deadline_ms, max_in_flight, frame_bytes, data_bytes or owner_uid"
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
}

/// Why a call of the client did not end with a reply. Shared by all calls that it ends.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to the owner at {}", path.display())]
    Connect { path: PathBuf, source: Arc<io::Error> },
    #[error("the connection to the owner failed")]
    Io(#[source] Arc<io::Error>),
    #[error("the owner closed the connection")]
    Closed,
    #[error("the owner serves as many connections as it may; raise its max_connections")]
    TooManyConnections,
    #[error(
        "the owner does not serve this process's user; add its uid with allow_uid or run both as one user"
    )]
    UserNotAllowed,
    #[error(
        "the process that listens there runs as uid {uid}, and the owner must run as {trusted}; set owner_uid if uid {uid} is right"
    )]
    UntrustedOwner { uid: u32, trusted: TrustedOwner },
    #[error("the bytes from the owner do not fit the protocol")]
    Protocol(#[source] Arc<FrameError>),
    #[error("the owner answered another question than was asked")]
    UnexpectedReply,
    #[error("the request cannot be encoded")]
    Encode(#[source] Arc<FrameError>),
    /// The request is longer than a frame may be; it was not sent.
    #[error("the request has {bytes} bytes, a frame at most {limit}")]
    TooLong { bytes: usize, limit: usize },
}

/// A call that the connection did not answer.
#[derive(Debug, Clone)]
pub(crate) struct FailedCall {
    pub(crate) error: ClientError,
    /// Whether a part of the request may have left this process. If not, the request can be sent
    /// over another connection.
    pub(crate) sent: bool,
}

impl FailedCall {
    pub(crate) fn unsent(error: ClientError) -> Self {
        Self { error, sent: false }
    }
}

impl From<ClientError> for StoreError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::TooLong { bytes, limit } => {
                Rejection::DataTooLarge { bytes, limit }.into()
            }
            ClientError::Connect { .. }
            | ClientError::Io(_)
            | ClientError::Closed
            | ClientError::TooManyConnections => {
                Self::Unavailable { store: STORE, source: error.into() }
            }
            ClientError::UserNotAllowed
            | ClientError::UntrustedOwner { .. }
            | ClientError::Protocol(_)
            | ClientError::UnexpectedReply
            | ClientError::Encode(_) => Self::Other { store: STORE, source: error.into() },
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_the_decision_that_fits() {
        let io = || Arc::new(io::Error::from(io::ErrorKind::BrokenPipe));
        let transient = [
            ClientError::Connect { path: "/run/s.sock".into(), source: io() },
            ClientError::Io(io()),
            ClientError::Closed,
            ClientError::TooManyConnections,
        ];
        for error in transient {
            assert!(StoreError::from(error.clone()).is_transient(), "{error}");
        }
        let lasting = [
            ClientError::UserNotAllowed,
            ClientError::UntrustedOwner { uid: 1, trusted: TrustedOwner::Uid(2) },
            ClientError::Protocol(Arc::new(FrameError::InvalidHello)),
            ClientError::UnexpectedReply,
            ClientError::Encode(Arc::new(FrameError::TrailingBytes)),
        ];
        for error in lasting {
            assert!(matches!(StoreError::from(error), StoreError::Other { store: "ipc", .. }));
        }
        let rejection = Rejection::DataTooLarge { bytes: 2, limit: 1 };
        assert!(
            matches!(StoreError::from(ClientError::TooLong { bytes: 2, limit: 1 }), StoreError::Rejected(found) if found == rejection)
        );
    }
}
