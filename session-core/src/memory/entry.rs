//! One session as a shard keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    clock::nanos,
    quota::{Parts, memory_bytes},
};
use crate::{
    Attributes, Data, Grace, NewRecord, Principal, Record, SecretHash, SessionSummary, StoreKey,
    principal::SessionKind,
};

/// One session. Times are nanoseconds of the store's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: StoreKey,
    pub(super) data: Data,
    pub(super) version: u64,
    pub(super) secret: SecretHash,
    pub(super) generation: u32,
    pub(super) since: u32,
    pub(super) created: u64,
    pub(super) rotated: u64,
    pub(super) deadline: u64,
    /// Boxed: most sessions are never rotated with a grace.
    pub(super) former: Option<Box<FormerSecret>>,
    pub(super) user: Option<SignedInUser>,
    /// Boxed, and absent by default: most sessions have no attributes, and 100 bytes per session
    /// are 100 MB per million sessions.
    pub(super) attributes: Option<Box<Attributes>>,
}

/// The signed-in user, and when they last proved their identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignedInUser {
    pub(super) principal: Principal,
    pub(super) authenticated: u64,
}

/// The secret that a rotation replaced, and until when it may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FormerSecret {
    pub(super) secret: SecretHash,
    pub(super) until: u64,
}

impl Entry {
    pub(super) fn new(key: StoreKey, new: NewRecord, now: u64) -> Self {
        let ago = |age: Duration| now.saturating_sub(nanos(age));
        Self {
            key,
            data: new.data,
            version: new.version,
            secret: new.secret,
            generation: new.generation,
            since: new.since,
            created: ago(new.age),
            rotated: ago(new.age),
            deadline: now.saturating_add(nanos(new.ttl)),
            former: None,
            user: new
                .principal
                .zip(new.authenticated)
                .map(|(principal, age)| SignedInUser { principal, authenticated: ago(age) }),
            attributes: boxed(new.attributes),
        }
    }

    /// A session is expired exactly at its deadline.
    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.deadline
    }

    pub(super) fn record(&self, now: u64) -> Record {
        let former = self.former.as_deref().filter(|former| now < former.until);
        Record {
            data: self.data.clone(),
            version: self.version,
            secret: self.secret,
            generation: self.generation,
            since: self.since,
            grace: former
                .map(|former| Grace { secret: former.secret, left: between(now, former.until) }),
            age: between(self.created, now),
            rotated: between(self.rotated, now),
            authenticated: self.authenticated(now),
            ttl: between(now, self.deadline),
            principal: self.principal().cloned(),
            attributes: self.attributes(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        memory_bytes(&Parts {
            key: &self.key,
            principal: self.principal(),
            data_bytes: self.data.bytes(),
            values: self.data.len(),
            attributes: self.attributes.as_deref(),
            has_former_secret: self.former.is_some(),
        })
    }

    pub(super) fn kind(&self) -> SessionKind {
        SessionKind::of(self.principal())
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.user.as_ref().map(|user| &user.principal)
    }

    pub(super) fn authenticated(&self, now: u64) -> Option<Duration> {
        self.user.as_ref().map(|user| between(user.authenticated, now))
    }

    pub(super) fn attributes(&self) -> Attributes {
        self.attributes.as_deref().cloned().unwrap_or_default()
    }

    pub(super) fn summary(&self, now: u64) -> SessionSummary {
        SessionSummary {
            key: self.key.clone(),
            age: between(self.created, now),
            authenticated: self.authenticated(now).unwrap_or_default(),
            ttl: between(now, self.deadline),
            attributes: self.attributes(),
        }
    }
}

pub(super) fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

pub(super) fn boxed(attributes: Attributes) -> Option<Box<Attributes>> {
    (!attributes.is_default()).then(|| Box::new(attributes))
}
