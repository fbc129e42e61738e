//! The decision which store call the recorded changes of a request need next. It is a pure
//! function.

use std::time::Duration;

use crate::{
    Attributes, Change, Changes, Commit, NewRecord, Policy, PrincipalChange, Record, Rejection,
    SecretHash, ShortText, SignIn, expiry::RenewalDecision, principal::SessionKind,
};

/// What a request knows of the stored session.
#[derive(Debug, Clone, Default)]
pub(crate) enum SessionKnowledge {
    /// There is no session: no cookie verified, the id counts as absent, or the store reported the
    /// record missing before this request saw it alive.
    #[default]
    Absent,
    /// A cookie verified, and the request has not asked the store yet.
    Unloaded,
    /// The store applied a commit, so the session lives. Its values were not loaded.
    Alive(Alive),
    /// The record was loaded with its current secret, or is known as if it had been.
    Loaded(Box<Record>),
    /// The record was loaded with its former secret, within the grace. The request only reads.
    Grace(Box<Record>),
    /// A rotation replaced the request's secret a moment ago. Reads are anonymous, and writes are
    /// refused.
    Superseded,
    /// This request saw the session alive, and the session has ended since: another request ended
    /// it, or it timed out.
    Gone,
}

/// The facts that a commit returns about a session that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alive {
    pub(crate) age: Duration,
    pub(crate) authenticated: Option<Duration>,
    pub(crate) ttl: Duration,
    pub(crate) attributes: Attributes,
}

/// The changes of the handler that are not in the store yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recorded {
    /// How often the handler cleared all values. A count, because a clear during a commit is not
    /// part of that commit.
    pub(crate) clears: u32,
    /// `Set` and `Remove` only. An `Add` goes to the store immediately.
    pub(crate) changes: Changes,
    pub(crate) sign_in: Option<SignIn>,
    pub(crate) renew: bool,
    pub(crate) reauthenticated: Option<Reauthentication>,
    /// The attributes to set. `None` in a field keeps the attribute of the session. The absolute
    /// timeout counts from now.
    pub(crate) attributes: Attributes,
}

/// The user has proved their identity again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reauthentication {
    /// The new strength of the authentication. `None` keeps it.
    pub(crate) acr: Option<ShortText>,
}

/// The store call that the recorded changes need next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextStoreCall {
    None,
    /// The decision needs the record: load it and plan again.
    Load,
    /// Create a session. The caller draws its id.
    Create(NewRecord),
    /// Send a commit. The caller draws the secret that `Rotate` asks for.
    Commit(Commit, Rotate),
    /// Delete the record: it outlived a timeout that was shortened.
    Expire,
    /// Another user signs in: end this session and plan again without one.
    EndForOtherUser,
    /// There are changes, but the request's secret is not the current one.
    Superseded,
    /// There are changes, but their session has ended.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotate {
    Keep,
    /// A new secret. The former one may read for the policy's grace.
    WithGrace,
    /// A new secret. The former one is forgotten.
    WithoutGrace,
}

impl Recorded {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Records a sign-in. It replaces every proof of identity recorded before.
    pub(crate) fn set_sign_in(&mut self, sign_in: SignIn) {
        self.sign_in = Some(sign_in);
        self.reauthenticated = None;
    }

    /// Records a proof of identity. After a recorded sign-in, the strength is that of the sign-in,
    /// because a sign-in starts with its own attributes.
    pub(crate) fn reauthenticate(&mut self, acr: Option<ShortText>) {
        if let (Some(sign_in), Some(acr)) = (&mut self.sign_in, &acr) {
            sign_in.attributes.acr = Some(acr.clone());
        }
        self.reauthenticated = Some(Reauthentication { acr });
    }

    fn rotate(&self) -> Rotate {
        if self.sign_in.is_some() || self.reauthenticated.is_some() {
            Rotate::WithoutGrace
        } else if self.renew {
            Rotate::WithGrace
        } else {
            Rotate::Keep
        }
    }

    /// Whether a change needs a new session if there is none.
    fn needs_session(&self) -> bool {
        self.sign_in.is_some()
            || self.changes.values().any(|change| matches!(change, Change::Set(_)))
    }

    /// Whether another user signs in. No data of the former user may reach the new session, not
    /// even what a request in flight adds meanwhile.
    pub(crate) fn changes_user(&self, record: &Record) -> bool {
        matches!(
            (&record.principal, &self.sign_in),
            (Some(former), Some(next)) if *former != next.principal
        )
    }

    /// Removes the changes that the store has applied (`done`). Changes that were recorded
    /// meanwhile stay.
    pub(crate) fn forget(&mut self, done: &Self) {
        if self == done {
            *self = Self::default();
            return;
        }
        // A clear that is not part of `done` drops the applied values, so every change after it has
        // to be sent, equal or not.
        if self.clears <= done.clears {
            self.changes.retain(|name, change| done.changes.get(name) != Some(change));
        }
        self.clears -= done.clears.min(self.clears);
        self.renew &= !done.renew;
        if self.sign_in == done.sign_in {
            self.sign_in = None;
        }
        if self.reauthenticated == done.reauthenticated {
            self.reauthenticated = None;
        }
        if self.attributes == done.attributes {
            self.attributes = Attributes::default();
        }
    }

    /// The attributes at a sign-in: those of the sign-in and those that the request set. No
    /// attribute of the former session is kept.
    fn fresh_attributes(&self) -> Attributes {
        let signed_in =
            self.sign_in.as_ref().map(|sign_in| sign_in.attributes.clone()).unwrap_or_default();
        signed_in.overlaid(&self.attributes).bounded()
    }

    /// Rejects a sign-in whose session would expire immediately: its success would be false.
    pub(crate) fn check(&self, policy: &Policy) -> Result<(), Rejection> {
        let Some(sign_in) = &self.sign_in else { return Ok(()) };
        let timeouts = policy.timeouts(&self.fresh_attributes(), SessionKind::SignedIn);
        if timeouts.ttl_at(Duration::ZERO).is_none() || timeouts.idle.is_zero() {
            return Err(Rejection::Ttl {
                ttl: sign_in
                    .attributes
                    .absolute_timeout
                    .unwrap_or(timeouts.absolute)
                    .min(timeouts.idle),
            });
        }
        Ok(())
    }

    /// The session to create from these changes. The caller sets its secret.
    pub(crate) fn new_record(&self, secret: SecretHash, policy: &Policy) -> NewRecord {
        let attributes = self.fresh_attributes();
        let kind =
            if self.sign_in.is_some() { SessionKind::SignedIn } else { SessionKind::Anonymous };
        let set = self.changes.iter().filter_map(|(name, change)| match change {
            Change::Set(value) => Some((name.clone(), value.clone())),
            Change::Remove | Change::Add(_) => None,
        });
        let new = NewRecord::new(secret, policy.timeouts(&attributes, kind).initial_ttl())
            .data(set.collect())
            .attributes(attributes);
        match &self.sign_in {
            Some(sign_in) => new.principal(sign_in.principal.clone()),
            None => new,
        }
    }
}

/// Decides which store call `recorded` needs next. `elapsed` is the time since the store reported
/// `known`. The function makes no call and reads no clock.
///
/// `secret` is the hash of the request's secret, or any value if the request has none.
pub(crate) fn plan(
    known: &SessionKnowledge,
    secret: SecretHash,
    elapsed: Duration,
    recorded: &Recorded,
    policy: &Policy,
) -> NextStoreCall {
    match known {
        SessionKnowledge::Absent if recorded.needs_session() => {
            NextStoreCall::Create(recorded.new_record(secret, policy))
        }
        SessionKnowledge::Absent => NextStoreCall::None,
        SessionKnowledge::Gone
        | SessionKnowledge::Unloaded
        | SessionKnowledge::Superseded
        | SessionKnowledge::Grace(_)
            if recorded.is_empty() =>
        {
            NextStoreCall::None
        }
        // A sign-in always works: it needs nothing from the session that it replaces, and it ends
        // no session that the current secret belongs to.
        SessionKnowledge::Gone | SessionKnowledge::Superseded | SessionKnowledge::Grace(_)
            if recorded.sign_in.is_some() =>
        {
            NextStoreCall::Create(recorded.new_record(secret, policy))
        }
        SessionKnowledge::Gone => NextStoreCall::Gone,
        SessionKnowledge::Superseded | SessionKnowledge::Grace(_) => NextStoreCall::Superseded,
        // Setting and removing values works without the record. Everything else needs its ages and
        // attributes.
        SessionKnowledge::Unloaded
            if recorded.rotate() != Rotate::Keep || !recorded.attributes.is_default() =>
        {
            NextStoreCall::Load
        }
        SessionKnowledge::Unloaded => {
            NextStoreCall::Commit(unconditional_commit(secret, recorded), Rotate::Keep)
        }
        // The principal decides whether the session continues, and a rotation needs the time of the
        // last one.
        SessionKnowledge::Alive(_) if recorded.rotate() != Rotate::Keep => NextStoreCall::Load,
        // The new user gets a new key, so that a call that still acts on the former user's key
        // cannot reach the new session.
        SessionKnowledge::Loaded(record) if recorded.changes_user(record) => {
            NextStoreCall::EndForOtherUser
        }
        SessionKnowledge::Alive(alive) => {
            let Alive { age, authenticated, ttl, attributes } = alive;
            let times = Times {
                age: *age + elapsed,
                authenticated: authenticated.map(|age| age + elapsed),
                ttl: ttl.saturating_sub(elapsed),
            };
            commit(unconditional_commit(secret, recorded), recorded, policy, times, attributes)
        }
        SessionKnowledge::Loaded(record) => {
            let Record { age, authenticated, ttl, attributes, .. } = record.as_ref();
            let times = Times {
                age: *age + elapsed,
                authenticated: authenticated.map(|age| age + elapsed),
                ttl: ttl.saturating_sub(elapsed),
            };
            commit(
                commit_without_noops(record, secret, recorded),
                recorded,
                policy,
                times,
                attributes,
            )
        }
    }
}

#[derive(Clone, Copy)]
struct Times {
    age: Duration,
    authenticated: Option<Duration>,
    ttl: Duration,
}

/// A commit of all recorded changes.
fn unconditional_commit(secret: SecretHash, recorded: &Recorded) -> Commit {
    let sign_in = recorded.sign_in.as_ref();
    Commit {
        clear: recorded.clears > 0,
        changes: recorded.changes.clone(),
        principal: sign_in.map_or(PrincipalChange::Keep, |sign_in| {
            PrincipalChange::Set(sign_in.principal.clone())
        }),
        ..Commit::new(secret)
    }
}

/// A commit of the recorded changes that change something in `record`.
fn commit_without_noops(record: &Record, secret: SecretHash, recorded: &Recorded) -> Commit {
    let mut commit = unconditional_commit(secret, recorded);
    if commit.clear {
        commit.clear = !record.data.is_empty();
        commit.changes.retain(|_, change| matches!(change, Change::Set(_)));
    } else {
        commit.changes.retain(|name, change| match change {
            Change::Set(value) => record.data.get(name.as_str()) != Some(value),
            Change::Remove => record.data.get(name.as_str()).is_some(),
            Change::Add(_) => true,
        });
    }
    commit
}

/// Adds the new ttl to `commit`, and decides whether there is anything to send.
fn commit(
    mut commit: Commit,
    recorded: &Recorded,
    policy: &Policy,
    times: Times,
    held: &Attributes,
) -> NextStoreCall {
    let Times { age, authenticated, ttl } = times;
    let kind = SessionKind::of(authenticated.as_ref());
    let before = authenticated.unwrap_or(age);
    if policy.timeouts(held, kind).ttl_at(before).is_none() {
        return NextStoreCall::Expire;
    }
    let rotate = recorded.rotate();
    // The age that the absolute timeout counts, and the kind of the session, after the commit.
    let signs_in = recorded.sign_in.is_some();
    let proves = signs_in || (recorded.reauthenticated.is_some() && kind == SessionKind::SignedIn);
    commit.authenticated = proves && !signs_in;
    let (timed_age, kind) =
        if proves { (Duration::ZERO, SessionKind::SignedIn) } else { (before, kind) };
    let wanted = if signs_in {
        recorded.fresh_attributes()
    } else {
        changed_attributes(held, recorded, timed_age, kind)
    };
    let timeouts = policy.timeouts(&wanted, kind);
    let attributes_change = wanted != *held;
    commit.attributes = attributes_change.then_some(wanted);
    match timeouts.decide(timed_age, ttl) {
        RenewalDecision::Expired => return NextStoreCall::Expire,
        RenewalDecision::Renew(ttl) => commit.ttl = Some(ttl),
        RenewalDecision::NotDue if proves || attributes_change => {
            commit.ttl = timeouts.ttl_at(timed_age);
        }
        RenewalDecision::NotDue => {}
    }
    if commit.is_empty() && rotate == Rotate::Keep {
        NextStoreCall::None
    } else {
        NextStoreCall::Commit(commit, rotate)
    }
}

/// The attributes of a session that continues: its own, overwritten by those that the request set.
/// An absolute timeout counts from now.
fn changed_attributes(
    held: &Attributes,
    recorded: &Recorded,
    age: Duration,
    kind: SessionKind,
) -> Attributes {
    let absolute_timeout =
        recorded.attributes.absolute_timeout.map(|timeout| age.saturating_add(timeout));
    // An anonymous session has no authentication, so it gets no strength.
    let proof = recorded.reauthenticated.as_ref().filter(|_| kind == SessionKind::SignedIn);
    let acr = proof.and_then(|reauthenticated| reauthenticated.acr.clone());
    held.overlaid(&Attributes { absolute_timeout, acr, ..recorded.attributes.clone() }).bounded()
}

#[cfg(test)]
mod tests;
