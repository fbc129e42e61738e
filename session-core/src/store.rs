//! The contract between sessions and the place where they are kept.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{Commit, Created, Cursor, Listed, NewRecord, Outcome, Page, Principal, Record, StoreError, StoreKey};

/// A place where sessions are kept.
///
/// The contract holds between *all* clients of one backend: workers, machines, versions of the program. Three promises rest on it: no
/// lost update, no resurrection, no fake success.
///
/// # Laws
/// 1. **A commit is one atomic step.** Guard, changes, deadline, principal and new key take effect together or not at all, and two
///    commits that change different names both survive. `Add` is atomic at the store.
/// 2. **A commit never creates.** A missing, expired or deleted record is [`Outcome::Gone`]; nobody brings it back under any key.
///    [`create`](Self::create) never overwrites.
/// 3. **The version** counts changes of data, principal or lifetime. Moving a record and extending its life are not changes.
/// 4. **A rotated key is dead at once**, and of any number of concurrent rotations exactly one wins; the others see `Gone`.
/// 5. **Time belongs to the backend.** Its clock stamps creation and decides expiry; the interface speaks in durations. An expired
///    record is never served, listed, counted, changed or moved, even where it still lies about.
/// 6. **Absent is not an error.** Missing, expired and malformed keys are `None`, `Gone`, `false`. [`StoreError`] is for systems. A corrupt
///    record is reported and not overwritten.
/// 7. **Every call ends**, also when the backend hangs: a deadline on each (2 s by default), no unbounded queue. A dropped future leaves
///    the client usable.
/// 8. **The index follows the record.** [`list`](Self::list) shows exactly the live sessions of a principal.
/// 9. **No method has a default body**, so nobody passes by inheritance.
///
/// # Cancel safety
/// Every method may be dropped at every await. What was sent is not recalled: the record is afterwards whole, either as before the call
/// or as after it, and the client goes on working. Proved by `conformance::c41_dropped_calls_leave_the_record_whole`.
///
/// # Examples
/// A complete store. It passes the checks of the feature `conformance`, which are there for every store; [`own_store`](crate::own_store) goes on
/// from here.
#[doc = concat!("```\n", include_str!("../examples/toy_store.rs"), "\n```")]
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Keeps a new record under a fresh key.
    ///
    /// After `Created::New` every client of the backend sees it, with version 1. A live record under that key is never overwritten
    /// (`Created::Taken`); an expired leftover is as good as absent. Of two creators of one key exactly one gets `New`.
    ///
    /// # Errors
    /// `Rejected` before I/O if [`NewRecord::check`] fails. `Unavailable` or `Timeout`: the record may have landed; nobody holds its id
    /// yet, so it only waits for its expiry. A corrupt record counts as taken, or is `Corrupt`.
    ///
    /// Proved by `conformance::{c01_…, c02_…, c04_…, c08_…}`.
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError>;

    /// Reads a live record: all of it, as of one moment. `None` if it is missing, expired, or the key is not storable.
    ///
    /// # Errors
    /// `Corrupt` if what is stored cannot be read; it is left as it is. `Unavailable` or `Timeout` if the backend cannot answer: never
    /// take that for `None`.
    ///
    /// Proved by `conformance::{c03_…, c05_…, c06_…, c26_…, c27_…, c39_…}`.
    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError>;

    /// Applies a commit in one atomic step and one round trip.
    ///
    /// `Done`: every client sees the new state. `Conflict`: the guard's version is not the record's, or the key to move to is taken;
    /// nothing changed. `Gone`: no live record; nothing was created. An empty commit writes nothing and is `Done` on a live record.
    ///
    /// # Errors
    /// `Rejected` if [`Commit::check`] fails (before I/O), if the record would grow over the cap on data, or if an `Add` meets something
    /// that is no integer or leaves the range of `i64`; nothing changed. `Corrupt` if what is stored cannot be read; it is left as it is.
    /// `Unavailable` or `Timeout`: the commit may have landed, whole.
    ///
    /// Proved by `conformance::{c09_… to c25_…}`.
    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError>;

    /// Ends a session. `true` if a live record was there; a second call says `false`. Also works where the backend is full.
    ///
    /// After `Ok` no client ever sees it again, and no call in flight brings it back.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: it may or may not be gone; call again. A corrupt record is deleted like any other.
    ///
    /// Proved by `conformance::{c18_…, c19_…}`.
    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError>;

    /// The live sessions of a principal, newest first.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the backend cannot answer.
    ///
    /// Proved by `conformance::{c32_…, c33_…, c36_…}`.
    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError>;

    /// Ends all sessions of a principal but `except`, and says how many there were.
    ///
    /// Every session that was the principal's when the call began is dead afterwards, also one that was being rotated meanwhile. A
    /// sign-in that races with it is either killed or fully alive.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: some may be gone and some not; call again.
    ///
    /// Proved by `conformance::{c35_…, c36_…}`.
    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError>;

    /// Visits all live records, for administration and copying: one page of at most `limit` after `after`, from the start with `None`. A
    /// `limit` of 0 counts as 1, so that every scan ends.
    ///
    /// A record that lives under one key through the whole scan is visited once or more; one that comes, goes or is moved meanwhile may or
    /// may not be.
    ///
    /// # Errors
    /// `Rejected` never; `Other` if `after` is not a cursor of this store. `Corrupt` records are left out.
    ///
    /// Proved by `conformance::c37_…`.
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError>;

    /// Purges at most `limit` expired records and says how many; 0 means that none is left. Its cost follows what expired, not what is
    /// stored. Backends that purge by themselves answer 0.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: some may be purged; call again.
    ///
    /// Proved by `conformance::{c30_…, c31_…}`.
    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError>;

    /// Whether the backend answers: one round trip.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if it does not.
    ///
    /// Proved by `conformance::c42_…`.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// A shared store is a store: every call goes to the one inside.
#[async_trait]
impl<S: SessionStore + ?Sized> SessionStore for Arc<S> {
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError> {
        (**self).create(key, new).await
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<Record>, StoreError> {
        (**self).load(key).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        (**self).commit(key, commit).await
    }

    async fn delete(&self, key: &StoreKey) -> Result<bool, StoreError> {
        (**self).delete(key).await
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, StoreError> {
        (**self).list(principal).await
    }

    async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, StoreError> {
        (**self).delete_all(principal, except).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        (**self).scan(after, limit).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError> {
        (**self).delete_expired(limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        (**self).ping().await
    }
}
