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
    occupancy::{Occupancy, weight},
    shard::{Entry, Shard, Verdict},
};
use crate::{Commit, Created, Cursor, Limits, Listed, NewRecord, Outcome, Page, Principal, Record, SessionStore, StoreError, StoreKey};

/// Its name in errors.
const STORE: &str = "memory";
/// Enough that threads seldom meet, few enough that `list` walks them in microseconds.
const SHARDS: usize = 64;
/// The most expired sessions that are taken out under one hold of a shard's lock, so that requests never wait long for a purge.
const PURGED_AT_ONCE: usize = 256;
/// The most expired sessions that a call purges to make room for itself.
const PURGED_FOR_ROOM: usize = 1024;
/// The most empty slots and expired sessions that one page of a scan passes over, besides what it returns.
const PASSED_OVER: usize = 4096;

/// Sessions in the memory of one process: the oracle of the conformance suite, and a store for tests and single processes.
///
/// Sessions are gone with the process and seen by no other. Its clock is the machine's monotonic one, so that setting the time of day
/// neither kills nor prolongs a session; tests take a [`ManualClock`].
///
/// Expired sessions are not served, but take memory until [`delete_expired`](SessionStore::delete_expired) or a call that finds the store
/// full purges them: run [`spawn_sweeper`](crate::spawn_sweeper) beside a store that lives long, and set
/// [`max_bytes`](MemoryStoreBuilder::max_bytes) on one that strangers can fill.
///
/// # How it keeps the laws
/// Sessions are spread over shards by the *lineage* of their key, which a rotation keeps; everything about one session is in one shard
/// and changes under one lock. `list` and `delete_all` take one shard after the other, and a session that is being rotated cannot slip
/// past them, because it stays where it is. No call ever holds two locks, so none can deadlock, and none awaits.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use session_core::{Created, MemoryStore, NewRecord, SessionId, SessionStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let key = SessionId::random()?.store_key();
/// assert_eq!(store.create(&key, NewRecord::new(Duration::from_secs(1800))).await?, Created::New);
/// assert!(store.load(&key).await?.is_some());
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    limits: Limits,
    clock: Clock,
    occupancy: Occupancy,
    /// The shard that the next purge starts with, so that purges of one session each do not always find the same shard first.
    next_purged: AtomicUsize,
    /// Marks this store's cursors: slots of another store are other sessions.
    mark: u32,
    /// Whether it took over the sessions of another store, whose scans then go on here.
    follows: AtomicBool,
}

impl MemoryStore {
    /// An empty store with the default caps on a record and none on the whole.
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
        self.occupancy.sessions.held()
    }

    /// About how many bytes of memory they take, as [`MemoryStoreBuilder::max_bytes`] counts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.occupancy.bytes.held()
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
        let hash = self.hasher.hash_one(key.lineage());
        // Truncation only drops high bits, and all bits of the hash are equally good.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is all that counts")]
        self.shards[hash as usize % SHARDS].lock()
    }

    /// Takes room for a session or for growth, if need be after purging. Holds no lock: the purge takes them one after the other.
    fn take_room(&self, sessions: usize, bytes: usize) -> Result<(), StoreError> {
        if self.occupancy.take(sessions, bytes).is_err() {
            self.purge(PURGED_FOR_ROOM);
            self.occupancy.take(sessions, bytes)?;
        }
        Ok(())
    }

    fn purge(&self, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let first = self.next_purged.fetch_add(1, Ordering::Relaxed);
        let mut purged = 0;
        for at in 0..SHARDS {
            let shard = &self.shards[(first.wrapping_add(at)) % SHARDS];
            loop {
                let quota = PURGED_AT_ONCE.min(limit - purged);
                let mut shard = shard.lock();
                let (sessions, bytes) = shard.remove_expired(quota, self.clock.now());
                drop(shard);
                self.occupancy.give_back(sessions, bytes);
                purged += sessions;
                if purged == limit {
                    return purged;
                }
                if sessions < quota {
                    break;
                }
            }
        }
        purged
    }

    /// Where a scan goes on. One that was begun at a predecessor starts over, because it has to visit whatever it has not visited yet, and
    /// here every session has another slot.
    fn position(&self, cursor: &Cursor) -> Option<Position> {
        match Position::parse(cursor)? {
            (mark, position) if mark == self.mark => Some(position),
            _ => self.follows.load(Ordering::Relaxed).then(Position::default),
        }
    }

    fn give_back(&self, entry: &Entry) {
        self.occupancy.give_back(1, entry.weight());
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
        let principal_bytes = new.principal.as_ref().map_or(0, |principal| principal.as_str().len());
        let weight = weight(key.as_str().len(), principal_bytes, new.data.bytes(), new.data.len());
        // Looked at before room is made: in a full store a taken key is still `Taken`, and costs no purge.
        if self.lock(key).live(key, self.clock.now()).is_some() {
            return Ok(Created::Taken);
        }
        self.take_room(1, weight)?;
        let mut shard = self.lock(key);
        let now = self.clock.now();
        if shard.live(key, now).is_some() {
            self.occupancy.give_back(1, weight);
            return Ok(Created::Taken);
        }
        if let Some(leftover) = shard.remove(key) {
            self.give_back(&leftover);
        }
        shard.insert(Entry::new(key.clone(), new, now));
        Ok(Created::New)
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        let shard = self.lock(key);
        let now = self.clock.now();
        Ok(shard.live(key, now).map(|entry| entry.record(now)))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        commit.check(key, &self.limits)?;
        let mut purged = false;
        loop {
            let mut shard = self.lock(key);
            let now = self.clock.now();
            let plan = match shard.examine(key, &commit, now, self.limits)? {
                Verdict::Go(plan) => plan,
                Verdict::Conflict => return Ok(Outcome::Conflict),
                Verdict::Gone => return Ok(Outcome::Gone),
            };
            if let Err(full) = self.occupancy.take(0, plan.after.saturating_sub(plan.before)) {
                if purged {
                    return Err(full.into());
                }
                // A purge takes the locks of all shards in turn, so this one has to go, and the record is looked at anew.
                drop(shard);
                self.purge(PURGED_FOR_ROOM);
                purged = true;
                continue;
            }
            // A live record under the new key was a conflict, so whatever is there has expired.
            let leftover = commit.move_to.as_ref().filter(|target| *target != key).and_then(|target| shard.remove(target));
            if let Some(leftover) = leftover {
                self.give_back(&leftover);
            }
            self.occupancy.give_back(0, plan.before.saturating_sub(plan.after));
            let committed = shard.apply(plan, commit, now);
            return Ok(committed.map_or(Outcome::Gone, Outcome::Done));
        }
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        let mut shard = self.lock(key);
        let Some(entry) = shard.remove(key) else { return Ok(false) };
        self.give_back(&entry);
        Ok(entry.is_live(self.clock.now()))
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().list(principal));
        }
        // All ages as of one moment, after the last shard: read shard by shard, an older session could seem the younger one.
        let now = self.clock.now();
        found.retain(|times| times.is_live(now));
        found.sort_unstable_by(|one, other| other.created.cmp(&one.created).then_with(|| one.key.cmp(&other.key)));
        Ok(found.into_iter().map(|times| times.listed(now)).collect())
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
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

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let mut position = match after {
            None => Position::default(),
            Some(cursor) => self
                .position(&cursor)
                .ok_or_else(|| StoreError::Other { store: STORE, source: "the scan's cursor is not one of this store".into() })?,
        };
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
                    Some(entry) => records.push((entry.key().clone(), entry.record(now))),
                    None => passed_over += 1,
                }
                position.slot += 1;
            }
            position = Position { shard: position.shard + 1, slot: 0 };
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

/// The slot that a scan looks at next.
#[derive(Debug, Default)]
struct Position {
    shard: usize,
    slot: usize,
}

impl Position {
    /// The store's mark and the position.
    fn parse(cursor: &Cursor) -> Option<(u32, Self)> {
        let (mark, position) = cursor.0.split_once('.')?;
        let (shard, slot) = position.split_once('.')?;
        Some((mark.parse().ok()?, Self { shard: shard.parse().ok()?, slot: slot.parse().ok()? }))
    }

    fn cursor(&self, mark: u32) -> Cursor {
        Cursor(format!("{mark}.{}.{}", self.shard, self.slot).into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::SessionId;

    /// On a real clock: time goes on while the shards are read, and ages must not follow the order in which they are.
    #[tokio::test]
    async fn c32_a_list_on_a_real_clock_is_newest_first() {
        let store = MemoryStore::new();
        let bob = Principal::new("bob").unwrap();
        for _ in 0..2_000 {
            let new = NewRecord::new(Duration::from_secs(60)).principal(bob.clone());
            let created = store.create(&SessionId::random().unwrap().store_key(), new).await.unwrap();
            assert_eq!(created, Created::New);
        }
        assert!(store.list(&bob).await.unwrap().is_sorted_by_key(|listed| listed.age));
    }
}
