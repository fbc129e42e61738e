//! One call to a store, with its answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One call to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The number of the call in the history.
    pub id: u64,
    /// The client that made the call. `w1.2/c0` is client 0 of worker 1 after two restarts.
    pub by: String,
    /// The time just before the call, in nanoseconds of [`now`](super::now).
    pub begin: u64,
    /// The time of the answer. `None` if the process ended before the answer.
    pub end: Option<u64>,
    /// The request.
    pub op: Op,
    /// The answer.
    pub answer: Option<Answer>,
}

/// A request to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Creates a session.
    Create {
        /// The key of the session.
        key: String,
        /// The first secret.
        secret: String,
        /// The first content.
        write: Write,
    },
    /// Reads a session.
    Load {
        /// The key of the session.
        key: String,
    },
    /// Commits changes to a session.
    Commit {
        /// The key of the session.
        key: String,
        /// The secret that the request comes with.
        secret: String,
        /// The version that the record must have.
        guard: Option<u64>,
        /// The changes.
        write: Write,
        /// The rotation, if the commit rotates the secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotate: Option<Rotate>,
    },
    /// Deletes a session.
    Delete {
        /// The key of the session.
        key: String,
        /// The generation of the claim. `None` claims any session.
        claim: Option<u32>,
    },
    /// Lists the sessions of a principal, all pages.
    List {
        /// The principal.
        principal: String,
    },
    /// Ends all sessions of a principal.
    Revoke {
        /// The principal.
        principal: String,
        /// The key of the session that stays.
        except: Option<String>,
    },
}

/// A rotation: the secret that replaces the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// The new secret. Each secret occurs in one write of a history.
    pub secret: String,
    /// The generation of the new secret.
    pub generation: u32,
    /// The time in milliseconds for which the former secret may still read.
    pub grace: Option<u64>,
}

/// The changes of a creation or a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Write {
    /// Values to set. Each value occurs in one write of a history, so a read identifies its write.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names of values to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Counters and the amounts to add. Each amount is at least 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, i64>,
    /// The new principal. `Some(None)` signs the user out.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nested")]
    pub principal: Option<Option<String>>,
    /// The new remaining life, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// The answer of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The creation made the session.
    New,
    /// The creation found the key in use.
    Taken,
    /// The read found the session.
    Found(LoadedSession),
    /// The read found no live session.
    Absent,
    /// The commit took effect.
    Done {
        /// The version after the commit.
        version: u64,
        /// The sums of the counters that the commit added to.
        added: BTreeMap<String, i64>,
        /// Milliseconds since the session was created.
        age: u64,
        /// Milliseconds since the user signed in. `None` without a user.
        authenticated: Option<u64>,
        /// The remaining life, in milliseconds.
        ttl: u64,
    },
    /// The guard of the commit did not hold.
    Conflict,
    /// The session has another secret than the commit, or the claim of the deletion does not reach
    /// the session.
    Superseded,
    /// The commit found no live session.
    Gone,
    /// The deletion was made. `true` if it ended a session.
    Deleted(bool),
    /// The sessions in the list.
    Listed(Vec<ListedSession>),
    /// The number of sessions that the revocation ended.
    Revoked(u64),
    /// The store refused the call, and nothing changed.
    Rejected(String),
    /// The record is unreadable.
    Corrupt(String),
    /// The call failed without an answer. It may have taken effect, or may still do so.
    Unknown(String),
}

/// A session as a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedSession {
    /// The values and counters, as JSON text.
    pub values: BTreeMap<String, String>,
    /// The version.
    pub version: u64,
    /// The current secret.
    pub secret: String,
    /// The generation of the secret.
    pub generation: u32,
    /// The generation at which the user signed in. 0 without a user.
    pub since: u32,
    /// The former secret, and the milliseconds for which it may still read.
    pub grace: Option<(String, u64)>,
    /// The signed-in principal.
    pub principal: Option<String>,
    /// Milliseconds since the session was created.
    pub age: u64,
    /// Milliseconds since the last rotation.
    pub rotated: u64,
    /// Milliseconds since the user signed in. `None` without a user.
    pub authenticated: Option<u64>,
    /// The remaining life, in milliseconds.
    pub ttl: u64,
}

/// A session as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSession {
    /// The key of the session.
    pub key: String,
    /// Milliseconds since the user signed in.
    pub authenticated: u64,
    /// The remaining life, in milliseconds.
    pub ttl: u64,
}

/// Whether a call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call took effect before its answer.
    Happened,
    /// The call did not take effect, and will not.
    Refused,
    /// The call may have taken effect, or may still do so.
    Unknown,
}

impl Call {
    /// Returns whether the call took effect. An answered read always did.
    #[must_use]
    pub fn outcome(&self) -> CallOutcome {
        match &self.answer {
            None | Some(Answer::Unknown(_)) => CallOutcome::Unknown,
            Some(
                Answer::Taken
                | Answer::Conflict
                | Answer::Superseded
                | Answer::Gone
                | Answer::Rejected(_)
                | Answer::Corrupt(_),
            ) => CallOutcome::Refused,
            Some(_) => CallOutcome::Happened,
        }
    }

    /// Returns the key of the session that the call concerns. `None` for lists and revocations.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.op {
            Op::Create { key, .. }
            | Op::Load { key }
            | Op::Commit { key, .. }
            | Op::Delete { key, .. } => Some(key),
            Op::List { .. } | Op::Revoke { .. } => None,
        }
    }

    /// Returns the secret that a creation or a commit comes with.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match &self.op {
            Op::Create { secret, .. } | Op::Commit { secret, .. } => Some(secret),
            _ => None,
        }
    }

    /// Returns the rotation of a commit.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotate> {
        match &self.op {
            Op::Commit { rotate, .. } => rotate.as_ref(),
            _ => None,
        }
    }

    /// Returns the time by which the call took effect, if it did. `u64::MAX` if the answer leaves
    /// that open.
    #[must_use]
    pub fn settled(&self) -> u64 {
        if self.outcome() == CallOutcome::Unknown { u64::MAX } else { self.end_or_never() }
    }

    /// Returns the time of the answer, or `u64::MAX` without one.
    #[must_use]
    pub fn end_or_never(&self) -> u64 {
        self.end.unwrap_or(u64::MAX)
    }
}

impl Write {
    /// Returns whether the write makes a new version. A new remaining life alone does not.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.set.is_empty()
            || !self.remove.is_empty()
            || !self.add.is_empty()
            || self.principal.is_some()
    }
}

/// Serializes `Some(None)` as `null`, and omits `None`.
mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::option_option, clippy::ref_option, reason = "serde requires this signature")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    #[expect(clippy::option_option, reason = "serde requires this signature")]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
