//! Sessions that tests keep, and short words for what is done to them.

use std::time::Duration;

use session_core::{
    Change, Commit, Json, Name, NewRecord, Outcome, Principal, PrincipalChange, SessionId, SessionStore, StoreError, StoreKey,
};

/// How long sessions of tests live that are to stay.
pub const LONG: Duration = Duration::from_mins(10);

/// A session: its id, and where it is kept.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// Where it is kept.
    pub key: StoreKey,
}

impl Session {
    /// One that is not kept yet.
    ///
    /// # Panics
    /// If there are no random bytes.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    #[must_use]
    pub fn new() -> Self {
        Self::of(SessionId::random().expect("random bytes"))
    }

    /// One that is kept, of this user.
    ///
    /// # Panics
    /// If the store does not keep it.
    pub async fn signed_in(store: &impl SessionStore, user: &str) -> Self {
        let session = Self::new();
        let _ = store.create(&session.key, NewRecord::new(LONG).principal(principal(user))).await.expect("a new session");
        session
    }

    /// One that is kept, of nobody.
    ///
    /// # Panics
    /// If the store does not keep it.
    pub async fn anonymous(store: &impl SessionStore) -> Self {
        let session = Self::new();
        let _ = store.create(&session.key, NewRecord::new(LONG)).await.expect("a new session");
        session
    }

    /// Where it can move to.
    ///
    /// # Panics
    /// If there are no random bytes.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::of(self.id.successor().expect("random bytes"))
    }

    /// The name of its hash in Redis.
    #[must_use]
    pub fn hash(&self, prefix: &str) -> String {
        let (lineage, rest) = self.key.as_str().split_at(self.key.lineage().len());
        format!("{prefix}{{{lineage}}}{rest}")
    }

    fn of(id: SessionId) -> Self {
        Self { key: id.store_key(), id }
    }
}

/// A URL with further settings.
#[must_use]
pub fn with(url: &str, settings: &str) -> String {
    format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
}

/// A user.
///
/// # Panics
/// If this cannot be one's name.
#[must_use]
pub fn principal(user: &str) -> Principal {
    Principal::new(user).expect("a user's name")
}

/// The name of a value.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

/// A commit that sets one value.
///
/// # Panics
/// If the name is none, or the text no JSON.
#[must_use]
pub fn set(field: &str, json: &str) -> Commit {
    Commit::new().change(name(field), Change::Set(Json::from_text(json).expect("JSON")))
}

/// A commit that adds.
///
/// # Panics
/// If the name is none.
#[must_use]
pub fn add(field: &str, by: i64) -> Commit {
    Commit::new().change(name(field), Change::Add(by))
}

/// A commit that moves the session.
#[must_use]
pub fn renew(to: &Session) -> Commit {
    Commit::new().move_to(to.key.clone())
}

/// A commit that signs this user in and moves the session.
///
/// # Panics
/// If this cannot be a user's name.
#[must_use]
pub fn sign_in(user: &str, to: &Session) -> Commit {
    renew(to).principal(PrincipalChange::Set(principal(user)))
}

/// Whether a commit took effect.
#[must_use]
pub fn is_done(outcome: &Result<Outcome, StoreError>) -> bool {
    matches!(outcome, Ok(Outcome::Done(_)))
}
