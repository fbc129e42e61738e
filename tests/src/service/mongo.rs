//! One MongoDB server.

use std::path::Path;

use mongodb::{Client, bson::Document};

use super::{
    kind::{Kind, MONGO},
    managed::{Continues, Engine, Managed},
    mongo_node::{MongoNode, client, command, make_user, product, user_url},
    node::Node,
    shared::SharedServer,
    url::{mongo_database_like, with_mongo_database},
};

/// One MongoDB server: `mongodb://127.0.0.1:PORT/DATABASE`. With the flag `--auth` its URL has the
/// name and the [`PASSWORD`](super::PASSWORD) of a user who may read and write its database and no
/// other. After a restart it holds what it had acknowledged to writers that ask for the journal.
pub type Mongo = Managed<MongoNode>;

impl Engine for MongoNode {
    const KIND: &'static Kind = &MONGO;

    fn process(_folder: &Path, flags: &[&str], _leaves_template: bool) -> Self {
        Self::new(flags)
    }

    fn new_database(external: Option<&str>) -> String {
        mongo_database_like(external.unwrap_or_default())
    }

    fn url(node: &Node<Self>, database: &str) -> String {
        format!("mongodb://{}127.0.0.1:{}/{database}", node.credentials(), node.port)
    }

    fn root_url(node: &Node<Self>, _database: &str) -> String {
        node.url()
    }

    fn shared_url(shared: &SharedServer, database: &str) -> String {
        user_url(shared.port(), database)
    }

    fn shared_root_url(shared: &SharedServer, _database: &str) -> String {
        shared.url().to_owned()
    }

    fn external_url(url: &str, database: &str) -> String {
        with_mongo_database(url, database)
    }

    async fn prepare(node: &Node<Self>, database: &str) {
        node.make_users(database).await;
    }

    async fn prepare_shared(shared: &SharedServer, database: &str) {
        make_user(&client(shared.url()).await, database).await;
    }

    /// The first write makes it.
    async fn prepare_external(_url: &str, _database: &str) {}

    fn remove(_url: &str, _database: &str, _continues: Continues) {}

    fn release(_node: &Node<Self>) {}

    async fn product(url: &str) -> Result<String, String> {
        product(url).await.map_err(|error| error.to_string())
    }
}

impl Mongo {
    /// A client of the user who may do most, which waits at most two seconds for a server.
    ///
    /// # Panics
    /// If the environment names a server by something that is not a URL of MongoDB.
    pub async fn client(&self) -> Client {
        client(&self.root_url()).await
    }

    /// Its answer to one command to the database `admin`: on a new connection, within two seconds.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    pub async fn command(&self, words: Document) -> mongodb::error::Result<Document> {
        command(&self.client().await, "admin", words).await
    }
}
