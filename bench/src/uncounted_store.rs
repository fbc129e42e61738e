//! A store in memory whose allocations are not counted.

use async_trait::async_trait;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, MemoryStore, NewRecord, Outcome, Page,
    Principal, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

use crate::{allocations::without_counting, expect_ready};

/// A [`MemoryStore`] whose allocations are not counted. So a test counts only the allocations of
/// the session layer.
#[derive(Debug, Default)]
pub struct UncountedMemoryStore(MemoryStore);

#[async_trait]
impl SessionStore for UncountedMemoryStore {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        without_counting(|| expect_ready(self.0.create(key, new)))
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        without_counting(|| expect_ready(self.0.load(key)))
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        without_counting(|| expect_ready(self.0.commit(key, commit)))
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        without_counting(|| expect_ready(self.0.delete(key, claim)))
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        without_counting(|| expect_ready(self.0.list(principal, after, limit)))
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        without_counting(|| expect_ready(self.0.delete_all(principal, except)))
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        without_counting(|| expect_ready(self.0.delete_everyone(after, limit)))
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        without_counting(|| expect_ready(self.0.scan(after, limit)))
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        without_counting(|| expect_ready(self.0.delete_expired(limit)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        without_counting(|| expect_ready(self.0.ping()))
    }
}
