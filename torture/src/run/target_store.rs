//! The store under test, with the means to freeze, kill and restart it.

use std::path::Path;

use ::tests::{
    PATIENCE,
    process::Process,
    service::{AnyMongo, AnyRedis, AnySql, Durability},
    wait,
};

use super::{FaultKind, Faults, OwnerSettings, PlantedBug, ReplicatedServers, error::BoxError};

/// The names of the stores that a run can start itself.
pub const STORES: &[&str] = &[
    "ipc",
    "sqlite",
    "redis",
    "mongo",
    "postgres",
    "mariadb",
    "redis-sentinel",
    "redis-cluster",
    "mongo-set",
];

/// The environment variable with the settings of an owner process.
pub(super) const OWNER: &str = "TORTURE_OWNER";

/// The store under test.
#[derive(Debug)]
pub enum TargetStore {
    /// An owner process, and the path of its socket.
    Ipc(Process, String),
    /// A SQLite file.
    Sqlite(Box<AnySql>),
    /// A Redis server of this run, which keeps what it has acknowledged.
    Redis(Box<AnyRedis>),
    /// A MongoDB server of this run, which keeps what it has acknowledged.
    Mongo(Box<AnyMongo>),
    /// A PostgreSQL or MariaDB server of this run, which keeps what it has acknowledged.
    Sql(Box<AnySql>),
    /// Several servers of this run, which take over from each other.
    Replicated(Box<ReplicatedServers>),
    /// A store that this run did not start, at this URL.
    External(String),
}

impl TargetStore {
    /// Opens the store with this name or URL. Returns `None` if the server is not available here,
    /// and prints the reason.
    ///
    /// # Errors
    /// If the text is neither a name nor a valid URL.
    ///
    /// # Panics
    /// If a server does not start, or is missing although `REQUIRE_SERVICES` asks for it.
    pub async fn open(
        store: &str,
        program: &Path,
        folder: &Path,
        plant: Option<PlantedBug>,
    ) -> Result<Option<Self>, BoxError> {
        Ok(match store {
            "ipc" => Some(ipc(program, folder, plant).await?),
            "sqlite" => AnySql::sqlite().await.map(|sql| Self::Sqlite(Box::new(sql))),
            "redis" => AnyRedis::own_server(Durability::Full)
                .await
                .map(|redis| Self::Redis(Box::new(redis))),
            "mongo" => AnyMongo::own_server(Durability::Full)
                .await
                .map(|mongo| Self::Mongo(Box::new(mongo))),
            "postgres" => {
                AnySql::own_postgres(Durability::Full).await.map(|sql| Self::Sql(Box::new(sql)))
            }
            "mariadb" => {
                AnySql::own_mariadb(Durability::Full).await.map(|sql| Self::Sql(Box::new(sql)))
            }
            name @ ("redis-sentinel" | "redis-cluster" | "mongo-set") => {
                ReplicatedServers::open(name)
                    .await
                    .map(|servers| Self::Replicated(Box::new(servers)))
            }
            "memory" | "memory:" => {
                return Err("processes cannot share the memory store; \
                     use ipc, which keeps the sessions in one process"
                    .into());
            }
            url => {
                store_any::check_url(url)
                    .map_err(|error| format!("{error}; or use one of {}", STORES.join(", ")))?;
                Some(Self::External(url.to_owned()))
            }
        })
    }

    /// Returns the URL of the store.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Ipc(_, path) => format!("ipc:{path}"),
            Self::Sqlite(sql) | Self::Sql(sql) => sql.url(""),
            Self::Redis(redis) => redis.url("prefix=torture:"),
            Self::Mongo(mongo) => mongo.url("collection=torture"),
            Self::Replicated(servers) => servers.url(),
            Self::External(url) => url.clone(),
        }
    }

    /// Returns the bug that the workers plant. For `ipc` the owner plants it instead.
    #[must_use]
    pub fn bug_of_workers(&self, plant: Option<PlantedBug>) -> Option<PlantedBug> {
        plant.filter(|_| !matches!(self, Self::Ipc(..)))
    }

    /// Returns the time before a crash in which the store may have shown writes that the crash
    /// takes back, in milliseconds: [`History::unsynced`](crate::history::History).
    ///
    /// MongoDB shows a write when it is in memory, and acknowledges it when it is in the journal,
    /// which is written at least ten times a second. MariaDB unlocks a row when its change is
    /// committed in memory, and acknowledges it when the change is in the log.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        match self {
            Self::Mongo(_) => 500,
            Self::Sql(sql) if matches!(**sql, AnySql::MariaDb(_)) => 500,
            _ => 0,
        }
    }

    /// Returns whether the store can be frozen as a whole.
    #[must_use]
    pub fn can_freeze(&self) -> bool {
        matches!(self, Self::Ipc(..) | Self::Redis(_) | Self::Mongo(_) | Self::Sql(_))
    }

    /// Returns the ports of the servers.
    ///
    /// # Errors
    /// If this run did not start a server with a network.
    pub fn ports(&self) -> Result<Vec<u16>, BoxError> {
        match self {
            Self::Redis(_) | Self::Mongo(_) | Self::Sql(_) => Ok(ports_of(&self.url())),
            Self::Replicated(servers) => servers.ports(),
            Self::Ipc(..) | Self::Sqlite(_) | Self::External(_) => {
                Err("this run started no server whose network it can cut".into())
            }
        }
    }

    /// Freezes the store.
    ///
    /// # Errors
    /// If this run did not start it as a single server.
    pub async fn freeze(&self) -> Result<(), BoxError> {
        match self {
            Self::Ipc(owner, _) => owner.freeze(),
            Self::Redis(redis) => redis.freeze().await?,
            Self::Mongo(mongo) => mongo.freeze().await?,
            Self::Sql(sql) | Self::Sqlite(sql) => sql.freeze().await?,
            Self::Replicated(_) => return Err("replicated servers are frozen one at a time".into()),
            Self::External(_) => {
                return Err("this run did not start the server and does not freeze it".into());
            }
        }
        Ok(())
    }

    /// Lets a frozen store continue.
    ///
    /// # Errors
    /// If this run did not start it as a single server.
    pub async fn thaw(&self) -> Result<(), BoxError> {
        match self {
            Self::Ipc(owner, _) => owner.thaw(),
            Self::Redis(redis) => redis.thaw().await?,
            Self::Mongo(mongo) => mongo.thaw().await?,
            Self::Sql(sql) | Self::Sqlite(sql) => sql.thaw().await?,
            Self::Replicated(_) => return Err("replicated servers are thawed one at a time".into()),
            Self::External(_) => {
                return Err("this run did not start the server and does not thaw it".into());
            }
        }
        Ok(())
    }

    /// Kills the store.
    ///
    /// # Errors
    /// If this run did not start it as a single server with durable data.
    pub async fn stop(&mut self) -> Result<(), BoxError> {
        match self {
            Self::Redis(redis) => redis.stop().await?,
            Self::Mongo(mongo) => mongo.stop().await?,
            Self::Sql(sql) => sql.stop().await?,
            Self::Ipc(..) | Self::Sqlite(_) | Self::Replicated(_) | Self::External(_) => {
                return Err("this store cannot be killed".into());
            }
        }
        Ok(())
    }

    /// Starts a killed store again, with the writes that it had acknowledged.
    ///
    /// # Errors
    /// If this run did not start it as a single server with durable data.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn start_again(&mut self) -> Result<(), BoxError> {
        match self {
            Self::Redis(redis) => redis.start_again().await?,
            Self::Mongo(mongo) => mongo.start_again().await?,
            Self::Sql(sql) => sql.start_again().await?,
            Self::Ipc(..) | Self::Sqlite(_) | Self::Replicated(_) | Self::External(_) => {
                return Err("this store cannot be restarted".into());
            }
        }
        Ok(())
    }
}

/// Checks that all faults are possible with the store of this name or URL.
///
/// # Errors
/// If a fault is not possible. The text gives the reason and the possible faults.
pub fn check_faults(store: &str, faults: &Faults) -> Result<(), BoxError> {
    let theirs = [
        "the run did not start this server and does not stop it",
        "the run started no server that could take over",
        "the run does not cut the network of other servers",
    ];
    let alone = "it is one server; use redis-sentinel, redis-cluster or mongo-set";
    // For each of restart, failover and cut: the reason why it is not possible.
    let (whys, there_are) = match store {
        "ipc" => (
            [
                "the owner keeps the sessions in memory and would lose them",
                "there is one owner",
                "ipc has no network",
            ]
            .map(Some),
            "kill,freeze",
        ),
        "sqlite" => (
            [
                "SQLite has no server; killed workers are its crashes",
                "SQLite has no server",
                "SQLite has no network",
            ]
            .map(Some),
            "kill,freeze",
        ),
        "redis" | "mongo" | "postgres" | "mariadb" => {
            ([None, Some(alone), None], "kill,freeze,restart,cut")
        }
        "redis-sentinel" | "redis-cluster" | "mongo-set" => (
            [Some("use failover, which kills one server until another takes over"), None, None],
            "kill,freeze,failover,cut",
        ),
        _ => (theirs.map(Some), "kill,freeze"),
    };
    for (kind, why) in
        [FaultKind::Restart, FaultKind::Failover, FaultKind::Cut].into_iter().zip(whys)
    {
        if let Some(why) = why.filter(|_| faults.0.contains(&kind)) {
            return Err(format!("no {kind} here: {why}; use --faults {there_are}").into());
        }
    }
    Ok(())
}

/// Returns the ports in a URL.
fn ports_of(url: &str) -> Vec<u16> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    hosts.split(',').filter_map(|host| host.rsplit_once(':')?.1.parse().ok()).collect()
}

async fn ipc(
    program: &Path,
    folder: &Path,
    plant: Option<PlantedBug>,
) -> Result<TargetStore, BoxError> {
    let path = folder.join("owner.sock");
    let settings = serde_json::to_string(&OwnerSettings { path: path.clone(), plant })?;
    let owner = Process::start(program, &["owner"], &[(OWNER, &settings)]);
    wait::until_true("the owner to listen", PATIENCE, || path.exists()).await;
    Ok(TargetStore::Ipc(owner, path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::{check_faults, ports_of};

    #[test]
    fn ports_are_read_from_a_url() {
        assert_eq!(ports_of("redis://:p4:5@127.0.0.1:7001/0?prefix=x:"), [7001]);
        assert_eq!(ports_of("mongodb://a:1,b:2/test?replicaSet=rig"), [1, 2]);
    }

    #[test]
    fn impossible_fault_is_refused_with_the_possible_ones() {
        let refused = |store, faults: &str| {
            check_faults(store, &faults.parse().unwrap()).err().map(|error| error.to_string())
        };
        assert_eq!(refused("ipc", "kill,freeze"), None);
        assert_eq!(
            refused("ipc", "cut").as_deref(),
            Some("no cut here: ipc has no network; use --faults kill,freeze")
        );
        assert_eq!(refused("redis", "kill,restart,cut"), None);
        assert!(refused("redis", "failover").unwrap().contains("redis-sentinel"));
        assert!(
            refused("redis://elsewhere", "cut").is_some()
                && refused("mongo-set", "restart").is_some()
        );
    }
}
