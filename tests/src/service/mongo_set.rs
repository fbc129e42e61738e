//! A replica set of MongoDB.

use std::{path::PathBuf, time::Instant};

use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use super::{
    Durability,
    by_port::{impl_by_port, impl_for_all},
    kind::MONGO_SET,
    mongo_node::{MongoNode, client, command, product},
    node::{Node, PortTaken},
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    shared::SharedServer,
    url::{mongo_database_like, with_database, with_mongo_database},
};
use crate::{PATIENCE, wait};

/// The name of a set that the tests start.
const NAME: &str = "rig";

/// The number of members. All hold data, and each may be elected.
const MEMBERS: usize = 3;

/// After this many milliseconds of silence another member takes the place of the primary: short for
/// quick tests, and long enough for a busy machine.
const ELECTION_TIMEOUT: i32 = 1_500;

/// Milliseconds between two heartbeats of a member.
const HEARTBEAT: i32 = 200;

/// For this many seconds a primary that stepped down is not a candidate.
const STEPPED_DOWN: i32 = 10;

/// A replica set of three members that hold data. Dropping it ends it.
#[derive(Debug)]
pub struct MongoSet {
    server: ServerOwnership<MongoNode>,
    kept: Durability,
    database: String,
    version: String,
}

impl_by_port!(MongoSet);
impl_for_all!(MongoSet);

impl MongoSet {
    /// Starts one, new and empty, or takes the one of `TEST_MONGO_SET_URL`. `None` means that the
    /// test has to return: it is skipped, and its output says why. It has a primary, and both
    /// others follow.
    ///
    /// # Panics
    /// If none can be had and `REQUIRE_SERVICES` asks for it, or if it does not become complete.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Takes the one that the tests of this run share, with a new database, or `None` if there is
    /// none. It deletes no expired document by itself.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        let shared = SharedServer::find(&MONGO_SET)?;
        Some(
            Self::of(ServerOwnership::Shared(shared), Durability::Full, mongo_database_like(""))
                .await,
        )
    }

    /// The same with further flags for each member; as
    /// [`Mongo::start_with`](super::Mongo::start_with), but without `--auth`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        Self::start_keeping(Durability::Full, flags).await
    }

    /// The same, with what it holds after it was stopped as a whole.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_keeping(kept: Durability, flags: &[&str]) -> Option<Self> {
        let began = Instant::now();
        let (server, database) = match Origin::find(&MONGO_SET).await? {
            Origin::External(url) => {
                let database = mongo_database_like(&url);
                let url = with_mongo_database(&url, &database);
                (ServerOwnership::external(url, &MONGO_SET, flags)?, database)
            }
            origin => {
                let flags = [&["--replSet", NAME, "--oplogSize", "64"], flags].concat();
                let member = || MongoNode::new(&flags);
                let nodes = Nodes::start(&MONGO_SET, &origin, MEMBERS, |_, ports| {
                    ports.iter().map(|_| member()).collect()
                })
                .await;
                initiate(nodes.list()).await;
                (ServerOwnership::Own(Box::new(nodes)), mongo_database_like(""))
            }
        };
        let set = Self::of(server, kept, database).await;
        eprintln!(
            "replica set of {} {}, there after {:?}",
            set.version,
            set.server.description(),
            began.elapsed()
        );
        Some(set)
    }

    async fn of(server: ServerOwnership<MongoNode>, kept: Durability, database: String) -> Self {
        let mut set = Self { server, kept, database, version: String::new() };
        set.complete().await;
        let version = product(&set.url()).await;
        set.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", set.server.description())
        });
        set
    }

    /// Its URL: `mongodb://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT/DATABASE?replicaSet=NAME`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => format!(
                "mongodb://{}/{}?replicaSet={NAME}",
                hosts(nodes.list()).join(","),
                self.database
            ),
            ServerOwnership::Shared(shared) => with_database(shared.url(), &self.database),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    /// The database of its URL, which only this test uses.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The port of the primary, once there is one among the members that run and are not frozen.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If none is elected.
    pub async fn primary(&self) -> Result<u16, ExternalServer> {
        let nodes = self.server.own()?;
        Ok(wait::until("a primary", PATIENCE, async || primary_of(&says(nodes.list()).await)).await)
    }

    /// Kills the primary and returns its port. The others elect another one.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn kill_primary(&mut self) -> Result<u16, ExternalServer> {
        let port = self.primary().await?;
        self.server.own_mut()?.stop(port).await;
        Ok(port)
    }

    /// Freezes the primary and returns its port. The others elect another one.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn freeze_primary(&self) -> Result<u16, ExternalServer> {
        let port = self.primary().await?;
        self.server.own()?.freeze(port).await;
        Ok(port)
    }

    /// Makes the primary a secondary and returns its port. The others elect another one; this one
    /// is not a candidate for ten seconds.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If there is none, or if it refuses.
    pub async fn step_down(&self) -> Result<u16, ExternalServer> {
        let port = self.primary().await?;
        let words = doc! { "replSetStepDown": STEPPED_DOWN, "secondaryCatchUpPeriodSecs": 1 };
        self.command(port, words)
            .await
            .unwrap_or_else(|error| panic!("the primary does not step down: {error}"));
        Ok(port)
    }

    /// Starts all members that do not run, and waits until the set is complete. One that was to
    /// keep nothing and was stopped as a whole is new and empty.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not become complete.
    pub async fn start_all(&mut self) -> Result<(), ExternalServer> {
        let is_emptied = self.kept == Durability::None
            && !self.server.own()?.list().iter().any(Node::is_running);
        if is_emptied {
            self.server.own()?.list().iter().for_each(Node::empty);
        }
        let started = self.server.own_mut()?.start_all().await;
        started.unwrap_or_else(|PortTaken| {
            panic!("another process took a port of the replica set while it was stopped")
        });
        if is_emptied {
            initiate(self.server.own()?.list()).await;
        }
        self.complete().await;
        Ok(())
    }

    /// Waits until one of the members that run and are not frozen is the primary, and all others
    /// among them have what it wrote last. Of a set that is not ours nothing is awaited.
    ///
    /// # Panics
    /// If that does not happen.
    pub async fn complete(&self) {
        let ServerOwnership::Own(nodes) = &self.server else { return };
        wait::until("a primary, and every other member to follow it", PATIENCE, async || {
            let said = says(nodes.list()).await;
            let primary = primary_of(&said)?;
            let host = format!("127.0.0.1:{primary}");
            let all_know = said.iter().all(|(_, hello)| hello.get_str("primary").is_ok_and(|known| known == host));
            let others_follow = said.iter().all(|(port, hello)| *port == primary || hello.get_bool("secondary").unwrap_or(false));
            if said.len() != awake(nodes.list()).count() || !all_know || !others_follow {
                return None;
            }
            // A member may be a secondary for a second before it follows the primary.
            let everywhere = doc! { "w": i32::try_from(said.len()).ok()?, "wtimeout": 1_000 };
            let note = doc! { "appendOplogNote": 1, "data": { "for": "all members" }, "writeConcern": everywhere };
            let noted = self.command(primary, note).await.ok()?;
            (!noted.contains_key("writeConcernError")).then_some(())
        })
        .await;
    }

    /// Makes this primary stay the primary for a minute without an answer of the other members.
    ///
    /// # Panics
    /// If the environment names the set, or if the primary refuses.
    pub async fn outlive_followers(&self, primary: u16) {
        let mut config =
            self.command(primary, doc! { "replSetGetConfig": 1 }).await.expect("a configuration");
        let config = config.get_document_mut("config").expect("a configuration");
        config.insert("version", config.get_i32("version").expect("a number") + 1);
        config
            .get_document_mut("settings")
            .expect("settings")
            .insert("electionTimeoutMillis", 60_000);
        self.command(primary, doc! { "replSetReconfig": config.clone() })
            .await
            .expect("the set takes it");
        self.complete().await;
    }

    /// A client of the set, which waits at most two seconds for a member.
    ///
    /// # Panics
    /// If the environment names a set by something that is not a URL of MongoDB.
    pub async fn client(&self) -> Client {
        client(&self.url()).await
    }

    /// A client of the member on this port alone; as [`client`](Self::client).
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If no member has this port.
    pub async fn client_of(&self, port: u16) -> Result<Client, ExternalServer> {
        Ok(client(&self.server.own()?.on(port).url()).await)
    }

    /// The answer of the member on this port to one command to the database `admin`, for diagnosis:
    /// on a new connection, within two seconds. Of a set that is not ours the primary answers.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    ///
    /// # Panics
    /// If no member of ours has this port.
    pub async fn command(&self, port: u16, words: Document) -> mongodb::error::Result<Document> {
        let url = match &self.server {
            ServerOwnership::Own(nodes) => nodes.on(port).url(),
            ServerOwnership::Shared(_) | ServerOwnership::External { .. } => self.url(),
        };
        command(&client(&url).await, "admin", words).await
    }
}

/// Makes a replica set of these members, with a primary.
async fn initiate(members: &[Node<MongoNode>]) {
    let hosts = hosts(members)
        .into_iter()
        .zip(0..)
        .map(|(host, id)| doc! { "_id": id, "host": host })
        .collect::<Vec<_>>();
    // The last two keep a new primary from waiting for one that hangs.
    let settings = doc! {
        "electionTimeoutMillis": ELECTION_TIMEOUT,
        "heartbeatIntervalMillis": HEARTBEAT,
        "heartbeatTimeoutSecs": 1,
        "catchUpTimeoutMillis": 500,
    };
    let config = doc! { "_id": NAME, "version": 1, "members": hosts, "settings": settings };
    let first = client(&members[0].url()).await;
    command(&first, "admin", doc! { "replSetInitiate": config })
        .await
        .expect("members that are in no set can become one");
    wait::until("a first primary", PATIENCE, async || {
        // Otherwise there would be none before a timeout.
        command(&first, "admin", doc! { "replSetStepUp": 1 }).await.ok()
    })
    .await;
}

/// The answer to `hello` of each member that runs and is not frozen, by its port.
async fn says(members: &[Node<MongoNode>]) -> Vec<(u16, Document)> {
    let mut said = Vec::new();
    for node in awake(members) {
        let hello = command(&client(&node.url()).await, "admin", doc! { "hello": 1 }).await;
        said.extend(hello.ok().map(|hello| (node.port, hello)));
    }
    said
}

/// The primary among those who said this: one that has not yet heard of its successor was elected
/// before it.
fn primary_of(said: &[(u16, Document)]) -> Option<u16> {
    let primaries =
        said.iter().filter(|(_, hello)| hello.get_bool("isWritablePrimary").unwrap_or(false));
    let elected = |hello: &Document| {
        hello.get("electionId").and_then(Bson::as_object_id).map(|id| id.bytes())
    };
    primaries.max_by_key(|(_, hello)| elected(hello)).map(|(port, _)| *port)
}

/// The members that run and are not frozen.
fn awake(members: &[Node<MongoNode>]) -> impl Iterator<Item = &Node<MongoNode>> {
    members.iter().filter(|node| node.is_awake())
}

fn hosts(members: &[Node<MongoNode>]) -> Vec<String> {
    members.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect()
}
