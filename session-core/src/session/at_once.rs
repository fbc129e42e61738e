//! Calls that reach the store before they return.

use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::{Delivery, Session, SessionError, decode};
use crate::{
    Change, Commit, Guard, Json, Name, Outcome,
    plan::{Known, Recorded, Rotate},
};

/// How often [`Session::update`] tries. Each lost try means that somebody else's succeeded.
const UPDATE_ATTEMPTS: u32 = 200;

impl Session {
    /// Adds `by` to the integer under `name`, at once and atomically at the store, and returns the sum that the store agreed to.
    ///
    /// An absent value counts as 0. Of any number of concurrent calls, on however many servers, none is lost. Starts a session if there
    /// is none. What was recorded before is committed first.
    ///
    /// # Errors
    /// [`SessionError::Store`] with `Rejected` if the value is not an integer or the sum leaves the range of `i64`; nothing changed then.
    /// With `Unavailable` or `Timeout` it may have been added. [`SessionError::Gone`] if the session has ended since this request saw it.
    ///
    /// # Cancel safety
    /// A dropped call may have added.
    pub async fn add(&self, name: &str, by: i64) -> Result<i64, SessionError> {
        let name = Name::new(name)?;
        let _flight = self.0.flight.lock().await;
        self.flush_recorded().await?;
        loop {
            if self.may_exist()? {
                let commit = Commit::new().change(name.clone(), Change::Add(by));
                if let Some(done) = self.send(commit, Rotate::SameId).await? {
                    return Ok(done.added.get(&name).copied().unwrap_or(by));
                }
                // The record was absent and never seen alive, so that there is none now to add to.
            } else if self.start_with(name.clone(), Json::integer(by)).await? {
                return Ok(by);
            }
        }
    }

    /// Replaces the value under `name` by what `change` makes of it, at once, and returns the new value. `None` stands for no value, both
    /// ways.
    ///
    /// The change is applied only to the value it was computed from: if another request changes the session in between, `change` is
    /// called again with the newer value, so it must not have effects of its own. Starts a session if there is none and `change` returns
    /// a value. What was recorded before is committed first. For counters [`Self::add`] is cheaper.
    ///
    /// # Errors
    /// [`SessionError::Contended`] after 200 tries. [`SessionError::Gone`] if the session has ended since this request saw it.
    /// [`SessionError::Decode`] and [`SessionError::Encode`] if the value does not fit `T`; [`SessionError::Store`], then the change may
    /// have landed.
    ///
    /// # Cancel safety
    /// A dropped call may have landed.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, SessionError> {
        let key = Name::new(name)?;
        let _flight = self.0.flight.lock().await;
        self.flush_recorded().await?;
        for attempt in 0..UPDATE_ATTEMPTS {
            let begun = Instant::now();
            let unloaded = matches!(self.state().known, Known::Presented | Known::Alive { .. });
            if unloaded || attempt > 0 {
                self.fetch().await?;
            }
            let alive = self.may_exist()?;
            // What a clone records meanwhile comes later and does not count here.
            let held = self.state().record().and_then(|record| record.data.get(name)).cloned();
            let next = change(decode(name, held.as_ref())?);
            let json = next.as_ref().map(Json::encode).transpose();
            let json = json.map_err(|source| SessionError::Encode { name: name.to_owned(), source })?;
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

    /// Ends the session, at once: no cookie, and no request in flight, opens it again. The response removes the cookie. Fine if there is
    /// none; what is inserted later in this request starts a new session with a new id.
    ///
    /// # Errors
    /// [`SessionError::Store`]: it did not happen, or may have not; the cookie stays, so that the user can try again.
    /// [`SessionError::Gone`] if this request had seen the session alive and it is not there any more: somebody else ended it, or gave it a new
    /// id under which it lives on. [`SessionError::PlainHttp`] if the cookie could not be believed.
    ///
    /// # Cancel safety
    /// A dropped call may have ended the session; the cookie then opens nothing.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let _flight = self.0.flight.lock().await;
        if self.0.delivery == Delivery::Refused {
            return Err(SessionError::PlainHttp);
        }
        let (identity, drawn) = {
            let state = self.state();
            (state.identity.clone(), state.drawn.clone())
        };
        let ended = match &identity {
            Some(identity) => self.0.store.delete(&identity.key).await?,
            None => false,
        };
        // A creation or rotation of this request whose answer was lost may have put the session under the id it drew.
        let moved = match drawn {
            Some(drawn) if !ended => self.0.store.delete(&drawn.key).await?,
            _ => false,
        };
        if !ended && !moved {
            self.state().missing();
        }
        let mut state = self.state();
        if matches!(state.known, Known::Gone) {
            return Err(SessionError::Gone);
        }
        state.ended();
        Ok(())
    }

    /// Commits what was recorded before a call that acts at once. An empty record of changes costs nothing.
    pub(super) async fn flush_recorded(&self) -> Result<(), SessionError> {
        let empty = self.state().recorded.is_empty();
        if empty { Ok(()) } else { self.flush().await }
    }

    /// Whether there may be a record to change.
    fn may_exist(&self) -> Result<bool, SessionError> {
        match self.state().known {
            Known::Absent => Ok(false),
            Known::Presented | Known::Alive { .. } | Known::Loaded(_) => Ok(true),
            Known::Gone => Err(SessionError::Gone),
        }
    }

    /// Starts a session with one value and whatever lifetime was asked for. `false` if a former attempt had started it.
    async fn start_with(&self, name: Name, value: Json) -> Result<bool, SessionError> {
        let mut new = Recorded { lifetime: self.state().recorded.lifetime, ..Recorded::default() }.new_record(&self.0.policy);
        new.data.insert(name, value);
        let created = self.create(new).await?;
        if created {
            self.state().recorded.lifetime = crate::Lifetime::default();
        }
        Ok(created)
    }

    /// Sets or removes one value if the record is still as it was loaded. `false` if it is not.
    async fn replace(&self, name: &Name, value: Option<Json>) -> Result<bool, SessionError> {
        let version = self.state().record().map(|record| record.version);
        let (Some(key), Some(version)) = (self.key(), version) else {
            return Ok(false);
        };
        let change = value.map_or(Change::Remove, Change::Set);
        let commit = Commit::new().guard(Guard::Version(version)).change(name.clone(), change);
        match self.0.store.commit(&key, commit.clone()).await? {
            Outcome::Done(done) => {
                self.state().committed(&commit, None, &done);
                Ok(true)
            }
            Outcome::Conflict => Ok(false),
            Outcome::Gone => {
                self.state().missing();
                Err(SessionError::Gone)
            }
        }
    }
}

/// Waits a random moment that grows with the attempts, so that many who change one session get out of each other's way. The first
/// retries come at once: with two or three contenders one of them is enough. An attempt that `took` long says that the store is slow, or
/// busy with the attempts of others; then the moment is as much longer.
async fn back_off(attempt: u32, took: Duration) {
    if attempt < 2 {
        return tokio::task::yield_now().await;
    }
    let by_attempts = Duration::from_micros(250) * (1 << attempt.min(7));
    let by_time = (took * (1 << attempt.min(5))).min(Duration::from_millis(250));
    let most = u64::try_from(by_attempts.max(by_time).as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=most))).await;
}
