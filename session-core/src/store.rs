//! The contract between sessions and the place where they are kept.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    Claim, Commit, Created, Cursor, Deleted, DeletedPage, NewRecord, Outcome, Page, Principal,
    StoreError, StoreKey, Stored, SummaryPage,
};

/// A place where sessions are kept.
///
/// The contract holds between *all* clients of one backend: workers, machines, versions of the
/// program. Three promises rest on it: no lost update, no resurrection, no false success.
///
/// A session keeps its [`StoreKey`] for its whole life. A rotation replaces the hash of its secret,
/// and the record does not move.
///
/// # Laws
/// 1. **A commit is one atomic step.** Secret, guard, changes, deadline, principal and rotation
///    take effect together or not at all, and two commits that change different names both survive.
///    `Add` is atomic at the store.
/// 2. **A commit never creates.** A missing, expired or deleted record is [`Outcome::Gone`], and no
///    call brings it back. [`create`](Self::create) never changes a live record, also when the call
///    is repeated.
/// 3. **The version** counts changes of data, principal or attributes. A rotation and a longer life
///    are not changes.
/// 4. **A superseded secret is dead at once** for every commit. Of any number of concurrent
///    rotations exactly one wins; the others are [`Outcome::Superseded`]. For reads the grace of a
///    rotation is the one exception, for the end of the session the [`Claim`].
/// 5. **Time belongs to the backend.** Its clock stamps creation and decides expiry; the interface
///    speaks in durations. An expired record is never served, listed, counted or changed, even
///    while it is still stored.
/// 6. **Absent is not an error.** Missing, expired and malformed keys are `None`, `Gone`,
///    `Missing`. [`StoreError`] is for systems. A corrupt record is reported and not overwritten.
/// 7. **Every call ends**, also when the backend hangs: a deadline on each (2 s by default), no
///    unbounded queue. A dropped future leaves the client usable.
/// 8. **The index follows the record.** [`list`](Self::list) shows exactly the live sessions of a
///    principal. A rotation alone changes no index entry.
/// 9. **Verdicts have an order**: `Gone`, `Corrupt`, `Superseded`, `Conflict`, `Rejected`. An empty
///    commit is judged like any other.
/// 10. **Ends, sign-ins and rotations** are as durable before `Ok` as the backend can make them.
///
/// Keys and hashes are compared byte for byte, so a backend keeps them as bytes where its texts
/// have a collation.
///
/// # Cancel safety
/// Every method may be dropped at every await. What was sent is not recalled: afterwards the record
/// is whole, either as before the call or as after it, and the client goes on working. Proved by
/// `conformance::c41_dropped_calls_leave_the_record_whole`.
///
/// # Examples
/// A complete store. It passes the checks of the feature `conformance`, which are there for every
/// store; [`own_store`](crate::own_store) goes on from here.
#[doc = concat!("```\n", include_str!("../examples/toy_store.rs"), "\n```")]
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Keeps a new record under a fresh key.
    ///
    /// After `Created::New` every client of the backend sees it as [`NewRecord`] says. A live
    /// record under that key stays as it is (`Created::Taken`); an expired leftover counts as
    /// absent. Of two creators of one key exactly one gets `New`.
    ///
    /// # Errors
    /// `Rejected` before I/O if [`NewRecord::check`] fails. `Unavailable` or `Timeout`: the record
    /// may have landed; no client has its id yet, so it only waits for its expiry. A corrupt record
    /// counts as taken, or is `Corrupt`.
    ///
    /// Proved by `conformance::{c01_…, c02_…, c04_…, c08_…, c51_…, c54_…}`.
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError>;

    /// Reads a live record: all of it, as of one moment. `None` if it is missing, expired, or the
    /// key is not storable.
    ///
    /// The result is closed: a request opens it with the hash of its secret ([`Stored::open`]).
    ///
    /// # Errors
    /// `Corrupt` if what is stored cannot be read; it is left as it is. `Unavailable` or `Timeout`
    /// if the backend cannot answer: never take that for `None`.
    ///
    /// Proved by `conformance::{c03_…, c05_…, c06_…, c22_…, c26_…, c27_…, c39_…}`.
    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError>;

    /// Applies a commit in one atomic step and one round trip.
    ///
    /// `Done`: every client sees the new state. `Conflict`: the guard's version is not the
    /// record's; nothing changed. `Superseded`: the commit's secret is not the record's; nothing
    /// changed. `Gone`: no live record; nothing was created. An empty commit writes nothing and is
    /// judged like any other.
    ///
    /// With [`Commit::rotate`] the record's hash and generation become the new ones; the former
    /// hash is kept for the rotation's grace and forgotten without one. [`Commit::authentication`]
    /// and [`Commit::since`] say what becomes of those fields.
    ///
    /// # Errors
    /// `Rejected` if [`Commit::check`] fails (before I/O), if the record would grow over the cap on
    /// data, or if an `Add` meets something that is not an integer or leaves the range of `i64`;
    /// nothing changed. `Corrupt` if what is stored cannot be read; it is left as it is.
    /// `Unavailable` or `Timeout`: the commit may have landed, whole. `Unsupported` if the store
    /// cannot rotate.
    ///
    /// Proved by `conformance::{c09_… to c25_…, c46_… to c49_…}`.
    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError>;

    /// Ends a session if `claim` reaches it. The comparison and the end are one atomic step. Also
    /// works where the backend is full.
    ///
    /// After `Ended` or `Missing` no client ever sees the session again, and no call in flight
    /// brings it back. Calling it again is safe.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: it may or may not have ended; call again. A corrupt record is
    /// ended by either claim.
    ///
    /// Proved by `conformance::{c18_…, c19_…, c47_…}`.
    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError>;

    /// The live sessions of a principal: one page of at most `limit` after `after`, from the start
    /// with `None`. A `limit` of 0 counts as 1.
    ///
    /// Pages come in a fixed order that commits do not change. A session that is the principal's
    /// through the whole walk is listed exactly once; one that comes or goes meanwhile at most
    /// once.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the backend cannot answer. `Other` if `after` is not a cursor
    /// of this store.
    ///
    /// Proved by `conformance::{c32_…, c33_…, c36_…, c52_…}`.
    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError>;

    /// Ends all sessions of a principal but `except`, and says how many live ones there were.
    ///
    /// Every session that was the principal's when the call began is dead afterwards. A sign-in
    /// that races with it is either ended or fully alive.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: some may have ended and some not; call again.
    ///
    /// Proved by `conformance::{c35_…, c36_…, c52_…}`.
    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError>;

    /// Ends the sessions of all users and visitors, in pages that cost about `limit` sessions each.
    /// A `limit` of 0 counts as 1.
    ///
    /// After the last page every session of this namespace that was created before the first call
    /// is dead. Younger ones may live. To cut off everyone at once, replace the key that signs
    /// cookies.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`: some may have ended; repeat the page. `Other` if `after` is not
    /// a cursor of this store.
    ///
    /// Proved by `conformance::c53_…`.
    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError>;

    /// Visits all live records, for administration and copying: one page of at most `limit` after
    /// `after`, from the start with `None`. A `limit` of 0 counts as 1, so that every scan ends.
    ///
    /// A record that lives through the whole scan is visited once or more; one that comes or goes
    /// meanwhile may or may not be.
    ///
    /// # Errors
    /// `Rejected` never; `Other` if `after` is not a cursor of this store. `Corrupt` records are
    /// left out.
    ///
    /// Proved by `conformance::c37_…`.
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError>;

    /// Purges at most `limit` expired records and says how many; 0 means that none is left. Its
    /// cost follows what expired, not what is stored. Backends that purge by themselves answer 0.
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

    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError> {
        (**self).load(key).await
    }

    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
        (**self).commit(key, commit).await
    }

    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError> {
        (**self).delete(key, claim).await
    }

    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError> {
        (**self).list(principal, after, limit).await
    }

    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError> {
        (**self).delete_all(principal, except).await
    }

    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        (**self).delete_everyone(after, limit).await
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
