//! One call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One call to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number in the history.
    pub id: u64,
    /// Who made it, as `w1.2/c0`: worker 1 in its second life, its client 0.
    pub by: String,
    /// When it was about to be made, in nanoseconds of [`now`](super::now).
    pub begin: u64,
    /// When its answer was there; `None` if its process did not live to see it.
    pub end: Option<u64>,
    /// What was asked.
    pub op: Op,
    /// What came back.
    pub answer: Option<Answer>,
}

/// What is asked of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A new session.
    Create {
        /// Its key.
        key: String,
        /// Its secret.
        secret: String,
        /// What it starts with.
        write: Write,
    },
    /// A read.
    Load {
        /// Whose.
        key: String,
    },
    /// A commit.
    Commit {
        /// Of which session.
        key: String,
        /// The secret of the request.
        secret: String,
        /// The version that the record must have.
        guard: Option<u64>,
        /// What it changes.
        write: Write,
        /// The secret that it installs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotate: Option<Rotate>,
    },
    /// The end of a session.
    Delete {
        /// Which.
        key: String,
        /// The generation of the claim; `None` claims any session.
        claim: Option<u32>,
    },
    /// The sessions of a principal, all pages.
    List {
        /// Whose.
        principal: String,
    },
    /// The end of all sessions of a principal.
    Revoke {
        /// Whose.
        principal: String,
        /// The one that stays.
        except: Option<String>,
    },
}

/// A new secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// The secret. Each is written once in a history.
    pub secret: String,
    /// Its generation.
    pub generation: u32,
    /// For how many milliseconds the former secret may still read.
    pub grace: Option<u64>,
}

/// What a creation or a commit writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Values that are set; each is written once in a history, so that who reads it knows which
    /// write it was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Values that are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Counters that grow, and by how much: never by less than 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, i64>,
    /// Who is signed in from now on: `Some(None)` is nobody.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nested")]
    pub principal: Option<Option<String>>,
    /// How long it lives from now on, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// What a store answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To a creation: it is there.
    New,
    /// To a creation: the key was taken.
    Taken,
    /// To a read.
    Found(LoadedSession),
    /// To a read: there is no live session.
    Absent,
    /// To a commit: done.
    Done {
        /// The version now.
        version: u64,
        /// What the counters came to.
        added: BTreeMap<String, i64>,
        /// How long ago the session was created, in milliseconds.
        age: u64,
        /// How long ago the user signed in, in milliseconds; `None` without a user.
        authenticated: Option<u64>,
        /// How long it lives from now, in milliseconds.
        ttl: u64,
    },
    /// To a commit: the guard did not hold.
    Conflict,
    /// To a commit: the session has another secret. To a deletion: its claim does not reach the
    /// session.
    Superseded,
    /// To a commit: there is no live session.
    Gone,
    /// To a deletion: whether one was there.
    Deleted(bool),
    /// To a list.
    Listed(Vec<ListedSession>),
    /// To a revocation: how many there were.
    Revoked(u64),
    /// Refused; nothing changed.
    Rejected(String),
    /// The record cannot be read.
    Corrupt(String),
    /// No answer: whatever was asked may have happened, or may yet.
    Unknown(String),
}

/// A session as a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedSession {
    /// Its values, counters among them, as JSON text.
    pub values: BTreeMap<String, String>,
    /// Its version.
    pub version: u64,
    /// Its current secret.
    pub secret: String,
    /// The generation of the secret.
    pub generation: u32,
    /// The generation at which the user signed in; 0 without a user.
    pub since: u32,
    /// The former secret and for how many milliseconds it may still read.
    pub grace: Option<(String, u64)>,
    /// Who is signed in.
    pub principal: Option<String>,
    /// How long ago it was created, in milliseconds.
    pub age: u64,
    /// How long ago the secret was rotated last, in milliseconds.
    pub rotated: u64,
    /// How long ago the user signed in, in milliseconds; `None` without a user.
    pub authenticated: Option<u64>,
    /// How long it lives from now, in milliseconds.
    pub ttl: u64,
}

/// A session as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSession {
    /// Its key.
    pub key: String,
    /// How long ago the user signed in, in milliseconds.
    pub authenticated: u64,
    /// How long it lives from now, in milliseconds.
    pub ttl: u64,
}

/// Whether what was asked happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It did, before the answer.
    Happened,
    /// It did not and will not.
    Refused,
    /// It may have, or may yet.
    Unknown,
}

impl Call {
    /// Whether what was asked happened. A read always did, if it was answered.
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

    /// The key that it is about, if it is about one.
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

    /// The secret that a creation or a commit comes with.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match &self.op {
            Op::Create { secret, .. } | Op::Commit { secret, .. } => Some(secret),
            _ => None,
        }
    }

    /// The secret that it installs.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotate> {
        match &self.op {
            Op::Commit { rotate, .. } => rotate.as_ref(),
            _ => None,
        }
    }

    /// When what was asked has happened, if it did: an answer that says nothing leaves it open for
    /// all time.
    #[must_use]
    pub fn settled(&self) -> u64 {
        if self.outcome() == CallOutcome::Unknown { u64::MAX } else { self.end_or_never() }
    }

    /// When its answer was there, or the end of all time.
    #[must_use]
    pub fn end_or_never(&self) -> u64 {
        self.end.unwrap_or(u64::MAX)
    }
}

impl Write {
    /// Whether it makes the version grow: a new life alone does not.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.set.is_empty()
            || !self.remove.is_empty()
            || !self.add.is_empty()
            || self.principal.is_some()
    }
}

/// `Some(None)` is `null`, and `None` is not there at all.
mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::option_option, clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    #[expect(clippy::option_option, reason = "the form that serde asks for")]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
