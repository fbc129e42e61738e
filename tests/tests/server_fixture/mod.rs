//! The conformance fixture of the stores with a server: what is the same for every product.

use std::{fmt::Debug, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use session_core::{
    BoxError, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};
use tests::{
    conformance::{deadline, takes_backend_down, warm_up},
    service::{ExternalServer, PASSWORD, Stoppable},
};
use tokio::{runtime::Handle, sync::RwLock};

/// What differs between the products: the settings of a store, and what the server stores.
#[async_trait]
pub(crate) trait Product: Stoppable + Send + Sync + Sized + 'static {
    /// The store of this product.
    type Store: SessionStore + 'static;
    /// The settings of the store.
    type Config: Debug + Send + Sync;

    /// How the store removes expired records.
    const PURGE: Purge;
    /// The number of records that counts as many.
    const BULK: usize;
    /// Why no store of this product has a small capacity.
    const UNBOUNDED: &'static str;

    /// The namespace of a new fixture: a prefix, collection or table.
    fn new_namespace() -> String;

    /// The settings of a URL that choose this namespace.
    fn namespace_settings(namespace: &str) -> String;

    /// The settings of a store with this URL.
    fn config(url: &str) -> Result<Self::Config, BoxError>;

    /// The same settings for the namespace with this name, next to that of the fixture.
    fn config_in(config: Self::Config, namespace: &str, name: &str) -> Self::Config;

    /// Connects a store.
    async fn connect(config: &Self::Config) -> Result<Self::Store, BoxError>;

    /// Overwrites the stored bytes of a record of the fixture so that no version can read it.
    async fn corrupt(&self, namespace: &str, key: &StoreKey);

    /// Marks a stored record of the fixture as written in a newer format.
    async fn future_format(&self, namespace: &str, key: &StoreKey);

    /// All bytes that the server stores for the fixture.
    async fn stored_bytes(&self, namespace: &str) -> Vec<u8>;

    /// The number of records that the server stores for the fixture.
    async fn stored_records(&self, namespace: &str) -> u64;
}

/// A store with its own namespace on a server.
pub(crate) struct ServerFixture<P: Product> {
    server: RwLock<P>,
    namespace: String,
    url: String,
    deadline: Duration,
    store: Arc<dyn SessionStore>,
}

impl<P: Product> ServerFixture<P> {
    /// Connects a store to the server of `own` if the check stops the server, and to that of
    /// `shared` otherwise. `None` means that there is no server, and the check is skipped. `wrap`
    /// makes the client of a store. The future is boxed, because that of a server is large.
    pub(crate) fn connect(
        check: &str,
        own: impl Future<Output = Option<P>>,
        shared: impl Future<Output = Option<P>>,
        wrap: fn(P::Store) -> Arc<dyn SessionStore>,
    ) -> Pin<Box<impl Future<Output = Option<Self>>>> {
        Box::pin(async move {
            let server = if takes_backend_down(check) { own.await? } else { shared.await? };
            let (namespace, deadline) = (P::new_namespace(), deadline(check));
            let url = server.url(&format!(
                "{}&deadline_ms={}",
                P::namespace_settings(&namespace),
                deadline.as_millis()
            ));
            let config = P::config(&url).expect("a valid URL");
            let store = P::connect(&config).await.expect("the store connects");
            warm_up(&store).await;
            let server = RwLock::new(server);
            Some(Self { server, namespace, url, deadline, store: wrap(store) })
        })
    }
}

#[async_trait]
impl<P: Product> Fixture for ServerFixture<P> {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(Arc::new(P::connect(&P::config(&self.url)?).await?))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        let config = P::config_in(P::config(&self.url)?, &self.namespace, name);
        Ok(Arc::new(P::connect(&config).await?))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable(P::UNBOUNDED)
    }

    fn tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn purge(&self) -> Purge {
        P::PURGE
    }

    fn bulk(&self) -> usize {
        P::BULK
    }

    fn secret(&self) -> Supported<String> {
        if self.url.contains(PASSWORD) {
            return Supported::Done(PASSWORD.to_owned());
        }
        Supported::NotApplicable("the URL has no password of the tests")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", P::config(&self.url).expect("a valid URL")))
    }

    async fn corrupt(&self, key: &StoreKey) -> Supported {
        self.server.read().await.corrupt(&self.namespace, key).await;
        Supported::Done(())
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        self.server.read().await.future_format(&self.namespace, key).await;
        Supported::Done(())
    }

    async fn stop(&self) -> Supported {
        supported(self.server.write().await.stop().await)
    }

    async fn start(&self) -> Supported {
        let mut server = self.server.write().await;
        supported(blocking(server.start_again()))
    }

    async fn freeze(&self) -> Supported {
        supported(self.server.read().await.freeze().await)
    }

    async fn thaw(&self) -> Supported {
        supported(self.server.read().await.thaw().await)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        Supported::Done(self.server.read().await.stored_bytes(&self.namespace).await)
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(self.server.read().await.stored_records(&self.namespace).await)
    }
}

/// The store itself as the client of a fixture.
pub(crate) fn direct<S: SessionStore + 'static>(store: S) -> Arc<dyn SessionStore> {
    Arc::new(store)
}

/// The store behind one more layer: the implementation for a shared trait object must forward every
/// call.
pub(crate) fn through_arc_dyn<S: SessionStore + 'static>(store: S) -> Arc<dyn SessionStore> {
    Arc::new(direct(store))
}

/// Runs a future whose type the compiler does not recognize as `Send`, because the wait for an
/// answer is an async closure.
pub(crate) fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(work))
}

fn supported(result: Result<(), ExternalServer>) -> Supported {
    match result {
        Ok(()) => Supported::Done(()),
        Err(ExternalServer::File) => Supported::NotApplicable("a file has no server to stop"),
        Err(ExternalServer::Named { .. }) => {
            Supported::NotApplicable("the tests do not own the server that the environment names")
        }
    }
}
