//! A store in memory that counts its calls and fails when told to.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, ManualClock, MemoryStore, NewRecord,
    Outcome, Page, Principal, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

/// What a driver might say; no client may ever see it.
pub(crate) const DRIVER_WORDS: &str = "connection refused by db-7.internal";

/// How every call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unavailable,
    Timeout,
    Corrupt,
    Other,
}

/// Sessions in memory on a clock that only a test moves.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) inside: MemoryStore,
    pub(crate) clock: ManualClock,
    calls: Mutex<Vec<&'static str>>,
    fault: Mutex<Option<Fault>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let (inside, clock) = MemoryStore::with_manual_clock();
        Self { inside, clock, calls: Mutex::default(), fault: Mutex::default() }
    }

    /// The names of the calls since this was last asked.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn fail(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault.into();
    }

    fn enter(&self, call: &'static str, key: Option<&StoreKey>) -> Result<(), StoreError> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        let (store, source) = ("test", || DRIVER_WORDS.into());
        match *self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(Fault::Unavailable) => Err(StoreError::Unavailable { store, source: source() }),
            Some(Fault::Timeout) => {
                Err(StoreError::Timeout { store, after: Duration::from_secs(2) })
            }
            Some(Fault::Corrupt) => {
                let handle =
                    key.map_or_else(|| StoreKey::from_text("none").handle(), StoreKey::handle);
                Err(StoreError::Corrupt { store, handle, source: source() })
            }
            Some(Fault::Other) => Err(StoreError::Other { store, source: source() }),
        }
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        self.enter("create", Some(key))?;
        self.inside.create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        self.enter("load", Some(key))?;
        self.inside.load(key).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        self.enter("commit", Some(key))?;
        self.inside.commit(key, commit).await
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        self.enter("delete", Some(key))?;
        self.inside.delete(key, claim).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        self.enter("list", None)?;
        self.inside.list(principal, after, limit).await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        self.enter("delete_all", except)?;
        self.inside.delete_all(principal, except).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        self.enter("delete_everyone", None)?;
        self.inside.delete_everyone(after, limit).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.enter("scan", None)?;
        self.inside.scan(after, limit).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        self.enter("delete_expired", None)?;
        self.inside.delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.enter("ping", None)?;
        self.inside.ping().await
    }
}
