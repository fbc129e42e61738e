//! Sessions that tests create, and short functions for their commits.

use std::time::Duration;

use session_core::{
    Change, Commit, Json, Name, NewRecord, Outcome, Principal, PrincipalChange, Record, Rotation,
    SecretHash, SessionId, SessionStore, StoreError, StoreKey,
};

/// The lifetime of sessions that must not expire during a test.
pub const LONG: Duration = Duration::from_mins(10);

/// A session as its browser knows it: the id, and the key and hash that stores keep.
#[derive(Debug, Clone)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// The key under which stores keep it.
    pub key: StoreKey,
    /// The hash of its secret.
    pub secret: SecretHash,
}

impl Session {
    /// A session that is not stored yet.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[expect(clippy::new_without_default, reason = "each one is different")]
    #[must_use]
    pub fn new() -> Self {
        Self::of(SessionId::random().expect("random bytes"))
    }

    /// A stored session of this user.
    ///
    /// # Panics
    /// If the store does not create it.
    pub async fn signed_in(store: &impl SessionStore, user: &str) -> Self {
        let session = Self::new();
        let _ = store
            .create(&session.key, session.record().principal(principal(user)))
            .await
            .expect("a new session");
        session
    }

    /// A stored session without a user.
    ///
    /// # Panics
    /// If the store does not create it.
    pub async fn anonymous(store: &impl SessionStore) -> Self {
        let session = Self::new();
        let _ = store.create(&session.key, session.record()).await.expect("a new session");
        session
    }

    /// The record that creates it: anonymous, without values.
    #[must_use]
    pub fn record(&self) -> NewRecord {
        NewRecord::new(self.secret, LONG)
    }

    /// The same session with its next secret, which is not stored yet.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn rotated(&self) -> Self {
        Self::of(self.id.rotated().expect("random bytes"))
    }

    /// An empty commit.
    #[must_use]
    pub fn commit(&self) -> Commit {
        Commit::new(self.secret)
    }

    /// A commit that sets one value.
    ///
    /// # Panics
    /// If the name is not valid, or the text is not JSON.
    #[must_use]
    pub fn set(&self, field: &str, json: &str) -> Commit {
        self.commit().change(name(field), Change::Set(Json::from_text(json).expect("JSON")))
    }

    /// A commit that adds.
    ///
    /// # Panics
    /// If the name is not valid.
    #[must_use]
    pub fn add(&self, field: &str, by: i64) -> Commit {
        self.commit().change(name(field), Change::Add(by))
    }

    /// A commit that replaces the secret by that of `to`, without a grace.
    #[must_use]
    pub fn renew(&self, to: &Self) -> Commit {
        self.commit().rotate(Rotation {
            secret: to.secret,
            generation: to.id.generation(),
            grace: None,
        })
    }

    /// A commit that signs this user in, with the secret of `to`.
    ///
    /// # Panics
    /// If the name is not valid.
    #[must_use]
    pub fn sign_in(&self, user: &str, to: &Self) -> Commit {
        self.renew(to).principal(PrincipalChange::Set(principal(user)))
    }

    fn of(id: SessionId) -> Self {
        Self { key: id.key(), secret: id.secret_hash(), id }
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
/// If the name is not valid.
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

/// The record of a live session.
///
/// # Panics
/// If the store does not answer, or if the session is not alive.
pub async fn loaded(store: &impl SessionStore, key: &StoreKey) -> Record {
    store.load(key).await.expect("the store answers").expect("the session is alive").into_record()
}

/// Checks a stored sum: it contains all acknowledged adds, and no other adds than the uncertain
/// ones.
///
/// # Panics
/// If the sum is not in these limits.
pub fn assert_sum(sum: i64, acknowledged: i64, uncertain: i64) {
    assert!(
        sum >= acknowledged,
        "{acknowledged} adds were acknowledged and {} of them are lost",
        acknowledged - sum
    );
    assert!(
        sum <= acknowledged + uncertain,
        "{acknowledged} adds acknowledged, {uncertain} uncertain, {sum} executed"
    );
}

/// Whether a commit took effect.
#[must_use]
pub fn is_done(outcome: &Result<Outcome, StoreError>) -> bool {
    matches!(outcome, Ok(Outcome::Done(_)))
}
