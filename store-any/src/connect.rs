//! From a URL to a store.

use std::sync::Arc;

use session_core::{MemoryStore, SessionStore};

use crate::{ConnectError, backend};

/// Opens the store that `url` names.
///
/// A backend that is down now is no error; the store works once it is up, and [`SessionStore::ping`] says whether it is. One that answers
/// and cannot be used, because it is too old or refuses the login, is an error.
///
/// # Errors
/// [`ConnectError::Scheme`] if no backend of this build has the URL's scheme; otherwise what the backend itself says. A password in the URL
/// is in no error.
///
/// # Examples
/// ```
/// # async fn example() {
/// let error = store_any::connect("gopher://host").await.unwrap_err();
/// assert!(error.to_string().starts_with("no session store has the scheme \"gopher\""));
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn SessionStore>, ConnectError> {
    Ok(match Settings::read(url)? {
        Settings::Memory => Arc::new(MemoryStore::new()),
        #[cfg(feature = "ipc")]
        Settings::Ipc(config) => Arc::new(store_ipc::IpcStore::connect_with(&config)?),
        #[cfg(feature = "mongo")]
        Settings::Mongo(config) => Arc::new(store_mongo::MongoStore::connect(&config).await?),
        #[cfg(feature = "redis")]
        Settings::Redis(config) => Arc::new(store_redis::RedisStore::connect(&config).await?),
        #[cfg(feature = "sql")]
        Settings::Sql(config) => Arc::new(store_sql::SqlStore::connect(&config).await?),
    })
}

/// Whether `url` names a store, its settings included. Connects to nothing.
///
/// # Errors
/// As [`connect`].
pub fn check(url: &str) -> Result<(), ConnectError> {
    Settings::read(url).map(drop)
}

/// The settings of whichever backend it is.
enum Settings {
    Memory,
    #[cfg(feature = "ipc")]
    Ipc(store_ipc::Config),
    #[cfg(feature = "mongo")]
    Mongo(Box<store_mongo::Config>),
    #[cfg(feature = "redis")]
    Redis(Box<store_redis::Config>),
    #[cfg(feature = "sql")]
    Sql(Box<store_sql::Config>),
}

impl Settings {
    fn read(url: &str) -> Result<Self, ConnectError> {
        let scheme = url.split(':').next().filter(|scheme| scheme.len() < url.len()).unwrap_or_default();
        match backend(scheme).map(|backend| backend.name) {
            Some("memory") if url == "memory:" => Ok(Self::Memory),
            Some("memory") => Err(ConnectError::Memory),
            #[cfg(feature = "ipc")]
            Some("ipc") => Ok(Self::Ipc(store_ipc::Config::from_url(url)?)),
            #[cfg(feature = "mongo")]
            Some("mongo") => Ok(Self::Mongo(Box::new(store_mongo::Config::new(url)?))),
            #[cfg(feature = "redis")]
            Some("redis") => Ok(Self::Redis(Box::new(store_redis::Config::new(url)?))),
            #[cfg(feature = "sql")]
            Some("sql") => Ok(Self::Sql(Box::new(store_sql::Config::new(url)?))),
            _ => Err(ConnectError::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scheme_picks_the_backend() {
        assert!(connect("memory:").await.unwrap().ping().await.is_ok());
        #[cfg(feature = "ipc")]
        assert!(format!("{:?}", connect("ipc:/nowhere/s.sock").await.unwrap()).contains("IpcStore"));
        #[cfg(feature = "redis")]
        assert!(format!("{:?}", connect("unix:/nowhere/redis.sock").await.unwrap()).contains("RedisStore"));
        #[cfg(feature = "sql")]
        assert!(format!("{:?}", connect("postgres://127.0.0.1:1/nowhere").await.unwrap()).contains("SqlStore"));
    }

    #[tokio::test]
    async fn a_url_that_names_no_backend_says_what_would_do() {
        let error = connect("reddis://:secret@host").await.unwrap_err().to_string();
        assert!(error.contains("\"reddis\"") && error.contains("memory:") && !error.contains("secret"), "{error}");
        assert!(matches!(connect("no-colon").await, Err(ConnectError::Scheme { .. })));
        assert!(matches!(connect("memory:8gb").await, Err(ConnectError::Memory)));
        #[cfg(feature = "mongo")]
        assert!(matches!(check("mongodb://a/?w=0"), Err(ConnectError::MongoSettings(_))));
        #[cfg(feature = "redis")]
        assert!(matches!(check("redis://a,b"), Err(ConnectError::RedisSettings(_))));
        #[cfg(feature = "sql")]
        assert!(matches!(check("sqlite::memory:"), Err(ConnectError::SqlSettings(_))));
    }
}
