//! Sessions that tests keep, and short words for what is done to them.

use std::time::Duration;

use session_core::{
    Change, Commit, Json, Name, NewRecord, Outcome, Principal, PrincipalChange, SessionId, SessionStore, StoreError, StoreKey,
};
use store_redis::{Config, RedisStore};

/// How long sessions of tests live that are to stay.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A session: its id, and where it is kept.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    pub(crate) key: StoreKey,
}

impl Session {
    /// One that is not kept yet.
    pub(crate) fn new() -> Self {
        Self::of(SessionId::random().expect("random bytes"))
    }

    /// One that is kept, of this user.
    pub(crate) async fn signed_in(store: &RedisStore, user: &str) -> Self {
        let session = Self::new();
        let _ = store.create(&session.key, NewRecord::new(LONG).principal(principal(user))).await.expect("a new session");
        session
    }

    /// One that is kept, of nobody.
    pub(crate) async fn anonymous(store: &RedisStore) -> Self {
        let session = Self::new();
        let _ = store.create(&session.key, NewRecord::new(LONG)).await.expect("a new session");
        session
    }

    /// Where it can move to.
    pub(crate) fn successor(&self) -> Self {
        Self::of(self.id.successor().expect("random bytes"))
    }

    /// The name of its hash.
    pub(crate) fn hash(&self, prefix: &str) -> String {
        let (lineage, rest) = self.key.as_str().split_at(self.key.lineage().len());
        format!("{prefix}{{{lineage}}}{rest}")
    }

    fn of(id: SessionId) -> Self {
        Self { key: id.store_key(), id }
    }
}

/// A store with these settings that is connected.
pub(crate) async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(&Config::new(url).expect("a URL")).await.expect("a server to connect to")
}

/// A URL with further settings.
pub(crate) fn with(url: &str, settings: &str) -> String {
    format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
}

pub(crate) fn principal(user: &str) -> Principal {
    Principal::new(user).expect("a user's name")
}

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

/// A commit that sets one value.
pub(crate) fn set(field: &str, json: &str) -> Commit {
    Commit::new().change(name(field), Change::Set(Json::from_text(json).expect("JSON")))
}

/// A commit that adds.
pub(crate) fn add(field: &str, by: i64) -> Commit {
    Commit::new().change(name(field), Change::Add(by))
}

/// A commit that moves the session.
pub(crate) fn renew(to: &Session) -> Commit {
    Commit::new().move_to(to.key.clone())
}

/// A commit that signs this user in and moves the session.
pub(crate) fn sign_in(user: &str, to: &Session) -> Commit {
    renew(to).principal(PrincipalChange::Set(principal(user)))
}

/// Whether a commit took effect.
pub(crate) fn is_done(outcome: &Result<Outcome, StoreError>) -> bool {
    matches!(outcome, Ok(Outcome::Done(_)))
}
