//! What can go wrong with a store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Handle, Name};

/// The error below a [`StoreError`]: a driver's, the operating system's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A store could not do what it was asked.
///
/// The variants are decisions, not origins: each says what the caller can do next. A missing or
/// expired record is never an error. The text names the store and never a key, a value or a
/// password; the driver's own words are in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The backend cannot be reached or refused the call as overloaded. Transient.
    #[error("the {store} store is unavailable")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// What the driver said.
        source: BoxError,
    },
    /// The backend did not answer in time. Transient; a write may have landed.
    #[error("the {store} store did not answer within {after:?}")]
    Timeout {
        /// Which store.
        store: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// What is stored is not a record that this version can read. It was not changed; a newer
    /// version may have written it.
    #[error("the record of session {handle} in the {store} store cannot be read")]
    Corrupt {
        /// Which store.
        store: &'static str,
        /// Which session.
        handle: Handle,
        /// What does not fit.
        source: BoxError,
    },
    /// The call itself is not allowed. Nothing changed, and trying again will not help.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store cannot do this at all. Nothing changed.
    #[error("the {store} store does not support {what}")]
    Unsupported {
        /// Which store.
        store: &'static str,
        /// The call or option.
        what: &'static str,
    },
    /// Anything else: wrong rights, a missing table, a bug.
    #[error("the {store} store failed")]
    Other {
        /// Which store.
        store: &'static str,
        /// What the driver said.
        source: BoxError,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}

/// Why a store refuses a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The record would have more data than the store's cap.
    #[error(
        "the session would hold {bytes} bytes of data; at most {limit} are allowed; keep large things elsewhere and their key here"
    )]
    DataTooLarge {
        /// What it would hold, or what the commit alone brings.
        bytes: usize,
        /// The cap.
        limit: usize,
    },
    /// `Add` on a value that is no integer within `i64`.
    #[error("the session value {name:?} is not an integer, so nothing can be added to it")]
    NotAnInteger {
        /// Which value.
        name: Name,
    },
    /// `Add` would leave the range of `i64`.
    #[error("adding to the session value {name:?} leaves the range of 64-bit integers")]
    Overflow {
        /// Which value.
        name: Name,
    },
    /// A life out of range.
    #[error("a session cannot live for {ttl:?}; use 1 ms to 3,650 days")]
    Ttl {
        /// What came.
        ttl: Duration,
    },
    /// A key under which no record may be kept.
    #[error("a store key needs 1 to 128 bytes without control characters; {bytes} bytes came")]
    Key {
        /// The length that came.
        bytes: usize,
    },
    /// A new principal without a new secret: whoever planted the old one would be signed in
    /// (session fixation).
    #[error("a commit that sets a principal must rotate the secret")]
    PrincipalWithoutRotation,
    /// A grace beside a new principal or authentication: the former secret would see what it must
    /// not.
    #[error(
        "a rotation that signs in or re-authenticates must not leave a grace to the former secret"
    )]
    GraceWithSignIn,
    /// A grace out of range.
    #[error("a former secret cannot read for {grace:?}; use 1 ms to 60 s, or none")]
    Grace {
        /// The duration that was asked for.
        grace: Duration,
    },
    /// Fields of a new record that contradict each other.
    #[error("the new record is inconsistent: {why}")]
    Inconsistent {
        /// The rule that is broken.
        why: Box<str>,
    },
    /// The store holds as much as it may.
    #[error("the {store} store is full ({what}); raise its cap or shorten the idle timeout")]
    Full {
        /// Which store.
        store: Box<str>,
        /// Which cap was reached.
        what: Box<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unavailable_and_timeout_are_transient() {
        let source = || BoxError::from("refused");
        assert!(StoreError::Unavailable { store: "test", source: source() }.is_transient());
        assert!(
            StoreError::Timeout { store: "test", after: Duration::from_secs(2) }.is_transient()
        );
        assert!(!StoreError::Other { store: "test", source: source() }.is_transient());
        assert!(!StoreError::from(Rejection::PrincipalWithoutRotation).is_transient());
    }
}
