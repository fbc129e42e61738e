//! The conformance suite for [`MongoStore`]: on one server, and through a shared trait object on a
//! replica set. The suite stops and freezes real servers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mongodb::{
    Collection,
    bson::{Binary, Document, doc, spec::BinarySubtype},
};
use session_core::{
    BoxError, Limits, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};
use store_mongo::{Config, MongoStore};
use tests::{
    conformance::{deadline, takes_backend_down, warm_up},
    service::{AnyMongo, Durability, ExternalServer, PASSWORD},
};
use tokio::{runtime::Handle, sync::RwLock};

const EXTERNAL_SERVER: &str = "tests do not stop the server that the environment names";

/// Checks count stored records, so the server must not delete expired documents by itself.
const NO_TTL_MONITOR: [&str; 2] = ["--setParameter", "ttlMonitorEnabled=false"];

/// A store on its own database.
struct MongoFixture {
    server: RwLock<AnyMongo>,
    url: String,
    deadline: Duration,
    store: Arc<dyn SessionStore>,
}

impl MongoFixture {
    async fn server(check: &str, wrap: fn(MongoStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let server = if takes_backend_down(check) {
            AnyMongo::own_server(Durability::Full).await?
        } else {
            AnyMongo::server_with(&NO_TTL_MONITOR).await?
        };
        Some(Self::on(server, check, wrap).await)
    }

    async fn set(check: &str, wrap: fn(MongoStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let server = if takes_backend_down(check) {
            AnyMongo::own_set(Durability::Full).await?
        } else {
            AnyMongo::set_with(&NO_TTL_MONITOR).await?
        };
        Some(Self::on(server, check, wrap).await)
    }

    async fn on(
        server: AnyMongo,
        check: &str,
        wrap: fn(MongoStore) -> Arc<dyn SessionStore>,
    ) -> Self {
        let deadline = deadline(check);
        let url = server.url(&format!("collection=sessions&deadline_ms={}", deadline.as_millis()));
        let store = MongoStore::connect(&Config::new(&url).expect("a valid URL"))
            .await
            .expect("the store connects");
        warm_up(&store).await;
        Self { server: RwLock::new(server), url, deadline, store: wrap(store) }
    }

    async fn documents(&self) -> Collection<Document> {
        let server = self.server.read().await;
        server.client().await.database(server.database()).collection("sessions")
    }

    async fn set_fields(&self, key: &StoreKey, fields: Document) -> Supported {
        let documents = self.documents().await;
        let result = documents
            .update_one(doc! { "_id": id(key) }, doc! { "$set": fields })
            .await
            .expect("the server responds");
        assert_eq!(result.matched_count, 1, "the document exists");
        Supported::Done(())
    }
}

#[async_trait]
impl Fixture for MongoFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(Arc::new(MongoStore::connect(&Config::new(&self.url)?).await?))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        let config = Config::new(&self.url)?.collection(&format!("sessions-{name}"));
        Ok(Arc::new(MongoStore::connect(&config).await?))
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn purge(&self) -> Purge {
        Purge::ByCall
    }

    fn bulk(&self) -> usize {
        8_000
    }

    fn secret(&self) -> Supported<String> {
        if self.url.contains(PASSWORD) {
            return Supported::Done(PASSWORD.to_owned());
        }
        Supported::NotApplicable("this server has no password")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", Config::new(&self.url).expect("a valid URL")))
    }

    async fn corrupt(&self, key: &StoreKey) -> Supported {
        self.set_fields(key, doc! { "data": "not a document", "version": "none" }).await
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        self.set_fields(key, doc! { "format": 3 }).await
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable("MongoDB has no limit except its disk")
    }

    async fn stop(&self) -> Supported {
        supported(self.server.write().await.stop().await)
    }

    async fn start(&self) -> Supported {
        let mut server = self.server.write().await;
        // The rig waits with an async closure. The compiler cannot prove that its future is `Send`,
        // so this call blocks.
        supported(tokio::task::block_in_place(|| Handle::current().block_on(server.start_again())))
    }

    async fn freeze(&self) -> Supported {
        supported(self.server.read().await.freeze().await)
    }

    async fn thaw(&self) -> Supported {
        supported(self.server.read().await.thaw().await)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        let documents = self.server.read().await.dump().await;
        Supported::Done(
            documents
                .into_iter()
                .flat_map(|document| document.to_vec().expect("the document encodes as BSON"))
                .collect(),
        )
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(
            self.documents().await.count_documents(doc! {}).await.expect("the server responds"),
        )
    }
}

/// The `_id` of the session's document.
fn id(key: &StoreKey) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: key.as_str().into() }
}

fn supported(result: Result<(), ExternalServer>) -> Supported {
    result.map_or(Supported::NotApplicable(EXTERNAL_SERVER), Supported::Done)
}

mod server {
    use super::{Arc, MongoFixture};

    session_core::conformance_tests!(|check| async {
        MongoFixture::server(check, |store| Arc::new(store)).await
    });
}

mod set_through_arc_dyn {
    use session_core::SessionStore;

    use super::{Arc, MongoFixture};

    session_core::conformance_tests!(|check| async {
        MongoFixture::set(check, |store| {
            let erased: Arc<dyn SessionStore> = Arc::new(store);
            Arc::new(erased)
        })
        .await
    });
}
