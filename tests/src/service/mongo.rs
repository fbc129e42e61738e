//! One MongoDB server.

use std::{path::PathBuf, time::Instant};

use mongodb::{Client, bson::Document};

use super::{
    Durability,
    kind::MONGO,
    mongo_node::{MongoNode, client, command, make_user, product, user_url},
    node::Node,
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    shared::SharedServer,
    url::{own_mongo_database, with_own_mongo_database},
};

/// One MongoDB server. Dropping it ends it.
#[derive(Debug)]
pub struct Mongo {
    server: ServerOwnership<MongoNode>,
    kept: Durability,
    database: String,
    version: String,
}

impl Mongo {
    /// Starts one, new and empty, or takes the one of `TEST_MONGO_URL`. `None` means that the test
    /// is to return: it is skipped, and its output says why.
    ///
    /// # Panics
    /// If there is none and `REQUIRE_SERVICES` asks for it, or if it does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Takes the one that the tests of this run share, with a new database and its user, or `None`
    /// if there is none. It deletes no expired document by itself.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        let shared = SharedServer::find(&MONGO)?;
        let database = own_mongo_database("test");
        make_user(&client(shared.url()).await, &database).await;
        Some(Self::of(ServerOwnership::Shared(shared), Durability::Full, database).await)
    }

    /// The same with further flags, as `["--setParameter", "ttlMonitorEnabled=false"]`. With
    /// `--auth`, [`url`](Self::url) has the name and the [`PASSWORD`](super::PASSWORD) of a user
    /// who may read and write its database and nothing else. A server that is not ours cannot be
    /// set up, so with `TEST_MONGO_URL` and flags the test is skipped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        Self::start_keeping(Durability::Full, flags).await
    }

    /// The same, with what it holds after a restart.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_keeping(kept: Durability, flags: &[&str]) -> Option<Self> {
        let began = Instant::now();
        let (server, database) = match Origin::find(&MONGO).await? {
            Origin::Theirs(url) => {
                let (url, database) = with_own_mongo_database(&url);
                (ServerOwnership::external(url, &MONGO, flags)?, database)
            }
            origin => {
                let nodes =
                    Nodes::start(&MONGO, &origin, 1, |_, _| vec![MongoNode::new(flags)]).await;
                let database = own_mongo_database("test");
                nodes.list()[0].make_users(&database).await;
                (ServerOwnership::Own(nodes), database)
            }
        };
        let mongo = Self::of(server, kept, database).await;
        eprintln!(
            "{} {}, there after {:?}",
            mongo.version,
            mongo.server.description(),
            began.elapsed()
        );
        Some(mongo)
    }

    async fn of(server: ServerOwnership<MongoNode>, kept: Durability, database: String) -> Self {
        let mut mongo = Self { server, kept, database, version: String::new() };
        let version = product(&mongo.own_url()).await;
        mongo.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", mongo.server.description())
        });
        mongo
    }

    /// Its URL: `mongodb://127.0.0.1:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => {
                let node = &nodes.list()[0];
                format!("mongodb://{}127.0.0.1:{}/{}", node.credentials(), node.port, self.database)
            }
            ServerOwnership::Shared(shared) => user_url(shared.port(), &self.database),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    /// The database of its URL, which is this test's alone.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The URL by which other tests can share it, and the folder with its files.
    pub(super) fn shared_as(&self) -> (String, PathBuf) {
        self.server.shared_as(self.own_url())
    }

    /// Its port on 127.0.0.1.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn port(&self) -> Result<u16, ExternalServer> {
        Ok(self.node()?.port)
    }

    /// All that it has written.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn output(&self) -> Result<String, ExternalServer> {
        self.server.output()
    }

    /// What it is, as `mongo 7.0.14`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Kills it. What it had acknowledged to a writer who asked for the journal is kept, unless it
    /// was to keep nothing. Fine if it is stopped.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        let port = self.port()?;
        self.server.own_mut()?.stop(port).await;
        Ok(())
    }

    /// Starts it again after [`stop`](Self::stop), at the same address with the same flags.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        let node = self.node()?;
        if node.is_running() {
            return Ok(());
        }
        let (port, is_emptied) = (node.port, self.kept == Durability::None);
        if is_emptied {
            node.empty();
        }
        self.server.own_mut()?.start_again(port).await;
        if is_emptied {
            self.node()?.make_users(&self.database).await;
        }
        Ok(())
    }

    /// Makes it hang: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        self.server.own()?.freeze(self.port()?).await;
        Ok(())
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        self.server.own()?.thaw(self.port()?).await;
        Ok(())
    }

    /// A client for looking around, which does not wait longer than two seconds for a server. On
    /// one of ours it may do everything.
    ///
    /// # Panics
    /// If the URL of a server that is not ours is none.
    pub async fn client(&self) -> Client {
        client(&self.own_url()).await
    }

    /// Its answer to one command to the database `admin`, for looking around: on a connection of
    /// its own, within two seconds.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    pub async fn command(&self, words: Document) -> mongodb::error::Result<Document> {
        command(&self.client().await, "admin", words).await
    }

    /// The URL of who may do most.
    fn own_url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[0].url(),
            ServerOwnership::Shared(shared) => shared.url().to_owned(),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    fn node(&self) -> Result<&Node<MongoNode>, ExternalServer> {
        Ok(&self.server.own()?.list()[0])
    }
}
