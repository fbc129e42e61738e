//! A store that fails on request, in words that hold secrets, as a driver's can.

use std::{future::pending, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, MemoryStore, NewRecord, Outcome, Page,
    Principal, Rejection, SessionId, SessionStore, StoreError, StoreKey, Stored, SummaryPage,
    observe,
};

/// How calls fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    /// Served at the third try, of which the last comes after a second.
    Tries,
    Unavailable,
    Timeout,
    Corrupt,
    Rejected,
    Failed,
    Hung,
}

/// A store in memory whose calls fail as they are told to.
#[derive(Debug)]
pub(crate) struct Scripted {
    inside: MemoryStore,
    fate: Mutex<Fate>,
    secret: &'static str,
}

impl Scripted {
    pub(crate) fn new(secret: &'static str) -> Self {
        Self { inside: MemoryStore::new(), fate: Mutex::new(Fate::Served), secret }
    }

    pub(crate) fn fate(&self, fate: Fate) {
        *self.fate.lock() = fate;
    }

    async fn meet(&self) -> Result<(), StoreError> {
        let (fate, store) = (*self.fate.lock(), "scripted");
        let source = || format!("SET {} failed", self.secret).into();
        match fate {
            Fate::Served => Ok(()),
            Fate::Tries => {
                observe::retried(store);
                tokio::task::yield_now().await;
                observe::retry_after(Duration::from_secs(1), store).await;
                Ok(())
            }
            Fate::Unavailable => Err(StoreError::Unavailable { store, source: source() }),
            Fate::Timeout => Err(StoreError::Timeout { store, after: Duration::from_secs(2) }),
            Fate::Corrupt => {
                let handle = SessionId::random().unwrap().key().handle();
                Err(StoreError::Corrupt { store, handle, source: source() })
            }
            Fate::Rejected => Err(Rejection::Key { bytes: 0 }.into()),
            Fate::Failed => Err(StoreError::Other { store, source: source() }),
            Fate::Hung => pending().await,
        }
    }
}

macro_rules! scripted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl SessionStore for Scripted {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$output, StoreError> {
                self.meet().await?;
                self.inside.$name($($argument),*).await
            })*
        }
    };
}

scripted! {
    create(key: &StoreKey, new: NewRecord) -> Created;
    load(key: &StoreKey) -> Option<Stored>;
    commit(key: &StoreKey, commit: Commit) -> Outcome;
    delete(key: &StoreKey, claim: Claim) -> Deleted;
    list(principal: &Principal, after: Option<Cursor>, limit: usize) -> SummaryPage;
    delete_all(principal: &Principal, except: Option<&StoreKey>) -> u64;
    delete_everyone(after: Option<Cursor>, limit: usize) -> DeletedPage;
    scan(after: Option<Cursor>, limit: usize) -> Page;
    delete_expired(limit: usize) -> u64;
    ping() -> ();
}
