//! What the checks need to know of a store and to do to its backend.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Limits, SessionStore, Source, StoreKey};

/// A store under test, on an empty storage of its own, with hands on its backend.
///
/// Every check gets a fresh fixture, so that checks run in parallel and none sees the records of another. On a server that all tests
/// share that means: a database, schema or prefix with a random name for each fixture.
///
/// The methods that reach around the store answer [`Hand::NotApplicable`] with a reason where the backend has no such thing. Nothing else
/// is optional, and nothing is skipped silently.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The client under test; the same one at each call.
    fn store(&self) -> Arc<dyn SessionStore>;

    /// One more client of the same storage, as another worker would open it: with connections and caches of its own.
    ///
    /// # Errors
    /// Whatever opening says.
    async fn open(&self) -> Result<Arc<dyn SessionStore>, Source>;

    /// A client of another namespace (prefix, schema, database) on the same backend. It is empty and prepared on first use; two calls
    /// with one name give clients of one storage. For a store without namespaces each name is an instance of its own.
    ///
    /// # Errors
    /// Whatever opening says.
    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, Source>;

    /// Lets the backend's clock pass by at least `by`: sleeps, or moves a clock made for tests.
    async fn advance(&self, by: Duration);

    /// How far off `age` and `ttl` may be: 50 ms if the store answers from this machine's memory, 1 s else.
    fn tolerance(&self) -> Duration;

    /// The time after which the store gives a call up.
    fn deadline(&self) -> Duration;

    /// The caps that the store was built with; not below the default, because values of 60 KiB have to fit.
    fn limits(&self) -> Limits;

    /// Who takes expired records out of the storage.
    fn purge(&self) -> Purge;

    /// How many records stand for "many" where a check wants to see that cost does not grow with them. Lower it where creating them
    /// takes more than a few seconds.
    fn bulk(&self) -> usize {
        50_000
    }

    /// A password or the like that the store was opened with. The checks look for it in everything that is printed.
    fn secret(&self) -> Hand<String>;

    /// `Debug` and, where there is one, `Display` of the settings that the store was opened with.
    fn settings_text(&self) -> Hand<String>;

    /// Spoils the stored bytes of a record so that they are no record of any version.
    async fn corrupt(&self, key: &StoreKey) -> Hand;

    /// Marks a stored record as written in a newer format that this version does not know.
    async fn future_format(&self, key: &StoreKey) -> Hand;

    /// Stops the backend: connections break, new ones are refused.
    async fn stop(&self) -> Hand;

    /// Starts the stopped backend again, at the same address. It may have lost its records.
    async fn start(&self) -> Hand;

    /// Freezes the backend: connections stay open and nothing answers (`SIGSTOP`).
    async fn freeze(&self) -> Hand;

    /// Lets the frozen backend go on.
    async fn thaw(&self) -> Hand;

    /// All bytes that the backend keeps for this storage, the same bytes for the same content.
    async fn dump(&self) -> Hand<Vec<u8>>;

    /// How many records lie in the storage, the expired that nobody has purged among them.
    async fn physical_count(&self) -> Hand<u64>;
}

/// A fixture, or none because the backend is not to be had here; whoever looked for it in vain has said so.
pub trait Given {
    /// The fixture.
    type Fixture: Fixture;

    /// The fixture, if there is one.
    fn given(self) -> Option<Self::Fixture>;
}

impl<F: Fixture> Given for F {
    type Fixture = F;

    fn given(self) -> Option<F> {
        Some(self)
    }
}

impl<F: Fixture> Given for Option<F> {
    type Fixture = F;

    fn given(self) -> Self {
        self
    }
}

/// What came of reaching for the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Hand<T = ()> {
    /// It is done; here is what was asked for.
    Done(T),
    /// The backend has no such thing, for this reason. The check prints it and ends, or goes on without.
    NotApplicable(&'static str),
}

impl<T> Hand<T> {
    /// The answer, or `None` after printing why there is none.
    #[expect(clippy::print_stdout, reason = "a check that cannot be made says so in the test's output")]
    pub(super) fn or_explain(self, check: &str) -> Option<T> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::NotApplicable(reason) => {
                assert!(!reason.trim().is_empty(), "{check}: a hand that is not applicable needs a reason");
                println!("{check}: not applicable: {reason}");
                None
            }
        }
    }
}

/// Who takes expired records out of the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// [`delete_expired`](SessionStore::delete_expired) does, and nobody else.
    ByCall,
    /// The backend does by itself, and `delete_expired` answers 0.
    ByItself,
}
