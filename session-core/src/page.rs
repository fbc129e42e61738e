//! The pages of store calls that visit several sessions.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Attributes, Record, StoreKey};

/// One session of a principal, as [`list`](crate::SessionStore::list) returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// The key of the session.
    pub key: StoreKey,
    /// The time since the session was created.
    pub age: Duration,
    /// The time since the user last proved their identity.
    pub authenticated: Duration,
    /// The remaining lifetime if no call extends it.
    pub ttl: Duration,
    /// The settings and facts beside the data.
    pub attributes: Attributes,
}

/// One page of a [`list`](crate::SessionStore::list).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SummaryPage {
    /// At most `limit` live sessions. A page with fewer sessions, or none, is not always the last
    /// one.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page starts. `None` at the end.
    pub next: Option<Cursor>,
}

/// One page of a [`delete_everyone`](crate::SessionStore::delete_everyone).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeletedPage {
    /// How many live sessions this call ended.
    pub ended: u64,
    /// Where the next page starts. `None` at the end.
    pub next: Option<Cursor>,
}

/// The position at which a paged call continues. Its text is opaque: only the store that made the
/// cursor understands it. The text may contain a key, so `Debug` is masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// Makes a cursor of a text of the store. For stores.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text of the store. For stores.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor(***)")
    }
}

/// One page of a [`scan`](crate::SessionStore::scan).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// At most `limit` live records. A page with fewer records, or none, is not always the last
    /// one.
    pub records: Vec<(StoreKey, Record)>,
    /// Where the next page starts. `None` at the end.
    pub next: Option<Cursor>,
}
