//! The calls of the client, with the faults of all calls but `commit`.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use session_core::{
    Attributes, Claim, Commit, Created, Cursor, Data, Deleted, DeletedPage, Limits, NewRecord,
    Outcome, Page, Principal, SessionStore, SessionSummary, StoreError, StoreKey, Stored,
    SummaryPage,
};

use crate::{
    client::{Client, round_trip, unavailable},
    commit,
    fault::Fault,
};

#[async_trait]
impl SessionStore for Client {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let key = &self.key(key);
        let first_ttl = new.ttl;
        let checked = NewRecord { ttl: self.ttl(new.ttl), ..new.clone() };
        self.check(checked.check(key, &Limits::default()))?;
        let mut new = self.new_record(new);
        self.request().await?;
        if self.is_corrupt(key) {
            return Ok(Created::Taken);
        }
        let seen = self
            .namespace
            .created_by
            .lock()
            .insert(key.clone(), (self.number, first_ttl))
            .is_some();
        let records = &self.namespace.records;
        match self.fault {
            Fault::CreateOverwritesLiveRecord => drop(records.delete(key, Claim::Any).await?),
            Fault::CreateReplacesRecordWithSameSecret
                if records
                    .load(key)
                    .await?
                    .is_some_and(|stored| stored.into_record().secret == new.secret) =>
            {
                let _ = records.delete(key, Claim::Any).await?;
            }
            Fault::CreateRefusesExpiredKey if seen => return Ok(Created::Taken),
            Fault::PurgeUsesFirstDeadline => {
                let _ = self.namespace.first_deadlines.create(key, new.clone()).await?;
            }
            Fault::CreateIsNotAtomic => {
                let (secret, data) = (new.secret, std::mem::replace(&mut new.data, Data::new()));
                let created = records.create(key, new).await?;
                tokio::task::yield_now().await;
                let set = |commit: Commit, (name, value)| {
                    commit.change(name, session_core::Change::Set(value))
                };
                let set = data.into_iter().fold(Commit::new(secret), set);
                return if created == Created::New {
                    records.commit(key, set).await.map(|_| created)
                } else {
                    Ok(created)
                };
            }
            _ => {}
        }
        records.create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        let key = &self.key(key);
        if !key.is_storable() && !self.has(Fault::LoadFailsForMissingKey) {
            return Ok(None);
        }
        match self.request().await {
            Err(_) if self.has(Fault::LoadIgnoresOutage) => return Ok(None),
            answer => answer?,
        }
        if self.is_corrupt(key) {
            return if self.has(Fault::LoadIgnoresCorruptRecord) {
                Ok(None)
            } else {
                Err(self.corrupt(key).await)
            };
        }
        let creator = self.namespace.created_by.lock().get(key).copied().unwrap_or_default().0;
        let mut loaded = self.namespace.records.load(key).await?.map(Stored::into_record);
        match self.fault {
            Fault::LoadFailsForMissingKey if loaded.is_none() => {
                return Err(unavailable("no such record"));
            }
            Fault::CreateVisibleOnlyToItsClient if creator != self.number => loaded = None,
            Fault::LoadIgnoresRecordWithoutValues => {
                loaded = loaded.filter(|record| !record.data.is_empty());
            }
            _ => {}
        }
        let Some(record) = loaded else { return Ok(None) };
        let record = self.read(key, record);
        self.last_read.lock().insert(key.clone(), record.clone());
        Ok(Some(Stored::new(record)))
    }

    async fn commit(&self, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
        let key = &self.key(key);
        commit.ttl = commit.ttl.map(|ttl| self.ttl(ttl));
        self.check(commit.check(&Limits::default()))?;
        self.request().await?;
        if self.is_corrupt(key) {
            if self.has(Fault::SupersededBeforeCorrupt) {
                let current = self
                    .namespace
                    .records
                    .load(key)
                    .await?
                    .map(|stored| stored.into_record().secret);
                if current != Some(commit.secret) {
                    return Ok(Outcome::Superseded);
                }
            }
            if !self.has(Fault::CommitOverwritesCorruptRecord) {
                return Err(self.corrupt(key).await);
            }
            self.namespace.corrupt_keys.lock().remove(key);
        }
        if let (session_core::PrincipalChange::Set(_), Some(since)) =
            (&commit.principal, commit.since())
        {
            self.namespace.sign_ins.lock().insert(key.clone(), since);
        }
        commit::apply(self, key, commit).await
    }

    async fn delete(&self, key: &StoreKey, mut claim: Claim) -> Result<Deleted, StoreError> {
        let key = &self.key(key);
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        self.request().await?;
        if self.is_corrupt(key) {
            if self.has(Fault::DeleteFailsForCorruptRecord) {
                return Err(self.corrupt(key).await);
            }
            claim = Claim::Any;
        }
        self.namespace.corrupt_keys.lock().remove(key);
        let records = &self.namespace.records;
        if let Claim::Generation(generation) = claim {
            let record = records.load(key).await?.map(Stored::into_record);
            let remembered = self.namespace.sign_ins.lock().get(key).copied();
            match (self.fault, record) {
                (Fault::DeleteIgnoresClaim, _) => claim = Claim::Any,
                (Fault::ClaimIsComparedWithGeneration, Some(record))
                    if record.generation > generation =>
                {
                    return Ok(Deleted::Superseded);
                }
                (Fault::SignOutKeepsSince, Some(_)) if remembered > Some(generation) => {
                    return Ok(Deleted::Superseded);
                }
                (Fault::ClaimIsNotAtomic, Some(record)) => {
                    round_trip().await;
                    if record.since > generation {
                        return Ok(Deleted::Superseded);
                    }
                    claim = Claim::Any;
                }
                _ => {}
            }
        }
        let deleted = records.delete(key, claim).await?;
        Ok(if self.has(Fault::DeleteAlwaysReturnsEnded) { Deleted::Ended } else { deleted })
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        self.request().await?;
        let principal = &self.principal(principal.clone());
        let records = &self.namespace.records;
        if self.has(Fault::ListUsesOffsets) || self.has(Fault::RotationMovesSessionInList) {
            let (skipped, all) = (offset(after.as_ref())?, self.whole_list(principal).await?);
            let next = (all.len() > skipped + limit.max(1))
                .then(|| Cursor::new((skipped + limit.max(1)).to_string()));
            return Ok(SummaryPage {
                sessions: all.into_iter().skip(skipped).take(limit.max(1)).collect(),
                next,
            });
        }
        let first = after.is_none();
        let limit = if self.has(Fault::ListExceedsLimit) { limit.max(1) + 1 } else { limit };
        let mut answer = records.list(principal, after, limit).await;
        if self.accepts_foreign(&answer) {
            answer = records.list(principal, None, limit).await;
        }
        let mut page = answer?;
        match self.fault {
            Fault::ListEndsAfterFirstPage => page.next = None,
            Fault::ListOmitsFields => {
                for summary in &mut page.sessions {
                    (summary.authenticated, summary.attributes) =
                        (Duration::ZERO, Attributes::default());
                }
            }
            Fault::AuthenticationAgeIsSessionAge => {
                page.sessions.iter_mut().for_each(|summary| summary.authenticated = summary.age);
            }
            Fault::ListOfNullIsAnonymous if first && principal.as_str() == "null" => {
                let anonymous = self
                    .everything()
                    .await?
                    .into_iter()
                    .filter(|(_, record)| record.principal.is_none());
                page.sessions.extend(anonymous.map(|(key, _)| fake_summary(key)));
            }
            Fault::ListKeepsDeadSessions if first => {
                let mut before = self.namespace.listed_before.lock();
                let before = before.entry(principal.clone()).or_default();
                for key in &*before {
                    if page.sessions.iter().all(|summary| summary.key != *key) {
                        page.sessions.push(fake_summary(key.clone()));
                    }
                }
                *before = page.sessions.iter().map(|summary| summary.key.clone()).collect();
            }
            _ => {}
        }
        Ok(page)
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        self.request().await?;
        let principal = self.principal(principal.clone());
        let records = &self.namespace.records;
        let before = records.held_sessions();
        let ended = match self.fault {
            Fault::DeleteAllIgnoresException => records.delete_all(&principal, None).await?,
            Fault::DeleteAllSkipsChangedSessions => {
                let mut theirs = self.everything().await?;
                theirs.retain(|(key, record)| {
                    record.principal.as_ref() == Some(&principal) && Some(key) != except
                });
                self.delete_unchanged(theirs).await?
            }
            _ => records.delete_all(&principal, except).await?,
        };
        Ok(if self.has(Fault::BulkDeletesCountExpired) {
            (before - records.held_sessions()) as u64
        } else {
            ended
        })
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        if self.has(Fault::DroppedDeleteEveryoneKeepsLock)
            && self.namespace.delete_everyone_lock.swap(true, Ordering::SeqCst)
        {
            return Ok(DeletedPage::default());
        }
        self.request().await?;
        self.namespace.delete_everyone_lock.store(false, Ordering::SeqCst);
        let records = &self.namespace.records;
        let before = records.held_sessions();
        let mut page = match self.fault {
            Fault::DeleteEveryoneIgnoresLimitZero if limit == 0 => DeletedPage::default(),
            Fault::DeleteEveryoneIgnoresLimit => records.delete_everyone(after, usize::MAX).await?,
            Fault::DeleteEveryoneSkipsAnonymous => {
                let mut ended = 0;
                for (key, _) in self
                    .everything()
                    .await?
                    .into_iter()
                    .filter(|(_, record)| record.principal.is_some())
                    .take(limit.max(1))
                {
                    ended += u64::from(records.delete(&key, Claim::Any).await? == Deleted::Ended);
                }
                let next = (ended > 0).then(|| Cursor::new("0"));
                DeletedPage { ended, next }
            }
            Fault::DeleteEveryoneSkipsChangedSessions => DeletedPage {
                ended: self.delete_unchanged(self.everything().await?).await?,
                next: None,
            },
            Fault::DeleteEveryoneIgnoresNamespace => {
                let mut ended = 0;
                for namespace in self.backend.namespaces() {
                    ended += namespace.records.delete_everyone(None, usize::MAX).await?.ended;
                }
                DeletedPage { ended, next: None }
            }
            _ => {
                let mut answer = records.delete_everyone(after, limit).await;
                if self.accepts_foreign(&answer) {
                    answer = records.delete_everyone(None, limit).await;
                }
                answer?
            }
        };
        if self.has(Fault::BulkDeletesCountExpired) {
            page.ended = (before - records.held_sessions()) as u64;
        }
        if page.next.is_none() && !self.has(Fault::DeleteEveryoneSkipsCorruptRecords) {
            self.namespace.corrupt_keys.lock().clear();
        }
        Ok(page)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.request().await?;
        if self.has(Fault::ScanUsesOffsets) {
            let (skipped, all) = (offset(after.as_ref())?, self.everything().await?);
            let next = (all.len() > skipped + limit.max(1))
                .then(|| Cursor::new((skipped + limit.max(1)).to_string()));
            return Ok(Page {
                records: all.into_iter().skip(skipped).take(limit.max(1)).collect(),
                next,
            });
        }
        let mut answer = self.namespace.records.scan(after, limit).await;
        if self.accepts_foreign(&answer) {
            answer = self.namespace.records.scan(None, limit).await;
        }
        let mut page = answer?;
        page.records.retain(|(key, _)| !self.is_corrupt(key));
        page.records = page
            .records
            .into_iter()
            .map(|(key, record)| (key.clone(), self.read(&key, record)))
            .collect();
        match self.fault {
            Fault::ScanLosesLastRecordOfPage => drop(page.records.pop()),
            Fault::ScanOmitsVersion => {
                page.records.iter_mut().for_each(|(_, record)| record.version = 0);
            }
            _ => {}
        }
        Ok(page)
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.request().await?;
        match self.fault {
            Fault::PurgeRemovesLiveRecords => {
                let keys: Vec<StoreKey> =
                    self.everything().await?.into_iter().map(|(key, _)| key).take(limit).collect();
                for key in &keys {
                    let _ = self.namespace.records.delete(key, Claim::Any).await?;
                }
                return Ok(keys.len() as u64);
            }
            Fault::PurgeUsesFirstDeadline => {
                let keys: Vec<StoreKey> =
                    self.namespace.created_by.lock().keys().cloned().collect();
                for key in keys {
                    if self.namespace.first_deadlines.load(&key).await?.is_none() {
                        let _ = self.namespace.records.delete(&key, Claim::Any).await?;
                    }
                }
            }
            Fault::ConcurrentPurgesFail => {
                let others = self.namespace.purging.fetch_add(1, Ordering::SeqCst);
                round_trip().await;
                self.namespace.purging.fetch_sub(1, Ordering::SeqCst);
                if others > 0 {
                    return Err(unavailable("deadlock detected"));
                }
            }
            Fault::PurgeReadsAllRecords => {
                let read = u32::try_from(self.everything().await?.len()).unwrap_or(u32::MAX);
                // A server needs about this time to read a record. A read from memory may be too
                // fast to measure.
                tokio::time::sleep(Duration::from_micros(2) * read).await;
            }
            _ => {}
        }
        self.namespace.records.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.request().await
    }
}

/// The number in a cursor that is an offset.
fn offset(after: Option<&Cursor>) -> Result<usize, StoreError> {
    let foreign = |_| StoreError::Other {
        store: "remote",
        source: "the cursor is not from this store".into(),
    };
    after.map_or(Ok(0), |cursor| cursor.as_str().parse().map_err(foreign))
}

/// The summary of a session that `list` must not return.
fn fake_summary(key: StoreKey) -> SessionSummary {
    let (age, ttl) = (Duration::ZERO, Duration::from_secs(1));
    SessionSummary { key, age, authenticated: age, ttl, attributes: Attributes::default() }
}
