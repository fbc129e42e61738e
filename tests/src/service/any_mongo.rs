//! One MongoDB server or a replica set, with the same methods.

use futures_util::TryStreamExt;
use mongodb::{
    Client,
    bson::{Document, doc},
};

use super::{
    Durability, ExternalServer, Mongo, MongoSet,
    by_port::impl_for_one_or_all,
    kind::{Kind, MONGO},
};

/// One MongoDB server or a replica set.
#[derive(Debug)]
pub enum AnyMongo {
    /// One server.
    Server(Mongo),
    /// A replica set of three members.
    Set(MongoSet),
}

impl_for_one_or_all!(AnyMongo, Set);

impl AnyMongo {
    /// One server, which other tests may use at the same time: the test keeps to its own database.
    /// It has [`PASSWORD`](super::PASSWORD), unless the environment names it; then its URL has its
    /// password.
    ///
    /// # Panics
    /// As [`Mongo::start`].
    pub async fn server() -> Option<Self> {
        Self::server_with(&[]).await
    }

    /// The same with further flags. A server that other tests use has `ttlMonitorEnabled=false` and
    /// no others.
    ///
    /// # Panics
    /// As [`Mongo::start`].
    pub async fn server_with(flags: &[&str]) -> Option<Self> {
        if (flags.is_empty() || flags == NO_PURGE)
            && let Some(shared) = Mongo::shared().await
        {
            return Some(Self::Server(shared));
        }
        let flags = [flags_for_any(&MONGO), flags].concat();
        Mongo::start_with(&flags).await.map(Self::Server)
    }

    /// A replica set, which other tests may use at the same time. It has no password, unless the
    /// environment names it.
    ///
    /// # Panics
    /// As [`MongoSet::start`].
    pub async fn set() -> Option<Self> {
        Self::set_with(&[]).await
    }

    /// The same with further flags; as [`server_with`](Self::server_with).
    ///
    /// # Panics
    /// As [`MongoSet::start`].
    pub async fn set_with(flags: &[&str]) -> Option<Self> {
        if (flags.is_empty() || flags == NO_PURGE)
            && let Some(shared) = MongoSet::shared().await
        {
            return Some(Self::Set(shared));
        }
        MongoSet::start_with(flags).await.map(Self::Set)
    }

    /// The test's own server, with [`PASSWORD`](super::PASSWORD). If the environment names one, the
    /// test is skipped.
    ///
    /// # Panics
    /// As [`Mongo::start`].
    pub async fn own_server(kept: Durability) -> Option<Self> {
        Mongo::start_keeping(kept, FLAGS).await.map(Self::Server)
    }

    /// The same, which can be [told to refuse writes](Self::take_no_writes).
    ///
    /// # Panics
    /// As [`Mongo::start`].
    pub async fn failing_server(kept: Durability) -> Option<Self> {
        Mongo::start_keeping(kept, &[FLAGS, FOR_TESTS].concat()).await.map(Self::Server)
    }

    /// The test's own replica set, without a password. If the environment names one, the test is
    /// skipped.
    ///
    /// # Panics
    /// As [`MongoSet::start`].
    pub async fn own_set(kept: Durability) -> Option<Self> {
        let set = MongoSet::start_keeping(kept, &[]).await?;
        match set.ports() {
            Ok(_) => Some(Self::Set(set)),
            Err(not_ours) => {
                eprintln!("SKIPPED, this test stops and starts its servers: {not_ours}");
                None
            }
        }
    }

    /// The URL with these settings.
    #[must_use]
    pub fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Server(mongo) => mongo.url(),
            Self::Set(set) => set.url(),
        };
        format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
    }

    /// The database of its URL, which only this test uses.
    #[must_use]
    pub fn database(&self) -> &str {
        match self {
            Self::Server(mongo) => mongo.database(),
            Self::Set(set) => set.database(),
        }
    }

    /// Makes a [failing server](Self::failing_server) refuse writes, as if its disk were full. It
    /// serves reads.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn take_no_writes(&self) -> Result<(), ExternalServer> {
        let writes = ["insert", "update", "findAndModify", "delete"];
        self.fail(
            doc! { "mode": "alwaysOn", "data": { "failCommands": &writes[..], "errorCode": FULL } },
        )
        .await
    }

    /// Makes it accept writes again.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn take_writes(&self) -> Result<(), ExternalServer> {
        self.fail(doc! { "mode": "off" }).await
    }

    async fn fail(&self, how: Document) -> Result<(), ExternalServer> {
        let Self::Server(mongo) = self else {
            panic!("only a single server can be told to refuse writes")
        };
        mongo.port()?;
        let mut command = doc! { "configureFailPoint": "failCommand" };
        command.extend(how);
        self.client()
            .await
            .database("admin")
            .run_command(command)
            .await
            .expect("the server knows the fail point");
        Ok(())
    }

    /// All that its processes have written; empty if the environment names it.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::Server(mongo) => mongo.output(),
            Self::Set(set) => set.output(),
        }
        .unwrap_or_default()
    }

    /// A client of the user who may do most, which waits at most two seconds for a server.
    ///
    /// # Panics
    /// If the environment names a server by something that is not a URL of MongoDB.
    pub async fn client(&self) -> Client {
        match self {
            Self::Server(mongo) => mongo.client().await,
            Self::Set(set) => set.client().await,
        }
    }

    /// All documents of its database, ordered by the names of the collections and by their bytes.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn dump(&self) -> Vec<Document> {
        let database = self.client().await.database(self.database());
        let mut names = database.list_collection_names().await.expect("the server answers");
        names.sort();
        let mut dumped = Vec::new();
        for name in names {
            let found = database
                .collection::<Document>(&name)
                .find(doc! {})
                .await
                .expect("the server answers");
            let mut documents: Vec<_> = found.try_collect().await.expect("the server answers");
            documents.sort_by_cached_key(|document| {
                document.to_vec().expect("a document is valid BSON")
            });
            dumped.append(&mut documents);
        }
        dumped
    }
}

/// The flags that keep a server from deleting expired documents by itself.
pub(super) const NO_PURGE: &[&str] = &["--setParameter", "ttlMonitorEnabled=false"];

/// The flags of a server that the tests start.
const FLAGS: &[&str] = &["--auth"];

/// Allows fail points.
const FOR_TESTS: &[&str] = &["--setParameter", "enableTestCommands=1"];

/// `OutOfDiskSpace`.
const FULL: i32 = 14_031;

/// The same, or none if the environment names such a server, which takes no flags.
fn flags_for_any(kind: &Kind) -> &'static [&'static str] {
    if kind.url().is_some() { &[] } else { FLAGS }
}
