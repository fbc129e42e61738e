//! Why a URL opens no store.

use crate::backends;

/// A URL opens no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No backend of this build has the scheme.
    #[error("no session store has the scheme {scheme:?}; this build has {}", listed())]
    Scheme {
        /// What stood before the first colon; the rest can hold a password.
        scheme: String,
    },
    /// `memory:` with something behind it that is not a setting. It is not shown, because it can
    /// hold the password of another store.
    #[error(
        "memory: takes no address; use memory: or memory:?max_sessions=100000&max_bytes=268435456"
    )]
    MemoryAddress,
    /// `memory:` with a setting that the store does not have.
    #[error("memory: has no setting {key:?}; use max_sessions or max_bytes")]
    MemoryKey {
        /// Name of the setting.
        key: String,
    },
    /// A setting of `memory:` cannot have this value.
    #[error("memory: {key} cannot be {value:?}; use a whole number above 0")]
    MemoryValue {
        /// Name of the setting.
        key: &'static str,
        /// The value in the URL.
        value: String,
    },
    /// What follows `ipc:` does not fit.
    #[cfg(feature = "ipc")]
    #[error(transparent)]
    Ipc(#[from] store_ipc::ConfigError),
    /// The URL's settings do not fit MongoDB.
    #[cfg(feature = "mongo")]
    #[error(transparent)]
    MongoSettings(#[from] store_mongo::ConfigError),
    /// The MongoDB server cannot be used.
    #[cfg(feature = "mongo")]
    #[error(transparent)]
    Mongo(#[from] store_mongo::ConnectError),
    /// The URL's settings do not fit Redis.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    RedisSettings(#[from] store_redis::ConfigError),
    /// The Redis server cannot be used.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] store_redis::ConnectError),
    /// The URL's settings do not fit a database.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    SqlSettings(#[from] store_sql::ConfigError),
    /// The database cannot be used.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Sql(#[from] store_sql::ConnectError),
}

fn listed() -> String {
    let schemes = backends().iter().flat_map(|backend| backend.schemes);
    schemes.map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(", ")
}
