//! The errors of calls on a session.

use crate::{EntropyError, InvalidName, JsonError, StoreError, error_debug::debug_as_display};

/// A call on a [`Session`](crate::Session) failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The store could not answer, or rejected the call. The cookie stays unchanged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session has ended since this request saw it alive: it was signed out, revoked or
    /// expired. Its changes are not saved.
    #[error("the session ended while the request was being served; its changes were not saved")]
    Gone,
    /// Another request gave the session a new id while this one was running. The changes are not
    /// saved, and the browser has the new id.
    #[error(
        "the session got a new id while the request was being served; its changes were not saved"
    )]
    Superseded,
    /// Other requests kept changing the same session.
    #[error(
        "the session value {name:?} was changed by other requests {attempts} times in a row; \
         try again, or use add for counters"
    )]
    Contended {
        /// The name of the value.
        name: String,
        /// The number of attempts.
        attempts: u32,
    },
    /// The text is not a valid name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value has no JSON form.
    #[error("the session value {name:?} cannot be written as JSON")]
    Encode {
        /// The name of the value.
        name: String,
        /// The reason.
        source: JsonError,
    },
    /// The stored value has another type.
    #[error("the session value {name:?} does not have the requested type")]
    Decode {
        /// The name of the value.
        name: String,
        /// The reason.
        source: JsonError,
    },
    /// The cookie is https-only and the connection is plain http, so the request can neither start
    /// nor change a session. Nothing has changed.
    #[error(
        "the session cookie is https only and this request came over plain http; \
         serve https, name the TLS proxy as trusted, \
         or use CookieConfig::development on your own machine"
    )]
    PlainHttp,
    /// The call needs a new id, and the response head with its cookies has already been sent.
    /// Nothing was created.
    #[error(
        "the response head was already sent, so a new session id cannot reach the browser; \
         make this call before the response is returned"
    )]
    HeadSent,
    /// The operating system returned no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

debug_as_display!(SessionError);
