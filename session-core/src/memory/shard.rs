//! One part of the sessions, behind one lock.

use std::collections::{BTreeSet, HashMap};

use super::{
    clock::nanos,
    entry::{Entry, FormerSecret, SignedInUser, between, boxed},
    merge::PlannedChanges,
    quota::{Parts, memory_bytes},
};
use crate::{
    AuthenticationChange, Claim, Commit, Committed, Deleted, Guard, Limits, Principal,
    PrincipalChange, Rejection, SessionSummary, StoreKey, principal::SessionKind,
};

/// The sessions whose keys hash to this shard, with all their indexes.
///
/// A session keeps its slot from creation to removal. Indexes, lists and scans use slots instead of
/// keys: a slot takes 8 bytes, and no commit moves a session past a running scan.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: HashMap<StoreKey, usize>,
    /// Boxed, because a vector that grows holds its content twice for a moment.
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<usize>,
    deadlines: BTreeSet<(u64, usize)>,
    principals: BTreeSet<(Principal, usize)>,
}

/// The verdict on a commit before it is applied.
#[derive(Debug)]
pub(super) enum Verdict {
    Accepted(PlannedCommit),
    Conflict,
    Superseded,
    Gone,
}

/// A commit that was accepted and not applied yet.
#[derive(Debug)]
pub(super) struct PlannedCommit {
    slot: usize,
    merge: PlannedChanges,
    /// Kind and memory of the session before the commit.
    pub(super) before: (SessionKind, usize),
    /// Kind and memory of the session after the commit.
    pub(super) after: (SessionKind, usize),
}

impl Shard {
    pub(super) fn live(&self, key: &StoreKey, now: u64) -> Option<&Entry> {
        self.entry(*self.slots.get(key)?).filter(|entry| entry.is_live(now))
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.slots.insert(entry.key.clone(), slot);
        self.deadlines.insert((entry.deadline, slot));
        if let Some(principal) = entry.principal() {
            self.principals.insert((principal.clone(), slot));
        }
        self.entries[slot] = Some(Box::new(entry));
    }

    pub(super) fn remove(&mut self, key: &StoreKey) -> Option<Entry> {
        let slot = *self.slots.get(key)?;
        self.remove_slot(slot)
    }

    /// Decides whether the commit may be applied, and computes its result. Changes nothing.
    pub(super) fn check_commit(
        &self,
        key: &StoreKey,
        commit: &Commit,
        now: u64,
        limits: Limits,
    ) -> Result<Verdict, Rejection> {
        let Some(&slot) = self.slots.get(key) else { return Ok(Verdict::Gone) };
        let Some(entry) = self.entry(slot).filter(|entry| entry.is_live(now)) else {
            return Ok(Verdict::Gone);
        };
        if commit.secret != entry.secret {
            return Ok(Verdict::Superseded);
        }
        if matches!(commit.guard, Guard::Version(version) if version != entry.version) {
            return Ok(Verdict::Conflict);
        }
        let merge = PlannedChanges::plan(&entry.data, commit)?;
        limits.check_data(merge.bytes)?;
        let principal = match &commit.principal {
            PrincipalChange::Keep => entry.principal(),
            PrincipalChange::Set(principal) => Some(principal),
            PrincipalChange::Unset => None,
        };
        let attributes = match &commit.attributes {
            Some(attributes) => Some(attributes).filter(|attributes| !attributes.is_default()),
            None => entry.attributes.as_deref(),
        };
        let bytes = memory_bytes(&Parts {
            key,
            principal,
            data_bytes: merge.bytes,
            values: merge.values,
            attributes,
            has_former_secret: commit
                .rotate
                .as_ref()
                .map_or(entry.former.is_some(), |rotation| rotation.grace.is_some()),
        });
        let after = (SessionKind::of(principal), bytes);
        Ok(Verdict::Accepted(PlannedCommit {
            slot,
            merge,
            before: (entry.kind(), entry.memory_bytes()),
            after,
        }))
    }

    /// Applies a commit that [`Self::check_commit`] accepted under the same lock. `None` if the
    /// slot is empty, which cannot happen after that check.
    pub(super) fn apply(
        &mut self,
        plan: PlannedCommit,
        commit: Commit,
        now: u64,
    ) -> Option<Committed> {
        let PlannedCommit { slot, merge, .. } = plan;
        let entry = self.entries.get_mut(slot)?.as_deref_mut()?;
        entry.version += u64::from(commit.is_change());
        let (authentication, since) = (commit.authentication(), commit.since());
        if let Some(rotation) = commit.rotate {
            let former = |grace| {
                Box::new(FormerSecret {
                    secret: entry.secret,
                    until: now.saturating_add(nanos(grace)),
                })
            };
            entry.former = rotation.grace.map(former);
            (entry.secret, entry.generation, entry.rotated) =
                (rotation.secret, rotation.generation, now);
        }
        entry.since = since.unwrap_or(entry.since);
        merge.apply(&mut entry.data, commit.clear, commit.changes);
        match commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(principal) => {
                self.principals.insert((principal.clone(), slot));
                let old = entry.user.replace(SignedInUser { principal, authenticated: now });
                if let Some(old) = old.filter(|old| {
                    entry.user.as_ref().is_none_or(|user| user.principal != old.principal)
                }) {
                    self.principals.remove(&(old.principal, slot));
                }
            }
            PrincipalChange::Unset => {
                if let Some(old) = entry.user.take() {
                    self.principals.remove(&(old.principal, slot));
                }
            }
        }
        if let (AuthenticationChange::Now, Some(user)) = (authentication, &mut entry.user) {
            user.authenticated = now;
        }
        if let Some(attributes) = commit.attributes {
            entry.attributes = boxed(attributes);
        }
        if let Some(ttl) = commit.ttl {
            self.deadlines.remove(&(entry.deadline, slot));
            entry.deadline = now.saturating_add(nanos(ttl));
            self.deadlines.insert((entry.deadline, slot));
        }
        Some(Committed {
            version: entry.version,
            added: merge.added,
            age: between(entry.created, now),
            authenticated: entry.authenticated(now),
            ttl: between(now, entry.deadline),
            attributes: entry.attributes(),
        })
    }

    /// Ends the session under `key` if `claim` reaches it. Returns its entry, live or expired.
    pub(super) fn delete(
        &mut self,
        key: &StoreKey,
        claim: Claim,
        now: u64,
    ) -> (Deleted, Option<Entry>) {
        let live = self.live(key, now);
        let (found, since) = (live.is_some(), live.map_or(0, |entry| entry.since));
        match claim {
            Claim::Generation(generation) if since > generation => (Deleted::Superseded, None),
            Claim::Any | Claim::Generation(_) => {
                let removed = self.remove(key);
                (if found { Deleted::Ended } else { Deleted::Missing }, removed)
            }
        }
    }

    /// The live sessions of a principal, starting at this slot.
    pub(super) fn list(
        &self,
        principal: &Principal,
        from: usize,
        now: u64,
    ) -> impl Iterator<Item = (usize, SessionSummary)> {
        let live = move |slot| {
            self.entry(slot)
                .filter(|entry| entry.is_live(now))
                .map(|entry| (slot, entry.summary(now)))
        };
        self.principal_slots(principal, from).filter_map(live)
    }

    /// Removes the sessions of a principal except `except`, including expired ones.
    pub(super) fn remove_all(
        &mut self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Vec<Entry> {
        let slots: Vec<usize> = self
            .principal_slots(principal, 0)
            .filter(|slot| self.entry(*slot).map(|entry| &entry.key) != except)
            .collect();
        slots.into_iter().filter_map(|slot| self.remove_slot(slot)).collect()
    }

    /// Removes at most `limit` sessions that had expired at `now`, those with the earliest deadline
    /// first.
    pub(super) fn remove_expired(&mut self, limit: usize, now: u64) -> Vec<Entry> {
        let mut removed = Vec::new();
        while removed.len() < limit
            && let Some(&(_, slot)) =
                self.deadlines.first().filter(|(deadline, _)| *deadline <= now)
            && let Some(entry) = self.remove_slot(slot)
        {
            removed.push(entry);
        }
        removed
    }

    /// The entry in the slot, live or expired. `None` after the last slot, `Some(None)` if the slot
    /// is empty.
    #[expect(
        clippy::option_option,
        reason = "a scan distinguishes an empty slot from the end of the slots"
    )]
    pub(super) fn slot(&self, slot: usize) -> Option<Option<&Entry>> {
        self.entries.get(slot).map(Option::as_deref)
    }

    fn entry(&self, slot: usize) -> Option<&Entry> {
        self.entries.get(slot)?.as_deref()
    }

    fn principal_slots(&self, principal: &Principal, from: usize) -> impl Iterator<Item = usize> {
        self.principals
            .range((principal.clone(), from)..=(principal.clone(), usize::MAX))
            .map(|(_, slot)| *slot)
    }

    /// Removes the session from every index. Every removal from a shard goes through this method.
    pub(super) fn remove_slot(&mut self, slot: usize) -> Option<Entry> {
        let entry = *self.entries.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.slots.remove(&entry.key);
        self.deadlines.remove(&(entry.deadline, slot));
        if let Some(principal) = entry.principal() {
            self.principals.remove(&(principal.clone(), slot));
        }
        Some(entry)
    }
}
