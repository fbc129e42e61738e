//! The store of a run, and the hands on it.

use std::path::Path;

use tests::{
    PATIENCE,
    process::Process,
    service::{AnyMongo, AnyRedis, AnySql, Kept},
    wait,
};

use super::{FaultKind, Faults, OwnerSettings, Plant, client::Trouble};

/// The stores that a run can bring itself, by name.
pub const STORES: &[&str] = &["ipc", "sqlite", "redis", "mongo", "postgres", "mariadb"];

/// The environment variable that makes a process an owner.
pub(super) const OWNER: &str = "TORTURE_OWNER";

/// The store of a run.
#[derive(Debug)]
pub enum Site {
    /// A process that owns the sessions, at this path.
    Ipc(Process, String),
    /// A file.
    Sqlite(Box<AnySql>),
    /// A server of our own, which keeps what it has acknowledged.
    Redis(Box<AnyRedis>),
    /// Likewise.
    Mongo(Box<AnyMongo>),
    /// Likewise.
    Sql(Box<AnySql>),
    /// Somebody else's, at this URL.
    Theirs(String),
}

impl Site {
    /// Opens the store of this name or URL. `None` if there is no such server here: the output says why.
    ///
    /// # Errors
    /// If it is neither a name nor a URL.
    ///
    /// # Panics
    /// If a server does not start, or there is none and `REQUIRE_SERVICES` asks for it.
    pub async fn open(store: &str, program: &Path, folder: &Path, plant: Option<Plant>) -> Result<Option<Self>, Trouble> {
        Ok(match store {
            "ipc" => Some(ipc(program, folder, plant).await?),
            "sqlite" => AnySql::sqlite().await.map(|sql| Self::Sqlite(Box::new(sql))),
            "redis" => AnyRedis::own_server(Kept::Everything).await.map(|redis| Self::Redis(Box::new(redis))),
            "mongo" => AnyMongo::own_server(Kept::Everything).await.map(|mongo| Self::Mongo(Box::new(mongo))),
            "postgres" => AnySql::own_postgres(Kept::Everything).await.map(|sql| Self::Sql(Box::new(sql))),
            "mariadb" => AnySql::own_mariadb(Kept::Everything).await.map(|sql| Self::Sql(Box::new(sql))),
            "memory" | "memory:" => return Err("memory is not shared by processes; use ipc, which keeps it in one".into()),
            url => {
                store_any::check(url).map_err(|error| format!("{error}; or use one of {}", STORES.join(", ")))?;
                Some(Self::Theirs(url.to_owned()))
            }
        })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Ipc(_, path) => format!("ipc:{path}"),
            Self::Sqlite(sql) | Self::Sql(sql) => sql.url(""),
            Self::Redis(redis) => redis.url("prefix=torture:"),
            Self::Mongo(mongo) => mongo.url("collection=torture"),
            Self::Theirs(url) => url.clone(),
        }
    }

    /// Where a planted mistake goes: the owner has it itself.
    #[must_use]
    pub fn plant_of_workers(&self, plant: Option<Plant>) -> Option<Plant> {
        plant.filter(|_| !matches!(self, Self::Ipc(..)))
    }

    /// For how long before its end it may show what its end takes back, in milliseconds: [`History::unsynced`](crate::history::History).
    ///
    /// A server of MongoDB shows a write when it is in memory, and answers for it when it is in the journal, which is written at least ten
    /// times a second.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        if matches!(self, Self::Mongo(_)) { 500 } else { 0 }
    }

    /// Whether it can be made to stand still.
    #[must_use]
    pub fn can_freeze(&self) -> bool {
        !matches!(self, Self::Sqlite(_) | Self::Theirs(_))
    }

    /// Refuses faults that cannot be had here.
    ///
    /// # Errors
    /// If there are such.
    pub fn check(&self, faults: &Faults) -> Result<(), Trouble> {
        if !faults.0.contains(&FaultKind::Restart) {
            return Ok(());
        }
        let why = match self {
            Self::Ipc(..) => "the owner keeps the sessions in memory, so they end with it",
            Self::Sqlite(_) => "SQLite has no server; killed workers are its crashes",
            Self::Theirs(_) => "a server that is not ours is not ours to stop",
            Self::Redis(_) | Self::Mongo(_) | Self::Sql(_) => return Ok(()),
        };
        Err(format!("no restart here: {why}; use --faults kill,freeze").into())
    }

    /// Makes it stand still.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn freeze(&self) -> Result<(), Trouble> {
        match self {
            Self::Ipc(owner, _) => owner.freeze(),
            Self::Redis(redis) => redis.freeze().await?,
            Self::Mongo(mongo) => mongo.freeze().await?,
            Self::Sql(sql) | Self::Sqlite(sql) => sql.freeze().await?,
            Self::Theirs(_) => return Err("a server that is not ours is not ours to freeze".into()),
        }
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn thaw(&self) -> Result<(), Trouble> {
        match self {
            Self::Ipc(owner, _) => owner.thaw(),
            Self::Redis(redis) => redis.thaw().await?,
            Self::Mongo(mongo) => mongo.thaw().await?,
            Self::Sql(sql) | Self::Sqlite(sql) => sql.thaw().await?,
            Self::Theirs(_) => return Err("a server that is not ours is not ours to thaw".into()),
        }
        Ok(())
    }

    /// Kills it.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn stop(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Redis(redis) => redis.stop().await?,
            Self::Mongo(mongo) => mongo.stop().await?,
            Self::Sql(sql) => sql.stop().await?,
            Self::Ipc(..) | Self::Sqlite(_) | Self::Theirs(_) => return Err("there is nothing to stop here".into()),
        }
        Ok(())
    }

    /// Starts it again, with what it had acknowledged.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Redis(redis) => redis.start_again().await?,
            Self::Mongo(mongo) => mongo.start_again().await?,
            Self::Sql(sql) => sql.start_again().await?,
            Self::Ipc(..) | Self::Sqlite(_) | Self::Theirs(_) => return Err("there is nothing to start here".into()),
        }
        Ok(())
    }
}

async fn ipc(program: &Path, folder: &Path, plant: Option<Plant>) -> Result<Site, Trouble> {
    let path = folder.join("owner.sock");
    let settings = serde_json::to_string(&OwnerSettings { path: path.clone(), plant })?;
    let owner = Process::start(program, &["owner"], &[(OWNER, &settings)]);
    wait::until_true("the owner to listen", PATIENCE, || path.exists()).await;
    Ok(Site::Ipc(owner, path.display().to_string()))
}
