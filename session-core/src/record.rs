//! What a store keeps of a session, and what its calls return.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Attributes, Data, Limits, Principal, Rejection, Replaced, SecretHash, StoreKey};

/// A live session as a store holds it.
///
/// It has durations and no points in time, because the application's clock is not the store's:
/// every duration is what the store's own clock said when it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The values.
    pub data: Data,
    /// 1 after creation, one more with each change of data, principal or attributes. A rotation,
    /// and a longer life, are not changes.
    pub version: u64,
    /// The hash of the current secret.
    pub secret: SecretHash,
    /// How many rotations led to the current secret.
    pub generation: u32,
    /// The generation at which the present principal signed in; 0 in an anonymous session.
    pub since: u32,
    /// The former secret while it may still read.
    pub grace: Option<Grace>,
    /// How long ago the session was created. A rotation does not reset it.
    pub age: Duration,
    /// How long ago the secret was rotated last; equal to `age` before the first rotation.
    pub rotated: Duration,
    /// How long ago the user proved who they are. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// How long the session lives from now if nothing extends it. Never zero.
    pub ttl: Duration,
    /// Who is signed in.
    pub principal: Option<Principal>,
    /// What the session keeps beside its data.
    pub attributes: Attributes,
}

/// The secret that a rotation replaced, while it may still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    /// The hash of the former secret.
    pub secret: SecretHash,
    /// How long it may still read. Never zero.
    pub left: Duration,
}

/// A record as [`load`](crate::SessionStore::load) returns it: closed until a secret opens it.
///
/// A request can only read the record by [`Self::open`] with the hash of its own secret, so no
/// caller can forget the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored(Box<Record>);

impl Stored {
    /// Closes a record. For stores.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self(Box::new(record))
    }

    /// Opens the record with the hash of a request's secret.
    #[must_use]
    pub fn open(self, secret: &SecretHash) -> Opened {
        if self.0.secret == *secret {
            return Opened::Current(self.0);
        }
        if self.0.grace.as_ref().is_some_and(|grace| grace.secret == *secret) {
            return Opened::Grace(self.0);
        }
        let Record { generation, since, age, rotated, principal, attributes, .. } = *self.0;
        Opened::Superseded(Superseded {
            generation,
            since,
            age,
            rotated,
            replaced: attributes.replaced,
            principal,
        })
    }

    /// The record without a secret. For administration and copies between stores; a request never
    /// calls it.
    #[must_use]
    pub fn into_record(self) -> Record {
        *self.0
    }
}

/// What a secret opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The secret is the current one.
    Current(Box<Record>),
    /// The secret was replaced a moment ago and may still read.
    Grace(Box<Record>),
    /// The session lives and has another secret.
    Superseded(Superseded),
}

/// What a request with a superseded secret may know, to decide what it can still do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The generation of the current secret.
    pub generation: u32,
    /// The generation at which the present principal signed in; 0 in an anonymous session.
    pub since: u32,
    /// How long ago the session was created.
    pub age: Duration,
    /// How long ago the secret was rotated last.
    pub rotated: Duration,
    /// What was replaced shortly before that.
    pub replaced: Replaced,
    /// Who is signed in.
    pub principal: Option<Principal>,
}

impl Superseded {
    /// How long ago the secret of this generation was replaced; `None` if it is not known to have
    /// been replaced, or was so long ago.
    #[must_use]
    pub fn replaced_ago(&self, generation: u32) -> Option<Duration> {
        if generation.checked_add(1) == Some(self.generation) {
            return Some(self.rotated);
        }
        Some(self.age.saturating_sub(self.replaced.age_at(generation)?))
    }
}

/// A session to create.
///
/// [`Self::new`] makes a fresh one. A copy between stores sets every field ([`Record::into_new`]),
/// so that it prolongs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRecord {
    /// The first values; may be empty.
    pub data: Data,
    /// The version, 1 or more.
    pub version: u64,
    /// The hash of the secret.
    pub secret: SecretHash,
    /// How many rotations led to the secret.
    pub generation: u32,
    /// The generation at which the principal signed in; 0 in an anonymous session.
    pub since: u32,
    /// How long ago the session was created; zero in a fresh one.
    pub age: Duration,
    /// How long ago the user proved who they are. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// How long it lives if nothing extends it.
    pub ttl: Duration,
    /// Who is signed in.
    pub principal: Option<Principal>,
    /// What the session keeps beside its data.
    pub attributes: Attributes,
}

impl NewRecord {
    /// A fresh anonymous session without values.
    #[must_use]
    pub fn new(secret: SecretHash, ttl: Duration) -> Self {
        Self {
            data: Data::new(),
            version: 1,
            secret,
            generation: 0,
            since: 0,
            age: Duration::ZERO,
            authenticated: None,
            ttl,
            principal: None,
            attributes: Attributes::default(),
        }
    }

    /// The same with these values.
    #[must_use]
    pub fn data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// The same for this user, who has signed in just now.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self.authenticated = Some(Duration::ZERO);
        self
    }

    /// The same with these attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// The check that every store makes before I/O.
    ///
    /// # Errors
    /// [`Rejection`] if the key is not storable, the ttl is out of range, the data is over the cap,
    /// or the fields contradict each other.
    pub fn check(&self, key: &StoreKey, limits: &Limits) -> Result<(), Rejection> {
        if !key.is_storable() {
            return Err(Rejection::Key { bytes: key.as_str().len() });
        }
        limits.check_ttl(self.ttl)?;
        limits.check_data(self.data.bytes())?;
        let inconsistent = |why: &str| Err(Rejection::Inconsistent { why: why.into() });
        if self.version == 0 || self.version > Limits::LARGEST_VERSION {
            return inconsistent("the version must be 1 to 2^53");
        }
        if self.principal.is_some() != self.authenticated.is_some() {
            return inconsistent("a principal and the age of the authentication belong together");
        }
        if self.age > Limits::LONGEST_AGE || self.authenticated > Some(self.age) {
            return inconsistent(
                "the authentication must not be older than the session, nor the session older than 100 years",
            );
        }
        if self.since > self.generation || (self.principal.is_none() && self.since != 0) {
            return inconsistent(
                "`since` must not exceed the generation, and must be 0 without a principal",
            );
        }
        Ok(())
    }
}

impl Record {
    /// The record to create in another store so that the copy has the same data, ages, deadline,
    /// version and generation.
    #[must_use]
    pub fn into_new(self) -> NewRecord {
        let Self {
            data,
            version,
            secret,
            generation,
            since,
            age,
            authenticated,
            ttl,
            principal,
            attributes,
            ..
        } = self;
        NewRecord {
            data,
            version,
            secret,
            generation,
            since,
            age,
            authenticated,
            ttl,
            principal,
            attributes,
        }
    }

    /// What the absolute timeout counts from: the sign-in, or the creation of an anonymous session.
    #[must_use]
    pub fn timeout_age(&self) -> Duration {
        self.authenticated.unwrap_or(self.age)
    }
}

/// What [`create`](crate::SessionStore::create) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Created {
    /// The record is there.
    New,
    /// A live record has this key already; nothing changed.
    Taken,
}

/// Which sessions a [`delete`](crate::SessionStore::delete) may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Whatever session has the key.
    Any,
    /// The session, if its present principal signed in at this generation or before it (`since` ≤
    /// generation).
    Generation(u32),
}

/// What [`delete`](crate::SessionStore::delete) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Deleted {
    /// A live session has ended.
    Ended,
    /// There was no live session.
    Missing,
    /// The session lives on: its principal signed in after the generation of the claim.
    Superseded,
}

/// One session of a principal, as [`list`](crate::SessionStore::list) shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Where it is kept.
    pub key: StoreKey,
    /// How long ago it was created.
    pub age: Duration,
    /// How long ago the user proved who they are.
    pub authenticated: Duration,
    /// How long it lives from now if nothing extends it.
    pub ttl: Duration,
    /// What it keeps beside its data.
    pub attributes: Attributes,
}

/// One page of a [`list`](crate::SessionStore::list).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryPage {
    /// At most `limit` live sessions; fewer, even none, does not mean that the list is at its end.
    pub sessions: Vec<SessionSummary>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// One page of a [`delete_everyone`](crate::SessionStore::delete_everyone).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedPage {
    /// How many live sessions have ended.
    pub ended: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Where a walk in pages goes on. Only the store that made it understands it. It may hold a key, so
/// `Debug` is masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// Makes a cursor of a text that only the store understands. For stores.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text. For stores.
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
    /// At most `limit` live records; fewer, even none, does not mean that the scan is at its end.
    pub records: Vec<(StoreKey, Record)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}
