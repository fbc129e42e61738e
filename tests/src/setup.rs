//! The ways to run the demo that every HTTP check goes through.

use std::sync::Arc;

use session_core::SessionStore;

use crate::{
    demo::{Demo, Owner},
    server_content::ServerContent,
    service::{AnyMongo, AnyRedis, AnySql, Durability},
    session::with,
};

/// A store, the server of its sessions if it needs one, and the number of processes and threads.
///
/// All demos of one setup share their sessions if those are outside the demos. A new backend needs
/// a constructor here, a variant of [`Service`] if it has a server, and a line in the macro that
/// turns checks into tests.
#[derive(Debug)]
pub struct Setup {
    /// The flags of the demo that choose it.
    flags: &'static [&'static str],
    /// The number of worker processes.
    pub workers: usize,
    kept: Option<(String, Service)>,
}

/// The number of workers, unless a setup says otherwise.
const FOUR: usize = 4;
const IPC: &[&str] = &["--store", "ipc", "--workers", "4"];
const REDIS: &[&str] = &["--store", "redis", "--workers", "4"];
const MONGO: &[&str] = &["--store", "mongo", "--workers", "4"];
const SQL: &[&str] = &["--store", "sql", "--workers", "4"];

/// Most tests do not depend on the speed of the server. Tests that do set their own deadline.
const PATIENT: &[&str] = &["--deadline", "10s"];

/// Where the sessions are in a MongoDB database.
const COLLECTION: &str = "visits";

/// Where they are in an SQL database.
const TABLE: &str = "visits";

/// Each constructor returns `None` if there is no such server: then the test has to return, and its
/// output says why.
#[expect(
    clippy::unused_async,
    reason = "those that need a server are made in the same way as those that need none"
)]
impl Setup {
    /// Sessions owned by the primary.
    pub async fn ipc() -> Option<Self> {
        Some(Self { flags: IPC, workers: FOUR, kept: None })
    }

    /// Sessions in the memory of the only worker, which has four threads. Processes do not share
    /// memory, so the demo refuses a second worker.
    pub async fn memory() -> Option<Self> {
        Some(Self {
            flags: &["--store", "memory", "--workers", "1", "--threads", "4"],
            workers: 1,
            kept: None,
        })
    }

    /// Sessions owned by a separate process.
    pub async fn ipc_owner() -> Option<Self> {
        let owner = Owner::start().await;
        Some(Self {
            flags: IPC,
            workers: FOUR,
            kept: Some((owner.url(), Service::IpcOwner(owner))),
        })
    }

    /// Sessions in Redis, under their own prefix. Other tests may use the server at the same time.
    ///
    /// # Panics
    /// As [`AnyRedis::server`].
    pub async fn redis() -> Option<Self> {
        AnyRedis::server().await.map(|redis| Self::with_redis(redis, Durability::None))
    }

    /// The same in a Redis Cluster.
    ///
    /// # Panics
    /// As [`AnyRedis::cluster`].
    pub async fn redis_cluster() -> Option<Self> {
        AnyRedis::cluster().await.map(|redis| Self::with_redis(redis, Durability::None))
    }

    /// Sessions in the test's own Redis, which it can stop and freeze.
    ///
    /// # Panics
    /// As [`AnyRedis::own_server`].
    pub async fn own_redis(kept: Durability) -> Option<Self> {
        AnyRedis::own_server(kept).await.map(|redis| Self::with_redis(redis, kept))
    }

    /// The same in a Redis Cluster.
    ///
    /// # Panics
    /// As [`AnyRedis::own_cluster`].
    pub async fn own_redis_cluster(kept: Durability) -> Option<Self> {
        AnyRedis::own_cluster(kept).await.map(|redis| Self::with_redis(redis, kept))
    }

    fn with_redis(redis: AnyRedis, kept: Durability) -> Self {
        let url = redis.url(&format!("prefix=demo-{:016x}:", fastrand::u64(..)));
        Self {
            flags: REDIS,
            workers: FOUR,
            kept: Some((url, Service::Redis(Box::new(redis), kept))),
        }
    }

    /// Sessions in MongoDB, in their own database. Other tests may use the server at the same time.
    ///
    /// # Panics
    /// As [`AnyMongo::server`].
    pub async fn mongo() -> Option<Self> {
        AnyMongo::server().await.map(|mongo| Self::with_mongo(mongo, Durability::Full))
    }

    /// The same in a replica set of three members.
    ///
    /// # Panics
    /// As [`AnyMongo::set`].
    pub async fn mongo_set() -> Option<Self> {
        AnyMongo::set().await.map(|mongo| Self::with_mongo(mongo, Durability::Full))
    }

    /// Sessions in the test's own MongoDB, which it can stop and freeze.
    ///
    /// # Panics
    /// As [`AnyMongo::failing_server`].
    pub async fn own_mongo(kept: Durability) -> Option<Self> {
        AnyMongo::failing_server(kept).await.map(|mongo| Self::with_mongo(mongo, kept))
    }

    /// The same in a replica set of three members.
    ///
    /// # Panics
    /// As [`AnyMongo::own_set`].
    pub async fn own_mongo_set(kept: Durability) -> Option<Self> {
        AnyMongo::own_set(kept).await.map(|mongo| Self::with_mongo(mongo, kept))
    }

    fn with_mongo(mongo: AnyMongo, kept: Durability) -> Self {
        let url = mongo.url(&format!("collection={COLLECTION}"));
        Self {
            flags: MONGO,
            workers: FOUR,
            kept: Some((url, Service::Mongo(Box::new(mongo), kept))),
        }
    }

    /// Sessions in PostgreSQL, in their own database. Other tests may use the server at the same
    /// time.
    ///
    /// # Panics
    /// As [`AnySql::postgres`].
    pub async fn postgres() -> Option<Self> {
        AnySql::postgres().await.map(|sql| Self::with_sql(sql, Durability::Full))
    }

    /// Sessions in MariaDB, in their own database. Other tests may use the server at the same time.
    ///
    /// # Panics
    /// As [`AnySql::mariadb`].
    pub async fn mariadb() -> Option<Self> {
        AnySql::mariadb().await.map(|sql| Self::with_sql(sql, Durability::Full))
    }

    /// Sessions in a file of SQLite that all workers have open.
    ///
    /// # Panics
    /// As [`AnySql::sqlite`].
    pub async fn sqlite() -> Option<Self> {
        AnySql::sqlite().await.map(|sql| Self::with_sql(sql, Durability::Full))
    }

    /// Sessions in the test's own PostgreSQL, which it can stop and freeze.
    ///
    /// # Panics
    /// As [`AnySql::own_postgres`].
    pub async fn own_postgres(kept: Durability) -> Option<Self> {
        AnySql::own_postgres(kept).await.map(|sql| Self::with_sql(sql, kept))
    }

    /// The same in MariaDB.
    ///
    /// # Panics
    /// As [`AnySql::own_mariadb`].
    pub async fn own_mariadb(kept: Durability) -> Option<Self> {
        AnySql::own_mariadb(kept).await.map(|sql| Self::with_sql(sql, kept))
    }

    fn with_sql(sql: AnySql, kept: Durability) -> Self {
        let url = sql.url(&format!("table={TABLE}"));
        Self { flags: SQL, workers: FOUR, kept: Some((url, Service::Sql(Box::new(sql), kept))) }
    }

    /// Sessions in a file of SQLite that all workers have open, which the test makes fail as
    /// [`Sqlite`](crate::service::Sqlite) says.
    ///
    /// # Panics
    /// As [`AnySql::sqlite`].
    pub async fn own_sqlite() -> Option<Self> {
        Self::sqlite().await
    }

    /// The store's name on the command line.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.flags[1]
    }

    /// The store of the demos of this setup, opened in the process of the test. If the demos keep
    /// it in their memory, a new one in memory.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub async fn open(&self) -> Arc<dyn SessionStore> {
        let url = self
            .kept
            .as_ref()
            .map_or_else(|| "memory:".to_owned(), |(url, _)| with(url, "deadline_ms=10000"));
        store_any::connect(&url).await.expect("a store to connect to")
    }

    /// Starts the demo this way.
    pub async fn start(&self) -> Demo {
        self.start_with(&[]).await
    }

    /// The same with further flags, which override those of the setup.
    pub async fn start_with(&self, flags: &[&str]) -> Demo {
        Demo::start(&self.flags_with(flags)).await
    }

    /// The flags of the setup with further flags, which override them.
    #[must_use]
    pub fn flags_with<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        let url = self.kept.as_ref().map(|(url, _)| ["--store-url", url]);
        let own = self
            .flags
            .chunks(2)
            .chain([PATIENT])
            .filter(|own| !flags.contains(&own[0]))
            .flatten()
            .copied();
        own.chain(url.into_iter().flatten()).chain(flags.iter().copied()).collect()
    }

    /// All data of the demos on the server; `None` for a setup without a server.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn server_content(&self) -> Option<ServerContent> {
        match self.kept.as_ref()? {
            (_, Service::IpcOwner(owner)) => Some(ServerContent::in_owner(owner).await),
            (url, Service::Redis(redis, _)) => {
                Some(ServerContent::in_redis(redis, url.split_once("prefix=")?.1).await)
            }
            (_, Service::Mongo(mongo, _)) => Some(ServerContent::in_mongo(mongo).await),
            (_, Service::Sql(sql, _)) => Some(ServerContent::in_sql(sql, TABLE).await),
        }
    }

    /// All output of the server since the start of the test; empty for a setup without a server, or
    /// if the environment names the server.
    #[must_use]
    pub fn service_output(&self) -> String {
        self.kept.as_ref().map(|(_, service)| service.output()).unwrap_or_default()
    }

    /// The URL of the server that keeps the sessions, for `--store-url`.
    ///
    /// # Panics
    /// If the sessions are in the demo.
    #[must_use]
    pub fn url(&self) -> &str {
        let (url, _) = self.kept.as_ref().expect("a store outside the demo");
        url
    }

    /// The server that keeps the sessions.
    ///
    /// # Panics
    /// If they are in the demo.
    pub fn service(&mut self) -> &mut Service {
        let (_, service) = self.kept.as_mut().expect("a store outside the demo");
        service
    }
}

/// The server that keeps the sessions. To stop, freeze or configure it, it has to be the test's
/// own.
#[derive(Debug)]
pub enum Service {
    /// The owner behind the ipc store.
    IpcOwner(Owner),
    /// Redis, with what it holds after a restart.
    Redis(Box<AnyRedis>, Durability),
    /// MongoDB, likewise.
    Mongo(Box<AnyMongo>, Durability),
    /// An SQL database, likewise.
    Sql(Box<AnySql>, Durability),
}

const OURS: &str = "the server is the test's own";

impl Service {
    /// What it holds after [`stop`](Self::stop) and [`restart`](Self::restart).
    #[must_use]
    pub fn keeps(&self) -> Durability {
        match self {
            Self::IpcOwner(_) => Durability::None,
            Self::Redis(_, kept) | Self::Mongo(_, kept) | Self::Sql(_, kept) => *kept,
        }
    }

    /// Whether it is a file, which has no log.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::Sql(sql, _) if matches!(**sql, AnySql::Sqlite(_)))
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it is not the test's own.
    pub async fn stop(&mut self) {
        match self {
            Self::IpcOwner(owner) => owner.stop(),
            Self::Redis(redis, _) => redis.stop().await.expect(OURS),
            Self::Mongo(mongo, _) => mongo.stop().await.expect(OURS),
            Self::Sql(sql, _) => sql.stop().await.expect(OURS),
        }
    }

    /// Starts it again at the same address.
    ///
    /// # Panics
    /// If it is not the test's own, or does not come up.
    pub async fn restart(&mut self) {
        match self {
            Self::IpcOwner(owner) => owner.restart().await,
            Self::Redis(redis, _) => redis.start_again().await.expect(OURS),
            Self::Mongo(mongo, _) => mongo.start_again().await.expect(OURS),
            Self::Sql(sql, _) => sql.start_again().await.expect(OURS),
        }
    }

    /// Freezes it: it keeps its connections and answers nothing.
    ///
    /// # Panics
    /// If it is not the test's own.
    pub async fn freeze(&self) {
        match self {
            Self::IpcOwner(owner) => owner.freeze(),
            Self::Redis(redis, _) => redis.freeze().await.expect(OURS),
            Self::Mongo(mongo, _) => mongo.freeze().await.expect(OURS),
            Self::Sql(sql, _) => sql.freeze().await.expect(OURS),
        }
    }

    /// Lets it continue.
    ///
    /// # Panics
    /// If it is not the test's own.
    pub async fn thaw(&self) {
        match self {
            Self::IpcOwner(owner) => owner.thaw(),
            Self::Redis(redis, _) => redis.thaw().await.expect(OURS),
            Self::Mongo(mongo, _) => mongo.thaw().await.expect(OURS),
            Self::Sql(sql, _) => sql.thaw().await.expect(OURS),
        }
    }

    /// Makes it refuse writes; SQLite lets writers wait instead. It serves reads.
    ///
    /// # Panics
    /// If it is not the test's own, or has no such state.
    pub async fn take_no_writes(&self) {
        match self {
            Self::IpcOwner(_) => panic!("an owner accepts writes while it runs"),
            // It accepts a write only if more replicas follow than there are.
            Self::Redis(redis, _) => {
                drop(redis.ask_all(&["CONFIG", "SET", "min-replicas-to-write", "9"]).await);
            }
            Self::Mongo(mongo, _) => mongo.take_no_writes().await.expect(OURS),
            Self::Sql(sql, _) => sql.take_no_writes().await.expect(OURS),
        }
    }

    /// Makes it accept writes again.
    ///
    /// # Panics
    /// As [`take_no_writes`](Self::take_no_writes).
    pub async fn take_writes(&self) {
        match self {
            Self::IpcOwner(_) => panic!("an owner accepts writes while it runs"),
            Self::Redis(redis, _) => {
                drop(redis.ask_all(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await);
            }
            Self::Mongo(mongo, _) => mongo.take_writes().await.expect(OURS),
            Self::Sql(sql, _) => sql.take_writes().await.expect(OURS),
        }
    }

    /// All it has written.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::IpcOwner(owner) => owner.output(),
            Self::Redis(redis, _) => redis.output(),
            Self::Mongo(mongo, _) => mongo.output(),
            Self::Sql(sql, _) => sql.output(),
        }
    }
}
