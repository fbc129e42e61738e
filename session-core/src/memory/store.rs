//! The store that keeps sessions in the memory of one process.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

use super::{
    builder::MemoryStoreBuilder,
    clock::{Clock, ManualClock},
    entry::Entry,
    quota::{MemoryQuota, Parts, STORE_NAME, memory_bytes},
    shard::{Shard, Verdict},
};
use crate::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, Limits, NewRecord, Outcome, Page,
    Principal, SessionStore, SessionSummary, StoreError, StoreKey, Stored, SummaryPage,
    principal::SessionKind,
};

/// Enough shards that threads seldom wait for each other, and few enough that `list` visits all of
/// them in microseconds.
const SHARDS: usize = 64;
/// The maximum number of expired sessions that a purge removes under one lock of a shard, so that
/// requests do not wait long for a purge.
const PURGE_LOCK_BATCH: usize = 256;
/// The maximum number of expired sessions that a call purges if the store is full.
const PURGE_LIMIT_WHEN_FULL: usize = 1024;
/// The maximum number of expired sessions that a creation removes from its shard. More than one, so
/// that a shard with a backlog shrinks.
const SWEEP_PER_CREATE: usize = 4;
/// How long a session has been expired before a creation removes it, in nanoseconds.
const SWEEP_AFTER_NANOS: u64 = 60_000_000_000;
/// The maximum number of empty slots and expired sessions that one page of a scan skips.
const MAX_SKIPPED: usize = 4096;

/// Keeps sessions in the memory of one process. It is the reference of the conformance suite, and a
/// store for tests and for applications with a single process.
///
/// The sessions end with the process, and no other process sees them. The clock is `CLOCK_BOOTTIME`
/// of the machine: a change of the time of day does not affect sessions, and the time that the
/// machine sleeps counts. Tests use a [`ManualClock`].
///
/// The store is bounded ([`max_bytes`](MemoryStoreBuilder::max_bytes), 256 MiB by default) and
/// removes expired sessions: each creation removes up to four sessions of its shard that expired
/// more than a minute ago, and a call that finds the store full purges expired sessions first.
/// [`spawn_sweeper`](crate::spawn_sweeper) frees their memory earlier.
///
/// # How it keeps the laws
/// Sessions are distributed over shards by a hash of their key. All data of one session is in one
/// shard and changes under one lock. `list` and `delete_all` lock one shard after the other. A call
/// never holds two locks, so it cannot deadlock, and it never awaits.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use session_core::{Created, MemoryStore, NewRecord, SessionId, SessionStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let id = SessionId::random()?;
/// let new = NewRecord::new(id.secret_hash(), Duration::from_secs(1800));
/// assert_eq!(store.create(&id.key(), new).await?, Created::New);
/// assert!(store.load(&id.key()).await?.is_some());
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    pub(super) shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    limits: Limits,
    pub(super) clock: Clock,
    pub(super) quota: MemoryQuota,
    /// The shard at which the next purge starts. It changes with each purge, so that small purges
    /// reach every shard.
    next_purged: AtomicUsize,
    /// Identifies the cursors of this store: the slots of another store hold other sessions.
    store_tag: u32,
    /// Whether this store has imported the sessions of another store, whose scans then continue
    /// here.
    pub(super) imported: AtomicBool,
}

impl MemoryStore {
    /// An empty store with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A builder of a store with other settings.
    #[must_use]
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::default()
    }

    /// An empty store, and the clock that controls its expiry.
    #[must_use]
    pub fn with_manual_clock() -> (Self, ManualClock) {
        let clock = ManualClock::new();
        (Self::builder().clock(clock.clone()).build(), clock)
    }

    /// How many sessions occupy memory, including expired ones that were not purged yet.
    #[must_use]
    pub fn held_sessions(&self) -> usize {
        self.quota.sessions()
    }

    /// About how many bytes the sessions occupy, counted as in [`MemoryStoreBuilder::max_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.quota.bytes()
    }

    fn assemble(limits: Limits, clock: Clock, quota: MemoryQuota) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            limits,
            clock,
            quota,
            next_purged: AtomicUsize::new(0),
            store_tag: fastrand::u32(..),
            imported: AtomicBool::new(false),
        }
    }

    pub(super) fn lock(&self, key: &StoreKey) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        // Truncation drops only high bits, and all bits of the hash are equally good.
        #[expect(clippy::cast_possible_truncation, reason = "only the remainder is used")]
        self.shards[hash as usize % SHARDS].lock()
    }

    /// Reserves memory for a session, if necessary after a purge. The caller holds no lock, because
    /// the purge locks one shard after the other.
    fn reserve_after_purge(&self, kind: SessionKind, bytes: usize) -> Result<(), StoreError> {
        if self.quota.reserve(kind, 1, bytes).is_err() {
            self.purge(PURGE_LIMIT_WHEN_FULL);
            self.quota.reserve(kind, 1, bytes)?;
        }
        Ok(())
    }

    fn purge(&self, limit: usize) -> usize {
        let first = self.next_purged.fetch_add(1, Ordering::Relaxed);
        let mut purged = 0;
        for at in 0..SHARDS {
            let shard = &self.shards[(first.wrapping_add(at)) % SHARDS];
            while purged < limit {
                let quota = PURGE_LOCK_BATCH.min(limit - purged);
                let removed = shard.lock().remove_expired(quota, self.clock.now());
                for entry in &removed {
                    self.release(entry);
                }
                purged += removed.len();
                if removed.len() < quota {
                    break;
                }
            }
        }
        purged
    }

    /// The position of a cursor. A scan that began at the exporting store starts again: it must
    /// visit every session that it has not visited, and in this store every session has a different
    /// slot.
    fn position(&self, cursor: &Cursor) -> Option<WalkPosition> {
        match WalkPosition::parse(cursor)? {
            (store_tag, position) if store_tag == self.store_tag => Some(position),
            _ => self.imported.load(Ordering::Relaxed).then(WalkPosition::default),
        }
    }

    /// The position at which a paged call continues.
    fn start(&self, cursor: Option<&Cursor>) -> Result<WalkPosition, StoreError> {
        let foreign = || StoreError::Other {
            store: STORE_NAME,
            source: "the cursor does not belong to this store".into(),
        };
        cursor
            .map_or(Ok(WalkPosition::default()), |cursor| self.position(cursor).ok_or_else(foreign))
    }

    pub(super) fn release(&self, entry: &Entry) {
        self.quota.release(entry.kind(), 1, entry.memory_bytes());
    }
}

impl MemoryStoreBuilder {
    /// Builds the store, which is empty.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let clock = self.clock.map_or(Clock::System, Clock::Manual);
        MemoryStore::assemble(
            self.limits,
            clock,
            MemoryQuota::new(self.max_sessions, self.max_bytes, self.reserved_percent),
        )
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("held_sessions", &self.held_sessions())
            .field("held_bytes", &self.held_bytes())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        new.check(key, &self.limits)?;
        let kind = SessionKind::of(new.principal.as_ref());
        let weight = memory_bytes(&Parts {
            key,
            principal: new.principal.as_ref(),
            data_bytes: new.data.bytes(),
            values: new.data.len(),
            attributes: Some(&new.attributes).filter(|attributes| !attributes.is_default()),
            has_former_secret: false,
        });
        // Check before reserving memory: in a full store a taken key is still `Taken`, and costs no
        // purge.
        if self.lock(key).live(key, self.clock.now()).is_some() {
            return Ok(Created::Taken);
        }
        self.reserve_after_purge(kind, weight)?;
        let mut shard = self.lock(key);
        let now = self.clock.now();
        if shard.live(key, now).is_some() {
            self.quota.release(kind, 1, weight);
            return Ok(Created::Taken);
        }
        let leftover = shard.remove(key);
        let swept = shard.remove_expired(SWEEP_PER_CREATE, now.saturating_sub(SWEEP_AFTER_NANOS));
        leftover.iter().chain(&swept).for_each(|entry| self.release(entry));
        shard.insert(Entry::new(key.clone(), new, now));
        Ok(Created::New)
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        let shard = self.lock(key);
        let now = self.clock.now();
        Ok(shard.live(key, now).map(|entry| Stored::new(entry.record(now))))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        commit.check(&self.limits)?;
        let mut purged = false;
        loop {
            let mut shard = self.lock(key);
            let now = self.clock.now();
            let plan = match shard.check_commit(key, &commit, now, self.limits)? {
                Verdict::Accepted(plan) => plan,
                Verdict::Conflict => return Ok(Outcome::Conflict),
                Verdict::Superseded => return Ok(Outcome::Superseded),
                Verdict::Gone => return Ok(Outcome::Gone),
            };
            if let Err(full) = self.quota.resize(plan.before, plan.after) {
                if purged {
                    return Err(full.into());
                }
                // A purge locks all shards in turn, so release this one first and check the record
                // again afterwards.
                drop(shard);
                self.purge(PURGE_LIMIT_WHEN_FULL);
                purged = true;
                continue;
            }
            let committed = shard.apply(plan, commit, now);
            return Ok(committed.map_or(Outcome::Gone, Outcome::Done));
        }
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        let mut shard = self.lock(key);
        let (deleted, removed) = shard.delete(key, claim, self.clock.now());
        if let Some(entry) = &removed {
            self.release(entry);
        }
        Ok(deleted)
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        let mut position = self.start(after.as_ref())?;
        let (mut seen, mut next) = (Vec::new(), None);
        'shards: while let Some(shard) = self.shards.get(position.shard) {
            let shard = shard.lock();
            let now = self.clock.now();
            for (slot, summary) in shard.list(principal, position.slot, now) {
                if seen.len() == limit.max(1) {
                    next = Some(WalkPosition { slot, ..position }.cursor(self.store_tag));
                    break 'shards;
                }
                seen.push((now, summary));
            }
            position = position.next_shard();
        }
        // Move all ages of a page to one moment, so that they can be compared.
        let end = self.clock.now();
        let at_end = |(now, summary): (u64, SessionSummary)| {
            let late = Duration::from_nanos(end.saturating_sub(now));
            SessionSummary {
                age: summary.age + late,
                authenticated: summary.authenticated + late,
                ..summary
            }
        };
        Ok(SummaryPage { sessions: seen.into_iter().map(at_end).collect(), next })
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let now = self.clock.now();
            for entry in shard.remove_all(principal, except) {
                self.release(&entry);
                ended += u64::from(entry.is_live(now));
            }
        }
        Ok(ended)
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let mut position = self.start(after.as_ref())?;
        let (mut visited, mut ended) = (0, 0);
        while let Some(shard) = self.shards.get(position.shard) {
            let mut shard = shard.lock();
            let now = self.clock.now();
            while shard.slot(position.slot).is_some() {
                if visited >= limit.max(1) {
                    return Ok(DeletedPage { ended, next: Some(position.cursor(self.store_tag)) });
                }
                visited += 1;
                if let Some(entry) = shard.remove_slot(position.slot) {
                    self.release(&entry);
                    ended += u64::from(entry.is_live(now));
                }
                position.slot += 1;
            }
            position = position.next_shard();
        }
        Ok(DeletedPage { ended, next: None })
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let mut position = self.start(after.as_ref())?;
        // A page without records would be followed by the same page for ever.
        let limit = limit.max(1);
        let mut records = Vec::new();
        let mut skipped = 0;
        while let Some(shard) = self.shards.get(position.shard) {
            let shard = shard.lock();
            let now = self.clock.now();
            while let Some(slot) = shard.slot(position.slot) {
                if records.len() >= limit || skipped >= MAX_SKIPPED {
                    return Ok(Page { records, next: Some(position.cursor(self.store_tag)) });
                }
                match slot.filter(|entry| entry.is_live(now)) {
                    Some(entry) => records.push((entry.key.clone(), entry.record(now))),
                    None => skipped += 1,
                }
                position.slot += 1;
            }
            position = position.next_shard();
        }
        Ok(Page { records, next: None })
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        Ok(self.purge(limit) as u64)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The slot that a paged call visits next.
#[derive(Debug, Clone, Copy, Default)]
struct WalkPosition {
    shard: usize,
    slot: usize,
}

impl WalkPosition {
    /// The store's tag and the position.
    fn parse(cursor: &Cursor) -> Option<(u32, Self)> {
        let (store_tag, position) = cursor.as_str().split_once('.')?;
        let (shard, slot) = position.split_once('.')?;
        Some((
            store_tag.parse().ok()?,
            Self { shard: shard.parse().ok()?, slot: slot.parse().ok()? },
        ))
    }

    fn next_shard(self) -> Self {
        Self { shard: self.shard + 1, slot: 0 }
    }

    fn cursor(&self, store_tag: u32) -> Cursor {
        Cursor::new(format!("{store_tag}.{}.{}", self.shard, self.slot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::SessionId;

    async fn create(
        store: &MemoryStore,
        new: impl FnOnce(NewRecord) -> NewRecord,
    ) -> Result<StoreKey, StoreError> {
        let id = SessionId::random().unwrap();
        let created = store
            .create(&id.key(), new(NewRecord::new(id.secret_hash(), Duration::from_secs(60))))
            .await?;
        assert_eq!(created, Created::New);
        Ok(id.key())
    }

    #[tokio::test]
    async fn c30_creations_remove_what_expired_a_minute_ago() {
        let (store, clock) = MemoryStore::with_manual_clock();
        for _ in 0..100 {
            for _ in 0..1_000 {
                create(&store, |new| new).await.unwrap();
            }
            clock.advance(Duration::from_secs(30));
        }
        assert!(
            store.held_sessions() < 6_000,
            "{} sessions of 100,000 are held; 2,000 live",
            store.held_sessions()
        );
    }

    #[tokio::test]
    async fn c50_a_default_store_is_bounded() {
        let store = MemoryStore::new();
        let large = |text: &str| {
            crate::Data::from_iter([(
                crate::Name::new("v").unwrap(),
                crate::Json::encode(text).unwrap(),
            )])
        };
        let (text, mut held) = ("x".repeat(60_000), 0);
        while create(&store, |new| new.data(large(&text))).await.is_ok() {
            held += 1;
            assert!(held < 10_000, "256 MiB hold fewer sessions of 60 KB");
        }
        assert!(store.held_bytes() <= 256 << 20);
        let bob = Principal::new("bob").unwrap();
        create(&store, |new| new.data(large(&text)).principal(bob)).await.unwrap();
    }
}
