//! A client of the backend, and where its mistakes are made.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Commit, Created, Cursor, Data, Json, Lifetime, Limits, Listed, Name, NewRecord, Outcome, Page, Principal, Record, SessionStore,
    StoreError, StoreKey,
};

use crate::{
    commit,
    fault::Fault,
    remote::{DEADLINE, PASSWORD, Remote, Space, State},
};

pub(crate) struct Client {
    pub(crate) fault: Fault,
    pub(crate) space: Arc<Space>,
    /// What this client read last.
    pub(crate) read: Mutex<HashMap<StoreKey, Record>>,
    remote: Arc<Remote>,
    number: usize,
    busy: AtomicBool,
    failed: AtomicBool,
    turn: tokio::sync::Mutex<()>,
}

impl Client {
    pub(crate) fn new(remote: Arc<Remote>, space: Arc<Space>, number: usize) -> Self {
        let (busy, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { fault: remote.fault, space, read: Mutex::default(), remote, number, busy, failed, turn: tokio::sync::Mutex::default() }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The way to the backend, with an await to be dropped at.
    async fn ask(&self) -> Result<(), StoreError> {
        if self.has(Fault::DropLocksClient) && self.busy.swap(true, Ordering::SeqCst) {
            return Err(unavailable("the client is busy"));
        }
        tokio::task::yield_now().await;
        self.busy.store(false, Ordering::SeqCst);
        let turn = if self.has(Fault::QueuesBehindDeadlines) { Some(self.turn.lock().await) } else { None };
        let mut state = self.remote.state.subscribe();
        let thawed = state.wait_for(|state| *state != State::Frozen);
        let answer = if self.has(Fault::WaitsForGood) {
            thawed.await.map(|state| *state)
        } else {
            match tokio::time::timeout(DEADLINE, thawed).await {
                Ok(answer) => answer.map(|state| *state),
                Err(_) => return Err(StoreError::Timeout { store: "remote", after: DEADLINE }),
            }
        };
        drop(turn);
        match answer {
            Ok(State::Running) if !(self.has(Fault::NeverRecovers) && self.failed.load(Ordering::SeqCst)) => Ok(()),
            _ => {
                self.failed.store(true, Ordering::SeqCst);
                Err(unavailable("connection refused"))
            }
        }
    }

    fn check<T>(&self, checked: Result<T, session_core::Rejection>) -> Result<(), StoreError> {
        if !self.has(Fault::ChecksAfterAsking) && !self.has(Fault::NoCap) {
            checked?;
        }
        Ok(())
    }

    fn is_spoilt(&self, key: &StoreKey) -> bool {
        self.space.spoilt.lock().contains(key)
    }

    pub(crate) fn key(&self, key: &StoreKey) -> StoreKey {
        if self.has(Fault::KeysFoldCase) { StoreKey::from_text(key.as_str().to_lowercase()) } else { key.clone() }
    }

    pub(crate) fn name(&self, name: Name) -> Name {
        if self.has(Fault::DotsCollide) { Name::new(name.as_str().replace('.', "_")).unwrap_or(name) } else { name }
    }

    pub(crate) fn value(&self, value: Json) -> Json {
        if !self.has(Fault::RewritesJson) {
            return value;
        }
        value.decode::<serde_json::Value>().ok().and_then(|parsed| Json::encode(&parsed).ok()).unwrap_or(value)
    }

    pub(crate) fn ttl(&self, ttl: Duration) -> Duration {
        match self.fault {
            Fault::ForgetsExpiry => (ttl + Duration::from_secs(3600)).min(Limits::LONGEST_TTL),
            Fault::ClampsTtl => ttl.clamp(Duration::from_millis(1), Limits::LONGEST_TTL),
            _ => ttl,
        }
    }

    fn principal(&self, principal: Principal) -> Principal {
        let lower = principal.as_str().to_lowercase();
        if self.has(Fault::PrincipalsFoldCase) { Principal::new(lower).unwrap_or(principal) } else { principal }
    }

    fn corrupt(key: &StoreKey) -> StoreError {
        StoreError::Corrupt { store: "remote", handle: key.handle(), source: "no record".into() }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.has(Fault::ShowsPassword) { PASSWORD } else { "***" };
        f.debug_struct("Client").field("password", &password).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for Client {
    async fn create(&self, key: &StoreKey, mut new: NewRecord) -> Result<Created, StoreError> {
        let key = &self.key(key);
        let first_ttl = new.ttl;
        new.ttl = self.ttl(new.ttl);
        self.check(new.check(key, &Limits::default()))?;
        self.ask().await?;
        if self.is_spoilt(key) {
            return Ok(Created::Taken);
        }
        new.data = new.data.into_iter().map(|(name, value)| (self.name(name), self.value(value))).collect();
        new.principal = new.principal.map(|principal| self.principal(principal));
        let seen = self.space.creators.lock().insert(key.clone(), (self.number, first_ttl)).is_some();
        match self.fault {
            Fault::ForgetsLifetime => new.lifetime = Lifetime::default(),
            Fault::CreateOverwrites => drop(self.space.records.delete(key).await?),
            Fault::LeftoversBlock if seen => return Ok(Created::Taken),
            Fault::PurgesByFirstDeadline => drop(self.space.first_deadlines.create(key, new.clone()).await?),
            Fault::CreatesInSteps => {
                let data = std::mem::replace(&mut new.data, Data::new());
                let created = self.space.records.create(key, new).await?;
                tokio::task::yield_now().await;
                let set = data.into_iter().fold(Commit::new(), |set, (name, value)| set.change(name, session_core::Change::Set(value)));
                return self.space.records.commit(key, set).await.map(|_| created);
            }
            _ => {}
        }
        self.space.records.create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        let key = &self.key(key);
        if !key.is_storable() && !self.has(Fault::MissingIsAnError) {
            return Ok(None);
        }
        match self.ask().await {
            Err(_) if self.has(Fault::OutageIsAbsent) => return Ok(None),
            answer => answer?,
        }
        if self.is_spoilt(key) {
            return if self.has(Fault::CorruptIsAbsent) { Ok(None) } else { Err(Self::corrupt(key)) };
        }
        let (creator, first_ttl) = self.space.creators.lock().get(key).copied().unwrap_or_default();
        let mut loaded = self.space.records.load(key).await?;
        match self.fault {
            Fault::MissingIsAnError if loaded.is_none() => return Err(unavailable("no such record")),
            Fault::CreatesInPrivate if creator != self.number => loaded = None,
            Fault::EmptyIsAbsent => loaded = loaded.filter(|record| !record.data.is_empty()),
            _ => {}
        }
        if let Some(record) = &mut loaded {
            if self.has(Fault::TellsFirstTtl) {
                record.ttl = first_ttl;
            }
            self.read.lock().insert(key.clone(), record.clone());
        }
        Ok(loaded)
    }

    async fn commit(&self, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
        let key = &self.key(key);
        commit.ttl = commit.ttl.map(|ttl| self.ttl(ttl));
        if !self.has(Fault::MovesAnywhere) {
            self.check(commit.check(key, &Limits::default()))?;
        }
        self.ask().await?;
        if self.is_spoilt(key) {
            if !self.has(Fault::CorruptIsOverwritten) {
                return Err(Self::corrupt(key));
            }
            self.space.spoilt.lock().remove(key);
        }
        commit::apply(self, key, commit).await
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        let key = &self.key(key);
        if !key.is_storable() {
            return Ok(false);
        }
        self.ask().await?;
        self.space.spoilt.lock().remove(key);
        Ok(self.space.records.delete(key).await? || self.has(Fault::DeleteSaysTrue))
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        self.ask().await?;
        let mut listed = self.space.records.list(&self.principal(principal.clone())).await?;
        match self.fault {
            Fault::ListsOldestFirst => listed.reverse(),
            Fault::ListsAHundred => listed.truncate(100),
            Fault::ListsAnonymous if principal.as_str() == "null" => {
                let page = self.space.records.scan(None, usize::MAX).await?;
                let anonymous = page.records.into_iter().filter(|(_, record)| record.principal.is_none());
                listed.extend(anonymous.map(|(key, record)| Listed { key, age: record.age, ttl: record.ttl }));
            }
            Fault::ListsForGood => {
                let mut ever = self.space.ever_listed.lock();
                let ever = ever.entry(principal.clone()).or_default();
                for key in &*ever {
                    if listed.iter().all(|listed| listed.key != *key) {
                        listed.push(Listed { key: key.clone(), age: Duration::ZERO, ttl: Duration::from_secs(1) });
                    }
                }
                *ever = listed.iter().map(|listed| listed.key.clone()).collect();
            }
            _ => {}
        }
        Ok(listed)
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        self.ask().await?;
        let principal = self.principal(principal.clone());
        match self.fault {
            Fault::IgnoresExcept => self.space.records.delete_all(&principal, None).await,
            Fault::DeletesWhatItListed => {
                let mut ended = 0;
                for listed in self.space.records.list(&principal).await? {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    ended += u64::from(Some(&listed.key) != except && self.space.records.delete(&listed.key).await?);
                }
                Ok(ended)
            }
            _ => self.space.records.delete_all(&principal, except).await,
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.ask().await?;
        if self.has(Fault::ScanCounts) {
            let passed: usize = after.and_then(|cursor| cursor.0.parse().ok()).unwrap_or(0);
            let mut records = self.space.records.scan(None, usize::MAX).await?.records;
            let next = (records.len() > passed + limit).then(|| Cursor((passed + limit).to_string().into()));
            records = records.into_iter().skip(passed).take(limit).collect();
            return Ok(Page { records, next });
        }
        let mut page = self.space.records.scan(after, limit).await?;
        page.records.retain(|(key, _)| !self.is_spoilt(key));
        match self.fault {
            Fault::ScanSkips => drop(page.records.pop()),
            Fault::ScanHalves => page.records.iter_mut().for_each(|(_, record)| record.version = 0),
            _ => {}
        }
        Ok(page)
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.ask().await?;
        match self.fault {
            Fault::PurgesLiving => {
                let page = self.space.records.scan(None, limit).await?;
                let keys = page.records.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
                for key in &keys {
                    self.space.records.delete(key).await?;
                }
                return Ok(keys.len() as u64);
            }
            Fault::PurgesByFirstDeadline => {
                let keys: Vec<StoreKey> = self.space.creators.lock().keys().cloned().collect();
                for key in keys {
                    if self.space.first_deadlines.load(&key).await?.is_none() {
                        self.space.records.delete(&key).await?;
                    }
                }
            }
            Fault::PurgeLocksOthersOut => {
                let others = self.space.purging.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.space.purging.fetch_sub(1, Ordering::SeqCst);
                if others > 0 {
                    return Err(unavailable("deadlock detected"));
                }
            }
            Fault::PurgeReadsAll => {
                let page = self.space.records.scan(None, usize::MAX).await?;
                // What a server takes to look at a record; this machine's memory alone may be too fast to be noticed.
                tokio::time::sleep(Duration::from_micros(2) * u32::try_from(page.records.len()).unwrap_or(u32::MAX)).await;
            }
            _ => {}
        }
        self.space.records.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.ask().await
    }
}

fn unavailable(why: &'static str) -> StoreError {
    StoreError::Unavailable { store: "remote", source: why.into() }
}
