//! What the checks need to know about a store, and what they do to its backend.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{BoxError, Limits, SessionStore, StoreKey};

/// The reason of the methods that read or write stored bytes.
const NO_BYTES: &str = "the fixture does not access stored bytes";

/// The reason of the methods that stop or freeze a server.
const NO_SERVER: &str = "the fixture has no server that it can stop or freeze";

/// A store under test on an empty storage, with access to its backend.
///
/// Every check gets a new fixture, so checks run in parallel and no check sees the records of
/// another one. On a server that all tests share, each fixture takes a database, schema or prefix
/// with a random name.
///
/// A method that returns [`Supported`] accesses the backend behind the store. By default it returns
/// [`Supported::NotApplicable`] with a reason. Implement each one that the backend can do: the
/// suite prints the checks that it cannot make without the others. Most stores also keep the
/// default of [`limits`](Self::limits) and of [`purge`](Self::purge).
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The client under test. Every call returns the same one.
    fn store(&self) -> Arc<dyn SessionStore>;

    /// One more client of the same storage, with its own connections and caches, like the client of
    /// another worker.
    ///
    /// # Errors
    /// The error of the constructor of the store.
    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError>;

    /// A client of another namespace (prefix, schema, database) on the same backend.
    ///
    /// The first call with a name sets up an empty namespace. Two calls with one name return
    /// clients of one storage. For a store without namespaces each name is a separate instance.
    ///
    /// # Errors
    /// The error of the constructor of the store.
    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError>;

    /// A client of one more, empty storage with a small capacity: at most [`Self::bulk`] anonymous
    /// records without values fill it, and it reserves room for records with a principal. Not
    /// applicable if the store has no capacity limit.
    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable("the fixture opens no store with a small capacity")
    }

    /// Advances the clock of the backend by at least `by`: sleeps, or moves a manual clock. By
    /// default it sleeps.
    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    /// The largest error of an age or a ttl: 50 ms for a store in the memory of this machine, which
    /// is the default, otherwise 1 s.
    fn tolerance(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// The time after which the store ends a call with an error.
    fn deadline(&self) -> Duration;

    /// The limits of the store. They must not be below the default, because some checks store
    /// values of 60 KiB.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// How the store removes expired records from the storage: [`Purge::ByCall`] by default.
    fn purge(&self) -> Purge {
        Purge::ByCall
    }

    /// The number of records that counts as many in the check that the cost of a purge does not
    /// grow with the number of records. Lower it if creating them takes more than a few seconds.
    fn bulk(&self) -> usize {
        50_000
    }

    /// A password or another secret from the settings of the store. The checks search for it in all
    /// printed text.
    fn secret(&self) -> Supported<String> {
        Supported::NotApplicable("the fixture names no secret of the store")
    }

    /// `Debug` and, if implemented, `Display` of the settings of the store.
    fn settings_text(&self) -> Supported<String> {
        Supported::NotApplicable("the fixture does not show the settings of the store")
    }

    /// Overwrites the stored bytes of a record so that no version of the store can read it.
    async fn corrupt(&self, _key: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    /// Marks a stored record as written in a newer format, which this version does not know.
    async fn future_format(&self, _key: &StoreKey) -> Supported {
        Supported::NotApplicable(NO_BYTES)
    }

    /// Stops the backend. Connections break, and new ones are refused.
    async fn stop(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    /// Starts the stopped backend again, at the same address. It may have lost its records.
    async fn start(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    /// Freezes the backend. Connections stay open without an answer (`SIGSTOP`).
    async fn freeze(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    /// Lets the frozen backend continue.
    async fn thaw(&self) -> Supported {
        Supported::NotApplicable(NO_SERVER)
    }

    /// All bytes that the backend stores for this storage. The same content gives the same bytes.
    async fn dump(&self) -> Supported<Vec<u8>> {
        Supported::NotApplicable(NO_BYTES)
    }

    /// The number of stored records, including expired ones that are not yet purged.
    async fn physical_count(&self) -> Supported<u64> {
        Supported::NotApplicable("the fixture does not count stored records")
    }
}

/// A fixture, or `None` if the backend is missing on this machine. The code that looks for the
/// backend prints that.
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
    /// The access succeeded, with this result.
    Done(T),
    /// The backend cannot do it, for this reason. The check prints the reason. Then it ends, or
    /// continues without this access.
    NotApplicable(&'static str),
}

impl<T> Supported<T> {
    /// The result. For `NotApplicable` prints the reason and returns `None`.
    #[expect(clippy::print_stdout, reason = "the output of the test names the skipped check")]
    pub(super) fn or_explain(self, check: &str) -> Option<T> {
        match self {
            Self::Done(result) => Some(result),
            Self::NotApplicable(reason) => {
                assert!(!reason.trim().is_empty(), "{check}: `NotApplicable` needs a reason");
                println!("{check}: not applicable: {reason}");
                None
            }
        }
    }
}

/// How a store removes expired records from the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Only [`delete_expired`](SessionStore::delete_expired) removes them.
    ByCall,
    /// The backend removes them by itself, and `delete_expired` returns 0.
    ByItself,
}
