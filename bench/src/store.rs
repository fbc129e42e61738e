//! A store whose own allocations do not count.

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, MemoryStore, NewRecord, Outcome, Page,
    Principal, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
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

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        uncounted(|| at_once(self.0.load(key)))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        uncounted(|| at_once(self.0.commit(key, commit)))
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        uncounted(|| at_once(self.0.delete(key, claim)))
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        uncounted(|| at_once(self.0.list(principal, after, limit)))
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        uncounted(|| at_once(self.0.delete_all(principal, except)))
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        uncounted(|| at_once(self.0.delete_everyone(after, limit)))
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
