//! A store that fails as a test demands. Its errors contain a secret, as errors of a driver can.

use std::{future::pending, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, ManualClock, MemoryStore, NewRecord,
    Outcome, Page, Principal, Rejection, SessionId, SessionStore, StoreError, StoreKey, Stored,
    SummaryPage, observe,
};

/// What the calls of a scripted store do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// The call succeeds.
    Served,
    /// The call succeeds at the third attempt, which starts a second after the second one.
    Retried,
    Unavailable,
    Timeout,
    Corrupt,
    Rejected,
    Failed,
    Hung,
}

/// A store in memory with a behavior for all calls.
#[derive(Debug)]
pub(crate) struct Scripted {
    inner: MemoryStore,
    behavior: Mutex<Behavior>,
    /// The only call with the behavior. `None` means all calls.
    only: Mutex<Option<&'static str>>,
    secret: &'static str,
}

impl Scripted {
    pub(crate) fn new(secret: &'static str) -> Self {
        Self {
            inner: MemoryStore::new(),
            behavior: Mutex::new(Behavior::Served),
            only: Mutex::default(),
            secret,
        }
    }

    /// A store with a clock that the test moves.
    pub(crate) fn with_clock(secret: &'static str, clock: ManualClock) -> Self {
        Self { inner: MemoryStore::builder().clock(clock).build(), ..Self::new(secret) }
    }

    pub(crate) fn behavior(&self, behavior: Behavior) {
        *self.behavior.lock() = behavior;
    }

    /// Makes this call unavailable, and no other.
    pub(crate) fn unavailable(&self, call: &'static str) {
        (*self.only.lock(), *self.behavior.lock()) = (Some(call), Behavior::Unavailable);
    }

    async fn apply_behavior(&self, call: &'static str) -> Result<(), StoreError> {
        if self.only.lock().is_some_and(|only| only != call) {
            return Ok(());
        }
        let (behavior, store) = (*self.behavior.lock(), "scripted");
        let source = || format!("SET {} failed", self.secret).into();
        match behavior {
            Behavior::Served => Ok(()),
            Behavior::Retried => {
                observe::retried(store);
                tokio::task::yield_now().await;
                observe::retry_after(Duration::from_secs(1), store).await;
                Ok(())
            }
            Behavior::Unavailable => Err(StoreError::Unavailable { store, source: source() }),
            Behavior::Timeout => Err(StoreError::Timeout { store, after: Duration::from_secs(2) }),
            Behavior::Corrupt => {
                let handle = SessionId::random().unwrap().key().handle();
                Err(StoreError::Corrupt { store, handle, source: source() })
            }
            Behavior::Rejected => Err(Rejection::Key { bytes: 0 }.into()),
            Behavior::Failed => Err(StoreError::Other { store, source: source() }),
            Behavior::Hung => pending().await,
        }
    }
}

macro_rules! scripted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl SessionStore for Scripted {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$output, StoreError> {
                self.apply_behavior(stringify!($name)).await?;
                self.inner.$name($($argument),*).await
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
