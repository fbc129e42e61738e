//! What the fuzz targets of this repository reach.

use redis::Value;
use session_core::{Commit, Outcome, Record, SessionSummary, StoreKey};

use crate::{
    answer::{self, Committing},
    clock::ServerTime,
    keys::Keys,
};

/// An answer of the server, as it comes over the network.
#[derive(Debug)]
pub struct Answer(Value);

impl Answer {
    /// `None` if it is no answer at all, which the driver finds out.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        redis::parse_redis_value(bytes).ok().map(Self)
    }

    /// Reads it as that of `HGETALL`.
    ///
    /// # Errors
    /// What the store would say of it.
    pub fn record(&self, now: u64) -> Result<Option<Record>, String> {
        answer::record(self.0.clone(), now).map_err(|error| format!("{error} {error:?}"))
    }

    /// Reads it as that of `HGETALL` and `TIME`.
    ///
    /// # Errors
    /// What the store would say of it.
    pub fn timed(&self) -> Result<(Self, u64), String> {
        answer::timed(self.0.clone())
            .map(|(answer, now)| (Self(answer), now))
            .map_err(|error| format!("{error} {error:?}"))
    }

    /// Reads it as that of `TIME`.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        answer::time(&self.0)
    }

    /// Reads it as the head of a session with these attributes.
    #[must_use]
    pub fn summary(&self, key: StoreKey, attributes: &str, now: u64) -> Option<SessionSummary> {
        answer::summary(key, &self.0, &Value::BulkString(attributes.into()), now)
    }

    /// Reads it as that of the script for commits; `None` if there is no outcome yet.
    ///
    /// # Errors
    /// What the store would say of it.
    pub fn committed(&self, commit: &Commit) -> Result<Option<Outcome>, String> {
        let time = ServerTime::new(std::time::Instant::now(), 2_000_000);
        match answer::committing(&self.0, commit, usize::MAX, Some(&time)) {
            Ok(Committing::Done { committed, .. }) => Ok(Some(Outcome::Done(committed))),
            Ok(Committing::Refused(outcome)) => Ok(Some(outcome)),
            Ok(_) => Ok(None),
            Err(error) => Err(format!("{error} {error:?}")),
        }
    }
}

/// The name of a session's hash.
#[must_use]
pub fn name(key: &StoreKey) -> String {
    Keys::new(PREFIX).session(key)
}

/// The key of the session whose hash has this name.
#[must_use]
pub fn key(name: &str) -> Option<StoreKey> {
    Keys::new(PREFIX).key(name)
}

const PREFIX: &str = "session:";
