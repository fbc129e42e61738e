//! Sessions that another process held.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Exported, MemoryStore, clock::nanos, shard::Entry};
use crate::Limits;

/// Sessions on their way into a [`MemoryStore`]. [`MemoryStore::import`] begins it.
#[derive(Debug)]
pub struct Import<'a> {
    store: &'a MemoryStore,
    /// The exporting store's clock when the export began.
    taken_at: u64,
    /// What this store's clock is clock_offset of that one.
    clock_offset: i128,
    sessions: usize,
    expired: usize,
}

impl Import<'_> {
    /// Puts one session in, as it was: data, version, creation, deadline, principal and lifetime.
    /// One that has expired on the way is left out.
    ///
    /// The store's caps refuse nobody here: a session that was alive stays alive in a smaller
    /// store, which then takes no new one, and no change that makes one larger, until there is
    /// room. The same holds for data above its [`Limits`].
    ///
    /// # Errors
    /// [`ImportError`] if no store can have held this session. Whatever was put in before stays; a
    /// store that got such an error is to be thrown away.
    pub fn add(&mut self, session: Exported) -> Result<(), ImportError> {
        self.check(&session.0)?;
        let Exported(mut entry) = session;
        for time in [&mut entry.created, &mut entry.rotated, &mut entry.deadline] {
            *time = self.to_local_clock(*time);
        }
        if let Some(user) = &mut entry.user {
            user.authenticated = self.to_local_clock(user.authenticated);
        }
        if let Some(former) = &mut entry.former {
            former.until = self.to_local_clock(former.until);
        }
        let mut shard = self.store.lock(&entry.key);
        let now = self.store.clock.now();
        if shard.live(&entry.key, now).is_some() {
            return Err(ImportError::Taken);
        }
        if !entry.is_live(now) {
            self.expired += 1;
            return Ok(());
        }
        self.store.quota.reserve_beyond(entry.kind(), 1, entry.memory_bytes());
        if let Some(leftover) = shard.remove(&entry.key) {
            self.store.release(&leftover);
        }
        shard.insert(entry);
        self.sessions += 1;
        Ok(())
    }

    /// How many sessions were put in.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// How many had expired when they came.
    #[must_use]
    pub fn expired(&self) -> usize {
        self.expired
    }

    fn check(&self, session: &Entry) -> Result<(), ImportError> {
        if !session.key.is_storable() {
            return Err(ImportError::Key { bytes: session.key.as_str().len() });
        }
        if session.version == 0 || session.version > Limits::LARGEST_VERSION {
            return Err(ImportError::Version);
        }
        if session.since > session.generation || (session.user.is_none() && session.since != 0) {
            return Err(ImportError::Generation);
        }
        // Sessions may be created and prolonged while an export runs, so both ends have as much
        // play as an export could take.
        let latest = self.taken_at.saturating_add(nanos(LONGEST_EXPORT));
        let longest = latest.saturating_add(nanos(Limits::LONGEST_TTL));
        let happened = [
            session.created,
            session.rotated,
            session.user.as_ref().map_or(0, |user| user.authenticated),
        ];
        let ends = [session.deadline, session.former.as_ref().map_or(0, |former| former.until)];
        if happened.iter().any(|time| *time > latest) || ends.iter().any(|time| *time > longest) {
            return Err(ImportError::Times);
        }
        Ok(())
    }

    /// The same moment on this store's clock.
    fn to_local_clock(&self, there: u64) -> u64 {
        let here = i128::from(there) + self.clock_offset;
        u64::try_from(here.max(0)).unwrap_or(u64::MAX)
    }
}

/// More than any export takes.
const LONGEST_EXPORT: Duration = Duration::from_secs(86_400);

impl MemoryStore {
    /// Begins to take over the sessions of an export that was [`taken_at`](super::Export::taken_at)
    /// that moment of the other store's clock.
    ///
    /// `elapsed` says how long ago that was, and is asked once, after this store has read its own
    /// clock. It must not say less than what has really passed, or sessions live longer by it: take
    /// a stamp before the export begins and compare it here, on a clock that both processes share.
    /// All sessions are set back by the same amount, so that the order of their creation stays.
    ///
    /// From here on a scan that was begun at the other store starts over at this one.
    #[must_use]
    pub fn import(&self, taken_at: Duration, elapsed: impl FnOnce() -> Duration) -> Import<'_> {
        self.imported.store(true, Ordering::Relaxed);
        let taken_at = nanos(taken_at);
        let now = i128::from(self.clock.now());
        let clock_offset = now - i128::from(nanos(elapsed())) - i128::from(taken_at);
        Import { store: self, taken_at, clock_offset, sessions: 0, expired: 0 }
    }
}

/// Why an exported session cannot be one. Nothing of the session is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// No record can be kept under its key.
    #[error("a session came with a key of {bytes} bytes that no store keeps; export it again")]
    Key {
        /// The length that came.
        bytes: usize,
    },
    /// Versions start with 1 and end with [`Limits::LARGEST_VERSION`].
    #[error("a session came with a version that is 0 or above 2^53; export it again")]
    Version,
    /// `since` is above the generation, or is not 0 although no one is signed in.
    #[error(
        "a session came whose sign-in is of a later generation than its secret; export it again"
    )]
    Generation,
    /// It was created, rotated or signed in after the export, or would live longer than
    /// [`Limits::LONGEST_TTL`].
    #[error(
        "a session came with a time after the export, or would live for more than ten years; export it again"
    )]
    Times,
    /// A live session has its key already.
    #[error(
        "a session came twice, or into a store that holds it already; import into an empty store"
    )]
    Taken,
}
