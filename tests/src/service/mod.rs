//! Real servers for tests.
//!
//! A test asks for a server, and gets its URL and methods to stop, freeze, continue and restart it:
//!
//! | type | server |
//! |---|---|
//! | [`Redis`], [`Mongo`], [`Postgres`], [`MariaDb`] | one process ([`Managed`]) |
//! | [`RedisCluster`], [`RedisSentinel`], [`MongoSet`] | several processes that take over from each other |
//! | [`Sqlite`] | none: a file. Its page says what replaces a stopped and a frozen server |
//! | [`AnyRedis`], [`AnyMongo`], [`AnySql`] | any of one product, or of SQL |
//!
//! A server comes from the first of these that works:
//!
//! 1. The environment: `TEST_REDIS_URL`, `TEST_REDIS_CLUSTER_URL`, `TEST_REDIS_SENTINEL_URL`,
//!    `TEST_MONGO_URL`, `TEST_MONGO_SET_URL`, `TEST_POSTGRES_URL`, `TEST_MARIADB_URL`. Such a server
//!    is the user's and may have data: stopping or freezing it is an [`ExternalServer`] error, and a
//!    test keeps to its own prefix or database.
//! 2. A container, if Docker answers: the official image, or that of `TEST_REDIS_IMAGE`,
//!    `TEST_MONGO_IMAGE`, `TEST_POSTGRES_IMAGE` and `TEST_MARIADB_IMAGE`.
//! 3. The programs `redis-server`, `mongod`, `postgres` with `initdb`, and `mariadbd` with
//!    `mariadb-install-db` on `PATH`.
//!
//! `TEST_SERVICES_FROM=container` or `=path` leaves only number 2 or 3. If none works, the test
//! prints why it is skipped and gets `None`. It fails instead if `REQUIRE_SERVICES` is `all` or
//! lists the service (`redis,redis-cluster,mongo,mongo-set,postgres,mariadb`).
//!
//! # Shared servers
//! Tests of one run can share servers: [`SharedServers`] starts them, and `scripts/test` does so. A
//! test that asks for [`AnyRedis::server`], [`AnyMongo::server`], [`AnySql::postgres`] and the like
//! then gets the shared server, with its own prefix or database. A test that stops, freezes, fills
//! or configures its server asks for [`AnyRedis::own_server`], [`Redis::start`] and the like. On a
//! shared server such calls panic.
//!
//! # Own servers
//! They are new and empty, listen on 127.0.0.1 only, and are gone when their value is dropped, also
//! by a panic. After a restart a Redis is empty unless its flags say otherwise, a MongoDB holds
//! what was in its journal, and a PostgreSQL and a MariaDB hold what was committed, unless asked
//! for [`Durability::None`].

mod any_mongo;
mod any_redis;
mod any_sql;
mod by_port;
mod cleanup;
mod durability;
mod host;
pub(crate) mod kind;
mod managed;
mod mariadb;
mod mariadb_node;
mod mongo;
mod mongo_node;
mod mongo_set;
mod node;
mod nodes;
pub(crate) mod origin;
mod ownership;
pub(crate) mod ports;
mod postgres;
mod postgres_node;
mod redis;
mod redis_cluster;
mod redis_node;
mod redis_sentinel;
mod share;
mod shared;
mod sql;
mod sql_server;
mod sqlite;
mod sqlite_fault;
mod stoppable;
mod tap;
mod url;

pub use self::{
    any_mongo::AnyMongo,
    any_redis::AnyRedis,
    any_sql::AnySql,
    durability::Durability,
    host::shared_files,
    kind::PASSWORD,
    managed::Managed,
    mariadb::MariaDb,
    mongo::Mongo,
    mongo_set::MongoSet,
    ownership::ExternalServer,
    postgres::Postgres,
    redis::Redis,
    redis_cluster::RedisCluster,
    redis_sentinel::RedisSentinel,
    share::SharedServers,
    sqlite::Sqlite,
    stoppable::Stoppable,
    tap::{RoundTrip, Tap},
};
