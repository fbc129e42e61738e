//! A client of the backend, with the faults of all calls but `commit`.

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
    Attributes, Claim, Commit, Created, Cursor, Data, Deleted, DeletedPage, Json, Limits, Name,
    NewRecord, Outcome, Page, Principal, Record, Rejection, SessionStore, SessionSummary,
    StoreError, StoreKey, Stored, SummaryPage,
};

use crate::{
    commit::{self, round_trip},
    fault::Fault,
    remote::{DEADLINE, PASSWORD, Remote, Space, State},
};

pub(crate) struct Client {
    pub(crate) fault: Fault,
    pub(crate) space: Arc<Space>,
    /// The records that this client read last.
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
        Self {
            fault: remote.fault,
            space,
            read: Mutex::default(),
            remote,
            number,
            busy,
            failed,
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// A call of the backend, with an await at which it can be dropped.
    async fn ask(&self) -> Result<(), StoreError> {
        if self.has(Fault::DropLocksClient) && self.busy.swap(true, Ordering::SeqCst) {
            return Err(unavailable("the client is busy"));
        }
        tokio::task::yield_now().await;
        self.busy.store(false, Ordering::SeqCst);
        let turn = if self.has(Fault::QueuesBehindDeadlines) {
            Some(self.turn.lock().await)
        } else {
            None
        };
        let mut state = self.remote.state.subscribe();
        let thawed = state.wait_for(|state| *state != State::Frozen);
        let answer = if self.has(Fault::WaitsForever) {
            thawed.await.map(|state| *state)
        } else {
            match tokio::time::timeout(DEADLINE, thawed).await {
                Ok(answer) => answer.map(|state| *state),
                Err(_) => return Err(StoreError::Timeout { store: "remote", after: DEADLINE }),
            }
        };
        drop(turn);
        match answer {
            Ok(State::Running)
                if !(self.has(Fault::NeverRecovers) && self.failed.load(Ordering::SeqCst)) =>
            {
                Ok(())
            }
            _ => {
                self.failed.store(true, Ordering::SeqCst);
                Err(unavailable("connection refused"))
            }
        }
    }

    fn check(&self, checked: Result<(), Rejection>) -> Result<(), StoreError> {
        let unchecked = [
            Fault::ChecksAfterAsking,
            Fault::NoCap,
            Fault::RepairsNewRecords,
            Fault::ClampsGrace,
            Fault::SignsInWithoutRotation,
        ];
        if unchecked.contains(&self.fault) { Ok(()) } else { Ok(checked?) }
    }

    fn is_spoilt(&self, key: &StoreKey) -> bool {
        self.space.spoilt.lock().contains(key)
    }

    pub(crate) fn key(&self, key: &StoreKey) -> StoreKey {
        match self.fault {
            Fault::KeysFoldCase => StoreKey::from_text(key.as_str().to_lowercase()),
            Fault::KeysArePadded => StoreKey::from_text(
                Some(key.as_str().trim_end_matches(' '))
                    .filter(|text| !text.is_empty())
                    .unwrap_or(key.as_str()),
            ),
            _ => key.clone(),
        }
    }

    pub(crate) fn name(&self, name: Name) -> Name {
        if self.has(Fault::DotsCollide) {
            Name::new(name.as_str().replace('.', "_")).unwrap_or(name)
        } else {
            name
        }
    }

    pub(crate) fn value(&self, value: Json) -> Json {
        if !self.has(Fault::RewritesJson) {
            return value;
        }
        value
            .decode::<serde_json::Value>()
            .ok()
            .and_then(|parsed| Json::encode(&parsed).ok())
            .unwrap_or(value)
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
        if self.has(Fault::PrincipalsFoldCase) {
            Principal::new(lower).unwrap_or(principal)
        } else {
            principal
        }
    }

    async fn corrupt(&self, key: &StoreKey) -> StoreError {
        let hash = match self.space.records.load(key).await {
            Ok(Some(stored)) if self.has(Fault::ShowsHash) => {
                format!("{:?}", stored.into_record().secret.as_bytes())
            }
            _ => String::new(),
        };
        StoreError::Corrupt {
            store: "remote",
            handle: key.handle(),
            source: format!("not a record {hash}").into(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.has(Fault::ShowsPassword) { PASSWORD } else { "***" };
        f.debug_struct("Client").field("password", &password).finish_non_exhaustive()
    }
}

impl Client {
    fn new_record(&self, mut new: NewRecord) -> NewRecord {
        new.ttl = self.ttl(new.ttl);
        new.data = new
            .data
            .into_iter()
            .map(|(name, value)| (self.name(name), self.value(value)))
            .collect();
        new.principal = new.principal.map(|principal| self.principal(principal));
        match self.fault {
            Fault::ForgetsAttributes => new.attributes = Attributes::default(),
            Fault::CopyResetsAges => {
                new.age = Duration::ZERO;
                new.authenticated = new.authenticated.map(|_| Duration::ZERO);
            }
            Fault::CopyResetsVersion => new.version = 1,
            Fault::CopyProlongs if !new.age.is_zero() => {
                new.ttl = new.ttl.max(Duration::from_secs(60))
            }
            Fault::RepairsNewRecords => {
                new.version = new.version.clamp(1, Limits::LARGEST_VERSION);
                new.age = new.age.min(Limits::LONGEST_AGE);
                new.since = new.since.min(if new.principal.is_some() { new.generation } else { 0 });
                let authenticated = new.authenticated.unwrap_or_default().min(new.age);
                new.authenticated = new.principal.as_ref().map(|_| authenticated);
            }
            _ => {}
        }
        new
    }

    /// The record as this client reads it.
    fn read(&self, key: &StoreKey, mut record: Record) -> Record {
        match self.fault {
            Fault::TellsFirstTtl => {
                record.ttl = self.space.creators.lock().get(key).copied().unwrap_or_default().1
            }
            Fault::TrimsPrincipals => {
                record.principal = record.principal.map(|principal| {
                    Principal::new(principal.as_str().trim()).unwrap_or(principal)
                });
            }
            Fault::RotationIsNotStamped => record.rotated = record.age,
            Fault::SinceFollowsRotations if record.principal.is_some() => {
                record.since = record.generation
            }
            Fault::GenerationIsSigned => {
                (record.generation, record.since) =
                    (record.generation & (u32::MAX >> 1), record.since & (u32::MAX >> 1));
            }
            Fault::VersionIsShort => record.version &= u64::from(u32::MAX),
            Fault::GraceSurvivesRotation if record.grace.is_none() => {
                record.grace = self.space.formers.lock().get(key).copied()
            }
            Fault::AuthenticationIsAge => {
                record.authenticated = record.authenticated.map(|_| record.age)
            }
            _ => {}
        }
        record
    }

    async fn everything(&self) -> Result<Vec<(StoreKey, Record)>, StoreError> {
        Ok(self.space.records.scan(None, usize::MAX).await?.records)
    }

    /// All sessions of a principal, in the order in which a list counts them.
    async fn whole_list(&self, principal: &Principal) -> Result<Vec<SessionSummary>, StoreError> {
        let mut sessions = self.space.records.list(principal, None, usize::MAX).await?.sessions;
        let places = self.space.places.lock();
        sessions.sort_by_key(|summary| places.get(&summary.key).copied().unwrap_or(0));
        Ok(sessions)
    }

    /// Ends the sessions that are still as they were when they were read.
    async fn end_the_unchanged(
        &self,
        sessions: Vec<(StoreKey, Record)>,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for (key, read) in sessions {
            round_trip().await;
            let now = self.space.records.load(&key).await?.map(Stored::into_record);
            if now.is_some_and(|now| now.secret == read.secret) {
                ended +=
                    u64::from(self.space.records.delete(&key, Claim::Any).await? == Deleted::Ended);
            }
        }
        Ok(ended)
    }

    /// The answer of a walk, for a cursor that may be another store's.
    fn is_foreign<T>(&self, answer: &Result<T, StoreError>) -> bool {
        self.has(Fault::ForeignCursorStarts) && answer.is_err()
    }
}

#[async_trait]
impl SessionStore for Client {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let key = &self.key(key);
        let first_ttl = new.ttl;
        let checked = NewRecord { ttl: self.ttl(new.ttl), ..new.clone() };
        self.check(checked.check(key, &Limits::default()))?;
        let mut new = self.new_record(new);
        self.ask().await?;
        if self.is_spoilt(key) {
            return Ok(Created::Taken);
        }
        let seen =
            self.space.creators.lock().insert(key.clone(), (self.number, first_ttl)).is_some();
        let records = &self.space.records;
        match self.fault {
            Fault::CreateOverwrites => drop(records.delete(key, Claim::Any).await?),
            Fault::CreateReplacesItsOwn
                if records
                    .load(key)
                    .await?
                    .is_some_and(|stored| stored.into_record().secret == new.secret) =>
            {
                let _ = records.delete(key, Claim::Any).await?;
            }
            Fault::LeftoversBlock if seen => return Ok(Created::Taken),
            Fault::PurgesByFirstDeadline => {
                let _ = self.space.first_deadlines.create(key, new.clone()).await?;
            }
            Fault::CreatesInSteps => {
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
        if !key.is_storable() && !self.has(Fault::MissingIsAnError) {
            return Ok(None);
        }
        match self.ask().await {
            Err(_) if self.has(Fault::OutageIsAbsent) => return Ok(None),
            answer => answer?,
        }
        if self.is_spoilt(key) {
            return if self.has(Fault::CorruptIsAbsent) {
                Ok(None)
            } else {
                Err(self.corrupt(key).await)
            };
        }
        let creator = self.space.creators.lock().get(key).copied().unwrap_or_default().0;
        let mut loaded = self.space.records.load(key).await?.map(Stored::into_record);
        match self.fault {
            Fault::MissingIsAnError if loaded.is_none() => {
                return Err(unavailable("no such record"));
            }
            Fault::CreatesInPrivate if creator != self.number => loaded = None,
            Fault::EmptyIsAbsent => loaded = loaded.filter(|record| !record.data.is_empty()),
            _ => {}
        }
        let Some(record) = loaded else { return Ok(None) };
        let record = self.read(key, record);
        self.read.lock().insert(key.clone(), record.clone());
        Ok(Some(Stored::new(record)))
    }

    async fn commit(&self, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
        let key = &self.key(key);
        commit.ttl = commit.ttl.map(|ttl| self.ttl(ttl));
        self.check(commit.check(&Limits::default()))?;
        self.ask().await?;
        if self.is_spoilt(key) {
            if self.has(Fault::SupersededBeforeCorrupt) {
                let current =
                    self.space.records.load(key).await?.map(|stored| stored.into_record().secret);
                if current != Some(commit.secret) {
                    return Ok(Outcome::Superseded);
                }
            }
            if !self.has(Fault::CorruptIsOverwritten) {
                return Err(self.corrupt(key).await);
            }
            self.space.spoilt.lock().remove(key);
        }
        if let (session_core::PrincipalChange::Set(_), Some(since)) =
            (&commit.principal, commit.since())
        {
            self.space.sign_ins.lock().insert(key.clone(), since);
        }
        commit::apply(self, key, commit).await
    }

    async fn delete(&self, key: &StoreKey, mut claim: Claim) -> Result<Deleted, StoreError> {
        let key = &self.key(key);
        if !key.is_storable() {
            return Ok(Deleted::Missing);
        }
        self.ask().await?;
        if self.is_spoilt(key) {
            if self.has(Fault::CorruptCannotEnd) {
                return Err(self.corrupt(key).await);
            }
            claim = Claim::Any;
        }
        self.space.spoilt.lock().remove(key);
        let records = &self.space.records;
        if let Claim::Generation(generation) = claim {
            let record = records.load(key).await?.map(Stored::into_record);
            let remembered = self.space.sign_ins.lock().get(key).copied();
            match (self.fault, record) {
                (Fault::IgnoresClaim, _) => claim = Claim::Any,
                (Fault::ClaimMeansGeneration, Some(record)) if record.generation > generation => {
                    return Ok(Deleted::Superseded);
                }
                (Fault::ClaimRemembersSignIn, Some(_)) if remembered > Some(generation) => {
                    return Ok(Deleted::Superseded);
                }
                (Fault::ClaimReadsThenDeletes, Some(record)) => {
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
        Ok(if self.has(Fault::DeleteSaysEnded) { Deleted::Ended } else { deleted })
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        self.ask().await?;
        let principal = &self.principal(principal.clone());
        let records = &self.space.records;
        if self.has(Fault::ListCounts) || self.has(Fault::RotationListsAnew) {
            let (passed, all) = (counted(after.as_ref())?, self.whole_list(principal).await?);
            let next = (all.len() > passed + limit.max(1))
                .then(|| Cursor::new((passed + limit.max(1)).to_string()));
            return Ok(SummaryPage {
                sessions: all.into_iter().skip(passed).take(limit.max(1)).collect(),
                next,
            });
        }
        let first = after.is_none();
        let limit = if self.has(Fault::ListIgnoresLimit) { limit.max(1) + 1 } else { limit };
        let mut answer = records.list(principal, after, limit).await;
        if self.is_foreign(&answer) {
            answer = records.list(principal, None, limit).await;
        }
        let mut page = answer?;
        match self.fault {
            Fault::ListsAHundred => page.next = None,
            Fault::ListsKeysOnly => {
                for summary in &mut page.sessions {
                    (summary.authenticated, summary.attributes) =
                        (Duration::ZERO, Attributes::default());
                }
            }
            Fault::AuthenticationIsAge => {
                page.sessions.iter_mut().for_each(|summary| summary.authenticated = summary.age)
            }
            Fault::ListsAnonymous if first && principal.as_str() == "null" => {
                let anonymous = self
                    .everything()
                    .await?
                    .into_iter()
                    .filter(|(_, record)| record.principal.is_none());
                page.sessions.extend(anonymous.map(|(key, _)| dead(key)));
            }
            Fault::ListsForever if first => {
                let mut ever = self.space.ever_listed.lock();
                let ever = ever.entry(principal.clone()).or_default();
                for key in &*ever {
                    if page.sessions.iter().all(|summary| summary.key != *key) {
                        page.sessions.push(dead(key.clone()));
                    }
                }
                *ever = page.sessions.iter().map(|summary| summary.key.clone()).collect();
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
        self.ask().await?;
        let principal = self.principal(principal.clone());
        let records = &self.space.records;
        let before = records.held_sessions();
        let ended = match self.fault {
            Fault::IgnoresExcept => records.delete_all(&principal, None).await?,
            Fault::DeleteAllSparesTheChanged => {
                let mut theirs = self.everything().await?;
                theirs.retain(|(key, record)| {
                    record.principal.as_ref() == Some(&principal) && Some(key) != except
                });
                self.end_the_unchanged(theirs).await?
            }
            _ => records.delete_all(&principal, except).await?,
        };
        Ok(if self.has(Fault::CountsTheExpired) {
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
        if self.has(Fault::EveryoneLeavesALock) && self.space.walking.swap(true, Ordering::SeqCst) {
            return Ok(DeletedPage::default());
        }
        self.ask().await?;
        self.space.walking.store(false, Ordering::SeqCst);
        let records = &self.space.records;
        let before = records.held_sessions();
        let mut page = match self.fault {
            Fault::EveryoneOfNoneEnds if limit == 0 => DeletedPage::default(),
            Fault::EveryoneAtOnce => records.delete_everyone(after, usize::MAX).await?,
            Fault::EveryoneIsUsersOnly => {
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
            Fault::EveryoneSparesTheChanged => DeletedPage {
                ended: self.end_the_unchanged(self.everything().await?).await?,
                next: None,
            },
            Fault::EveryoneEverywhere => {
                let mut ended = 0;
                for space in self.remote.spaces() {
                    ended += space.records.delete_everyone(None, usize::MAX).await?.ended;
                }
                DeletedPage { ended, next: None }
            }
            _ => {
                let mut answer = records.delete_everyone(after, limit).await;
                if self.is_foreign(&answer) {
                    answer = records.delete_everyone(None, limit).await;
                }
                answer?
            }
        };
        if self.has(Fault::CountsTheExpired) {
            page.ended = (before - records.held_sessions()) as u64;
        }
        if page.next.is_none() && !self.has(Fault::EveryoneSparesTheCorrupt) {
            self.space.spoilt.lock().clear();
        }
        Ok(page)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.ask().await?;
        if self.has(Fault::ScanCounts) {
            let (passed, all) = (counted(after.as_ref())?, self.everything().await?);
            let next = (all.len() > passed + limit.max(1))
                .then(|| Cursor::new((passed + limit.max(1)).to_string()));
            return Ok(Page {
                records: all.into_iter().skip(passed).take(limit.max(1)).collect(),
                next,
            });
        }
        let mut answer = self.space.records.scan(after, limit).await;
        if self.is_foreign(&answer) {
            answer = self.space.records.scan(None, limit).await;
        }
        let mut page = answer?;
        page.records.retain(|(key, _)| !self.is_spoilt(key));
        page.records = page
            .records
            .into_iter()
            .map(|(key, record)| (key.clone(), self.read(&key, record)))
            .collect();
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
                let keys: Vec<StoreKey> =
                    self.everything().await?.into_iter().map(|(key, _)| key).take(limit).collect();
                for key in &keys {
                    let _ = self.space.records.delete(key, Claim::Any).await?;
                }
                return Ok(keys.len() as u64);
            }
            Fault::PurgesByFirstDeadline => {
                let keys: Vec<StoreKey> = self.space.creators.lock().keys().cloned().collect();
                for key in keys {
                    if self.space.first_deadlines.load(&key).await?.is_none() {
                        let _ = self.space.records.delete(&key, Claim::Any).await?;
                    }
                }
            }
            Fault::PurgeLocksOthersOut => {
                let others = self.space.purging.fetch_add(1, Ordering::SeqCst);
                round_trip().await;
                self.space.purging.fetch_sub(1, Ordering::SeqCst);
                if others > 0 {
                    return Err(unavailable("deadlock detected"));
                }
            }
            Fault::PurgeReadsAll => {
                let read = u32::try_from(self.everything().await?.len()).unwrap_or(u32::MAX);
                // The time in which a server reads a record. This machine's memory alone may be too
                // fast to notice.
                tokio::time::sleep(Duration::from_micros(2) * read).await;
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

/// How many sessions a walk that counts has passed.
fn counted(after: Option<&Cursor>) -> Result<usize, StoreError> {
    let foreign = |_| StoreError::Other {
        store: "remote",
        source: "the cursor is not one of this store".into(),
    };
    after.map_or(Ok(0), |cursor| cursor.as_str().parse().map_err(foreign))
}

/// A session that is listed although it is dead or belongs to another principal.
fn dead(key: StoreKey) -> SessionSummary {
    let (age, ttl) = (Duration::ZERO, Duration::from_secs(1));
    SessionSummary { key, age, authenticated: age, ttl, attributes: Attributes::default() }
}
