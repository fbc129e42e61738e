//! The types with which an adapter describes its connection, and the cookie change that it must
//! send with the response.

use std::time::Duration;

use crate::SessionId;

/// Whether a new id can reach the browser over this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieDelivery {
    /// The connection may carry the cookie.
    Possible,
    /// The cookie is https-only and the connection is plain http. The session creates no record and
    /// rotates no id.
    Refused,
}

/// What happens to the recorded changes when the response is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedChanges {
    /// They are committed.
    Commit,
    /// They are dropped, because the request failed.
    Drop,
}

/// The change of the cookie that the response has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CookieChange {
    /// The response sends no cookie.
    Keep,
    /// The response sends this id.
    Issue {
        /// The id.
        id: SessionId,
        /// How long the browser keeps it. With `None`, until the browser closes.
        max_age: Option<Duration>,
    },
    /// The response removes the cookie.
    Remove,
}
