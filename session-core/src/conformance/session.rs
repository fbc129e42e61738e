//! The sessions, commits and values that the checks use.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Change, Commit, Data, Json, Name, NewRecord, Principal, PrincipalChange, Rotation, SecretHash,
    SessionId, StoreKey,
};

/// A ttl that is longer than any check runs.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// A grace that is longer than any check runs.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// A session as a request knows it: the key, and the secret from the id of the request.
#[derive(Debug, Clone)]
pub(super) struct TestSession {
    pub(super) key: StoreKey,
    pub(super) secret: SecretHash,
    pub(super) generation: u32,
}

impl TestSession {
    /// A session with a random id, at generation 0.
    pub(super) fn new() -> Self {
        let id = SessionId::random().unwrap_or_else(|error| panic!("{error}"));
        Self { key: id.key(), secret: id.secret_hash(), generation: 0 }
    }

    /// A session with a random secret under this key.
    pub(super) fn under(key: impl AsRef<str>) -> Self {
        Self { key: StoreKey::from_text(key), ..Self::new() }
    }

    /// The same session with its next secret.
    pub(super) fn rotated(&self) -> Self {
        Self { key: self.key.clone(), generation: self.generation + 1, ..Self::new() }
    }

    /// The rotation to this secret, without a grace.
    pub(super) fn rotation(&self) -> Rotation {
        Rotation { secret: self.secret, generation: self.generation, grace: None }
    }

    /// A new record with this secret.
    pub(super) fn record(&self, ttl: Duration) -> NewRecord {
        NewRecord { generation: self.generation, ..NewRecord::new(self.secret, ttl) }
    }

    /// An empty commit with this secret.
    pub(super) fn commit(&self) -> Commit {
        Commit::new(self.secret)
    }

    /// A commit that sets one value.
    pub(super) fn set(&self, text: &str, value: &str) -> Commit {
        self.commit().and_set(text, value)
    }

    /// A commit that adds to one value.
    pub(super) fn add(&self, text: &str, by: i64) -> Commit {
        self.commit().change(name(text), Change::Add(by))
    }

    /// A commit that sets the ttl.
    pub(super) fn touch(&self, ttl: Duration) -> Commit {
        self.commit().ttl(ttl)
    }

    /// A rotation to `next`, without a grace.
    pub(super) fn rotate(&self, next: &Self) -> Commit {
        self.commit().rotate(next.rotation())
    }

    /// A rotation to `next` with a grace for this secret.
    pub(super) fn rotate_with_grace(&self, next: &Self, grace: Duration) -> Commit {
        self.commit().rotate(Rotation { grace: Some(grace), ..next.rotation() })
    }

    /// A sign-in of this user, with the rotation to `next`.
    pub(super) fn sign_in(&self, next: &Self, user: &Principal) -> Commit {
        self.rotate(next).principal(PrincipalChange::Set(user.clone()))
    }

    /// The removal of the principal.
    pub(super) fn sign_out(&self) -> Commit {
        self.commit().principal(PrincipalChange::Unset)
    }
}

/// Changes of a commit by the text of a name.
pub(super) trait CommitExt {
    fn and_set(self, text: &str, value: &str) -> Self;
    fn and_remove(self, text: &str) -> Self;
}

impl CommitExt for Commit {
    fn and_set(self, text: &str, value: &str) -> Self {
        self.change(name(text), Change::Set(json(value)))
    }

    fn and_remove(self, text: &str) -> Self {
        self.change(name(text), Change::Remove)
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn principal(text: &str) -> Principal {
    Principal::new(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The value with this JSON text.
pub(super) fn json(text: &str) -> Json {
    Json::from_text(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Values with these names and JSON texts.
pub(super) fn data<const N: usize>(values: [(&str, &str); N]) -> Data {
    values.into_iter().map(|(text, value)| (name(text), json(value))).collect()
}

/// The values as texts, for messages. `Debug` of `Json` hides its text.
pub(super) fn texts(data: &Data) -> BTreeMap<String, String> {
    data.iter().map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect()
}
