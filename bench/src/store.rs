//! A store whose own allocations do not count.

use async_trait::async_trait;
use session_core::{
    Commit, Created, Cursor, Listed, MemoryStore, NewRecord, Outcome, Page, Principal, Record, SessionStore, StoreError, StoreKey,
};

use crate::{allocations::uncounted, at_once};

/// A store in memory whose own allocations do not count, so that what is left is the library's.
#[derive(Debug, Default)]
pub struct Uncounted(MemoryStore);

#[async_trait]
impl SessionStore for Uncounted {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        uncounted(|| at_once(self.0.create(key, new)))
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        uncounted(|| at_once(self.0.load(key)))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        uncounted(|| at_once(self.0.commit(key, commit)))
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        uncounted(|| at_once(self.0.delete(key)))
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        uncounted(|| at_once(self.0.list(principal)))
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        uncounted(|| at_once(self.0.delete_all(principal, except)))
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        uncounted(|| at_once(self.0.scan(after, limit)))
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        uncounted(|| at_once(self.0.delete_expired(limit)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        uncounted(|| at_once(self.0.ping()))
    }
}
