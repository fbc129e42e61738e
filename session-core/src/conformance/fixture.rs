//! What the checks need to know about a store, and what they do to its backend.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{BoxError, Limits, SessionStore, StoreKey};

/// A store under test on an empty storage, with access to its backend.
///
/// Every check gets a fresh fixture. So checks run in parallel, and no check sees the records of
/// another. On a server that all tests share, each fixture takes a database, schema or prefix with
/// a random name.
///
/// The methods that bypass the store answer [`Supported::NotApplicable`] with a reason if the backend
/// has no such thing. Everything else is mandatory, and the suite prints each check that it cannot
/// make.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The client under test. Every call returns the same one.
    fn store(&self) -> Arc<dyn SessionStore>;

    /// One more client of the same storage, as another worker opens it: with its own connections
    /// and caches.
    ///
    /// # Errors
    /// The error of the store's constructor.
    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError>;

    /// A client of another namespace (prefix, schema, database) on the same backend. The namespace
    /// is empty and prepared on first use. Two calls with one name give clients of one storage. For
    /// a store without namespaces each name is a separate instance.
    ///
    /// # Errors
    /// The error of the store's constructor.
    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError>;

    /// A client of one more, empty storage with a cap so small that at most [`Self::bulk`]
    /// anonymous records without values fill it, and with room reserved for records with a
    /// principal. Not applicable if the store has no such cap.
    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>>;

    /// Lets the backend's clock advance by at least `by`: sleeps, or moves a clock made for tests.
    async fn advance(&self, by: Duration);

    /// The largest error of an age or a ttl: 50 ms if the store answers from this machine's memory,
    /// else 1 s.
    fn tolerance(&self) -> Duration;

    /// The time after which the store gives up a call.
    fn deadline(&self) -> Duration;

    /// The caps that the store was built with; not below the default, because values of 60 KiB have
    /// to fit.
    fn limits(&self) -> Limits;

    /// How expired records leave the storage.
    fn purge(&self) -> Purge;

    /// How many records stand for "many" where a check measures that cost does not grow with them.
    /// Lower it if the store needs more than a few seconds to create them.
    fn bulk(&self) -> usize {
        50_000
    }

    /// A password or similar that the store was opened with. The checks search for it in all
    /// printed text.
    fn secret(&self) -> Supported<String>;

    /// `Debug` and, if it exists, `Display` of the settings that the store was opened with.
    fn settings_text(&self) -> Supported<String>;

    /// Damages the stored bytes of a record so that no version can read it.
    async fn corrupt(&self, key: &StoreKey) -> Supported;

    /// Marks a stored record as written in a newer format that this version does not know.
    async fn future_format(&self, key: &StoreKey) -> Supported;

    /// Stops the backend: connections break, new ones are refused.
    async fn stop(&self) -> Supported;

    /// Starts the stopped backend again, at the same address. It may have lost its records.
    async fn start(&self) -> Supported;

    /// Freezes the backend: connections stay open, and nothing answers (`SIGSTOP`).
    async fn freeze(&self) -> Supported;

    /// Lets the frozen backend continue.
    async fn thaw(&self) -> Supported;

    /// All bytes that the backend keeps for this storage, the same bytes for the same content.
    async fn dump(&self) -> Supported<Vec<u8>>;

    /// How many records are in the storage, including expired ones that are not yet purged.
    async fn physical_count(&self) -> Supported<u64>;
}

/// A fixture, or `None` if the backend is not installed here. The code that looked for the backend
/// reports that.
pub trait IntoFixture {
    /// The fixture.
    type Fixture: Fixture;

    /// The fixture, if there is one.
    fn into_fixture(self) -> Option<Self::Fixture>;
}

impl<F: Fixture> IntoFixture for F {
    type Fixture = F;

    fn into_fixture(self) -> Option<F> {
        Some(self)
    }
}

impl<F: Fixture> IntoFixture for Option<F> {
    type Fixture = F;

    fn into_fixture(self) -> Self {
        self
    }
}

/// The result of an access to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Supported<T = ()> {
    /// It succeeded, with this result.
    Done(T),
    /// The backend has no such thing, for this reason. The check prints it and ends, or continues
    /// without.
    NotApplicable(&'static str),
}

impl<T> Supported<T> {
    /// The result, or `None` after printing why there is none.
    #[expect(
        clippy::print_stdout,
        reason = "a check that cannot be made says so in the test's output"
    )]
    pub(super) fn or_explain(self, check: &str) -> Option<T> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::NotApplicable(reason) => {
                assert!(!reason.trim().is_empty(), "{check}: `NotApplicable` needs a reason");
                println!("{check}: not applicable: {reason}");
                None
            }
        }
    }
}

/// How expired records leave the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Only [`delete_expired`](SessionStore::delete_expired) purges.
    ByCall,
    /// The backend purges by itself, and `delete_expired` answers 0.
    ByItself,
}
