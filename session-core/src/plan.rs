//! What a request's recorded changes mean for the store: one pure decision.

use std::time::Duration;

use crate::{Change, Changes, Commit, Lifetime, NewRecord, Policy, Principal, PrincipalChange, Record, expiry::Use};

/// What the request knows of the stored session.
#[derive(Debug, Clone, Default)]
pub(crate) enum Known {
    /// There is none: no cookie that verifies, or the store said that it is absent before this request had seen it alive.
    #[default]
    Absent,
    /// A cookie verified and the store was not asked yet.
    Presented,
    /// The store answered a commit, so the session lives; its values were not loaded.
    Alive { age: Duration, ttl: Duration, lifetime: Lifetime },
    /// The record was loaded, or is known as well as if it had been.
    Loaded(Record),
    /// The session was alive in this request and has gone since: signed out, revoked or expired by somebody else.
    Gone,
}

/// What the handler did that no store has seen yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// How often all values were cleared: a clear during a commit is another one than that which the commit carries.
    pub(crate) clears: u32,
    /// `Set` and `Remove` only: an `Add` goes to the store at once.
    pub(crate) changes: Changes,
    /// Who signs in.
    pub(crate) principal: Option<Principal>,
    pub(crate) renew: bool,
    /// What is to hold in place of the policy; `None` in a field leaves what the session has. The absolute timeout counts from now.
    pub(crate) lifetime: Lifetime,
}

/// The one store call that the recorded changes need next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// The decision needs the record: load it and plan again.
    Load,
    Create(NewRecord),
    /// A commit; with `Rotate::NewId` the caller draws the successor and moves the record to it.
    Commit(Commit, Rotate),
    /// The record outlived a timeout that was shortened: delete it.
    Expire,
    /// There are changes, and the session they belong to has gone.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotate {
    SameId,
    NewId,
}

impl Recorded {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the changes make sense only with a new id: a sign-in, or an explicit renewal.
    fn rotates(&self) -> bool {
        self.renew || self.principal.is_some()
    }

    /// Whether there is anything worth a session of its own.
    fn needs_a_session(&self) -> bool {
        self.principal.is_some() || self.changes.values().any(|change| matches!(change, Change::Set(_)))
    }

    /// Whether another user signs in. Nothing of the former user's session may leak into the new one, not even what a request in
    /// flight adds meanwhile, so all values go.
    pub(crate) fn changes_owner(&self, record: &Record) -> bool {
        matches!((&record.principal, &self.principal), (Some(owner), Some(next)) if owner != next)
    }

    /// Forgets what `done` contains, once the store has it; what was recorded meanwhile stays.
    pub(crate) fn forget(&mut self, done: &Self) {
        if self == done {
            *self = Self::default();
            return;
        }
        self.changes.retain(|name, change| done.changes.get(name) != Some(change));
        self.clears -= done.clears.min(self.clears);
        self.renew &= !done.renew;
        if self.principal == done.principal {
            self.principal = None;
        }
        if self.lifetime == done.lifetime {
            self.lifetime = Lifetime::default();
        }
    }

    /// The session that these changes make where there was none.
    pub(crate) fn new_record(&self, policy: &Policy) -> NewRecord {
        let lifetime = self.lifetime.bounded();
        let set = self.changes.iter().filter_map(|(name, change)| match change {
            Change::Set(value) => Some((name.clone(), value.clone())),
            Change::Remove | Change::Add(_) => None,
        });
        NewRecord { data: set.collect(), ttl: policy.timeouts(&lifetime).first(), principal: self.principal.clone(), lifetime }
    }
}

/// Decides what to do with `recorded`, `elapsed` after the store said what is `known`. Calls nothing and reads no clock.
pub(crate) fn plan(known: &Known, elapsed: Duration, recorded: &Recorded, policy: &Policy) -> Step {
    match known {
        Known::Absent if recorded.needs_a_session() => Step::Create(recorded.new_record(policy)),
        Known::Absent => Step::Nothing,
        Known::Gone | Known::Presented if recorded.is_empty() => Step::Nothing,
        Known::Gone => Step::Lost,
        // Setting and removing values needs no knowledge of the record; everything else needs its age and lifetime.
        Known::Presented if recorded.rotates() || !recorded.lifetime.is_default() => Step::Load,
        Known::Presented => Step::Commit(blind(recorded), Rotate::SameId),
        // Whether somebody else was signed in decides what happens to the data.
        Known::Alive { .. } if recorded.principal.is_some() => Step::Load,
        Known::Alive { age, ttl, lifetime } => {
            commit(blind(recorded), recorded, policy, *age + elapsed, ttl.saturating_sub(elapsed), lifetime)
        }
        Known::Loaded(record) => {
            let changes = against(record, recorded);
            commit(changes, recorded, policy, record.age + elapsed, record.ttl.saturating_sub(elapsed), &record.lifetime)
        }
    }
}

/// The recorded changes as they stand.
fn blind(recorded: &Recorded) -> Commit {
    Commit {
        clear: recorded.clears > 0,
        changes: recorded.changes.clone(),
        principal: recorded.principal.clone().map_or(PrincipalChange::Keep, PrincipalChange::Set),
        ..Commit::new()
    }
}

/// The recorded changes without those that change nothing in `record`.
fn against(record: &Record, recorded: &Recorded) -> Commit {
    let mut commit = blind(recorded);
    let other_owner = recorded.changes_owner(record);
    if other_owner || commit.clear {
        commit.clear = other_owner || !record.data.is_empty();
        commit.changes.retain(|_, change| matches!(change, Change::Set(_)));
    } else {
        commit.changes.retain(|name, change| match change {
            Change::Set(value) => record.data.get(name.as_str()) != Some(value),
            Change::Remove => record.data.get(name.as_str()).is_some(),
            Change::Add(_) => true,
        });
    }
    if recorded.principal.is_some() && recorded.principal == record.principal {
        commit.principal = PrincipalChange::Keep;
    }
    commit
}

/// Adds to `commit` what the session's life needs, and says whether there is anything to do at all.
fn commit(mut commit: Commit, recorded: &Recorded, policy: &Policy, age: Duration, ttl: Duration, lifetime: &Lifetime) -> Step {
    let from_now = recorded.lifetime.absolute_timeout.map(|timeout| age.saturating_add(timeout));
    let wanted = lifetime.overlaid(&Lifetime { absolute_timeout: from_now, ..recorded.lifetime }).bounded();
    commit.lifetime = (wanted != *lifetime).then_some(wanted);
    let timeouts = policy.timeouts(&wanted);
    let rotate = if recorded.rotates() { Rotate::NewId } else { Rotate::SameId };
    match timeouts.on_use(age, ttl) {
        Use::Over => return Step::Expire,
        Use::Renew(ttl) => commit.ttl = Some(ttl),
        // A new id is a good moment to start a full idle period: the commit happens anyway.
        Use::Fresh if rotate == Rotate::NewId || commit.lifetime.is_some() => commit.ttl = timeouts.ttl(age),
        Use::Fresh => {}
    }
    if commit.is_empty() && rotate == Rotate::SameId { Step::Nothing } else { Step::Commit(commit, rotate) }
}

#[cfg(test)]
mod tests;
