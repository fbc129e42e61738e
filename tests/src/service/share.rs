//! Starts the servers that the tests of one run share.

use std::{ffi::OsString, path::PathBuf};

use super::{
    MariaDb, Mongo, MongoSet, Postgres, Redis, RedisCluster,
    any_mongo::NO_PURGE,
    kind::{Kind, MARIADB, MONGO, MONGO_SET, PASSWORD, POSTGRES, REDIS, REDIS_CLUSTER},
    redis::SHARED_DATABASES,
    shared::variables,
};

/// What the servers get beside their usual flags: room for the connections of many tests.
const POSTGRES_FLAGS: &[&str] = &[
    "-c",
    "max_connections=800",
    "-c",
    "shared_buffers=128MB",
    "-c",
    "max_wal_size=2GB",
    "-c",
    "full_page_writes=off",
];
const MARIADB_FLAGS: &[&str] = &[
    "--max-connections=800",
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=96M",
    "--table-open-cache=800",
];

/// A busy machine must not make a replica the primary.
const PATIENT_CLUSTER: &[&str] = &["--requirepass", PASSWORD, "--cluster-node-timeout", "60000"];

/// One server of each kind, for all tests of a run. Dropping it ends them.
#[derive(Debug)]
pub struct SharedServers {
    redis: Option<Redis>,
    cluster: Option<RedisCluster>,
    mongo: Option<Mongo>,
    set: Option<MongoSet>,
    postgres: Option<Postgres>,
    mariadb: Option<MariaDb>,
}

impl SharedServers {
    /// Starts those that can be had here and that the user does not name. The output says which
    /// cannot be had.
    ///
    /// # Panics
    /// If one does not start, or if `REQUIRE_SERVICES` asks for one that cannot be had.
    pub async fn start() -> Self {
        let databases = SHARED_DATABASES.to_string();
        let redis_flags = ["--requirepass", PASSWORD, "--databases", &databases];
        let mongo_flags = [&["--auth", "--quiet"], NO_PURGE].concat();
        let set_flags = [&["--quiet"], NO_PURGE].concat();
        let (redis, cluster, mongo, set, postgres, mariadb) = tokio::join!(
            unless_named(&REDIS, Redis::start_with(&redis_flags)),
            unless_named(&REDIS_CLUSTER, RedisCluster::start_with(PATIENT_CLUSTER)),
            unless_named(&MONGO, Mongo::start_with(&mongo_flags)),
            unless_named(&MONGO_SET, MongoSet::start_with(&set_flags)),
            unless_named(&POSTGRES, Postgres::start_to_share(POSTGRES_FLAGS)),
            unless_named(&MARIADB, MariaDb::start_to_share(MARIADB_FLAGS)),
        );
        if let Some(set) = &set
            && let Ok(primary) = set.primary().await
        {
            set.outlive_followers(primary).await;
        }
        Self { redis, cluster, mongo, set, postgres, mariadb }
    }

    /// The environment variables that name the servers to the tests.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, OsString)> {
        let shared: [(&Kind, Option<(String, PathBuf)>); 6] = [
            (&REDIS, self.redis.as_ref().map(Redis::shared_as)),
            (&REDIS_CLUSTER, self.cluster.as_ref().map(RedisCluster::shared_as)),
            (&MONGO, self.mongo.as_ref().map(Mongo::shared_as)),
            (&MONGO_SET, self.set.as_ref().map(MongoSet::shared_as)),
            (&POSTGRES, self.postgres.as_ref().map(Postgres::shared_as)),
            (&MARIADB, self.mariadb.as_ref().map(MariaDb::shared_as)),
        ];
        let named = shared.into_iter().filter_map(|(kind, shared)| Some((kind, shared?)));
        named.flat_map(|(kind, (url, folder))| variables(kind, &url, &folder)).collect()
    }
}

/// A server of this kind, unless the environment names one.
async fn unless_named<S>(kind: &Kind, start: impl Future<Output = Option<S>>) -> Option<S> {
    if kind.url().is_some() { None } else { start.await }
}
