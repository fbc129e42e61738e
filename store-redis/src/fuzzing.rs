//! What the fuzz targets of this repository reach.

use redis::Value;
use session_core::{Commit, Listed, Outcome, Record, StoreKey};

use crate::{
    answer::{self, Committing},
    keys,
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
        answer::timed(self.0.clone()).map(|(answer, now)| (Self(answer), now)).map_err(|error| format!("{error} {error:?}"))
    }

    /// Reads it as that of `TIME`.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        answer::time(&self.0)
    }

    /// Reads it as the head of the session at a place.
    #[must_use]
    pub fn listed(&self, place: &str, now: u64) -> Option<Listed> {
        answer::listed(place, &self.0, now)
    }

    /// Reads it as that of the script for commits; `None` if there is no outcome yet.
    ///
    /// # Errors
    /// What the store would say of it.
    pub fn committed(&self, commit: &Commit) -> Result<Option<Outcome>, String> {
        match answer::committing(&self.0, commit, usize::MAX) {
            Ok(Committing::Settled { outcome, .. }) => Ok(Some(outcome)),
            Ok(_) => Ok(None),
            Err(error) => Err(format!("{error} {error:?}")),
        }
    }
}

/// The place of a session.
#[must_use]
pub fn place(key: &StoreKey) -> String {
    keys::place(key)
}

/// The key of the session at a place.
#[must_use]
pub fn key_at(place: &str) -> Option<StoreKey> {
    keys::key_at(place)
}
