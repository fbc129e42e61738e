//! A complete store in one file: a map behind one lock. It keeps every law, and the conformance suite proves it; what it lacks is
//! speed with many threads and a purge whose cost follows what expired.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Change, Commit, Committed, Created, Cursor, Guard, Json, Limits, Listed, NewRecord, Outcome, Page, Principal, PrincipalChange, Record,
    Rejection, SessionStore, StoreError, StoreKey,
};

/// Sessions in one map.
#[derive(Debug, Default)]
pub struct ToyStore {
    kept: Mutex<HashMap<StoreKey, Kept>>,
    limits: Limits,
}

#[derive(Debug, Clone)]
struct Kept {
    new: NewRecord,
    version: u64,
    created: Instant,
    deadline: Instant,
}

impl Kept {
    /// Law 5: dead at the deadline, whether or not anybody has purged it.
    fn is_live(&self) -> bool {
        Instant::now() < self.deadline
    }

    fn age(&self) -> Duration {
        self.created.elapsed()
    }

    fn ttl(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn record(&self) -> Record {
        let NewRecord { data, principal, lifetime, .. } = self.new.clone();
        Record { data, version: self.version, age: self.age(), ttl: self.ttl(), principal, lifetime }
    }

    /// Law 1: works on a copy, so that a commit which has to be refused leaves nothing behind.
    fn with(mut self, commit: &Commit, limits: Limits) -> Result<(Self, Committed), Rejection> {
        let mut added = std::collections::BTreeMap::new();
        if commit.clear {
            self.new.data.clear();
        }
        for (name, change) in &commit.changes {
            let value = match change {
                Change::Set(value) => Some(value.clone()),
                Change::Remove => None,
                Change::Add(by) => {
                    let held = self.new.data.get(name.as_str()).map_or(Some(0), Json::as_integer);
                    let held = held.ok_or_else(|| Rejection::NotAnInteger { name: name.clone() })?;
                    let sum = held.checked_add(*by).ok_or_else(|| Rejection::Overflow { name: name.clone() })?;
                    added.insert(name.clone(), sum);
                    Some(Json::integer(sum))
                }
            };
            match value {
                Some(value) => drop(self.new.data.insert(name.clone(), value)),
                None => drop(self.new.data.remove(name.as_str())),
            }
        }
        limits.check_data(self.new.data.bytes())?;
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(principal) => self.new.principal = Some(principal.clone()),
            PrincipalChange::Unset => self.new.principal = None,
        }
        self.new.lifetime = commit.lifetime.unwrap_or(self.new.lifetime);
        self.deadline = commit.ttl.map_or(self.deadline, |ttl| Instant::now() + ttl);
        self.version += u64::from(commit.is_change());
        let committed = Committed { version: self.version, added, age: self.age(), ttl: self.ttl(), lifetime: self.new.lifetime };
        Ok((self, committed))
    }
}

#[async_trait]
impl SessionStore for ToyStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        new.check(key, &self.limits)?;
        let mut kept = self.kept.lock();
        if kept.get(key).is_some_and(Kept::is_live) {
            return Ok(Created::Taken);
        }
        let now = Instant::now();
        kept.insert(key.clone(), Kept { version: 1, created: now, deadline: now + new.ttl, new });
        Ok(Created::New)
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        Ok(self.kept.lock().get(key).filter(|kept| kept.is_live()).map(Kept::record))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        commit.check(key, &self.limits)?;
        let mut kept = self.kept.lock();
        // Law 2: what is not alive is gone, and nothing is created.
        let Some(held) = kept.get(key).filter(|kept| kept.is_live()) else {
            return Ok(Outcome::Gone);
        };
        let target = commit.move_to.as_ref().unwrap_or(key);
        let taken = target != key && kept.get(target).is_some_and(Kept::is_live);
        if taken || matches!(commit.guard, Guard::Version(version) if version != held.version) {
            return Ok(Outcome::Conflict);
        }
        let (changed, committed) = held.clone().with(&commit, self.limits)?;
        // Law 4: under the same lock the old key dies and the new one lives.
        kept.remove(key);
        kept.insert(target.clone(), changed);
        Ok(Outcome::Done(committed))
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        Ok(self.kept.lock().remove(key).is_some_and(|kept| kept.is_live()))
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        let kept = self.kept.lock();
        let theirs = kept.iter().filter(|(_, kept)| kept.is_live() && kept.new.principal.as_ref() == Some(principal));
        let mut listed: Vec<_> = theirs.map(|(key, kept)| Listed { key: key.clone(), age: kept.age(), ttl: kept.ttl() }).collect();
        listed.sort_by_key(|listed| listed.age);
        Ok(listed)
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        let theirs = |key: &StoreKey, kept: &Kept| kept.new.principal.as_ref() == Some(principal) && Some(key) != except;
        let ended = self.kept.lock().extract_if(|key, kept| theirs(key, kept)).filter(|(_, kept)| kept.is_live()).count();
        Ok(ended as u64)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let kept = self.kept.lock();
        let after = after.map(|Cursor(text)| StoreKey::from_text(text));
        // In the order of the keys, so that what comes and goes meanwhile shifts nothing.
        let mut rest: Vec<_> = kept.iter().filter(|(key, kept)| kept.is_live() && Some(*key) > after.as_ref()).collect();
        rest.sort_by_key(|(key, _)| *key);
        let records: Vec<_> = rest.iter().take(limit).map(|(key, kept)| ((*key).clone(), kept.record())).collect();
        let next = records.last().filter(|_| records.len() < rest.len()).map(|(key, _)| Cursor(key.as_str().into()));
        Ok(Page { records, next })
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let purged = self.kept.lock().extract_if(|_, kept| !kept.is_live()).take(limit).count();
        Ok(purged as u64)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (store, key) = (ToyStore::default(), session_core::SessionId::random()?.store_key());
    assert_eq!(store.create(&key, NewRecord::new(Duration::from_secs(1_800))).await?, Created::New);
    let visits = session_core::Name::new("visits")?;
    assert!(matches!(store.commit(&key, Commit::new().change(visits, Change::Add(1))).await?, Outcome::Done(_)));
    assert!(store.delete(&key).await?);
    assert_eq!(store.load(&key).await?, None);
    Ok(())
}
