//! The errors of session stores.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Handle, Name, error_debug::debug_as_display};

/// The cause of a [`StoreError`], such as an error of a database driver or of the operating system.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A store could not complete a call.
///
/// Each variant tells the caller what to do next. A missing or expired record is not an error. The
/// error text names the store. It never contains a key, a value or a password. The text of the
/// driver is in `source()`.
///
/// `Debug` shows the same text as `Display`, followed by the sources, so that a `main` that returns
/// the error prints one readable line.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The backend cannot be reached, or it refused the call because it is overloaded. Retry later.
    #[error("the {store} store is unavailable")]
    Unavailable {
        /// The name of the store.
        store: &'static str,
        /// The error of the driver.
        source: BoxError,
    },
    /// The backend did not answer in time. Retry later. A write may have taken effect.
    #[error("the {store} store did not answer within {after:?}")]
    Timeout {
        /// The name of the store.
        store: &'static str,
        /// How long the store waited.
        after: Duration,
    },
    /// The stored record cannot be read by this version of the program. A newer version may have
    /// written it. The store left it unchanged.
    #[error("the record of session {handle} in the {store} store cannot be read")]
    Corrupt {
        /// The name of the store.
        store: &'static str,
        /// The public name of the session.
        handle: Handle,
        /// The reason why the record cannot be read.
        source: BoxError,
    },
    /// The arguments of the call are not valid. Nothing changed. A retry fails in the same way.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store does not implement this call or option. Nothing changed.
    #[error("the {store} store does not support {what}")]
    Unsupported {
        /// The name of the store.
        store: &'static str,
        /// The call or option.
        what: &'static str,
    },
    /// Any other failure, such as missing permissions, a missing table or a bug.
    #[error("the {store} store failed")]
    Other {
        /// The name of the store.
        store: &'static str,
        /// The error of the driver.
        source: BoxError,
    },
}

debug_as_display!(StoreError, Rejection);

impl StoreError {
    /// Whether the same call may succeed later without a change of configuration or data.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}

/// The reason why a store rejects a call.
///
/// `Debug` shows the same text as `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The record would exceed the store's limit on data.
    #[error(
        "the session would hold {bytes} bytes of data; at most {limit} are allowed; \
         store large values elsewhere and keep only their key in the session"
    )]
    DataTooLarge {
        /// The size that the record would have, or the size of the commit alone.
        bytes: usize,
        /// The limit of the store.
        limit: usize,
    },
    /// `Add` on a value that is not an integer within `i64`.
    #[error("the session value {name:?} is not an integer; add needs a number without a fraction")]
    NotAnInteger {
        /// The name of the value.
        name: Name,
    },
    /// The result of `Add` is outside the range of `i64`.
    #[error("adding to the session value {name:?} leaves the range of 64-bit integers")]
    Overflow {
        /// The name of the value.
        name: Name,
    },
    /// The ttl is out of range.
    #[error("the ttl {ttl:?} is not valid; use 1 ms to 3,650 days")]
    Ttl {
        /// The ttl of the call.
        ttl: Duration,
    },
    /// The store cannot keep a record under this key.
    #[error(
        "a store key of {bytes} bytes is not valid; use 1 to 128 bytes without control characters"
    )]
    Key {
        /// The length of the key.
        bytes: usize,
    },
    /// A commit sets a principal and does not rotate the secret. An attacker who planted the old
    /// secret would be signed in (session fixation).
    #[error("a commit that sets a principal must rotate the secret")]
    PrincipalWithoutRotation,
    /// A commit sets a principal or an authentication and leaves a grace to the former secret. Such
    /// a grace would show the new user's data to the former secret.
    #[error(
        "a rotation that signs in or re-authenticates must not leave a grace to the former secret"
    )]
    GraceWithSignIn,
    /// The grace is out of range.
    #[error("the grace {grace:?} of a former secret is not valid; use 1 ms to 60 s, or none")]
    Grace {
        /// The grace of the call.
        grace: Duration,
    },
    /// The fields of a new record contradict each other.
    #[error("the new record is inconsistent: {why}")]
    Inconsistent {
        /// The rule that the record breaks.
        why: Box<str>,
    },
    /// The store has reached one of its limits.
    #[error("the {store} store is full ({what}); raise this limit or shorten the idle timeout")]
    Full {
        /// The name of the store.
        store: Box<str>,
        /// The limit that was reached.
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
