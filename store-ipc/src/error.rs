//! The errors of the owner, of the settings and of a client's calls.

use std::{io, path::PathBuf, sync::Arc};

use session_core::{Rejection, StoreError};
use store_support::settings::InvalidValue;

use crate::{trusted_owner::TrustedOwner, wire::frame::FrameError};

/// The name of this store in errors.
pub(crate) const STORE: &str = "ipc";

/// The owner cannot serve as requested.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// A running process serves this path already. The existing socket is unchanged.
    #[error("another owner serves {}; stop it or choose another path", path.display())]
    AddressInUse {
        /// The requested path.
        path: PathBuf,
    },
    /// A file that is not a socket exists at the path. The owner did not remove it.
    #[error("{} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The requested path.
        path: PathBuf,
    },
    /// The socket cannot be created. Causes are a missing directory, missing rights, or a path of
    /// more than 107 bytes.
    #[error("cannot serve the socket {}", path.display())]
    Bind {
        /// The requested path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The stream cannot be served.
    #[error("cannot serve the stream")]
    Stream(#[source] io::Error),
    /// The owner's thread cannot be started.
    #[error("cannot start the owner's thread")]
    Thread(#[source] io::Error),
    /// The store cannot be opened on the owner's thread.
    #[error("cannot open the owner's store")]
    Open(#[source] session_core::BoxError),
    /// The owner does not know its store as a memory store, so it cannot hand the sessions over.
    #[error(
        "only sessions in memory can be handed over; build the owner with Owner::memory, or run \
         two owners over one database side by side"
    )]
    NotInMemory,
    /// The predecessor has not handed the sessions over yet.
    #[error("the predecessor still has the sessions; await wait_for_handover() first")]
    AwaitingHandover,
    /// The owner was shut down and serves no clients.
    #[error("the owner is shut down; start another one")]
    Stopped,
}

/// A setting is not valid.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The scheme of the URL is not `ipc`. The rest of the URL is not shown, because the URL of
    /// another store may contain a password.
    #[error("the URL scheme {scheme:?} is not supported; use ipc:/run/app/sessions.sock")]
    Scheme {
        /// The scheme. Empty if there is none.
        scheme: String,
    },
    /// The URL is not `ipc:` followed by an absolute path.
    #[error("{url:?} is not the address of an owner; use ipc:/run/app/sessions.sock")]
    Url {
        /// The URL without its settings and host.
        url: String,
    },
    /// The URL contains an unknown setting.
    #[error(
        "unknown setting {key:?} in an ipc: URL; use deadline_ms, max_in_flight, frame_bytes, \
         data_bytes or owner_uid"
    )]
    UnknownKey {
        /// The name of the setting.
        key: String,
    },
    /// The value of a setting is not valid.
    #[error("{key}: {value:?} is not valid; use {usable}")]
    Value {
        /// The name of the setting.
        key: &'static str,
        /// The rejected value.
        value: String,
        /// The values that are valid.
        usable: String,
    },
}

session_core::debug_as_display!(OwnerError, ConfigError);

#[doc(hidden)]
impl From<InvalidValue> for ConfigError {
    fn from(InvalidValue { key, value, expected }: InvalidValue) -> Self {
        Self::Value { key, value, usable: expected }
    }
}

/// The reason why a client's call failed without a reply. All calls that one failure ends share it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to the owner at {}", path.display())]
    Connect { path: PathBuf, source: Arc<io::Error> },
    #[error("the connection to the owner failed")]
    Io(#[source] Arc<io::Error>),
    #[error("the owner closed the connection")]
    Closed,
    #[error("the owner has reached its limit of connections; raise its max_connections")]
    TooManyConnections,
    #[error(
        "the owner does not serve this process's user; add its uid with allow_uid or run both as \
         one user"
    )]
    UserNotAllowed,
    #[error(
        "the process that listens there runs as uid {uid}, and the owner must run as {trusted}; \
         set owner_uid if uid {uid} is right"
    )]
    UntrustedOwner { uid: u32, trusted: TrustedOwner },
    #[error("the bytes from the owner do not follow the protocol")]
    Protocol(#[source] Arc<FrameError>),
    #[error("the reply of the owner does not match the request")]
    UnexpectedReply,
    #[error("the request cannot be encoded")]
    Encode(#[source] Arc<FrameError>),
    /// The request is longer than a frame may be. The client did not send it.
    #[error("the request has {bytes} bytes, more than the limit of {limit}")]
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
    fn debug_shows_the_message_and_the_sources() {
        let error = OwnerError::Stream(io::Error::other("no descriptor is free"));
        assert_eq!(format!("{error:?}"), "cannot serve the stream: no descriptor is free");
    }

    #[test]
    fn each_client_error_maps_to_its_store_error() {
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
        let permanent = [
            ClientError::UserNotAllowed,
            ClientError::UntrustedOwner { uid: 1, trusted: TrustedOwner::Uid(2) },
            ClientError::Protocol(Arc::new(FrameError::InvalidHello)),
            ClientError::UnexpectedReply,
            ClientError::Encode(Arc::new(FrameError::TrailingBytes)),
        ];
        for error in permanent {
            assert!(matches!(StoreError::from(error), StoreError::Other { store: "ipc", .. }));
        }
        let error = StoreError::from(ClientError::TooLong { bytes: 2, limit: 1 });
        let rejection = Rejection::DataTooLarge { bytes: 2, limit: 1 };
        assert!(matches!(error, StoreError::Rejected(found) if found == rejection));
    }
}
