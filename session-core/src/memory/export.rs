//! Export of all sessions to a store in another process of the same machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{entry::Entry, store::MemoryStore};

/// One session in the form of a [`MemoryStore`], for [`Import::add`](super::Import::add). It can
/// only be serialized and deserialized. A change of its form changes every format that contains it.
///
/// Times are nanoseconds of the exporting store's clock. They have a meaning only together with
/// [`Export::taken_at`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported(pub(super) Entry);

/// Exports all live sessions of a [`MemoryStore`] in batches, so that a large store needs no second
/// copy in memory. [`MemoryStore::export`] starts it.
#[derive(Debug)]
pub struct Export<'a> {
    store: &'a MemoryStore,
    taken_at: u64,
    shard: usize,
    slot: usize,
}

impl Export<'_> {
    /// The store's clock when the export began. [`MemoryStore::import`] needs it.
    #[must_use]
    pub fn taken_at(&self) -> Duration {
        Duration::from_nanos(self.taken_at)
    }

    /// The next sessions, with a total of about `bytes` bytes, at least one. Empty at the end.
    /// Expired sessions are skipped.
    ///
    /// The lock of a shard is held for at most one batch.
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
    /// Starts an export of all live sessions, exactly as they are, to a store in another process of
    /// the same machine.
    ///
    /// The sessions stay in this store. For an exact copy, no other task may call the store during
    /// the export: a session that is created, ended or changed meanwhile may be exported, skipped,
    /// or exported in its former state.
    #[must_use]
    pub fn export(&self) -> Export<'_> {
        Export { store: self, taken_at: self.clock.now(), shard: 0, slot: 0 }
    }
}
