//! All sessions of a store, on their way to another process of this machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MemoryStore, shard::Entry};

/// One session as a [`MemoryStore`] keeps it, for [`Import::add`](super::Import::add). It can only
/// be written down and read again; a change of its form is a change of whatever format it is
/// written in.
///
/// Points in time are nanoseconds of the exporting store's clock, which mean nothing without
/// [`Export::taken_at`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported(pub(super) Entry);

/// A walk over all live sessions of a [`MemoryStore`], a batch at a time, so that a store of any
/// size is exported without a second copy of it in memory. [`MemoryStore::export`] begins it.
#[derive(Debug)]
pub struct Export<'a> {
    store: &'a MemoryStore,
    taken_at: u64,
    shard: usize,
    slot: usize,
}

impl Export<'_> {
    /// What the store's clock said when the export began. [`MemoryStore::import`] needs it.
    #[must_use]
    pub fn taken_at(&self) -> Duration {
        Duration::from_nanos(self.taken_at)
    }

    /// The next sessions, together of about `bytes` bytes and at least one; empty at the end.
    /// Expired ones are left out.
    ///
    /// A shard's lock is held for one batch at most.
    #[must_use]
    pub fn batch(&mut self, bytes: usize) -> Vec<Exported> {
        let (mut batch, mut weight) = (Vec::new(), 0);
        while let Some(shard) = self.store.shards.get(self.shard) {
            let shard = shard.lock();
            let now = self.store.clock.now();
            while let Some(slot) = shard.slot(self.slot) {
                if weight >= bytes && !batch.is_empty() {
                    return batch;
                }
                self.slot += 1;
                if let Some(entry) = slot.filter(|entry| entry.is_live(now)) {
                    weight += entry.memory_bytes();
                    batch.push(Exported(entry.clone()));
                }
            }
            (self.shard, self.slot) = (self.shard + 1, 0);
        }
        batch
    }
}

impl MemoryStore {
    /// Begins to export all live sessions, exactly as they are, to a store in another process of
    /// this machine.
    ///
    /// Nothing is taken out. Whoever wants exactly what the store holds lets nobody call it
    /// meanwhile: a session that comes, goes or changes during the walk may or may not be in it, or
    /// be in it as it was.
    #[must_use]
    pub fn export(&self) -> Export<'_> {
        Export { store: self, taken_at: self.clock.now(), shard: 0, slot: 0 }
    }
}
