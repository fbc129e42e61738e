//! A store that answers `load` only when a test allows it, and panics on demand.

use std::sync::Arc;

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, MemoryStore, NewRecord, Outcome, Page,
    Principal, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};
use tokio::sync::{Semaphore, watch};

/// Sessions in memory whose `load` waits for a permit. `delete` panics at once, `list` panics after
/// the same wait, and every other call succeeds.
#[derive(Debug)]
pub(crate) struct Gate {
    memory: MemoryStore,
    permits: Semaphore,
    waiting: watch::Sender<usize>,
}

impl Gate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryStore::new(),
            permits: Semaphore::new(0),
            waiting: watch::Sender::new(0),
        })
    }

    /// Lets all calls through from now on.
    pub(crate) fn open(&self) {
        self.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Waits until that many loads have reached the gate.
    pub(crate) async fn reached(&self, loads: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting >= loads).await.unwrap();
    }
}

#[async_trait]
impl SessionStore for Gate {
    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _permit = self.permits.acquire().await.unwrap();
        self.memory.load(key).await
    }

    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        self.memory.create(key, new).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        self.memory.commit(key, commit).await
    }

    async fn delete(&self, _: &StoreKey, _: Claim) -> Result<Deleted, StoreError> {
        panic!("the gate panics by design");
    }

    async fn list(
        &self,
        _: &Principal,
        _: Option<Cursor>,
        _: usize,
    ) -> Result<SummaryPage, StoreError> {
        let _permit = self.permits.acquire().await.unwrap();
        panic!("the gate panics by design");
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        self.memory.delete_all(principal, except).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        self.memory.delete_everyone(after, limit).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.memory.scan(after, limit).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.memory.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.memory.ping().await
    }
}
