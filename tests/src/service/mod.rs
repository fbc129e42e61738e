//! Servers for tests: real ones, of the test's own wherever that can be.
//!
//! A test asks for a [`Redis`], a [`RedisCluster`] or a [`RedisSentinel`], for a [`Mongo`] or a [`MongoSet`], and gets its URL and hands on
//! it; an [`AnyRedis`] and an [`AnyMongo`] are either of the first two. Where it comes from, in this order:
//!
//! 1. the environment: `TEST_REDIS_URL`, `TEST_REDIS_CLUSTER_URL`, `TEST_REDIS_SENTINEL_URL`, `TEST_MONGO_URL`, `TEST_MONGO_SET_URL`. Such
//!    a server is somebody else's, maybe with data in it: every hand on it answers [`NotOurs`], and a test keeps to a prefix or a database
//!    of its own;
//! 2. a container, if Docker answers: the official image, or what `TEST_REDIS_IMAGE` and `TEST_MONGO_IMAGE` name;
//! 3. a `redis-server` or a `mongod` on `PATH`, in a temporary folder.
//!
//! `TEST_SERVICES_FROM=container` or `=path` leaves only that one of 2 and 3. With none of the three the test says why it is skipped and
//! has `None` in hand, unless `REQUIRE_SERVICES` is `all` or lists the service (`redis,redis-cluster,mongo,mongo-set`): then it fails.
//!
//! Servers of the test's own are new and empty, listen on 127.0.0.1 only, and are gone when their value is dropped, also by a panic. After
//! a restart a Redis is empty again unless asked not to be, and a MongoDB holds what was in its journal unless asked to be empty.

mod any_mongo;
mod any_redis;
mod kept;
mod kind;
mod mongo;
mod mongo_node;
mod mongo_set;
mod mongo_url;
mod node;
mod nodes;
mod origin;
mod place;
mod ports;
mod redis;
mod redis_cluster;
mod redis_node;
mod redis_sentinel;
mod server;
mod tap;
mod whose;

pub use self::{
    any_mongo::AnyMongo,
    any_redis::{AnyRedis, PASSWORD},
    kept::Kept,
    mongo::Mongo,
    mongo_set::MongoSet,
    redis::Redis,
    redis_cluster::RedisCluster,
    redis_sentinel::RedisSentinel,
    tap::{RoundTrip, Tap},
    whose::NotOurs,
};
