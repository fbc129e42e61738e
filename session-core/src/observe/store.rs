//! A store whose calls are observed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    call::observed,
    counts::Counts,
    names::{Ended, Operation},
};
use crate::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    SessionStore, StoreError, StoreKey, Stored, SummaryPage,
};

/// Observes the calls of `store`, under this name in numbers and traces.
///
/// `S` can be any store, also `dyn SessionStore`. If numbers are wanted, the recorder of `metrics`
/// must be installed by now.
#[must_use]
pub fn observe<S: SessionStore + ?Sized>(name: &'static str, store: Arc<S>) -> Observed<S> {
    Observed { name, counts: Counts::of(name), store }
}

/// A store like the one inside, whose calls are counted, timed and traced. From [`observe`].
#[derive(Debug)]
pub struct Observed<S: ?Sized> {
    name: &'static str,
    counts: Counts,
    store: Arc<S>,
}

impl<S: ?Sized> Observed<S> {
    fn place(&self) -> (&'static str, &Counts) {
        (self.name, &self.counts)
    }
}

#[async_trait]
impl<S: SessionStore + ?Sized> SessionStore for Observed<S> {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        let outcome = |created: &Created| match created {
            Created::New => Ended::Done,
            Created::Taken => Ended::Taken,
        };
        observed(self.place(), Operation::Create, self.store.create(key, new), outcome).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        observed(self.place(), Operation::Load, self.store.load(key), |found| {
            if_there(found.is_some())
        })
        .await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        let touches = !commit.is_change() && commit.rotate.is_none();
        let operation = if touches { Operation::Touch } else { Operation::Commit };
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Done(_) => Ended::Done,
            Outcome::Conflict => Ended::Conflict,
            Outcome::Superseded => Ended::Superseded,
            Outcome::Gone => Ended::Gone,
        };
        observed(self.place(), operation, self.store.commit(key, commit), outcome).await
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        let outcome = |deleted: &Deleted| match deleted {
            Deleted::Ended => Ended::Done,
            Deleted::Missing => Ended::Absent,
            Deleted::Superseded => Ended::Superseded,
        };
        observed(self.place(), Operation::Delete, self.store.delete(key, claim), outcome).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        observed(self.place(), Operation::List, self.store.list(principal, after, limit), |_| {
            Ended::Done
        })
        .await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        observed(
            self.place(),
            Operation::DeleteAll,
            self.store.delete_all(principal, except),
            |_| Ended::Done,
        )
        .await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        observed(
            self.place(),
            Operation::DeleteEveryone,
            self.store.delete_everyone(after, limit),
            |_| Ended::Done,
        )
        .await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        observed(self.place(), Operation::Scan, self.store.scan(after, limit), |_| Ended::Done)
            .await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        observed(self.place(), Operation::DeleteExpired, self.store.delete_expired(limit), |_| {
            Ended::Done
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        observed(self.place(), Operation::Ping, self.store.ping(), |()| Ended::Done).await
    }
}

fn if_there(there: bool) -> Ended {
    if there { Ended::Done } else { Ended::Absent }
}
