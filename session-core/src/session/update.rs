//! `add` and `update`, which call the store before they return.

use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    error::SessionError,
    request::{Session, decode},
};
use crate::{
    Attributes, Change, Commit, Guard, Json, Name, Outcome,
    plan::{Recorded, Rotate, SessionKnowledge},
};

/// The maximum number of attempts of [`Session::update`]. An attempt fails only if another request
/// changed the session.
const UPDATE_ATTEMPTS: u32 = 200;

impl Session {
    /// Adds `by` to the integer under `name`, immediately and atomically at the store, and returns
    /// the sum.
    ///
    /// An absent value counts as 0. Concurrent calls on any number of servers lose no addition.
    /// Starts a session if there is none. Changes that were recorded before are committed first.
    ///
    /// # Errors
    /// [`SessionError::Store`] with `Rejected` if the value is not an integer or the sum is outside
    /// the range of `i64`; nothing changed. With `Unavailable` or `Timeout` the addition may have
    /// taken effect. [`SessionError::Gone`] if the session has ended since this request saw it
    /// alive, [`SessionError::Superseded`] if another request gave it a new id.
    ///
    /// # Cancel safety
    /// If the call is dropped, the addition may have taken effect.
    pub async fn add(&self, name: &str, by: i64) -> Result<i64, SessionError> {
        let name = Name::new(name)?;
        let _call = self.0.call_lock.lock().await;
        self.commit_recorded_first().await?;
        loop {
            if self.record_may_exist()? {
                let commit =
                    Commit::new(self.state().secret()).change(name.clone(), Change::Add(by));
                if let Some(done) = self.send(commit, Rotate::Keep).await? {
                    return Ok(done.added.get(&name).copied().unwrap_or(by));
                }
                // The request has learned that its session is absent and was never alive, or that
                // its id is superseded.
            } else if self.start_with(name.clone(), Json::integer(by)).await? {
                return Ok(by);
            }
        }
    }

    /// Replaces the value under `name` by the result of `change`, immediately, and returns the new
    /// value. `None` means that there is no value, both as argument and as result.
    ///
    /// The new value is stored only if the session did not change in between. Otherwise `change` is
    /// called again with the newer value, so it must have no side effects. Starts a session if
    /// there is none and `change` returns a value. Changes that were recorded before are committed
    /// first. For counters, [`Self::add`] costs less.
    ///
    /// # Errors
    /// [`SessionError::Contended`] after 200 attempts. [`SessionError::Gone`] if the session has
    /// ended since this request saw it alive, [`SessionError::Superseded`] if another request gave
    /// it a new id. [`SessionError::Decode`] and [`SessionError::Encode`] if the value does not
    /// match `T`. [`SessionError::Store`] if the store failed; the change may have taken effect.
    ///
    /// # Cancel safety
    /// If the call is dropped, the change may have taken effect.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, SessionError> {
        let key = Name::new(name)?;
        let _call = self.0.call_lock.lock().await;
        self.commit_recorded_first().await?;
        for attempt in 0..UPDATE_ATTEMPTS {
            let begun = Instant::now();
            let unloaded = matches!(
                self.state().known,
                SessionKnowledge::Unloaded | SessionKnowledge::Alive(_)
            );
            if unloaded || attempt > 0 {
                self.fetch().await?;
            }
            let alive = self.record_may_exist()?;
            // Use the stored value only: what a clone records meanwhile is committed later.
            let held = self.state().record().and_then(|record| record.data.get(name)).cloned();
            let next = change(decode(name, held.as_ref())?);
            let json = next.as_ref().map(Json::encode).transpose();
            let json =
                json.map_err(|source| SessionError::Encode { name: name.to_owned(), source })?;
            if json == held {
                return Ok(next);
            }
            match (alive, json) {
                (false, Some(json)) => {
                    if self.start_with(key.clone(), json).await? {
                        return Ok(next);
                    }
                }
                (false, None) => return Ok(None),
                (true, json) => {
                    if self.replace(&key, json).await? {
                        return Ok(next);
                    }
                }
            }
            back_off(attempt, begun.elapsed()).await;
        }
        Err(SessionError::Contended { name: name.to_owned(), attempts: UPDATE_ATTEMPTS })
    }

    /// Whether there may be a record to change.
    fn record_may_exist(&self) -> Result<bool, SessionError> {
        match self.state().known {
            SessionKnowledge::Absent => Ok(false),
            SessionKnowledge::Unloaded
            | SessionKnowledge::Alive(_)
            | SessionKnowledge::Loaded(_) => Ok(true),
            SessionKnowledge::Grace(_) | SessionKnowledge::Superseded => {
                Err(SessionError::Superseded)
            }
            SessionKnowledge::Gone => Err(SessionError::Gone),
        }
    }

    /// Starts a session with one value and the recorded attributes. `false` if an earlier attempt
    /// had already created it.
    async fn start_with(&self, name: Name, value: Json) -> Result<bool, SessionError> {
        let mut new = {
            let state = self.state();
            let attributes = state.recorded.attributes.clone();
            Recorded { attributes, ..Recorded::default() }.new_record(state.secret(), self.policy())
        };
        new.data.insert(name, value);
        let created = self.create(new).await?;
        if created {
            self.state().recorded.attributes = Attributes::default();
        }
        Ok(created)
    }

    /// Sets or removes one value if the record is unchanged since it was loaded. `false` if it is
    /// not.
    async fn replace(&self, name: &Name, value: Option<Json>) -> Result<bool, SessionError> {
        let (key, secret, version) = {
            let state = self.state();
            let (Some(key), Some(record)) = (state.key(), state.record()) else { return Ok(false) };
            (key, state.secret(), record.version)
        };
        let change = value.map_or(Change::Remove, Change::Set);
        let commit =
            Commit::new(secret).guard(Guard::Version(version)).change(name.clone(), change);
        match self.store().commit(&key, commit.clone()).await? {
            Outcome::Done(done) => {
                self.state().committed(&commit, None, &done);
                Ok(true)
            }
            // The next attempt loads the record and learns the state of the id.
            Outcome::Conflict | Outcome::Superseded => Ok(false),
            Outcome::Gone => {
                self.state().missing();
                Err(SessionError::Gone)
            }
        }
    }
}

/// Waits for a random time that grows with the number of attempts, so that concurrent writers of
/// one session conflict less. The first two retries follow immediately, which is enough for two or
/// three writers. If the attempt `took` long, the store is slow or busy with other attempts, and
/// the wait is longer.
async fn back_off(attempt: u32, took: Duration) {
    if attempt < 2 {
        return tokio::task::yield_now().await;
    }
    let by_attempts = Duration::from_micros(250) * (1 << attempt.min(7));
    let by_time = (took * (1 << attempt.min(5))).min(Duration::from_millis(250));
    let most = u64::try_from(by_attempts.max(by_time).as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=most))).await;
}
