//! The conformance suite for [`MongoStore`]: on one server, and through a shared trait object on a
//! replica set. The suite stops and freezes real servers.

use async_trait::async_trait;
use mongodb::{
    Collection,
    bson::{Binary, Document, doc, spec::BinarySubtype},
};
use session_core::{BoxError, StoreKey, conformance::Purge};
use store_mongo::{Config, MongoStore};
use tests::service::{AnyMongo, Durability};

use crate::server_fixture::{Product, ServerFixture, direct, through_arc_dyn};

/// Checks count stored records, so the server must not delete expired documents by itself.
const NO_TTL_MONITOR: [&str; 2] = ["--setParameter", "ttlMonitorEnabled=false"];

type MongoFixture = ServerFixture<AnyMongo>;

/// A namespace is a collection. Each fixture has its own database.
#[async_trait]
impl Product for AnyMongo {
    type Store = MongoStore;
    type Config = Config;

    const PURGE: Purge = Purge::ByCall;
    const BULK: usize = 8_000;
    const UNBOUNDED: &'static str = "MongoDB has no limit except its disk";

    fn new_namespace() -> String {
        "sessions".to_owned()
    }

    fn namespace_settings(collection: &str) -> String {
        format!("collection={collection}")
    }

    fn config(url: &str) -> Result<Config, BoxError> {
        Ok(Config::new(url)?)
    }

    fn config_in(config: Config, collection: &str, name: &str) -> Config {
        config.collection(&format!("{collection}-{name}"))
    }

    async fn connect(config: &Config) -> Result<MongoStore, BoxError> {
        Ok(MongoStore::connect(config).await?)
    }

    async fn corrupt(&self, collection: &str, key: &StoreKey) {
        let fields = doc! { "data": "not a document", "version": "none" };
        set_fields(self, collection, key, fields).await;
    }

    async fn future_format(&self, collection: &str, key: &StoreKey) {
        set_fields(self, collection, key, doc! { "format": 3 }).await;
    }

    async fn stored_bytes(&self, _collection: &str) -> Vec<u8> {
        let documents = self.dump().await;
        documents
            .into_iter()
            .flat_map(|document| document.to_vec().expect("the document encodes as BSON"))
            .collect()
    }

    async fn stored_records(&self, collection: &str) -> u64 {
        let documents = documents(self, collection).await;
        documents.count_documents(doc! {}).await.expect("the server responds")
    }
}

async fn documents(server: &AnyMongo, collection: &str) -> Collection<Document> {
    server.client().await.database(server.database()).collection(collection)
}

async fn set_fields(server: &AnyMongo, collection: &str, key: &StoreKey, fields: Document) {
    let result = documents(server, collection)
        .await
        .update_one(doc! { "_id": id(key) }, doc! { "$set": fields })
        .await
        .expect("the server responds");
    assert_eq!(result.matched_count, 1, "the document exists");
}

/// The `_id` of the session's document.
fn id(key: &StoreKey) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: key.as_str().into() }
}

mod server {
    use super::{AnyMongo, Durability, MongoFixture, NO_TTL_MONITOR, direct};

    session_core::conformance_tests!(|check| async {
        let own = AnyMongo::own_server(Durability::Full);
        MongoFixture::connect(check, own, AnyMongo::server_with(&NO_TTL_MONITOR), direct).await
    });
}

mod set_through_arc_dyn {
    use super::{AnyMongo, Durability, MongoFixture, NO_TTL_MONITOR, through_arc_dyn};

    session_core::conformance_tests!(|check| async {
        let own = AnyMongo::own_set(Durability::Full);
        MongoFixture::connect(check, own, AnyMongo::set_with(&NO_TTL_MONITOR), through_arc_dyn)
            .await
    });
}
