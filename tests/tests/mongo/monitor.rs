//! A client that records the commands that a store sends.

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

/// A client that records each command it sends. Every command is one round trip.
#[derive(Debug)]
pub(crate) struct Monitor {
    client: Client,
    config: Config,
    commands: Arc<Mutex<Vec<Document>>>,
}

impl Monitor {
    pub(crate) async fn of(server: &AnyMongo) -> Self {
        Self::with(server, "").await
    }

    /// A monitor with these settings.
    pub(crate) async fn with(server: &AnyMongo, settings: &str) -> Self {
        let url = server.url(settings);
        let config = Config::new(&with(&url, PATIENT)).expect("a valid URL");
        // Creates the indexes.
        let _ = MongoStore::connect(&config).await.expect("the store connects");
        let commands = Arc::new(Mutex::new(Vec::new()));
        let mut options = ClientOptions::parse(&url).await.expect("a valid URL");
        options.command_event_handler = Some(EventHandler::callback({
            let commands = Arc::clone(&commands);
            move |event| {
                // The tests send `explain`, not the store.
                if let CommandEvent::Started(started) = event
                    && started.command_name != "explain"
                {
                    commands.lock().push(started.command);
                }
            }
        }));
        let client = Client::with_options(options).expect("the options are valid");
        Self { client, config, commands }
    }

    /// A store that has already checked its server.
    pub(crate) async fn store(&self) -> MongoStore {
        let store =
            MongoStore::with_client(&self.client, &self.config).expect("the settings are valid");
        store.scan(None, 1).await.expect("the page is read");
        let _ = self.take_commands();
        store
    }

    /// The commands that were sent since the last call.
    pub(crate) fn take_commands(&self) -> Vec<Document> {
        std::mem::take(&mut *self.commands.lock())
    }

    /// The names of the commands that were sent since the last call.
    pub(crate) fn names(&self) -> Vec<String> {
        self.take_commands().iter().map(name_of).collect()
    }

    /// The database of the sessions.
    pub(crate) fn database(&self) -> Database {
        self.client.default_database().expect("the URL names a database")
    }

    /// The server's plan for a command that the store sent.
    pub(crate) async fn explain(&self, command: &Document) -> Document {
        let mut command = command.clone();
        // These fields belong to the original command.
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
        explained.expect("the server responds")
    }
}

/// The name of a command is the name of its first field.
fn name_of(command: &Document) -> String {
    command.keys().next().expect("a command has a first field").clone()
}
