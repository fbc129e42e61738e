//! Sessions in the memory of one process.

mod builder;
mod clock;
mod export;
mod import;
mod merge;
mod occupancy;
mod shard;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

pub use self::{
    builder::MemoryStoreBuilder,
    clock::ManualClock,
    export::{Export, Exported},
    import::{Import, ImportError},
};
use self::{
    clock::Clock,
    occupancy::{Occupancy, Occupant, weight},
    shard::{Entry, Shard, Verdict},
};
use crate::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, Limits, NewRecord, Outcome, Page,
    Principal, SessionStore, SessionSummary, StoreError, StoreKey, Stored, SummaryPage,
};

/// Its name in errors.
const STORE: &str = "memory";
/// Enough that threads seldom meet, few enough that `list` walks them in microseconds.
const SHARDS: usize = 64;
/// The most expired sessions that are taken out under one hold of a shard's lock, so that requests
/// never wait long for a purge.
const PURGED_AT_ONCE: usize = 256;
/// The most expired sessions that a call purges to make room for itself.
const PURGED_FOR_ROOM: usize = 1024;
/// The most expired sessions that a creation takes out of its shard. More than one, so that a shard
/// with a backlog shrinks.
const SWEPT_BY_CREATE: usize = 4;
/// How long a session has been dead before a creation takes it out, in nanoseconds.
const SWEPT_AFTER: u64 = 60_000_000_000;
/// The most empty slots and expired sessions that one page of a scan passes over, besides what it
/// returns.
const PASSED_OVER: usize = 4096;

/// Sessions in the memory of one process: the reference of the conformance suite, and a store for
/// tests and single processes.
///
/// The sessions end with the process, and no other process sees them. The clock is the machine's
/// `CLOCK_BOOTTIME`: setting the time of day neither ends nor prolongs a session, and time that the
/// machine sleeps counts. Tests take a [`ManualClock`].
///
/// The store is bounded ([`max_bytes`](MemoryStoreBuilder::max_bytes), 256 MiB by default) and
/// sweeps itself: each creation takes out up to four sessions of its shard that expired more than a
/// minute ago, and a call that finds the store full purges expired sessions first.
/// [`spawn_sweeper`](crate::spawn_sweeper) frees them earlier.
///
/// # How it keeps the laws
/// Sessions are spread over shards by a hash of their key. Everything about one session is in one
/// shard and changes under one lock. `list` and `delete_all` take one shard after the other. No
/// call ever holds two locks, so none can deadlock, and none awaits.
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
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    limits: Limits,
    clock: Clock,
    occupancy: Occupancy,
    /// The shard that the next purge starts with, so that purges of one session each do not always
    /// find the same shard first.
    next_purged: AtomicUsize,
    /// Marks this store's cursors: slots of another store are other sessions.
    mark: u32,
    /// Whether it took over the sessions of another store, whose scans then go on here.
    follows: AtomicBool,
}

impl MemoryStore {
    /// An empty store with the default caps.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An empty store with other settings.
    #[must_use]
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::default()
    }

    /// An empty store and the clock that moves it.
    #[must_use]
    pub fn with_manual_clock() -> (Self, ManualClock) {
        let clock = ManualClock::new();
        (Self::builder().clock(clock.clone()).build(), clock)
    }

    /// How many sessions take up memory, the expired that no purge has reached among them.
    #[must_use]
    pub fn held_sessions(&self) -> usize {
        self.occupancy.sessions()
    }

    /// About how many bytes of memory they take, as [`MemoryStoreBuilder::max_bytes`] counts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.occupancy.bytes()
    }

    fn assemble(limits: Limits, clock: Clock, occupancy: Occupancy) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            limits,
            clock,
            occupancy,
            next_purged: AtomicUsize::new(0),
            mark: fastrand::u32(..),
            follows: AtomicBool::new(false),
        }
    }

    fn lock(&self, key: &StoreKey) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        // Truncation only drops high bits, and all bits of the hash are equally good.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is all that counts")]
        self.shards[hash as usize % SHARDS].lock()
    }

    /// Takes room for a session, if need be after purging. Holds no lock: the purge takes them one
    /// after the other.
    fn take_room(&self, occupant: Occupant, bytes: usize) -> Result<(), StoreError> {
        if self.occupancy.take(occupant, 1, bytes).is_err() {
            self.purge(PURGED_FOR_ROOM);
            self.occupancy.take(occupant, 1, bytes)?;
        }
        Ok(())
    }

    fn purge(&self, limit: usize) -> usize {
        let first = self.next_purged.fetch_add(1, Ordering::Relaxed);
        let mut purged = 0;
        for at in 0..SHARDS {
            let shard = &self.shards[(first.wrapping_add(at)) % SHARDS];
            while purged < limit {
                let quota = PURGED_AT_ONCE.min(limit - purged);
                let removed = shard.lock().remove_expired(quota, self.clock.now());
                for entry in &removed {
                    self.give_back(entry);
                }
                purged += removed.len();
                if removed.len() < quota {
                    break;
                }
            }
        }
        purged
    }

    /// Where a scan goes on. One that was begun at a predecessor starts over, because it has to
    /// visit whatever it has not visited yet, and here every session has another slot.
    fn position(&self, cursor: &Cursor) -> Option<Position> {
        match Position::parse(cursor)? {
            (mark, position) if mark == self.mark => Some(position),
            _ => self.follows.load(Ordering::Relaxed).then(Position::default),
        }
    }

    /// Where a walk begins that goes on after `cursor`.
    fn start(&self, cursor: Option<&Cursor>) -> Result<Position, StoreError> {
        let foreign = || StoreError::Other {
            store: STORE,
            source: "the cursor is not one of this store".into(),
        };
        cursor.map_or(Ok(Position::default()), |cursor| self.position(cursor).ok_or_else(foreign))
    }

    fn give_back(&self, entry: &Entry) {
        self.occupancy.give_back(entry.occupant(), 1, entry.weight());
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
        let occupant = Occupant::of(new.principal.as_ref());
        let weight = weight(key, new.principal.as_ref(), new.data.bytes(), new.data.len());
        // Looked at before room is made: in a full store a taken key is still `Taken`, and costs no
        // purge.
        if self.lock(key).live(key, self.clock.now()).is_some() {
            return Ok(Created::Taken);
        }
        self.take_room(occupant, weight)?;
        let mut shard = self.lock(key);
        let now = self.clock.now();
        if shard.live(key, now).is_some() {
            self.occupancy.give_back(occupant, 1, weight);
            return Ok(Created::Taken);
        }
        let leftover = shard.remove(key);
        let swept = shard.remove_expired(SWEPT_BY_CREATE, now.saturating_sub(SWEPT_AFTER));
        leftover.iter().chain(&swept).for_each(|entry| self.give_back(entry));
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
            let plan = match shard.examine(key, &commit, now, self.limits)? {
                Verdict::Go(plan) => plan,
                Verdict::Conflict => return Ok(Outcome::Conflict),
                Verdict::Superseded => return Ok(Outcome::Superseded),
                Verdict::Gone => return Ok(Outcome::Gone),
            };
            if let Err(full) = self.occupancy.exchange(plan.before, plan.after) {
                if purged {
                    return Err(full.into());
                }
                // A purge takes the locks of all shards in turn, so this one is released, and the
                // record is examined anew.
                drop(shard);
                self.purge(PURGED_FOR_ROOM);
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
            self.give_back(entry);
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
                    next = Some(Position { slot, ..position }.cursor(self.mark));
                    break 'shards;
                }
                seen.push((now, summary));
            }
            position = position.next_shard();
        }
        // All ages of a page are of one moment, so that they can be compared.
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
                self.give_back(&entry);
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
                    return Ok(DeletedPage { ended, next: Some(position.cursor(self.mark)) });
                }
                visited += 1;
                if let Some(entry) = shard.remove_slot(position.slot) {
                    self.give_back(&entry);
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
        // A page of none would be followed by the same page for ever.
        let limit = limit.max(1);
        let mut records = Vec::new();
        let mut passed_over = 0;
        while let Some(shard) = self.shards.get(position.shard) {
            let shard = shard.lock();
            let now = self.clock.now();
            while let Some(slot) = shard.slot(position.slot) {
                if records.len() >= limit || passed_over >= PASSED_OVER {
                    return Ok(Page { records, next: Some(position.cursor(self.mark)) });
                }
                match slot.filter(|entry| entry.is_live(now)) {
                    Some(entry) => records.push((entry.key.clone(), entry.record(now))),
                    None => passed_over += 1,
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

/// The slot that a walk looks at next.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    shard: usize,
    slot: usize,
}

impl Position {
    /// The store's mark and the position.
    fn parse(cursor: &Cursor) -> Option<(u32, Self)> {
        let (mark, position) = cursor.as_str().split_once('.')?;
        let (shard, slot) = position.split_once('.')?;
        Some((mark.parse().ok()?, Self { shard: shard.parse().ok()?, slot: slot.parse().ok()? }))
    }

    fn next_shard(self) -> Self {
        Self { shard: self.shard + 1, slot: 0 }
    }

    fn cursor(&self, mark: u32) -> Cursor {
        Cursor::new(format!("{mark}.{}.{}", self.shard, self.slot))
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
    async fn c30_creations_sweep_what_expired_a_minute_ago() {
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
