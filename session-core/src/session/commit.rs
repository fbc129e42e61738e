//! Committing the recorded changes: planning, creating, rotating.

use std::{collections::BTreeMap, time::Duration};

use super::{
    context::EventKind,
    delivery::CookieDelivery,
    error::SessionError,
    request::Session,
    state::{DrawnId, Identity, ResponseHead, apply},
};
use crate::{
    Attributes, Claim, Commit, Committed, Created, Deleted, EndCause, EntropyError, Guard,
    NewRecord, Opened, Outcome, Principal, PrincipalChange, Record, Rotation, SessionId, SignIn,
    StoreError, StoreKey,
    expiry::RenewalDecision,
    plan::{NextStoreCall, Recorded, Rotate, SessionKnowledge, plan},
    principal::SessionKind,
};

/// The maximum number of ids to draw, and of plans to make. The first id always works: another one
/// is needed only after a collision of 96 random bits. The longest sequence of plans is: load the
/// record, end the session of another user, create a session, make no further call.
const ATTEMPTS: usize = 4;

impl Session {
    /// Commits all recorded changes now, in one atomic step, and extends the ttl if that is due.
    ///
    /// The adapter does this for every response. A long-lived body, or a task that continues after
    /// the response, calls it itself. Recorded changes stay recorded until the store has them, so a
    /// failed call can be repeated, even if the first attempt took effect. Without recorded changes
    /// the call asks the store whether the session still lives, in one round trip.
    ///
    /// # Errors
    /// [`SessionError::Gone`] if the session has ended since this request saw it alive.
    /// [`SessionError::Superseded`] if another request gave the session a new id.
    /// [`SessionError::Store`] if the store failed: either all changes took effect or none.
    /// [`SessionError::HeadSent`] and [`SessionError::PlainHttp`] if the commit needs a new id that
    /// cannot reach the browser.
    ///
    /// # Cancel safety
    /// If the call is dropped, the commit may have taken effect. The changes are still recorded,
    /// and committing them again sets the same values.
    pub async fn commit(&self) -> Result<(), SessionError> {
        let _call = self.0.call_lock.lock().await;
        if !self.commit_recorded().await? {
            self.choose_cookie().await?;
            let judged = {
                let state = self.state();
                matches!(
                    state.known,
                    SessionKnowledge::Unloaded
                        | SessionKnowledge::Alive(_)
                        | SessionKnowledge::Loaded(_)
                )
                .then(|| Commit::new(state.secret()))
            };
            if let Some(commit) = judged {
                self.send(commit, Rotate::Keep).await?;
            }
        }
        match self.state().known {
            SessionKnowledge::Gone => Err(SessionError::Gone),
            SessionKnowledge::Superseded | SessionKnowledge::Grace(_) => {
                Err(SessionError::Superseded)
            }
            _ => Ok(()),
        }
    }

    /// Plans and makes store calls until the recorded changes need no more. `true` if a change took
    /// effect. The caller holds the call lock.
    ///
    /// A clone that keeps recording does not delay the response: its latest changes stay recorded
    /// for its own commit.
    pub(super) async fn commit_recorded(&self) -> Result<bool, SessionError> {
        self.check_transport()?;
        self.end_copied_session().await?;
        if !self.state().recorded.is_empty() {
            self.state().recorded.check(self.policy()).map_err(StoreError::from)?;
            self.choose_cookie().await?;
        }
        let mut landed = false;
        for _ in 0..ATTEMPTS {
            let (step, planned) = self.next_store_call();
            match step {
                NextStoreCall::None => return Ok(landed),
                NextStoreCall::Load => self.fetch().await?,
                NextStoreCall::Create(new) => {
                    if let Some(sign_in) = &planned.sign_in {
                        self.end_superseded_session_of(sign_in).await?;
                    }
                    let created = self.create(new).await;
                    if created.inspect_err(|_| self.state().attempt_failed(planned.clone()))? {
                        self.mark_committed(&planned).await;
                        landed = true;
                    }
                }
                // Plan again after a commit: it may return that the ttl of a record that was never
                // loaded is due.
                NextStoreCall::Commit(commit, rotate) => {
                    let sent = self.send(commit, rotate).await;
                    if sent.inspect_err(|_| self.state().attempt_failed(planned.clone()))?.is_some()
                    {
                        self.mark_committed(&planned).await;
                        landed = true;
                        self.end_copied_session().await?;
                    }
                }
                NextStoreCall::Expire => {
                    let (identity, principal) = {
                        let state = self.state();
                        (
                            state.identity.clone(),
                            state.record().and_then(|record| record.principal.clone()),
                        )
                    };
                    if let Some(identity) = identity {
                        self.expire(&identity, principal.as_ref()).await?;
                    }
                }
                NextStoreCall::EndForOtherUser => self.end_for_other_user().await?,
                NextStoreCall::Superseded => return Err(SessionError::Superseded),
                NextStoreCall::Gone => return Err(SessionError::Gone),
            }
        }
        if landed { Ok(true) } else { Err(out_of_ids()) }
    }

    /// Commits the recorded changes before a call that acts immediately, and chooses among several
    /// cookies. With one cookie and no recorded changes it makes no call.
    pub(super) async fn commit_recorded_first(&self) -> Result<(), SessionError> {
        self.choose_cookie().await?;
        let idle = {
            let state = self.state();
            state.recorded.is_empty() && state.copied.is_none()
        };
        if idle { Ok(()) } else { self.commit_recorded().await.map(drop) }
    }

    /// The next store call, and a copy of the changes to remove once it has succeeded.
    fn next_store_call(&self) -> (NextStoreCall, Recorded) {
        let mut state = self.state();
        let step =
            plan(&state.known, state.secret(), state.elapsed(), &state.recorded, self.policy());
        if step == NextStoreCall::None && !state.recorded.is_empty() {
            // Changes without an effect are done. Only attributes wait for a session that may still
            // start.
            let attributes = if state.identity.is_none() {
                state.recorded.attributes.clone()
            } else {
                Attributes::default()
            };
            state.recorded = Recorded { attributes, ..Recorded::default() };
        }
        let planned =
            if step == NextStoreCall::None { Recorded::default() } else { state.recorded.clone() };
        (step, planned)
    }

    /// Removes the changes that the store has applied, and enforces the limit of a sign-in.
    async fn mark_committed(&self, done: &Recorded) {
        self.state().recorded.forget(done);
        if let Some(SignIn { principal, max_sessions: Some(most), .. }) = &done.sign_in {
            self.end_oldest_sessions(principal, *most).await;
        }
    }

    /// Ends the former session of a browser that lost the cookie of a rotation and signs in again.
    /// Without this, that session would live on. Does nothing while the rotation settles, because a
    /// parallel request may own the new id.
    async fn end_superseded_session_of(&self, sign_in: &SignIn) -> Result<(), SessionError> {
        let former = {
            let state = self.state();
            state.superseded.clone().filter(|_| matches!(state.known, SessionKnowledge::Absent))
        };
        if let Some(former) = former
            && former.record.principal.as_ref() == Some(&sign_in.principal)
        {
            let claim = Claim::Generation(former.identity.id.generation());
            let _ = self
                .end(&former.identity, claim, former.record.principal.as_ref(), EndCause::SignedOut)
                .await?;
        }
        Ok(())
    }

    /// Creates a session under a new id. `false` if an earlier attempt had already created it, with
    /// the changes of that time. The caller holds the call lock.
    pub(super) async fn create(&self, new: NewRecord) -> Result<bool, SessionError> {
        let signed_in = new.principal.as_ref().map(|_| EventKind::SignedIn);
        self.create_as(new, [Some(EventKind::Created), signed_in]).await
    }

    /// Creates a session under a new id and emits these events.
    async fn create_as(
        &self,
        mut new: NewRecord,
        events: [Option<EventKind>; 2],
    ) -> Result<bool, SessionError> {
        self.check_delivery()?;
        let emit = |drawn: &Identity, principal: Option<&Principal>, error: Option<&StoreError>| {
            for event in events.into_iter().flatten() {
                self.emit(&drawn.key, principal, event, error);
            }
        };
        for _ in 0..ATTEMPTS {
            let (drawn, again) = self.draw(SessionId::random)?;
            new.secret = drawn.secret;
            let created = self.store().create(&drawn.key, new.clone()).await;
            let created =
                created.inspect_err(|error| emit(&drawn, new.principal.as_ref(), Some(error)))?;
            if created == Created::New {
                emit(&drawn, new.principal.as_ref(), None);
                self.state().created(drawn, Box::new(record_of(new)));
                return Ok(true);
            }
            if again && self.adopt(&drawn).await? {
                return Ok(false);
            }
            self.state().drawn = None;
        }
        Err(out_of_ids())
    }

    /// Emits an event. With `error`, its outcome may be unknown.
    fn emit(
        &self,
        key: &StoreKey,
        principal: Option<&Principal>,
        event: EventKind,
        error: Option<&StoreError>,
    ) {
        match error {
            None => self.0.context.emit(key, principal, event),
            Some(error) => self.0.context.emit_unknown(key, principal, event, error),
        }
    }

    /// Sends a commit. `None` if the caller has to plan again, because the request learned
    /// something new about its session. The caller holds the call lock.
    pub(super) async fn send(
        &self,
        mut commit: Commit,
        rotate: Rotate,
    ) -> Result<Option<Committed>, SessionError> {
        let Some(identity) = self.state().identity.clone() else {
            return Ok(None);
        };
        let drawn = match rotate {
            Rotate::Keep => None,
            Rotate::WithGrace | Rotate::WithoutGrace => {
                self.check_delivery()?;
                Some(self.draw(|| identity.id.rotated())?.0)
            }
        };
        commit.secret = identity.secret;
        let only_noted = drawn.is_some() && self.remember_replaced_secret(&mut commit);
        commit.rotate = drawn.as_ref().map(|drawn| Rotation {
            secret: drawn.secret,
            generation: drawn.id.generation(),
            grace: if rotate == Rotate::WithGrace { self.policy().grace() } else { None },
        });
        let mut answer = self.store().commit(&identity.key, commit.clone()).await;
        if only_noted && matches!(answer, Ok(Outcome::Conflict)) {
            // Another request changed the attributes. Its change takes precedence over the list of
            // replaced secrets.
            (commit.guard, commit.attributes) = (Guard::Any, None);
            answer = self.store().commit(&identity.key, commit.clone()).await;
        }
        let outcome = match answer {
            Err(StoreError::Unsupported { .. }) if drawn.is_some() => {
                return self.copy_to_new_id(&identity, &commit).await;
            }
            Err(error) => {
                self.emit_rotated(&identity, &commit, Some(&error));
                return Err(error.into());
            }
            Ok(outcome) => outcome,
        };
        match outcome {
            Outcome::Done(done) => {
                self.emit_rotated(&identity, &commit, None);
                self.state().committed(&commit, drawn, &done);
                let timeouts = self
                    .policy()
                    .timeouts(&done.attributes, SessionKind::of(done.authenticated.as_ref()));
                if timeouts.decide(done.authenticated.unwrap_or(done.age), done.ttl)
                    == RenewalDecision::Expired
                {
                    let principal =
                        self.state().record().and_then(|record| record.principal.clone());
                    self.expire(&identity, principal.as_ref()).await?;
                    return Err(SessionError::Gone);
                }
                Ok(Some(done))
            }
            // The guard of the list of replaced secrets has been removed above, and `update` sends
            // its commits itself.
            Outcome::Conflict => Ok(None),
            // The answer to the rotation of an earlier attempt may have been lost. The load then
            // adopts the drawn id.
            Outcome::Superseded => {
                self.fetch().await?;
                Ok(None)
            }
            Outcome::Gone => {
                let mut state = self.state();
                state.missing();
                let lost = matches!(state.known, SessionKnowledge::Gone)
                    && (commit.is_change() || drawn.is_some());
                // A commit that only extends the ttl loses nothing: the data was valid when it was
                // read.
                if lost && state.recorded.sign_in.is_none() {
                    Err(SessionError::Gone)
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// Adds the list of recently replaced secrets to a rotation. The list cannot be out of date:
    /// only another rotation changes it, and then this one is refused. `true` if the commit
    /// contains attributes only because of the list. Those attributes may be out of date.
    fn remember_replaced_secret(&self, commit: &mut Commit) -> bool {
        let state = self.state();
        let Some(record) = state.record() else { return false };
        let elapsed = state.elapsed();
        let last = record
            .generation
            .checked_sub(1)
            .map(|generation| (generation, record.age.saturating_sub(record.rotated)));
        let replaced = record.attributes.replaced.before_next(
            last,
            record.age + elapsed,
            self.policy().rotation_settles,
        );
        if let Some(attributes) = &mut commit.attributes {
            attributes.replaced = replaced;
            return false;
        }
        if replaced == record.attributes.replaced {
            return false;
        }
        commit.attributes = Some(Attributes { replaced, ..record.attributes.clone() });
        commit.guard = Guard::Version(record.version);
        true
    }

    /// Ends the session of the former user, because another user signs in. If another request
    /// signed in on that session meanwhile, it belongs to that request and stays.
    async fn end_for_other_user(&self) -> Result<(), SessionError> {
        self.check_delivery()?;
        let (identity, principal) = {
            let state = self.state();
            // The answer to a rotation of this request may have been lost.
            let drawn = state
                .drawn
                .as_ref()
                .map(|drawn| &drawn.identity)
                .filter(|drawn| Some(&drawn.key) == state.key().as_ref());
            (
                drawn.or(state.identity.as_ref()).cloned(),
                state.record().and_then(|record| record.principal.clone()),
            )
        };
        let mut ended = false;
        if let Some(identity) = identity {
            let claim = Claim::Generation(identity.id.generation());
            ended = self.end(&identity, claim, principal.as_ref(), EndCause::SignedOut).await?
                == Deleted::Ended;
        }
        self.state().end_for_other_user(ended);
        Ok(())
    }

    fn emit_rotated(&self, identity: &Identity, commit: &Commit, error: Option<&StoreError>) {
        let event = match (&commit.principal, commit.rotate) {
            (PrincipalChange::Set(_), _) => EventKind::SignedIn,
            (_, Some(_)) => EventKind::Rotated,
            (_, None) => return,
        };
        let known = self.state().record().and_then(|record| record.principal.clone());
        let principal = match &commit.principal {
            PrincipalChange::Set(principal) => Some(principal),
            PrincipalChange::Keep | PrincipalChange::Unset => known.as_ref(),
        };
        self.emit(&identity.key, principal, event, error);
    }

    /// Replaces the rotation in a store that cannot rotate: copies the record to a new id. The
    /// caller then ends the old session with [`Self::end_copied_session`]. In between both sessions
    /// live, and a commit to the old one in that time is lost.
    async fn copy_to_new_id(
        &self,
        identity: &Identity,
        commit: &Commit,
    ) -> Result<Option<Committed>, SessionError> {
        self.state().drawn = None;
        self.fetch().await?;
        let Some(mut record) =
            self.state().record().filter(|record| record.secret == identity.secret).cloned()
        else {
            return Ok(None);
        };
        if commit.clear {
            record.data.clear();
        }
        apply(&mut record.data, &commit.changes);
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(principal) => {
                (record.principal, record.authenticated) =
                    (Some(principal.clone()), Some(Duration::ZERO));
            }
            PrincipalChange::Unset => (record.principal, record.authenticated) = (None, None),
        }
        if commit.authenticated && record.principal.is_some() {
            record.authenticated = Some(Duration::ZERO);
        }
        record.attributes = commit.attributes.clone().unwrap_or(record.attributes);
        record.ttl = commit.ttl.unwrap_or(record.ttl);
        (record.generation, record.since, record.version) = (0, 0, 1);
        let (version, age, authenticated) = (record.version, record.age, record.authenticated);
        let (ttl, attributes) = (record.ttl, record.attributes.clone());
        let signs_in = matches!(commit.principal, PrincipalChange::Set(_));
        self.create_as(
            record.into_new(),
            [Some(if signs_in { EventKind::SignedIn } else { EventKind::Rotated }), None],
        )
        .await?;
        self.state().copied = Some(identity.key.clone());
        Ok(Some(Committed { version, added: BTreeMap::new(), age, authenticated, ttl, attributes }))
    }

    /// Ends the session that this request copied to a new id. If that fails, the next call of the
    /// request tries again. The caller holds the call lock.
    pub(super) async fn end_copied_session(&self) -> Result<(), StoreError> {
        let copied = self.state().copied.clone();
        if let Some(key) = copied {
            let _ = self.store().delete(&key, Claim::Any).await?;
            self.state().copied = None;
        }
        Ok(())
    }

    /// The id of an earlier attempt with an unknown outcome, with `true`. Otherwise a new id.
    /// Repeating the call with the same id shows whether the first attempt took effect. A different
    /// id would leave a second session behind, or lose the first secret.
    fn draw(
        &self,
        fresh: impl FnOnce() -> Result<SessionId, EntropyError>,
    ) -> Result<(Identity, bool), SessionError> {
        let mut state = self.state();
        if let Some(drawn) = &state.drawn {
            return Ok((drawn.identity.clone(), true));
        }
        let drawn = Identity::from(fresh()?);
        state.drawn = Some(DrawnId::new(drawn.clone()));
        Ok((drawn, false))
    }

    /// Adopts the record that a drawn id opens: an earlier attempt did take effect, and its changes
    /// are done.
    async fn adopt(&self, drawn: &Identity) -> Result<bool, SessionError> {
        let found = self.store().load(&drawn.key).await?;
        if let Some(Opened::Current(record)) = found.map(|stored| stored.open(&drawn.secret)) {
            self.adopt_record(drawn.clone(), record).await;
            return Ok(true);
        }
        Ok(false)
    }

    /// Adopts a record that the drawn id opened.
    pub(super) async fn adopt_record(&self, drawn: Identity, record: Box<Record>) {
        let attempted = self.state().drawn.take().map(DrawnId::attempted).unwrap_or_default();
        self.state().created(drawn, record);
        self.mark_committed(&attempted).await;
    }

    /// Rejects recorded changes if an https-only cookie came over plain http: the session behind it
    /// cannot be changed, so a success would be false.
    pub(super) fn check_transport(&self) -> Result<(), SessionError> {
        let idle = self.state().recorded.is_empty();
        match self.0.delivery {
            CookieDelivery::Refused if !idle => Err(SessionError::PlainHttp),
            CookieDelivery::Refused | CookieDelivery::Possible => Ok(()),
        }
    }

    /// Rejects a new id that could not reach the browser: its session would be an orphan.
    pub(super) fn check_delivery(&self) -> Result<(), SessionError> {
        if self.state().head == ResponseHead::Sent {
            return Err(SessionError::HeadSent);
        }
        match self.0.delivery {
            CookieDelivery::Possible => Ok(()),
            CookieDelivery::Refused => Err(SessionError::PlainHttp),
        }
    }
}

/// The record that a store makes of `new`.
fn record_of(new: NewRecord) -> Record {
    Record {
        data: new.data,
        version: new.version,
        secret: new.secret,
        generation: new.generation,
        since: new.since,
        grace: None,
        age: new.age,
        rotated: new.age,
        authenticated: new.authenticated,
        ttl: new.ttl,
        principal: new.principal,
        attributes: new.attributes,
    }
}

fn out_of_ids() -> SessionError {
    let source = "new random ids were already taken several times in a row; \
                  the random source of the system may be broken"
        .into();
    SessionError::Store(StoreError::Other { store: "session", source })
}
