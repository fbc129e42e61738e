//! Servers for tests: real ones, of the test's own wherever that can be.
//!
//! A test asks for a [`Redis`], a [`RedisCluster`] or a [`RedisSentinel`], for a [`Mongo`] or a
//! [`MongoSet`], for a [`Postgres`] or a [`MariaDb`], and gets its URL and hands on it; an
//! [`AnyRedis`] and an [`AnyMongo`] are either of the first two, and an [`AnySql`] is either of the
//! last two or an [`Sqlite`], which needs no server, and whose page says what stands for a stopped
//! and for a hanging one. Where it comes from, in this order:
//!
//! 1. the environment: `TEST_REDIS_URL`, `TEST_REDIS_CLUSTER_URL`, `TEST_REDIS_SENTINEL_URL`,
//!    `TEST_MONGO_URL`, `TEST_MONGO_SET_URL`, `TEST_POSTGRES_URL`, `TEST_MARIADB_URL`. Such a
//!    server is somebody else's, maybe with data in it: every hand on it answers [`ExternalServer`], and a
//!    test keeps to a prefix or a database of its own;
//! 2. a container, if Docker answers: the official image, or what `TEST_REDIS_IMAGE`,
//!    `TEST_MONGO_IMAGE`, `TEST_POSTGRES_IMAGE` and `TEST_MARIADB_IMAGE` name;
//! 3. a `redis-server`, a `mongod`, a `postgres` with its `initdb` or a `mariadbd` with its
//!    `mariadb-install-db` on `PATH`, in a temporary folder.
//!
//! `TEST_SERVICES_FROM=container` or `=path` leaves only that one of 2 and 3. With none of the
//! three the test says why it is skipped and has `None` in hand, unless `REQUIRE_SERVICES` is `all`
//! or lists the service (`redis,redis-cluster,mongo,mongo-set,postgres,mariadb`): then it fails.
//!
//! Tests of one run can share servers: [`SharedServers`] starts them, and `scripts/test` does so. A
//! test that asks for [`AnyRedis::server`], [`AnyMongo::server`], [`AnySql::postgres`] and the like
//! then takes the shared server, with its own prefix or database. A test that stops, freezes, fills
//! or configures its server asks for [`AnyRedis::own_server`] or [`Redis::start`] and the like; on
//! a shared one such calls panic.
//!
//! Servers of the test's own are new and empty, listen on 127.0.0.1 only, and are gone when their
//! value is dropped, also by a panic. After a restart a Redis is empty again unless asked not to
//! be, a MongoDB holds what was in its journal, and a PostgreSQL and a MariaDB what was committed,
//! unless asked to be empty.

mod any_mongo;
mod any_redis;
mod any_sql;
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
mod sqlite;
mod sqlite_fault;
mod tap;
mod url;

pub use self::{
    any_mongo::AnyMongo,
    any_redis::AnyRedis,
    any_sql::AnySql,
    durability::Durability,
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
    tap::{RoundTrip, Tap},
};
