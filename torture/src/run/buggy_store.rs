//! A store with a planted bug.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Attributes, Change, Claim, Commit, Committed, Created, Cursor, Data, Deleted, DeletedPage,
    Guard, NewRecord, Outcome, Page, Principal, Record, SessionStore, StoreError, StoreKey, Stored,
    SummaryPage,
};

use super::PlantedBug;

/// The time by which `ForgottenExpiry` moves each deadline.
const HOUR: Duration = Duration::from_hours(1);
/// The pause between the two steps of a commit that is not atomic.
const STEP: Duration = Duration::from_millis(2);

/// A store that wraps another one and adds one bug.
#[derive(Debug)]
pub struct BuggyStore {
    inner: Arc<dyn SessionStore>,
    plant: PlantedBug,
    calls: AtomicU64,
    /// Sessions that have ended, with their last content.
    ended: Mutex<HashMap<StoreKey, Record>>,
}

impl BuggyStore {
    /// Adds the bug to a store.
    #[must_use]
    pub fn new(inner: Arc<dyn SessionStore>, plant: PlantedBug) -> Self {
        Self { inner, plant, calls: AtomicU64::new(0), ended: Mutex::default() }
    }

    /// Whether the store has this bug, and this call is one of every `one_in` calls that show it.
    fn is_due(&self, plant: PlantedBug, one_in: u64) -> bool {
        self.plant == plant && self.calls.fetch_add(1, Ordering::Relaxed) % one_in == one_in - 1
    }

    async fn keep(&self, key: &StoreKey) -> Result<(), StoreError> {
        if self.plant == PlantedBug::StaleRead
            && let Some(record) = self.record(key).await?
        {
            self.ended.lock().insert(key.clone(), record);
        }
        Ok(())
    }

    async fn record(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        Ok(self.inner.load(key).await?.map(Stored::into_record))
    }

    async fn upsert(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let outcome = self.inner.commit(key, commit.clone()).await?;
        if outcome != Outcome::Gone || commit.rotate.is_some() {
            return Ok(outcome);
        }
        let set = commit.changes.into_iter().filter_map(|(name, change)| match change {
            Change::Set(value) => Some((name, value)),
            Change::Remove | Change::Add(_) => None,
        });
        let ttl = Duration::from_mins(10);
        let _ = self
            .inner
            .create(key, NewRecord::new(commit.secret, ttl).data(set.collect::<Data>()))
            .await?;
        let (added, attributes) = (std::collections::BTreeMap::default(), Attributes::default());
        Ok(Outcome::Done(Committed {
            version: 1,
            added,
            age: Duration::ZERO,
            authenticated: None,
            ttl,
            attributes,
        }))
    }

    /// Commits with the secret of the record in place of the secret of the commit.
    async fn with_any_secret(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let Some(record) = self.record(key).await? else { return Ok(Outcome::Gone) };
        self.inner.commit(key, Commit { secret: record.secret, ..commit }).await
    }

    async fn with_old_values(
        &self,
        key: &StoreKey,
        mut commit: Commit,
    ) -> Result<Outcome, StoreError> {
        let Some(record) = self.record(key).await? else { return Ok(Outcome::Gone) };
        tokio::time::sleep(STEP).await;
        for (name, value) in record.data.iter() {
            commit.changes.entry(name.clone()).or_insert_with(|| Change::Set(value.clone()));
        }
        self.inner.commit(key, commit).await
    }

    /// Replaces each set by the value that the record already has.
    async fn without_sets(&self, key: &StoreKey, mut commit: Commit) -> Result<Commit, StoreError> {
        let Some(record) = self.record(key).await? else { return Ok(commit) };
        for (name, change) in &mut commit.changes {
            if matches!(change, Change::Set(_)) {
                *change =
                    record.data.get(name.as_str()).cloned().map_or(Change::Remove, Change::Set);
            }
        }
        Ok(commit)
    }

    async fn without_adds(
        &self,
        key: &StoreKey,
        mut commit: Commit,
    ) -> Result<Outcome, StoreError> {
        let asked: HashMap<_, _> = commit
            .changes
            .iter_mut()
            .filter_map(|(name, change)| match change {
                Change::Add(by) => Some((name.clone(), std::mem::take(by))),
                Change::Set(_) | Change::Remove => None,
            })
            .collect();
        let mut outcome = self.inner.commit(key, commit).await?;
        if let Outcome::Done(done) = &mut outcome {
            for (name, sum) in &mut done.added {
                *sum += asked.get(name).copied().unwrap_or_default();
            }
        }
        Ok(outcome)
    }

    async fn in_two_steps(
        &self,
        key: &StoreKey,
        mut commit: Commit,
    ) -> Result<Outcome, StoreError> {
        if let Some((name, change)) = commit.changes.pop_first() {
            let first =
                Commit { guard: std::mem::take(&mut commit.guard), ..Commit::new(commit.secret) }
                    .change(name, change);
            match self.inner.commit(key, first).await? {
                Outcome::Done(_) => {}
                other => return Ok(other),
            }
            tokio::time::sleep(STEP).await;
        }
        self.inner.commit(key, commit).await
    }
}

#[async_trait]
impl SessionStore for BuggyStore {
    async fn create(&self, key: &StoreKey, mut new: NewRecord) -> Result<Created, StoreError> {
        match self.plant {
            PlantedBug::ForgottenExpiry => new.ttl += HOUR,
            PlantedBug::EarlyExpiry => new.ttl /= 2,
            PlantedBug::LostSession if self.is_due(PlantedBug::LostSession, 10) => {
                return Ok(Created::New);
            }
            PlantedBug::OverwritingCreate => {
                let _ = self.inner.delete(key, Claim::Any).await?;
            }
            _ => {}
        }
        self.inner.create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        let mut found = self.record(key).await?;
        if found.is_none() && self.is_due(PlantedBug::StaleRead, 5) {
            found = self.ended.lock().get(key).cloned();
        }
        if self.plant == PlantedBug::ForgottenExpiry
            && let Some(record) = &mut found
        {
            record.ttl = record.ttl.saturating_sub(HOUR);
        }
        Ok(found.map(Stored::new))
    }

    async fn commit(&self, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
        let adds = commit.changes.values().any(|change| matches!(change, Change::Add(_)));
        let sets = commit.changes.values().any(|change| matches!(change, Change::Set(_)));
        let rotates = commit.rotate.is_some();
        match self.plant {
            PlantedBug::Upsert => return self.upsert(key, commit).await,
            PlantedBug::SupersededAccepted if !rotates => {
                return self.with_any_secret(key, commit).await;
            }
            PlantedBug::RotationWithoutCheck if rotates => {
                return self.with_any_secret(key, commit).await;
            }
            PlantedBug::LossyRotation if rotates => return self.with_old_values(key, commit).await,
            PlantedBug::LostGuard => commit.guard = Guard::Any,
            PlantedBug::ForgottenExpiry => commit.ttl = commit.ttl.map(|ttl| ttl + HOUR),
            PlantedBug::EarlyExpiry => commit.ttl = commit.ttl.map(|ttl| ttl / 2),
            PlantedBug::LostSet if sets && self.is_due(PlantedBug::LostSet, 20) => {
                commit = self.without_sets(key, commit).await?;
            }
            PlantedBug::LostAdd if adds && self.is_due(PlantedBug::LostAdd, 20) => {
                return self.without_adds(key, commit).await;
            }
            PlantedBug::DoubleAdd if adds && self.is_due(PlantedBug::DoubleAdd, 20) => {
                for change in commit.changes.values_mut() {
                    if let Change::Add(by) = change {
                        *by *= 2;
                    }
                }
            }
            PlantedBug::TornCommit if !rotates && commit.changes.len() > 1 => {
                return self.in_two_steps(key, commit).await;
            }
            _ => {}
        }
        let mut outcome = self.inner.commit(key, commit).await?;
        if self.plant == PlantedBug::ForgottenExpiry
            && let Outcome::Done(done) = &mut outcome
        {
            done.ttl = done.ttl.saturating_sub(HOUR);
        }
        Ok(outcome)
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        self.keep(key).await?;
        let claim = if self.plant == PlantedBug::IgnoredClaim { Claim::Any } else { claim };
        self.inner.delete(key, claim).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let mut page = self.inner.list(principal, after, limit).await?;
        if self.is_due(PlantedBug::LostIndex, 3) {
            page.sessions.pop();
        }
        if self.plant == PlantedBug::ForgottenExpiry {
            for one in &mut page.sessions {
                one.ttl = one.ttl.saturating_sub(HOUR);
            }
        }
        Ok(page)
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let limit = match self.plant {
            PlantedBug::HalfRevoke => 1,
            PlantedBug::StaleRead => usize::MAX,
            _ => return self.inner.delete_all(principal, except).await,
        };
        let mut ended = 0;
        for one in self.inner.list(principal, None, limit).await?.sessions {
            if except != Some(&one.key) {
                self.keep(&one.key).await?;
                ended +=
                    u64::from(self.inner.delete(&one.key, Claim::Any).await? == Deleted::Ended);
            }
        }
        Ok(ended)
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        self.inner.delete_everyone(after, limit).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(after, limit).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.inner.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
