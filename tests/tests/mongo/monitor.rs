//! What a store sends to its server, heard from the driver that sends it.

use std::sync::Arc;

use mongodb::{
    Client, Database,
    bson::{Document, doc},
    event::{EventHandler, command::CommandEvent},
    options::ClientOptions,
};
use parking_lot::Mutex;
use session_core::SessionStore;
use store_mongo::{Config, MongoStore};
use tests::service::AnyMongo;

use crate::session::{PATIENT, with};

/// A client that tells of each command it sends. Every command is a round trip.
#[derive(Debug)]
pub(crate) struct Monitor {
    client: Client,
    config: Config,
    heard: Arc<Mutex<Vec<Document>>>,
}

impl Monitor {
    pub(crate) async fn of(server: &AnyMongo) -> Self {
        Self::with(server, "").await
    }

    /// The same with these settings.
    pub(crate) async fn with(server: &AnyMongo, settings: &str) -> Self {
        let url = server.url(settings);
        let config = Config::new(&with(&url, PATIENT)).expect("a URL");
        // The indexes are made, once.
        let _ = MongoStore::connect(&config).await.expect("a server to connect to");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut options = ClientOptions::parse(&url).await.expect("a URL");
        options.command_event_handler = Some(EventHandler::callback({
            let heard = Arc::clone(&heard);
            move |event| {
                // A look at how something is done is none of the store's.
                if let CommandEvent::Started(started) = event
                    && started.command_name != "explain"
                {
                    heard.lock().push(started.command);
                }
            }
        }));
        let client = Client::with_options(options).expect("options that were a URL");
        Self { client, config, heard }
    }

    /// A store that knows its server.
    pub(crate) async fn store(&self) -> MongoStore {
        let store = MongoStore::with_client(&self.client, &self.config).expect("settings that fit");
        store.scan(None, 1).await.expect("a page");
        let _ = self.heard();
        store
    }

    /// What was sent since this was asked last.
    pub(crate) fn heard(&self) -> Vec<Document> {
        std::mem::take(&mut *self.heard.lock())
    }

    /// The names of the commands that were sent since this was asked last.
    pub(crate) fn names(&self) -> Vec<String> {
        self.heard().iter().map(name_of).collect()
    }

    /// The database of the sessions.
    pub(crate) fn database(&self) -> Database {
        self.client.default_database().expect("a URL with a database")
    }

    /// How a server does a command that it was sent before.
    pub(crate) async fn explain(&self, command: &Document) -> Document {
        let mut command = command.clone();
        // These belong to the first time.
        for field in [
            "lsid",
            "$db",
            "$clusterTime",
            "$readPreference",
            "txnNumber",
            "readConcern",
            "writeConcern",
        ] {
            let _ = command.remove(field);
        }
        let explained = self
            .database()
            .run_command(doc! { "explain": command, "verbosity": "executionStats" })
            .await;
        explained.expect("the server answers")
    }
}

/// The name of a command is its first field's.
fn name_of(command: &Document) -> String {
    command.keys().next().expect("a command has a name").clone()
}
