//! Loading the record, and bringing recorded changes to the store.

use std::time::Duration;

use super::{
    Delivery, RecordedChanges, Session, SessionError,
    state::{Head, Identity},
};
use crate::{
    Commit, Committed, Created, EntropyError, NewRecord, OnGone, Outcome, Record, SessionId, StoreError, StoreKey,
    expiry::Use,
    observe,
    plan::{Known, Recorded, Rotate, Step, plan},
};

/// Fresh ids to draw, and plans to make, before something must be wrong. The first always does; others need a collision of 168 bits.
const ATTEMPTS: usize = 4;

impl Session {
    /// Brings everything recorded to the store now, in one atomic commit, and extends the session's life if that is due.
    ///
    /// The response does that by itself; a long-lived body, or a task that goes on after the response, calls this. Recorded changes stay
    /// recorded until the store has them, so after an error the call can be repeated, also if the first one had landed.
    ///
    /// # Errors
    /// [`SessionError::Gone`] if the session has ended since this request saw it. [`SessionError::Store`]: the changes may have landed,
    /// all or none. [`SessionError::HeadSent`] and [`SessionError::PlainHttp`] if it takes a new id that cannot reach the browser.
    ///
    /// # Cancel safety
    /// A dropped call may have landed; what was recorded is still recorded, and committing it again sets the same values.
    pub async fn commit(&self) -> Result<(), SessionError> {
        let _flight = self.0.flight.lock().await;
        self.flush().await
    }

    /// Ends the request's part: commits or drops what is recorded, and extends the session's life if that is due. Adapters call it
    /// before the response head leaves, then send what [`Self::cookie`] says, whatever came out of this.
    ///
    /// # Errors
    /// As [`Self::commit`]. With [`OnGone::Serve`] a session that has gone is no error.
    pub async fn finish(&self, changes: RecordedChanges) -> Result<(), SessionError> {
        let _flight = self.0.flight.lock().await;
        let finished = match changes {
            RecordedChanges::Drop => {
                self.state().recorded = Recorded::default();
                Ok(())
            }
            RecordedChanges::Commit => self.flush().await.inspect(|()| self.count_touch()),
        };
        let mut state = self.state();
        let finished = match finished {
            Err(SessionError::Gone) if self.0.policy.on_gone == OnGone::Serve => {
                state.ended();
                Ok(())
            }
            finished => finished,
        };
        state.head = Head::Sent;
        finished
    }

    /// Counts a request that used a session whose life it did not have to extend.
    fn count_touch(&self) {
        let state = self.state();
        if matches!(state.known, Known::Alive { .. } | Known::Loaded(_)) && !state.renewed {
            observe::touch_skipped();
        }
    }

    /// Loads the record unless it is known whether and what there is.
    pub(super) async fn load(&self) -> Result<(), SessionError> {
        if !self.needs_load() {
            return Ok(());
        }
        let _flight = self.0.flight.lock().await;
        // Another task of this request may have loaded while this one waited.
        if self.needs_load() { self.fetch().await } else { Ok(()) }
    }

    fn needs_load(&self) -> bool {
        matches!(self.state().known, Known::Presented | Known::Alive { .. })
    }

    /// Loads the record. The caller holds the flight lock.
    pub(super) async fn fetch(&self) -> Result<(), SessionError> {
        let Some(key) = self.key() else {
            return Ok(());
        };
        let Some(record) = self.0.store.load(&key).await? else {
            self.state().missing();
            return Ok(());
        };
        let timeouts = self.0.policy.timeouts(&record.lifetime);
        if timeouts.on_use(record.age, record.ttl) == Use::Over {
            return self.expire(&key).await;
        }
        self.state().loaded(record);
        Ok(())
    }

    /// Plans and calls the store until nothing recorded is left to do. The caller holds the flight lock.
    ///
    /// A clone that goes on recording meanwhile does not hold the response up: what it recorded last stays recorded, for its own commit.
    pub(super) async fn flush(&self) -> Result<(), SessionError> {
        self.check_transport()?;
        let mut landed = false;
        for _ in 0..ATTEMPTS {
            let (step, planned) = self.next_step();
            match step {
                Step::Nothing => return Ok(()),
                Step::Load => self.fetch().await?,
                Step::Create(new) => {
                    if self.create(new).await? {
                        self.state().recorded.forget(&planned);
                        landed = true;
                    }
                }
                // And plan again: what the commit told of a record that was never loaded can mean that its life is due.
                Step::Commit(commit, rotate) => {
                    if self.send(commit, rotate).await?.is_some() {
                        self.state().recorded.forget(&planned);
                        landed = true;
                    }
                }
                Step::Expire => {
                    let key = self.key();
                    if let Some(key) = key {
                        self.expire(&key).await?;
                    }
                }
                Step::Lost => return Err(SessionError::Gone),
            }
        }
        if landed { Ok(()) } else { Err(out_of_ids()) }
    }

    /// What the recorded changes need next, and a copy of them to strike off once it is done.
    fn next_step(&self) -> (Step, Recorded) {
        let mut state = self.state();
        let step = plan(&state.known, state.elapsed(), &state.recorded, &self.0.policy);
        if step == Step::Nothing && !state.recorded.is_empty() {
            // What changes nothing is done. Only a lifetime waits for a session that may still come.
            let lifetime = if state.identity.is_none() { state.recorded.lifetime } else { crate::Lifetime::default() };
            state.recorded = Recorded { lifetime, ..Recorded::default() };
        }
        let planned = if step == Step::Nothing { Recorded::default() } else { state.recorded.clone() };
        (step, planned)
    }

    /// Creates a session under a fresh id. `false` if a former attempt had created it already, with what was recorded then. The caller
    /// holds the flight lock.
    pub(super) async fn create(&self, new: NewRecord) -> Result<bool, SessionError> {
        self.check_delivery()?;
        for _ in 0..ATTEMPTS {
            let (drawn, again) = self.draw(SessionId::random)?;
            if self.0.store.create(&drawn.key, new.clone()).await? == Created::New {
                let NewRecord { data, ttl, principal, lifetime } = new;
                let record = Record { data, version: 1, age: Duration::ZERO, ttl, principal, lifetime };
                self.state().created(drawn, record);
                return Ok(true);
            }
            if again && self.adopt(&drawn).await? {
                return Ok(false);
            }
            self.state().drawn = None;
        }
        Err(out_of_ids())
    }

    /// Sends a commit. `None` if the plan has to be made again: the record is absent and was never seen, or the new key was taken.
    /// The caller holds the flight lock.
    pub(super) async fn send(&self, mut commit: Commit, rotate: Rotate) -> Result<Option<Committed>, SessionError> {
        let Some(identity) = self.state().identity.clone() else {
            return Ok(None);
        };
        let successor = match rotate {
            Rotate::SameId => None,
            Rotate::NewId => {
                self.check_delivery()?;
                Some(self.draw(|| identity.id.successor())?)
            }
        };
        commit.move_to = successor.as_ref().map(|(drawn, _)| drawn.key.clone());
        match self.0.store.commit(&identity.key, commit.clone()).await? {
            Outcome::Done(done) => {
                self.state().committed(&commit, successor.map(|(drawn, _)| drawn), &done);
                let timeouts = self.0.policy.timeouts(&done.lifetime);
                if timeouts.on_use(done.age, done.ttl) == Use::Over {
                    let key = self.key().unwrap_or(identity.key);
                    self.expire(&key).await?;
                    return Err(SessionError::Gone);
                }
                Ok(Some(done))
            }
            Outcome::Conflict => {
                self.state().drawn = None;
                Ok(None)
            }
            Outcome::Gone => {
                if let Some((drawn, true)) = &successor
                    && self.adopt(drawn).await?
                {
                    return Ok(None);
                }
                let mut state = self.state();
                state.drawn = None;
                state.missing();
                let lost = matches!(state.known, Known::Gone) && (commit.is_change() || rotate == Rotate::NewId);
                // A session that only would have lived longer has nothing to lose: what was read of it was true when it was read.
                if lost { Err(SessionError::Gone) } else { Ok(None) }
            }
        }
    }

    /// The id that a former attempt drew whose outcome is unknown, with `true`; otherwise a fresh one. Repeating a call under the same id
    /// tells whether the first one landed, where another id would leave a second session behind.
    fn draw(&self, fresh: impl FnOnce() -> Result<SessionId, EntropyError>) -> Result<(Identity, bool), SessionError> {
        let mut state = self.state();
        if let Some(drawn) = &state.drawn {
            return Ok((drawn.clone(), true));
        }
        let drawn = Identity::from(fresh()?);
        state.drawn = Some(drawn.clone());
        Ok((drawn, false))
    }

    /// Takes the record under a drawn id for this request's own, if a former attempt did put it there.
    async fn adopt(&self, drawn: &Identity) -> Result<bool, SessionError> {
        let found = self.0.store.load(&drawn.key).await?;
        let landed = found.is_some();
        if let Some(record) = found {
            self.state().created(drawn.clone(), record);
        }
        Ok(landed)
    }

    /// Deletes a record that outlived a timeout which was shortened after it was written.
    async fn expire(&self, key: &StoreKey) -> Result<(), SessionError> {
        self.0.store.delete(key).await?;
        self.state().missing();
        Ok(())
    }

    /// An https-only cookie is not believed on plain http, so nothing can be done to the session behind it; saying otherwise would be a lie.
    pub(super) fn check_transport(&self) -> Result<(), SessionError> {
        let idle = self.state().recorded.is_empty();
        match self.0.delivery {
            Delivery::Refused if !idle => Err(SessionError::PlainHttp),
            Delivery::Refused | Delivery::Possible => Ok(()),
        }
    }

    /// No id is made that could not reach the browser: its session would be an orphan.
    fn check_delivery(&self) -> Result<(), SessionError> {
        if self.state().head == Head::Sent {
            return Err(SessionError::HeadSent);
        }
        match self.0.delivery {
            Delivery::Possible => Ok(()),
            Delivery::Refused => Err(SessionError::PlainHttp),
        }
    }
}

fn out_of_ids() -> SessionError {
    let source = "fresh random ids were taken several times in a row; the random source seems to repeat itself".into();
    SessionError::Store(StoreError::Other { store: "session", source })
}
