//! The messages between a client and the owner.
//!
//! The types have no `Debug`, because a request holds keys. A change here, or of a type of
//! `session-core` in a message, needs a new
//! [`PROTOCOL_VERSION`](crate::wire::frame::PROTOCOL_VERSION).

use std::{error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, Handle, NewRecord, Outcome, Page,
    Principal, Rejection, StoreError, StoreKey, Stored, SummaryPage,
};

use crate::error::STORE;

/// One call of the store.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Create(StoreKey, NewRecord),
    Load(StoreKey),
    Commit(StoreKey, Commit),
    Delete(StoreKey, Claim),
    List(Principal, Option<Cursor>, u64),
    DeleteAll(Principal, Option<StoreKey>),
    DeleteEveryone(Option<Cursor>, u64),
    Scan(Option<Cursor>, u64),
    DeleteExpired(u64),
    Ping,
}

/// The result of a call.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    Created(Created),
    Loaded(Option<Stored>),
    Committed(Outcome),
    Deleted(Deleted),
    Listed(SummaryPage),
    DeletedEveryone(DeletedPage),
    Count(u64),
    Page(Page),
    Pong,
    Failed(Failure),
}

/// A [`StoreError`] in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Rejected(Rejection),
    Unavailable { store: Box<str>, text: Box<str> },
    Timeout { after: Duration },
    Corrupt { store: Box<str>, handle: Box<str>, text: Box<str> },
    Unsupported,
    Other { store: Box<str>, text: Box<str> },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected(rejection) => Self::Rejected(rejection),
            StoreError::Unavailable { store, source } => {
                Self::Unavailable { store: store.into(), text: chain(&*source) }
            }
            StoreError::Timeout { after, .. } => Self::Timeout { after },
            StoreError::Corrupt { store, handle, source } => Self::Corrupt {
                store: store.into(),
                handle: handle.as_str().into(),
                text: chain(&*source),
            },
            StoreError::Unsupported { .. } => Self::Unsupported,
            StoreError::Other { store, source } => {
                Self::Other { store: store.into(), text: chain(&*source) }
            }
            // The enum is non-exhaustive. A variant that this release does not know is reported as
            // text.
            other => Self::Other { store: "wrapped".into(), text: chain(&other) },
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let store = STORE;
        match failure {
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Unavailable { store: inner, text } => {
                Self::Unavailable { store, source: WrappedStoreError { store: inner, text }.into() }
            }
            Failure::Timeout { after } => Self::Timeout { store, after },
            Failure::Corrupt { store: inner, handle, text } => match Handle::parse(&handle) {
                Some(handle) => Self::Corrupt {
                    store,
                    handle,
                    source: WrappedStoreError { store: inner, text }.into(),
                },
                None => {
                    Self::Other { store, source: WrappedStoreError { store: inner, text }.into() }
                }
            },
            Failure::Unsupported => {
                Self::Unsupported { store, what: "a call that the owner's store does not support" }
            }
            Failure::Other { store: inner, text } => {
                Self::Other { store, source: WrappedStoreError { store: inner, text }.into() }
            }
        }
    }
}

/// The error of the store behind the owner.
#[derive(Debug, thiserror::Error)]
#[error("the owner's {store} store failed: {text}")]
struct WrappedStoreError {
    store: Box<str>,
    text: Box<str>,
}

/// An error and its sources in one line.
fn chain(error: &(dyn Error + 'static)) -> Box<str> {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use session_core::{BoxError, Name};

    use super::*;
    use crate::wire::frame;

    fn round_trip(error: StoreError) -> StoreError {
        let bytes = postcard::to_stdvec(&Failure::from(error)).unwrap();
        frame::decode::<Failure>(&bytes).unwrap().into()
    }

    #[test]
    fn each_error_keeps_its_kind_over_the_wire() {
        let source = || BoxError::from(std::io::Error::other("disk is gone"));
        let handle = StoreKey::from_text("some key").handle();
        let after = Duration::from_millis(1_500);
        for (error, shown) in [
            (
                StoreError::Unavailable { store: "sql", source: source() },
                "the ipc store is unavailable",
            ),
            (
                StoreError::Timeout { store: "sql", after },
                "the ipc store did not answer within 1.5s",
            ),
            (
                StoreError::Unsupported { store: "sql", what: "rotations" },
                "the ipc store does not support a call that the owner's store does not support",
            ),
            (StoreError::Other { store: "sql", source: source() }, "the ipc store failed"),
        ] {
            let kind = std::mem::discriminant(&error);
            let (transient, error) = (error.is_transient(), round_trip(error));
            assert_eq!((std::mem::discriminant(&error), error.is_transient()), (kind, transient));
            assert_eq!(error.to_string(), shown);
        }
        match round_trip(StoreError::Corrupt { store: "sql", handle, source: source() }) {
            StoreError::Corrupt { store: "ipc", handle: received, source } => {
                assert_eq!(received, handle);
                assert_eq!(source.to_string(), "the owner's sql store failed: disk is gone");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rejections_keep_all_fields_over_the_wire() {
        let name = Name::new("visits").unwrap();
        for rejection in [
            Rejection::DataTooLarge { bytes: 70_000, limit: 65_536 },
            Rejection::NotAnInteger { name: name.clone() },
            Rejection::Overflow { name },
            Rejection::Ttl { ttl: Duration::ZERO },
            Rejection::Key { bytes: 129 },
            Rejection::PrincipalWithoutRotation,
            Rejection::GraceWithSignIn,
            Rejection::Grace { grace: Duration::from_secs(61) },
            Rejection::Inconsistent { why: "the version must be 1 to 2^53".into() },
            Rejection::Full { store: "memory".into(), what: "entries".into() },
        ] {
            match round_trip(rejection.clone().into()) {
                StoreError::Rejected(received) => assert_eq!(received, rejection),
                other => panic!("{other:?}"),
            }
        }
    }
}
