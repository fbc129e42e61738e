//! The kinds of servers that tests ask for, and the environment variables that choose them.

use std::{env, path::PathBuf};

use tempfile::TempDir;

/// The password of every server that the tests start, so that what must stay hidden is there to be
/// found. Only [`Redis::start`](super::Redis::start) and [`Mongo::start`](super::Mongo::start)
/// without flags, and replica sets of MongoDB, have none.
pub const PASSWORD: &str = "correcthorse";

/// One kind of server: its name, and where it can be had.
#[derive(Debug)]
pub struct Kind {
    /// Its name in `REQUIRE_SERVICES`.
    pub(super) name: &'static str,
    /// The environment variable that names one which runs already.
    pub(super) url_variable: &'static str,
    /// The environment variable that names another image, as `name:tag`.
    pub(super) image_variable: &'static str,
    /// The official image.
    pub(super) image: &'static str,
    /// The server's program, in the image and on `PATH`.
    pub(super) program: &'static str,
}

pub(super) const REDIS: Kind = Kind {
    name: "redis",
    url_variable: "TEST_REDIS_URL",
    image_variable: "TEST_REDIS_IMAGE",
    image: "redis:7",
    program: "redis-server",
};

pub(super) const REDIS_CLUSTER: Kind =
    Kind { name: "redis-cluster", url_variable: "TEST_REDIS_CLUSTER_URL", ..REDIS };

pub(super) const REDIS_SENTINEL: Kind =
    Kind { name: "redis-sentinel", url_variable: "TEST_REDIS_SENTINEL_URL", ..REDIS };

pub(super) const MONGO: Kind = Kind {
    name: "mongo",
    url_variable: "TEST_MONGO_URL",
    image_variable: "TEST_MONGO_IMAGE",
    image: "mongo:7",
    program: "mongod",
};

pub(super) const MONGO_SET: Kind =
    Kind { name: "mongo-set", url_variable: "TEST_MONGO_SET_URL", ..MONGO };

pub(super) const POSTGRES: Kind = Kind {
    name: "postgres",
    url_variable: "TEST_POSTGRES_URL",
    image_variable: "TEST_POSTGRES_IMAGE",
    image: "postgres:16",
    program: "postgres",
};

pub(super) const MARIADB: Kind = Kind {
    name: "mariadb",
    url_variable: "TEST_MARIADB_URL",
    image_variable: "TEST_MARIADB_IMAGE",
    image: "mariadb:11",
    program: "mariadbd",
};

impl Kind {
    /// The URL of a server that runs already.
    pub(super) fn url(&self) -> Option<String> {
        variable(self.url_variable)
    }

    /// The image to start one from.
    pub(super) fn image(&self) -> String {
        variable(self.image_variable).unwrap_or_else(|| self.image.to_owned())
    }

    /// Whether a test that needs one fails without it.
    pub(super) fn is_required(&self) -> bool {
        is_required(self.name)
    }
}

/// Whether `REQUIRE_SERVICES` is `all` or lists this name. A test that needs it then fails without
/// it.
pub(crate) fn is_required(name: &str) -> bool {
    variable("REQUIRE_SERVICES").is_some_and(|names| {
        names.split(',').map(str::trim).any(|listed| listed == "all" || listed == name)
    })
}

/// A new folder for the files of a service, in `TEST_SERVICES_FOLDER` or among the system's
/// temporary files. Servers wait for their disk less if it is in memory.
///
/// # Panics
/// If it cannot be made.
pub(super) fn new_folder() -> TempDir {
    let parent = variable("TEST_SERVICES_FOLDER").map_or_else(env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix("service-").tempdir_in(parent).expect("a temporary folder")
}

/// The value of an environment variable. An empty one counts as not set, so that a script can unset
/// it for another.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
