//! Entry points for the fuzz targets of this repository.

use redis::Value;
use session_core::{Commit, Outcome, Record, SessionSummary, StoreKey};

use crate::{
    codec::{self, CommitAnswer},
    connect::{clock::ServerTime, decode},
    keys::Keys,
};

const PREFIX: &str = "session:";

/// An answer of the server, in the form of the network protocol.
#[derive(Debug)]
pub struct Answer(Value);

impl Answer {
    /// `None` if the bytes are not an answer in that protocol.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        redis::parse_redis_value(bytes).ok().map(Self)
    }

    /// Reads the answer of `HGETALL`.
    ///
    /// # Errors
    /// The text of the store's error.
    pub fn record(&self, now: u64) -> Result<Option<Record>, String> {
        codec::record(self.0.clone(), now).map_err(|error| format!("{error} {error:?}"))
    }

    /// Reads the answers of `HGETALL` and `TIME`.
    ///
    /// # Errors
    /// The text of the store's error.
    pub fn timed(&self) -> Result<(Self, u64), String> {
        decode::answer_and_time(self.0.clone())
            .map(|(answer, now)| (Self(answer), now))
            .map_err(|error| format!("{error} {error:?}"))
    }

    /// Reads the answer of `TIME`.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        decode::time(&self.0)
    }

    /// Reads the head of a session with these attributes.
    #[must_use]
    pub fn summary(&self, key: StoreKey, attributes: &str, now: u64) -> Option<SessionSummary> {
        codec::summary(key, &self.0, &Value::BulkString(attributes.into()), now)
    }

    /// Reads the answer of the script for commits. `None` if there is no outcome yet.
    ///
    /// # Errors
    /// The text of the store's error.
    pub fn committed(&self, commit: &Commit) -> Result<Option<Outcome>, String> {
        let time = ServerTime::new(std::time::Instant::now(), 2_000_000);
        match codec::commit_answer(&self.0, commit, usize::MAX, Some(&time)) {
            Ok(CommitAnswer::Done { committed, .. }) => Ok(Some(Outcome::Done(committed))),
            Ok(CommitAnswer::Refused(outcome)) => Ok(Some(outcome)),
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
