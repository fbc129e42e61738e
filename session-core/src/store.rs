//! The part of this crate that authors of stores use: the trait [`SessionStore`], and all types in
//! its signatures and in the records.
//!
//! An application needs these types only to administrate sessions: for example to list or to end
//! the sessions of a user without a request, or to copy sessions to another store.
//!
//! | part | types |
//! |---|---|
//! | the names of a record | [`StoreKey`], [`SecretHash`], [`Handle`] |
//! | a record | [`NewRecord`], [`Record`], [`Opened`], [`Stored`], [`Grace`], [`Superseded`] |
//! | the content of a record | [`Data`], [`Name`], [`Json`], [`Principal`], [`Attributes`], [`Persistence`], [`ShortText`], [`ReplacedSecrets`] |
//! | a change | [`Commit`], [`Guard`], [`Rotation`], [`Changes`], [`Change`], [`PrincipalChange`], [`AuthenticationChange`] |
//! | results | [`Outcome`], [`Committed`], [`Created`], [`Deleted`] |
//! | the condition of a deletion | [`Claim`] |
//! | pages | [`Cursor`], [`Page`], [`SummaryPage`], [`SessionSummary`], [`DeletedPage`] |
//! | limits and errors | [`Limits`], [`Rejection`], [`StoreError`], [`BoxError`] |
//!
//! [`own_store`](crate::own_store) is the guide. The feature `conformance` adds the checks that
//! every store must pass.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

#[doc(inline)]
pub use crate::{
    attributes::{Attributes, Persistence, ReplacedSecrets},
    commit::{
        AuthenticationChange, Change, Changes, Commit, Committed, Guard, Outcome, PrincipalChange,
        Rotation,
    },
    data::Data,
    error::{BoxError, Rejection, StoreError},
    id::SecretHash,
    json::Json,
    key::{Handle, StoreKey},
    limits::Limits,
    name::Name,
    page::{Cursor, DeletedPage, Page, SessionSummary, SummaryPage},
    principal::Principal,
    record::{Claim, Created, Deleted, Grace, NewRecord, Opened, Record, Stored, Superseded},
    short_text::ShortText,
};

/// A backend that keeps session records.
///
/// A store maps a [`StoreKey`] to a [`Record`]. A session keeps its key for its whole life. A
/// rotation replaces only the hash of the session's secret; the record does not move.
///
/// The contract holds between *all* clients of one backend: all workers, machines and versions of
/// the program. Three promises of this library depend on it: no update is lost, an ended session
/// never comes back, and a failed write is never reported as a success.
///
/// # Methods
///
/// | method | effect | called by |
/// |---|---|---|
/// | [`create`](Self::create) | adds a record under a new key | the first write of a session, a copy between stores |
/// | [`load`](Self::load) | reads one record | the first read of a request |
/// | [`commit`](Self::commit) | changes one record atomically | every write, rotation and ttl extension |
/// | [`delete`](Self::delete) | ends one session | sign-out, "end this device", an exceeded timeout |
/// | [`list`](Self::list), [`delete_all`](Self::delete_all) | list and end the sessions of one principal | device list, "sign out everywhere" |
/// | [`scan`](Self::scan), [`delete_everyone`](Self::delete_everyone) | visit and end all sessions | administration, copies |
/// | [`delete_expired`](Self::delete_expired) | frees expired records | the sweeper |
/// | [`ping`](Self::ping) | tests the connection | readiness checks |
///
/// # Laws
/// 1. **A commit is one atomic step.** Secret, guard, changes, deadline, principal and rotation
///    take effect together or not at all. Two commits that change different names both survive.
///    `Add` is atomic at the store.
/// 2. **A commit never creates.** For a missing, expired or deleted record it returns
///    [`Outcome::Gone`], and no call brings such a record back. [`create`](Self::create) never
///    changes a live record, also not if the call is repeated.
/// 3. **The version** counts changes of data, principal or attributes. A rotation and a new ttl are
///    not changes.
/// 4. **A superseded secret is dead at once** for every commit. Of any number of concurrent
///    rotations exactly one wins, and the others return [`Outcome::Superseded`]. There are two
///    exceptions: the grace of a rotation allows reads, and the [`Claim`] decides about the end of
///    the session.
/// 5. **Time belongs to the backend.** Its clock stamps creation and decides expiry. The interface
///    uses durations only. An expired record is never returned, listed, counted or changed, even
///    while it is still stored.
/// 6. **Absent is not an error.** For a missing, expired or malformed key a method returns `None`,
///    `Gone` or `Missing`. [`StoreError`] reports failures of systems. A corrupt record is reported
///    and not overwritten.
/// 7. **Every call ends**, also if the backend hangs: each call has a deadline (2 s by default),
///    and no queue is unbounded. A dropped future leaves the client usable.
/// 8. **The index follows the record.** [`list`](Self::list) returns exactly the live sessions of a
///    principal. A rotation alone changes no index entry.
/// 9. **Verdicts have an order**: `Gone`, `Corrupt`, `Superseded`, `Conflict`, `Rejected`. If
///    several apply, the first is returned. An empty commit is judged like any other.
/// 10. **Ends, sign-ins and rotations** are as durable before `Ok` as the backend can make them.
///
/// Keys and hashes are compared byte for byte. If the texts of a backend have a collation, the
/// store keeps keys and hashes as bytes.
///
/// # Errors
/// Each variant of [`StoreError`] has the same meaning in every method:
///
/// | error | meaning | may a write have taken effect? |
/// |---|---|---|
/// | `Unavailable` | the backend is unreachable or overloaded | yes, completely or not at all |
/// | `Timeout` | the backend did not answer before the deadline | yes, completely or not at all |
/// | `Corrupt` | the stored record cannot be read | no |
/// | `Rejected` | the arguments are not valid, or a limit is reached | no |
/// | `Unsupported` | the store does not implement the call or option | no |
/// | `Other` | any other failure, such as missing permissions | yes, completely or not at all |
///
/// A method that ends or purges several sessions may have ended some of them. A repeated call
/// continues the work.
///
/// # Cancel safety
/// The future of every method may be dropped at every await. A request that was sent is not
/// recalled: afterwards the record is either as before the call or as after it, and the client
/// stays usable. Proved by `conformance::c41_dropped_calls_leave_the_record_whole`.
///
/// # Examples
/// This is a complete store. It passes the checks of the feature `conformance`, which every store
/// can run. [`own_store`](crate::own_store) is the guide for store authors.
#[doc = concat!("```\n", include_str!("../examples/toy_store.rs"), "\n```")]
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Creates a record under a new key.
    ///
    /// | result | meaning |
    /// |---|---|
    /// | `Created::New` | every client of the backend now reads the record that [`NewRecord`] describes |
    /// | `Created::Taken` | a live record already has this key; it did not change |
    ///
    /// An expired record under the key counts as absent. If two clients create the same key
    /// concurrently, exactly one of them gets `New`. A corrupt record under the key is reported as
    /// `Taken` or as `Corrupt`.
    ///
    /// # Errors
    /// `Rejected` if [`NewRecord::check`] fails (before I/O), or if the store is full. After
    /// `Unavailable` or `Timeout` the record may exist. No client has its id yet, so it remains
    /// unused until it expires.
    ///
    /// # Conformance
    /// Proved by `conformance::{c01_…, c02_…, c04_…, c08_…, c51_…, c54_…}`.
    async fn create(&self, key: &StoreKey, new: NewRecord) -> Result<Created, StoreError>;

    /// Reads a live record, in its state at one moment.
    ///
    /// Returns `None` if the record is missing or expired, or if a store cannot keep records under
    /// the key. The content of the result is accessible only with the hash of a secret
    /// ([`Stored::open`]), which also tells whether that secret is superseded.
    ///
    /// # Errors
    /// `Corrupt` if the stored record cannot be read; it stays unchanged. `Unavailable` or
    /// `Timeout` if the backend cannot answer. A caller must not treat these errors as `None`.
    ///
    /// # Conformance
    /// Proved by `conformance::{c03_…, c05_…, c06_…, c22_…, c26_…, c27_…, c39_…}`.
    async fn load(&self, key: &StoreKey) -> Result<Option<Stored>, StoreError>;

    /// Applies a commit in one atomic step and one round trip.
    ///
    /// | result | meaning |
    /// |---|---|
    /// | `Outcome::Done` | every client now reads the new state |
    /// | `Outcome::Conflict` | the record does not have the version of the guard; nothing changed |
    /// | `Outcome::Superseded` | the commit's secret is not the current one; nothing changed |
    /// | `Outcome::Gone` | there is no live record; nothing was created |
    ///
    /// An empty commit writes nothing and is judged like any other.
    ///
    /// [`Commit::rotate`] replaces hash and generation of the record. The store keeps the former
    /// hash for the grace of the rotation. Without a grace it forgets the former hash.
    /// [`Commit::authentication`] and [`Commit::since`] return the new values of those fields.
    ///
    /// Concurrent commits are applied one after the other. Without a guard, the later one wins for
    /// each name. Of several concurrent rotations exactly one is `Done`.
    ///
    /// # Errors
    /// `Rejected` if [`Commit::check`] fails (before I/O), if the record would exceed the limit on
    /// data, if the store is full, or if an `Add` finds a value that is not an integer or leaves
    /// the range of `i64`. After `Rejected` nothing changed. `Corrupt` if the stored record cannot
    /// be read; it stays unchanged. After `Unavailable` or `Timeout` the whole commit may have
    /// taken effect. `Unsupported` if the store cannot rotate.
    ///
    /// # Conformance
    /// Proved by `conformance::{c09_… to c25_…, c46_… to c49_…}`.
    async fn commit(&self, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError>;

    /// Ends a session if `claim` covers it.
    ///
    /// | result | meaning |
    /// |---|---|
    /// | `Deleted::Ended` | the session has ended |
    /// | `Deleted::Missing` | there is no live record under the key |
    /// | `Deleted::Superseded` | the claim does not cover the session, which lives on |
    ///
    /// The store checks the claim and ends the session in one atomic step. After `Ended` and
    /// `Missing` no client reads the session again, and no call in flight brings it back. A
    /// repeated call is safe. Either claim ends a corrupt record. The call also works if the
    /// backend is full.
    ///
    /// # Errors
    /// After `Unavailable` or `Timeout` the session may or may not have ended. Call again.
    ///
    /// # Conformance
    /// Proved by `conformance::{c18_…, c19_…, c47_…}`.
    async fn delete(&self, key: &StoreKey, claim: Claim) -> Result<Deleted, StoreError>;

    /// Lists the live sessions of a principal, one page at a time.
    ///
    /// A page has at most `limit` sessions; a `limit` of 0 counts as 1. `after` is the cursor of
    /// the previous page, or `None` for the first page.
    ///
    /// The pages have a fixed order that commits do not change. A session that belongs to the
    /// principal during the whole listing is returned exactly once. A session that starts or ends
    /// meanwhile is returned at most once.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the backend cannot answer. `Other` if `after` is not a cursor
    /// of this store.
    ///
    /// # Conformance
    /// Proved by `conformance::{c32_…, c33_…, c36_…, c52_…}`.
    async fn list(
        &self,
        principal: &Principal,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, StoreError>;

    /// Ends all sessions of a principal except `except`, and returns how many live ones it ended.
    ///
    /// After `Ok`, every session that belonged to the principal when the call began has ended. A
    /// concurrent sign-in is either ended or fully alive.
    ///
    /// # Errors
    /// After `Unavailable` or `Timeout` some sessions may have ended. Call again.
    ///
    /// # Conformance
    /// Proved by `conformance::{c35_…, c36_…, c52_…}`.
    async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, StoreError>;

    /// Ends the sessions of all users and visitors, one page at a time.
    ///
    /// A page ends about `limit` sessions; a `limit` of 0 counts as 1. `after` is the cursor of the
    /// previous page, or `None` for the first page.
    ///
    /// After the last page, every session of this namespace that was created before the first call
    /// has ended. Younger sessions may live. To sign out everyone at once, replace the key that
    /// signs cookies.
    ///
    /// # Errors
    /// After `Unavailable` or `Timeout` some sessions may have ended. Repeat the page. `Other` if
    /// `after` is not a cursor of this store.
    ///
    /// # Conformance
    /// Proved by `conformance::c53_…`.
    async fn delete_everyone(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, StoreError>;

    /// Visits all live records, one page at a time, for administration and copies.
    ///
    /// A page has at most `limit` records; a `limit` of 0 counts as 1, so that every scan ends.
    /// `after` is the cursor of the previous page, or `None` for the first page.
    ///
    /// A record that lives during the whole scan is visited at least once. A record that is created
    /// or ends meanwhile may be visited or not. Corrupt records are skipped.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the backend cannot answer. `Other` if `after` is not a cursor
    /// of this store. Never `Rejected`.
    ///
    /// # Conformance
    /// Proved by `conformance::c37_…`.
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError>;

    /// Frees at most `limit` expired records, and returns how many.
    ///
    /// 0 means that none is left. The cost depends on the number of expired records, not on the
    /// number of stored ones. A backend that frees expired records by itself returns 0.
    ///
    /// # Errors
    /// After `Unavailable` or `Timeout` some records may have been freed. Call again.
    ///
    /// # Conformance
    /// Proved by `conformance::{c30_…, c31_…}`.
    async fn delete_expired(&self, limit: usize) -> Result<u64, StoreError>;

    /// Tests in one round trip whether the backend answers.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if it does not answer.
    ///
    /// # Conformance
    /// Proved by `conformance::c42_…`.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Forwards every call to the store inside the `Arc`.
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
