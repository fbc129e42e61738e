//! Import of sessions that a store in another process exported.

use std::{sync::atomic::Ordering, time::Duration};

use super::{clock::nanos, entry::Entry, export::Exported, store::MemoryStore};
use crate::{Limits, error_debug::debug_as_display};

/// An import of sessions into a [`MemoryStore`]. [`MemoryStore::import`] starts it.
#[derive(Debug)]
pub struct Import<'a> {
    store: &'a MemoryStore,
    /// The exporting store's clock when the export began.
    taken_at: u64,
    /// This store's clock minus the exporting store's clock, in nanoseconds.
    clock_offset: i128,
    sessions: usize,
    expired: usize,
}

impl Import<'_> {
    /// Inserts one session as it was: data, version, creation, deadline, principal and attributes.
    /// A session that has expired in the meantime is skipped.
    ///
    /// The limits of the store do not apply: a live session stays alive in a smaller store. That
    /// store then rejects new sessions, and changes that make a session larger, until enough memory
    /// is free. The same holds for data above its [`Limits`].
    ///
    /// # Errors
    /// [`ImportError`] if no store can have held this session. Sessions that were inserted before
    /// stay. Discard a store that returned such an error.
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

    /// How many sessions were inserted.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// How many sessions had expired and were skipped.
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
        // While an export runs, sessions may be created and extended. So both bounds allow for the
        // longest export.
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

    /// Converts a time of the exporting store's clock to this store's clock.
    fn to_local_clock(&self, there: u64) -> u64 {
        let here = i128::from(there) + self.clock_offset;
        u64::try_from(here.max(0)).unwrap_or(u64::MAX)
    }
}

/// Longer than any export takes.
const LONGEST_EXPORT: Duration = Duration::from_secs(86_400);

impl MemoryStore {
    /// Starts an import. `taken_at` is [`Export::taken_at`](super::Export::taken_at) of the other
    /// store.
    ///
    /// `elapsed` returns the time since then. It is called once, after this store has read its own
    /// clock. It must not return less than the real time, otherwise sessions live longer by the
    /// difference. Take a time stamp before the export begins and compare it here, on a clock that
    /// both processes share. All sessions are moved by the same amount, so that the order of their
    /// creation stays.
    ///
    /// From now on, a scan that began at the other store starts again from the beginning in this
    /// one.
    #[must_use]
    pub fn import(&self, taken_at: Duration, elapsed: impl FnOnce() -> Duration) -> Import<'_> {
        self.imported.store(true, Ordering::Relaxed);
        let taken_at = nanos(taken_at);
        let now = i128::from(self.clock.now());
        let clock_offset = now - i128::from(nanos(elapsed())) - i128::from(taken_at);
        Import { store: self, taken_at, clock_offset, sessions: 0, expired: 0 }
    }
}

/// The reason why an exported session is not valid. It contains nothing of the session.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A store cannot keep a record under the key.
    #[error(
        "the key of an imported session has {bytes} bytes, so no store keeps it; \
         export the sessions again"
    )]
    Key {
        /// The length of the key.
        bytes: usize,
    },
    /// The version is not between 1 and [`Limits::LARGEST_VERSION`].
    #[error("the version of an imported session is 0 or above 2^53; export the sessions again")]
    Version,
    /// `since` exceeds the generation, or is not 0 in an anonymous session.
    #[error(
        "the sign-in of an imported session has a later generation than its secret; \
         export the sessions again"
    )]
    Generation,
    /// The session was created, rotated or authenticated after the export, or its remaining
    /// lifetime exceeds [`Limits::LONGEST_TTL`].
    #[error(
        "an imported session has a time after the export or a ttl of more than ten years; \
         export the sessions again"
    )]
    Times,
    /// A live session already has the key.
    #[error(
        "the store already holds an imported session; import each session once, into an empty store"
    )]
    Taken,
}

debug_as_display!(ImportError);
