//! Calls that reach the store before they return.

use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    CookieDelivery, Session, SessionError, decode,
    state::{Identity, SupersededId},
};
use crate::{
    Attributes, Change, Claim, Commit, Deleted, EndCause, Guard, Json, Name, Opened, Outcome,
    StoreError,
    cookie::SignedBy,
    plan::{Recorded, Rotate, SessionKnowledge},
};

/// How often [`Session::update`] tries. Each lost try means that somebody else's succeeded.
const UPDATE_ATTEMPTS: u32 = 200;

impl Session {
    /// Adds `by` to the integer under `name`, at once and atomically at the store, and returns the
    /// sum that the store agreed to.
    ///
    /// An absent value counts as 0. Of any number of concurrent calls, on however many servers,
    /// none is lost. Starts a session if there is none. What was recorded before is committed
    /// first.
    ///
    /// # Errors
    /// [`SessionError::Store`] with `Rejected` if the value is not an integer or the sum leaves the
    /// range of `i64`; nothing changed then. With `Unavailable` or `Timeout` it may have been
    /// added. [`SessionError::Gone`] if the session has ended since this request saw it,
    /// [`SessionError::Superseded`] if it got a new id.
    ///
    /// # Cancel safety
    /// A dropped call may have added.
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
                // The request knows something else of its session now: absent and never seen alive,
                // or superseded.
            } else if self.start_with(name.clone(), Json::integer(by)).await? {
                return Ok(by);
            }
        }
    }

    /// Replaces the value under `name` by what `change` makes of it, at once, and returns the new
    /// value. `None` stands for no value, both ways.
    ///
    /// The change is applied only to the value it was computed from: if another request changes the
    /// session in between, `change` is called again with the newer value, so it must not have
    /// effects of its own. Starts a session if there is none and `change` returns a value. What was
    /// recorded before is committed first. For counters [`Self::add`] is cheaper.
    ///
    /// # Errors
    /// [`SessionError::Contended`] after 200 tries. [`SessionError::Gone`] if the session has ended
    /// since this request saw it, [`SessionError::Superseded`] if it got a new id.
    /// [`SessionError::Decode`] and [`SessionError::Encode`] if the value does not fit `T`;
    /// [`SessionError::Store`], then the change may have landed.
    ///
    /// # Cancel safety
    /// A dropped call may have landed.
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
            // What a clone records meanwhile comes later and does not count here.
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

    /// Ends the session, at once: no cookie, and no request in flight, opens it again. The response
    /// removes the cookie. Succeeds if there is none; what is inserted later in this request starts
    /// a new session with a new id.
    ///
    /// A superseded id ends its session as well, if it is from the present user's sign-in. An id
    /// from before the sign-in belongs to no session any more, and ends none.
    ///
    /// # Errors
    /// [`SessionError::Store`]: it did not happen, or may have not; the cookie stays, so that the user can try again.
    /// [`SessionError::Superseded`] if the id is from before a sign-in that happened a moment ago:
    /// the browser is about to get the new id. [`SessionError::PlainHttp`] if the cookie could not
    /// be believed.
    ///
    /// # Cancel safety
    /// A dropped call may have ended the session; the cookie then opens nothing.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let _call = self.0.call_lock.lock().await;
        if self.0.delivery == CookieDelivery::Refused {
            return Err(SessionError::PlainHttp);
        }
        self.end_own_sessions().await
    }

    /// Ends the sessions of all ids that this request has. The caller holds the call lock.
    pub(super) async fn end_own_sessions(&self) -> Result<(), SessionError> {
        let ids = {
            let state = self.state();
            // A creation or rotation of this request whose answer was lost may have landed with the
            // id it drew. It stands first: of two ids of one session the later generation reaches
            // further.
            let drawn = state.drawn.iter().map(|drawn| &drawn.identity);
            // The request knows the principal of its own session only, not those behind other
            // cookies.
            let superseded = state.superseded.as_ref();
            let own = state.record().map_or_else(
                || superseded.and_then(|id| id.record.principal.clone()),
                |record| record.principal.clone(),
            );
            let mut ids: Vec<_> = drawn
                .chain(&state.identity)
                .map(|identity| (identity.clone(), own.clone()))
                .collect();
            // While the rotation settles, the superseded id is the request's identity as well.
            if let Some(SupersededId { identity, .. }) =
                superseded.filter(|_| state.identity.is_none())
            {
                ids.push((identity.clone(), own));
            }
            ids.extend(state.others.iter().cloned().map(|other| (other.into(), None)));
            ids
        };
        let mut before_sign_in = Vec::new();
        for (identity, principal) in ids {
            if identity.signed_by == SignedBy::None && !self.opens(&identity).await? {
                continue;
            }
            let claim = Claim::Generation(identity.id.generation());
            if self.end(&identity, claim, principal.as_ref(), EndCause::SignedOut).await?
                == Deleted::Superseded
            {
                before_sign_in.push(identity);
            }
        }
        for identity in before_sign_in {
            if let Some(Opened::Superseded(record)) = self.opened(&identity).await? {
                let mut state = self.state();
                state.superseded(identity, record, self.policy());
                if matches!(state.known, SessionKnowledge::Superseded) {
                    return Err(SessionError::Superseded);
                }
            }
        }
        self.state().ended();
        Ok(())
    }

    async fn opened(&self, identity: &Identity) -> Result<Option<Opened>, SessionError> {
        let stored = self.store().load(&identity.key).await?;
        Ok(stored.map(|stored| stored.open(&identity.secret)))
    }

    /// Whether the id has the current secret. An unsigned id ends its session only then, because
    /// any client can make one up.
    async fn opens(&self, identity: &Identity) -> Result<bool, SessionError> {
        match self.opened(identity).await {
            Ok(opened) => Ok(matches!(opened, Some(Opened::Current(_)))),
            Err(SessionError::Store(StoreError::Corrupt { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits what was recorded before a call that acts at once, and finds out which of several
    /// cookies counts. With one cookie and nothing recorded it costs nothing.
    pub(super) async fn commit_recorded_first(&self) -> Result<(), SessionError> {
        self.choose_cookie().await?;
        let empty = self.state().recorded.is_empty();
        if empty { Ok(()) } else { self.commit_recorded().await.map(drop) }
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

    /// Starts a session with one value and whatever attributes were asked for. `false` if a former
    /// attempt had started it.
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

    /// Sets or removes one value if the record is still as it was loaded. `false` if it is not.
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
            // The next attempt loads the record, and learns what became of the id.
            Outcome::Conflict | Outcome::Superseded => Ok(false),
            Outcome::Gone => {
                self.state().missing();
                Err(SessionError::Gone)
            }
        }
    }
}

/// Waits a random moment that grows with the attempts, so that many who change one session get out
/// of each other's way. The first retries come at once: with two or three contenders one of them is
/// enough. An attempt that `took` long says that the store is slow, or busy with the attempts of
/// others; then the moment is as much longer.
async fn back_off(attempt: u32, took: Duration) {
    if attempt < 2 {
        return tokio::task::yield_now().await;
    }
    let by_attempts = Duration::from_micros(250) * (1 << attempt.min(7));
    let by_time = (took * (1 << attempt.min(5))).min(Duration::from_millis(250));
    let most = u64::try_from(by_attempts.max(by_time).as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=most))).await;
}
