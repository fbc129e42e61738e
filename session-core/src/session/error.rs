//! What a handler can meet when it uses its session.

use crate::{EntropyError, InvalidName, JsonError, StoreError};

/// A call on a [`Session`](crate::Session) could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The store could not answer, or refused. The cookie stays as it is.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session was alive in this request and has gone since: signed out, revoked or expired.
    /// Its changes are not saved.
    #[error("the session ended while the request was being served; its changes were not saved")]
    Gone,
    /// Another request gave the session a new id while this one was under way. Its changes are not
    /// saved, and the browser has the new id.
    #[error(
        "the session got a new id while the request was being served; its changes were not saved"
    )]
    Superseded,
    /// Too many others changed the same session at the same time.
    #[error(
        "the session value {name:?} was changed by others {attempts} times in a row; try again, or use add for counters"
    )]
    Contended {
        /// Which value.
        name: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The text is no name for a value.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value has no JSON form.
    #[error("the session value {name:?} cannot be written as JSON")]
    Encode {
        /// Which value.
        name: String,
        /// What does not fit.
        source: JsonError,
    },
    /// The stored value is of another type.
    #[error("the session value {name:?} is not of the type that was asked for")]
    Decode {
        /// Which value.
        name: String,
        /// What does not fit.
        source: JsonError,
    },
    /// A new id would have to travel over plain http, and the cookie is https only. Nothing was
    /// created.
    #[error(
        "the session cookie is https only and this request came over plain http; serve https, name the TLS proxy as trusted, or use \
         CookieConfig::development on your own machine"
    )]
    PlainHttp,
    /// A new id is needed and the response head, with its cookies, has left already. Nothing was
    /// created.
    #[error(
        "the response head has left already, so no new session id can reach the browser; do this before the response is returned"
    )]
    HeadSent,
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}
