//! A complete store in one file: a map behind one lock. It keeps every law, and the conformance
//! suite proves that. It is slow with many threads, and a purge reads every record.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    AuthenticationChange, Change, Claim, Commit, Committed, Created, Cursor, Deleted, DeletedPage,
    Grace, Guard, Json, Limits, Name, NewRecord, Outcome, Page, Principal, PrincipalChange, Record,
    Rejection, SessionStore, SessionSummary, StoreError, StoreKey, Stored, SummaryPage,
};

/// Sessions in one map, in the order of their keys. Keys never change, so a commit moves no session
/// past the cursor of a scan or list.
#[derive(Debug, Default)]
pub struct ToyStore {
    sessions: Mutex<BTreeMap<StoreKey, Entry>>,
    limits: Limits,
}

/// A record, and the time at which its durations were correct.
#[derive(Debug)]
struct Entry {
    record: Record,
    at: Instant,
}

impl Entry {
    fn now(record: Record) -> Self {
        Self { record, at: Instant::now() }
    }

    /// The record with its durations as of now. Law 5: `None` after its deadline, whether or not a
    /// purge has removed it.
    fn live(&self) -> Option<Record> {
        let elapsed = self.at.elapsed();
        let left =
            |duration: Duration| duration.checked_sub(elapsed).filter(|left| !left.is_zero());
        let mut record = self.record.clone();
        record.ttl = left(record.ttl)?;
        record.grace =
            record.grace.and_then(|grace| Some(Grace { left: left(grace.left)?, ..grace }));
        record.age += elapsed;
        record.rotated += elapsed;
        record.authenticated = record.authenticated.map(|age| age + elapsed);
        Some(record)
    }

    fn is_live(&self) -> bool {
        self.live().is_some()
    }
}

/// Applies a commit to a copy of the record. Law 1: a rejected commit changes nothing. Returns the
/// new record and the sums.
fn apply(
    mut record: Record,
    commit: Commit,
    limits: Limits,
) -> Result<(Record, BTreeMap<Name, i64>), Rejection> {
    // Law 3: a rotation and a new ttl are not changes.
    record.version += u64::from(commit.is_change());
    record.since = commit.since().unwrap_or(record.since);
    let (authentication, mut added) = (commit.authentication(), BTreeMap::new());
    if commit.clear {
        record.data.clear();
    }
    for (name, change) in commit.changes {
        match change {
            Change::Set(value) => drop(record.data.insert(name, value)),
            Change::Remove => drop(record.data.remove(name.as_str())),
            Change::Add(by) => {
                let old = record.data.get(name.as_str()).map_or(Some(0), Json::as_integer);
                let old = old.ok_or_else(|| Rejection::NotAnInteger { name: name.clone() })?;
                let sum = old
                    .checked_add(by)
                    .ok_or_else(|| Rejection::Overflow { name: name.clone() })?;
                added.insert(name.clone(), sum);
                record.data.insert(name, Json::integer(sum));
            }
        }
    }
    limits.check_data(record.data.bytes())?;
    match commit.principal {
        PrincipalChange::Keep => {}
        PrincipalChange::Set(principal) => record.principal = Some(principal),
        PrincipalChange::Unset => record.principal = None,
    }
    match authentication {
        AuthenticationChange::Keep => {}
        AuthenticationChange::Now => {
            record.authenticated = record.principal.as_ref().map(|_| Duration::ZERO);
        }
        AuthenticationChange::Clear => record.authenticated = None,
    }
    if let Some(rotation) = commit.rotate {
        record.grace = rotation.grace.map(|left| Grace { secret: record.secret, left });
        (record.secret, record.generation, record.rotated) =
            (rotation.secret, rotation.generation, Duration::ZERO);
    }
    record.attributes = commit.attributes.unwrap_or(record.attributes);
    record.ttl = commit.ttl.unwrap_or(record.ttl);
    Ok((record, added))
}

/// One page of the sessions for which `pick` returns a value, in the order of the keys, and the
/// cursor of the next page.
fn page<T>(
    sessions: &BTreeMap<StoreKey, Entry>,
    after: Option<Cursor>,
    limit: usize,
    pick: impl Fn(&StoreKey, &Entry) -> Option<T>,
) -> Result<(Vec<T>, Option<Cursor>), StoreError> {
    let after = after.map(|cursor| StoreKey::from_text(cursor.as_str()));
    if after.as_ref().is_some_and(|key| !key.is_storable()) {
        return Err(StoreError::Other {
            store: "toy",
            source: "the cursor is not from this store".into(),
        });
    }
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = sessions.range((start, Bound::Unbounded));
    let mut picked = rest.filter_map(|(key, entry)| Some((key, pick(key, entry)?)));
    let page: Vec<_> = picked.by_ref().take(limit.max(1)).collect();
    let next = picked.next().and(page.last()).map(|(key, _)| Cursor::new(key.as_str()));
    Ok((page.into_iter().map(|(_, item)| item).collect(), next))
}

#[async_trait]
impl SessionStore for ToyStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        new.check(key, &self.limits)?;
        let mut sessions = self.sessions.lock();
        // Law 2: `create` never changes a live record.
        if sessions.get(key).is_some_and(Entry::is_live) {
            return Ok(Created::Taken);
        }
        let NewRecord {
            data,
            version,
            secret,
            generation,
            since,
            age,
            authenticated,
            ttl,
            principal,
            attributes,
        } = new;
        let (grace, rotated) = (None, age);
        let record = Record {
            data,
            version,
            secret,
            generation,
            since,
            grace,
            age,
            rotated,
            authenticated,
            ttl,
            principal,
            attributes,
        };
        sessions.insert(key.clone(), Entry::now(record));
        Ok(Created::New)
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.sessions.lock().get(key).and_then(Entry::live).map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        commit.check(&self.limits)?;
        let mut sessions = self.sessions.lock();
        // Law 9: the order of the outcomes. Law 2: a commit to a dead session creates nothing.
        let Some(record) = sessions.get(key).and_then(Entry::live) else {
            return Ok(Outcome::Gone);
        };
        if commit.secret != record.secret {
            return Ok(Outcome::Superseded);
        }
        if matches!(commit.guard, Guard::Version(version) if version != record.version) {
            return Ok(Outcome::Conflict);
        }
        let (record, added) = apply(record, commit, self.limits)?;
        let Record { version, age, authenticated, ttl, .. } = record;
        let committed = Committed {
            version,
            added,
            age,
            authenticated,
            ttl,
            attributes: record.attributes.clone(),
        };
        sessions.insert(key.clone(), Entry::now(record));
        Ok(Outcome::Done(committed))
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        let mut sessions = self.sessions.lock();
        let live = sessions.get(key).and_then(Entry::live);
        match (&live, claim) {
            (Some(record), Claim::Generation(generation)) if record.since > generation => {
                return Ok(Deleted::Superseded);
            }
            _ => drop(sessions.remove(key)),
        }
        Ok(if live.is_some() { Deleted::Ended } else { Deleted::Missing })
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let summary = |key: &StoreKey, entry: &Entry| {
            let Record { age, authenticated, ttl, attributes, .. } =
                entry.live().filter(|record| record.principal.as_ref() == Some(principal))?;
            Some(SessionSummary {
                key: key.clone(),
                age,
                authenticated: authenticated?,
                ttl,
                attributes,
            })
        };
        let (sessions, next) = page(&self.sessions.lock(), after, limit, summary)?;
        Ok(SummaryPage { sessions, next })
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        self.sessions.lock().retain(|key, entry| {
            let ends = entry.record.principal.as_ref() == Some(principal) && Some(key) != except;
            ended += u64::from(ends && entry.is_live());
            !ends
        });
        Ok(ended)
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let mut sessions = self.sessions.lock();
        let (keys, next) = page(&sessions, after, limit, |key, _| Some(key.clone()))?;
        let ended =
            keys.iter().filter_map(|key| sessions.remove(key)).filter(Entry::is_live).count();
        Ok(DeletedPage { ended: ended as u64, next })
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let (records, next) = page(&self.sessions.lock(), after, limit, |key, entry| {
            Some((key.clone(), entry.live()?))
        })?;
        Ok(Page { records, next })
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        let mut purged = 0;
        self.sessions.lock().retain(|_, entry| {
            let purge = purged < limit && !entry.is_live();
            purged += usize::from(purge);
            !purge
        });
        Ok(purged as u64)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (store, id) = (ToyStore::default(), session_core::SessionId::random()?);
    let (key, secret) = (id.key(), id.secret_hash());
    assert_eq!(
        store.create(&key, NewRecord::new(secret, Duration::from_secs(1_800))).await?,
        Created::New
    );
    let visits = Commit::new(secret).change(Name::new("visits")?, Change::Add(1));
    assert!(matches!(store.commit(&key, visits).await?, Outcome::Done(_)));
    assert_eq!(store.delete(&key, Claim::Any).await?, Deleted::Ended);
    assert_eq!(store.load(&key).await?, None);
    Ok(())
}
