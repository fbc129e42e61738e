//! Loading the record, and bringing recorded changes to the store.

use super::{
    Delivery, RecordedChanges, Session, SessionError,
    state::{Head, Identity},
};
use crate::{
    Commit, Committed, NewRecord, OnGone, Outcome, Record, SessionId, StoreError, StoreKey,
    expiry::Use,
    plan::{Known, Recorded, Rotate, Step, plan},
};

/// Fresh ids to draw, and plans to make, before something must be wrong. The first always does; others need a collision of 168 bits.
const ATTEMPTS: usize = 4;

impl Session {
    /// Brings everything recorded to the store now, in one atomic commit.
    ///
    /// The response does that by itself; a long-lived body, or a task that goes on after the response, calls this. Recorded changes stay
    /// recorded until the store has them, so after an error the call can be repeated.
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
            RecordedChanges::Commit => self.flush().await,
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
        self.state().known = Known::Loaded(record);
        Ok(())
    }

    /// Plans and calls the store until nothing recorded is left to do. The caller holds the flight lock.
    pub(super) async fn flush(&self) -> Result<(), SessionError> {
        for _ in 0..ATTEMPTS {
            let (step, planned) = self.next_step();
            match step {
                Step::Nothing => return Ok(()),
                Step::Load => self.fetch().await?,
                Step::Create(new) => {
                    self.create(new).await?;
                    self.state().recorded.forget(&planned);
                    return Ok(());
                }
                Step::Commit(commit, rotate) => {
                    if self.send(commit, rotate).await?.is_some() {
                        self.state().recorded.forget(&planned);
                        return Ok(());
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
        Err(out_of_ids())
    }

    /// What the recorded changes need next, and a copy of them to strike off once it is done.
    fn next_step(&self) -> (Step, Recorded) {
        let mut state = self.state();
        let step = plan(&state.known, &state.recorded, &self.0.policy);
        if step == Step::Nothing && !state.recorded.is_empty() {
            // What changes nothing is done. Only a lifetime waits for a session that may still come.
            let lifetime = if state.identity.is_none() { state.recorded.lifetime } else { crate::Lifetime::default() };
            state.recorded = Recorded { lifetime, ..Recorded::default() };
        }
        let planned = if step == Step::Nothing { Recorded::default() } else { state.recorded.clone() };
        (step, planned)
    }

    /// Creates a session under a fresh id. The caller holds the flight lock.
    pub(super) async fn create(&self, new: NewRecord) -> Result<(), SessionError> {
        self.check_delivery()?;
        for _ in 0..ATTEMPTS {
            let identity = Identity::from(SessionId::random()?);
            if self.0.store.create(&identity.key, new.clone()).await? == crate::Created::New {
                let NewRecord { data, ttl, principal, lifetime } = new;
                let record = Record { data, version: 1, age: std::time::Duration::ZERO, ttl, principal, lifetime };
                self.state().created(identity, record);
                return Ok(());
            }
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
                Some(Identity::from(identity.id.successor()?))
            }
        };
        commit.move_to = successor.as_ref().map(|successor| successor.key.clone());
        match self.0.store.commit(&identity.key, commit.clone()).await? {
            Outcome::Done(done) => {
                self.state().committed(&commit, successor, &done);
                Ok(Some(done))
            }
            Outcome::Conflict => Ok(None),
            Outcome::Gone => {
                let mut state = self.state();
                state.missing();
                let lost = matches!(state.known, Known::Gone) && (commit.is_change() || rotate == Rotate::NewId);
                // A session that only would have lived longer has nothing to lose: what was read of it was true when it was read.
                if lost { Err(SessionError::Gone) } else { Ok(None) }
            }
        }
    }

    /// Deletes a record that outlived a timeout which was shortened after it was written.
    async fn expire(&self, key: &StoreKey) -> Result<(), SessionError> {
        self.0.store.delete(key).await?;
        self.state().missing();
        Ok(())
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
