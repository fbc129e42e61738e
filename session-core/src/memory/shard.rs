//! One part of the sessions, behind one lock.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{clock::nanos, merge::Merge, occupancy::weight};
use crate::{Commit, Committed, Data, Guard, Lifetime, Limits, Listed, NewRecord, Principal, PrincipalChange, Record, Rejection, StoreKey};

/// The sessions of some lineages, with all their indexes.
///
/// A session keeps its slot from creation to removal, also when it is moved to another key. So both indexes and a scan go by slot and
/// not by key: a move touches `slots` alone, and a scan that walks the slots in order cannot miss a session that moves while it walks.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: HashMap<StoreKey, usize>,
    /// Boxed, because a vector that grows has twice its content in memory for a moment.
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<usize>,
    deadlines: BTreeSet<(u64, usize)>,
    principals: BTreeSet<(Principal, usize)>,
}

/// One session. Points in time are nanoseconds of the store's clock.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: StoreKey,
    pub(super) data: Data,
    pub(super) version: u64,
    pub(super) created: u64,
    pub(super) deadline: u64,
    pub(super) principal: Option<Principal>,
    /// Boxed and absent by default: most sessions ask for nothing of their own, and 40 bytes a session are 40 MB a million.
    pub(super) lifetime: Option<Box<Lifetime>>,
}

/// When a session was created and dies, for a list that is put together from several shards.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) key: StoreKey,
    pub(super) created: u64,
    deadline: u64,
}

impl Times {
    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.deadline
    }

    pub(super) fn listed(self, now: u64) -> Listed {
        let since = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        Listed { key: self.key, age: since(self.created, now), ttl: since(now, self.deadline) }
    }
}

/// What a shard thinks of a commit that it has not made yet.
#[derive(Debug)]
pub(super) enum Verdict {
    Go(Plan),
    Conflict,
    Gone,
}

/// A commit that may be made.
#[derive(Debug)]
pub(super) struct Plan {
    slot: usize,
    merge: Merge,
    /// What the session weighs now.
    pub(super) before: usize,
    /// What it will weigh.
    pub(super) after: usize,
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
        if let Some(principal) = &entry.principal {
            self.principals.insert((principal.clone(), slot));
        }
        self.entries[slot] = Some(Box::new(entry));
    }

    pub(super) fn remove(&mut self, key: &StoreKey) -> Option<Entry> {
        let slot = *self.slots.get(key)?;
        self.remove_slot(slot)
    }

    /// Whether the commit may be made, and what it comes to. Changes nothing.
    pub(super) fn examine(&self, key: &StoreKey, commit: &Commit, now: u64, limits: Limits) -> Result<Verdict, Rejection> {
        let Some(&slot) = self.slots.get(key) else { return Ok(Verdict::Gone) };
        let Some(entry) = self.entry(slot).filter(|entry| entry.is_live(now)) else { return Ok(Verdict::Gone) };
        if matches!(commit.guard, Guard::Version(version) if version != entry.version) {
            return Ok(Verdict::Conflict);
        }
        if commit.move_to.as_ref().is_some_and(|target| target != key && self.live(target, now).is_some()) {
            return Ok(Verdict::Conflict);
        }
        let merge = Merge::plan(&entry.data, commit)?;
        limits.check_data(merge.bytes)?;
        let principal = match &commit.principal {
            PrincipalChange::Keep => entry.principal.as_ref(),
            PrincipalChange::Set(principal) => Some(principal),
            PrincipalChange::Unset => None,
        };
        let key = commit.move_to.as_ref().unwrap_or(key);
        let after = weight(key.as_str().len(), principal.map_or(0, |principal| principal.as_str().len()), merge.bytes, merge.values);
        Ok(Verdict::Go(Plan { slot, merge, before: entry.weight(), after }))
    }

    /// Makes a commit that [`Self::examine`] let pass under the same lock. `None` if the slot is empty, which that rules out.
    pub(super) fn apply(&mut self, plan: Plan, commit: Commit, now: u64) -> Option<Committed> {
        let Plan { slot, merge, .. } = plan;
        let entry = self.entries.get_mut(slot)?.as_deref_mut()?;
        entry.version += u64::from(commit.is_change());
        merge.apply(&mut entry.data, commit.clear, commit.changes);
        let principal = match commit.principal {
            PrincipalChange::Keep => None,
            PrincipalChange::Set(principal) => Some(Some(principal)),
            PrincipalChange::Unset => Some(None),
        };
        if let Some(principal) = principal {
            if let Some(old) = std::mem::replace(&mut entry.principal, principal.clone()) {
                self.principals.remove(&(old, slot));
            }
            if let Some(new) = principal {
                self.principals.insert((new, slot));
            }
        }
        if let Some(lifetime) = commit.lifetime {
            entry.lifetime = boxed(lifetime);
        }
        if let Some(ttl) = commit.ttl {
            self.deadlines.remove(&(entry.deadline, slot));
            entry.deadline = now.saturating_add(nanos(ttl));
            self.deadlines.insert((entry.deadline, slot));
        }
        if let Some(target) = commit.move_to {
            self.slots.remove(&entry.key);
            self.slots.insert(target.clone(), slot);
            entry.key = target;
        }
        Some(Committed { version: entry.version, added: merge.added, age: entry.age(now), ttl: entry.ttl(now), lifetime: entry.lifetime() })
    }

    /// The sessions of a principal, the expired ones as well.
    pub(super) fn list(&self, principal: &Principal) -> Vec<Times> {
        let entries = self.slots_of(principal).filter_map(|slot| self.entry(slot));
        entries.map(|entry| Times { key: entry.key.clone(), created: entry.created, deadline: entry.deadline }).collect()
    }

    /// Takes out the sessions of a principal but `except`, the expired ones as well.
    pub(super) fn remove_all(&mut self, principal: &Principal, except: Option<&StoreKey>) -> Vec<Entry> {
        let slots: Vec<usize> = self.slots_of(principal).filter(|slot| self.entry(*slot).map(|entry| &entry.key) != except).collect();
        slots.into_iter().filter_map(|slot| self.remove_slot(slot)).collect()
    }

    /// Takes out at most `limit` expired sessions, the longest dead first, and returns how many they were and what they weighed.
    pub(super) fn remove_expired(&mut self, limit: usize, now: u64) -> (usize, usize) {
        let (mut removed, mut weight) = (0, 0);
        while removed < limit {
            let Some(&(deadline, slot)) = self.deadlines.first() else { break };
            if deadline > now {
                break;
            }
            let Some(entry) = self.remove_slot(slot) else { break };
            removed += 1;
            weight += entry.weight();
        }
        (removed, weight)
    }

    /// The entry in the slot, live or not; `None` beyond the last slot, `Some(None)` if the slot is empty.
    #[expect(clippy::option_option, reason = "an empty slot and the end of the slots are two answers, and a scan needs both")]
    pub(super) fn slot(&self, slot: usize) -> Option<Option<&Entry>> {
        self.entries.get(slot).map(Option::as_deref)
    }

    fn entry(&self, slot: usize) -> Option<&Entry> {
        self.entries.get(slot)?.as_deref()
    }

    fn slots_of(&self, principal: &Principal) -> impl Iterator<Item = usize> {
        let from = (principal.clone(), 0);
        self.principals.range(from..).take_while(move |(held, _)| held == principal).map(|(_, slot)| *slot)
    }

    /// The only way out of a shard: takes the session out of every index at once.
    fn remove_slot(&mut self, slot: usize) -> Option<Entry> {
        let entry = *self.entries.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.slots.remove(&entry.key);
        self.deadlines.remove(&(entry.deadline, slot));
        if let Some(principal) = &entry.principal {
            self.principals.remove(&(principal.clone(), slot));
        }
        Some(entry)
    }
}

impl Entry {
    pub(super) fn new(key: StoreKey, new: NewRecord, now: u64) -> Self {
        let NewRecord { data, ttl, principal, lifetime } = new;
        Self { key, data, version: 1, created: now, deadline: now.saturating_add(nanos(ttl)), principal, lifetime: boxed(lifetime) }
    }

    /// Dead exactly at its deadline, not after it.
    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.deadline
    }

    pub(super) fn key(&self) -> &StoreKey {
        &self.key
    }

    pub(super) fn record(&self, now: u64) -> Record {
        Record {
            data: self.data.clone(),
            version: self.version,
            age: self.age(now),
            ttl: self.ttl(now),
            principal: self.principal.clone(),
            lifetime: self.lifetime(),
        }
    }

    pub(super) fn weight(&self) -> usize {
        let principal_bytes = self.principal.as_ref().map_or(0, |principal| principal.as_str().len());
        weight(self.key.as_str().len(), principal_bytes, self.data.bytes(), self.data.len())
    }

    fn age(&self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.created))
    }

    fn ttl(&self, now: u64) -> Duration {
        Duration::from_nanos(self.deadline.saturating_sub(now))
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        self.lifetime.as_deref().copied().unwrap_or_default()
    }
}

pub(super) fn boxed(lifetime: Lifetime) -> Option<Box<Lifetime>> {
    (!lifetime.is_default()).then(|| Box::new(lifetime))
}
