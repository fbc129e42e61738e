//! The records that stores keep, and the results of creating and ending them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Attributes, Data, Limits, Principal, Rejection, ReplacedSecrets, SecretHash, StoreKey,
};

/// A live session as a store holds it.
///
/// It contains durations instead of points in time, because the clock of the application differs
/// from that of the store. Every duration is measured by the store's clock at the moment of the
/// answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The values.
    pub data: Data,
    /// 1 after creation. Each change of data, principal or attributes adds 1. A rotation and a new
    /// ttl are not changes.
    pub version: u64,
    /// The hash of the current secret.
    pub secret: SecretHash,
    /// The number of rotations that led to the current secret.
    pub generation: u32,
    /// The generation at which the current principal signed in. 0 in an anonymous session.
    pub since: u32,
    /// The former secret, while it may still read.
    pub grace: Option<Grace>,
    /// The time since the session was created. A rotation does not reset it.
    pub age: Duration,
    /// The time since the last rotation. Equal to `age` before the first rotation.
    pub rotated: Duration,
    /// The time since the user last proved their identity. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// The remaining lifetime if no call extends it. Never zero.
    pub ttl: Duration,
    /// The signed-in user.
    pub principal: Option<Principal>,
    /// The settings and facts beside the data.
    pub attributes: Attributes,
}

/// The secret that a rotation replaced, while it may still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    /// The hash of the former secret.
    pub secret: SecretHash,
    /// How much longer it may read. Never zero.
    pub left: Duration,
}

/// A record as [`load`](crate::SessionStore::load) returns it: its content is not accessible until
/// a secret opens it.
///
/// A request reads the record only through [`Self::open`], with the hash of its own secret. So a
/// caller cannot skip the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored(Box<Record>);

impl Stored {
    /// Wraps a record. For stores.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self(Box::new(record))
    }

    /// Compares the hash of a request's secret and returns what that secret may see.
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

    /// Returns the record without a secret. For administration and for copies between stores. A
    /// request never calls it.
    #[must_use]
    pub fn into_record(self) -> Record {
        *self.0
    }
}

/// What [`Stored::open`] returns for a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// The secret is the current one.
    Current(Box<Record>),
    /// A rotation replaced the secret, and its grace is not over: the secret may still read.
    Grace(Box<Record>),
    /// The session lives and has another secret.
    Superseded(Superseded),
}

/// The part of a record that a request with a superseded secret may see. The request needs it to
/// decide what it can still do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Superseded {
    /// The generation of the current secret.
    pub generation: u32,
    /// The generation at which the current principal signed in. 0 in an anonymous session.
    pub since: u32,
    /// The time since the session was created.
    pub age: Duration,
    /// The time since the last rotation.
    pub rotated: Duration,
    /// The secrets that were replaced shortly before the last rotation.
    pub replaced: ReplacedSecrets,
    /// The signed-in user.
    pub principal: Option<Principal>,
}

impl Superseded {
    /// The time since the secret of this generation was replaced. `None` if the secret was not
    /// replaced, or if that was too long ago to be recorded.
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
/// [`Self::new`] makes a new session. A copy between stores sets every field
/// ([`Record::into_new`]), so that the copy does not extend any lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRecord {
    /// The initial values. May be empty.
    pub data: Data,
    /// The version: 1 or more.
    pub version: u64,
    /// The hash of the secret.
    pub secret: SecretHash,
    /// The number of rotations that led to the secret.
    pub generation: u32,
    /// The generation at which the principal signed in. 0 in an anonymous session.
    pub since: u32,
    /// The time since the session was created. Zero in a new one.
    pub age: Duration,
    /// The time since the user last proved their identity. `None` exactly if there is no principal.
    pub authenticated: Option<Duration>,
    /// The lifetime if no call extends it.
    pub ttl: Duration,
    /// The signed-in user.
    pub principal: Option<Principal>,
    /// The settings and facts beside the data.
    pub attributes: Attributes,
}

impl NewRecord {
    /// A new anonymous session without values.
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

    /// Sets the values.
    #[must_use]
    pub fn data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// Sets the user, who signed in just now.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self.authenticated = Some(Duration::ZERO);
        self
    }

    /// Sets the attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// The check that every store makes before I/O.
    ///
    /// # Errors
    /// [`Rejection`] if a store cannot keep records under the key, if the ttl is out of range, if
    /// the data exceeds the limit, or if the fields contradict each other.
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
                "the authentication must not be older than the session, \
                 nor the session older than 100 years",
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
    /// The record to create in another store. The copy has the same data, ages, deadline, version
    /// and generation.
    #[must_use]
    pub fn into_new(self) -> NewRecord {
        NewRecord {
            data: self.data,
            version: self.version,
            secret: self.secret,
            generation: self.generation,
            since: self.since,
            age: self.age,
            authenticated: self.authenticated,
            ttl: self.ttl,
            principal: self.principal,
            attributes: self.attributes,
        }
    }

    /// The age that the absolute timeout counts: since the last proof of identity, or since the
    /// creation of an anonymous session.
    #[must_use]
    pub fn timeout_age(&self) -> Duration {
        self.authenticated.unwrap_or(self.age)
    }
}

/// The result of [`create`](crate::SessionStore::create).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Created {
    /// The record was created.
    New,
    /// A live record already has this key. Nothing changed.
    Taken,
}

/// Which sessions a [`delete`](crate::SessionStore::delete) may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Any session under the key.
    Any,
    /// The session, if its current principal signed in at this generation or earlier (`since` ≤
    /// generation).
    Generation(u32),
}

/// The result of [`delete`](crate::SessionStore::delete).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Deleted {
    /// A live session ended.
    Ended,
    /// There was no live session.
    Missing,
    /// The session lives on: its principal signed in after the generation of the claim.
    Superseded,
}
