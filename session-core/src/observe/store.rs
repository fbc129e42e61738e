//! The store wrapper that observes calls.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    call::observed,
    counters::CallCounters,
    names::{CallOutcome, Operation},
};
use crate::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

/// Wraps `store` so that its calls are counted, timed and traced under `name`.
///
/// `S` is any store, also `dyn SessionStore`. For metrics, install the recorder of `metrics` first.
#[must_use]
pub fn observe<S: SessionStore + ?Sized>(name: &'static str, store: Arc<S>) -> Observed<S> {
    Observed { name, counts: CallCounters::of(name), store }
}

/// A store whose calls are counted, timed and traced. [`observe`] makes it.
#[derive(Debug)]
pub struct Observed<S: ?Sized> {
    name: &'static str,
    counts: CallCounters,
    store: Arc<S>,
}

impl<S: ?Sized> Observed<S> {
    fn target(&self) -> (&'static str, &CallCounters) {
        (self.name, &self.counts)
    }
}

#[async_trait]
impl<S: SessionStore + ?Sized> SessionStore for Observed<S> {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let outcome = |created: &Created| match created {
            Created::New => CallOutcome::Done,
            Created::Taken => CallOutcome::Taken,
        };
        observed(self.target(), Operation::Create, self.store.create(key, new), outcome).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        observed(self.target(), Operation::Load, self.store.load(key), |found| {
            found_or_absent(found.is_some())
        })
        .await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let touches = !commit.is_change() && commit.rotate.is_none();
        let operation = if touches { Operation::Touch } else { Operation::Commit };
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Done(_) => CallOutcome::Done,
            Outcome::Conflict => CallOutcome::Conflict,
            Outcome::Superseded => CallOutcome::Superseded,
            Outcome::Gone => CallOutcome::Gone,
        };
        observed(self.target(), operation, self.store.commit(key, commit), outcome).await
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        let outcome = |deleted: &Deleted| match deleted {
            Deleted::Ended => CallOutcome::Done,
            Deleted::Missing => CallOutcome::Absent,
            Deleted::Superseded => CallOutcome::Superseded,
        };
        observed(self.target(), Operation::Delete, self.store.delete(key, claim), outcome).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        observed(self.target(), Operation::List, self.store.list(principal, after, limit), |_| {
            CallOutcome::Done
        })
        .await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        observed(
            self.target(),
            Operation::DeleteAll,
            self.store.delete_all(principal, except),
            |_| CallOutcome::Done,
        )
        .await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        observed(
            self.target(),
            Operation::DeleteEveryone,
            self.store.delete_everyone(after, limit),
            |_| CallOutcome::Done,
        )
        .await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        observed(self.target(), Operation::Scan, self.store.scan(after, limit), |_| {
            CallOutcome::Done
        })
        .await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        observed(self.target(), Operation::DeleteExpired, self.store.delete_expired(limit), |_| {
            CallOutcome::Done
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        observed(self.target(), Operation::Ping, self.store.ping(), |()| CallOutcome::Done).await
    }
}

fn found_or_absent(there: bool) -> CallOutcome {
    if there { CallOutcome::Done } else { CallOutcome::Absent }
}
