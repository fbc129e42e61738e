//! What a store keeps of a session, and what its calls return.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Data, Lifetime, Limits, Principal, Rejection, StoreKey};

/// A live session as a store holds it.
///
/// There are no points in time in it, because the application's clock is not the store's: `age` and `ttl` are what the store's own
/// clock said when it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The values.
    pub data: Data,
    /// 1 after creation, one more with each change of data, principal or lifetime. Extending the life is not a change.
    pub version: u64,
    /// How long ago the session was created. A rotation does not reset it.
    pub age: Duration,
    /// How long the session lives from now if nothing extends it. Never zero.
    pub ttl: Duration,
    /// Who is signed in.
    pub principal: Option<Principal>,
    /// What this session asks for in place of the policy's timeouts.
    pub lifetime: Lifetime,
}

/// A session to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRecord {
    /// The first values; none is fine.
    pub data: Data,
    /// How long it lives if nothing extends it.
    pub ttl: Duration,
    /// Who is signed in.
    pub principal: Option<Principal>,
    /// What this session asks for in place of the policy's timeouts.
    pub lifetime: Lifetime,
}

impl NewRecord {
    /// An anonymous session without values.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self { data: Data::new(), ttl, principal: None, lifetime: Lifetime::default() }
    }

    /// The same with these values.
    #[must_use]
    pub fn data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// The same for this user.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// The same with these lifetime settings.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The check that every store makes before I/O.
    ///
    /// # Errors
    /// [`Rejection`] if the key is not storable, the ttl is out of range, or the data is over the cap.
    pub fn check(&self, key: &StoreKey, limits: &Limits) -> Result<(), Rejection> {
        if !key.is_storable() {
            return Err(Rejection::Key { bytes: key.as_str().len() });
        }
        limits.check_ttl(self.ttl)?;
        limits.check_data(self.data.bytes())
    }
}

/// What [`create`](crate::SessionStore::create) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Created {
    /// The record is there, with version 1.
    New,
    /// A live record has this key already; nothing changed.
    Taken,
}

/// One session of a principal, as [`list`](crate::SessionStore::list) shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Where it is kept.
    pub key: StoreKey,
    /// How long ago it was created.
    pub age: Duration,
    /// How long it lives from now if nothing extends it.
    pub ttl: Duration,
}

/// Where a [`scan`](crate::SessionStore::scan) goes on. Only the store that made it understands it. It may hold a key, so `Debug` is masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub Box<str>);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor(***)")
    }
}

/// One page of a [`scan`](crate::SessionStore::scan).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// At most `limit` live records; fewer, even none, does not mean that the scan is at its end.
    pub records: Vec<(StoreKey, Record)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}
