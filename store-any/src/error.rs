//! [`ConnectError`]: why a URL does not open a store.

use crate::backend::{Backend, FEATURES, backends};

/// A URL does not open a store.
///
/// `Debug` shows the same text as `Display`, followed by the sources.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No backend of this build has the scheme, or the URL has no scheme.
    #[error("{}", unsupported_scheme(scheme, backends()))]
    Scheme {
        /// The text before the first colon. Empty if the URL has no colon. The error omits the rest
        /// of the URL, because it can contain a password.
        scheme: String,
    },
    /// Text after `memory:` that is not a setting. The error omits it, because it can be the
    /// address of another store with a password.
    #[error(
        "memory: does not take an address: use memory: or \
         memory:?max_sessions=100000&max_bytes=268435456"
    )]
    MemoryAddress,
    /// An unknown setting of `memory:`.
    #[error("memory: unknown setting {key:?}: use max_sessions or max_bytes")]
    MemoryKey {
        /// Name of the setting.
        key: String,
    },
    /// A value of a `memory:` setting that is not valid.
    #[error("memory: {key}: {value:?} is not valid: use a whole number above 0")]
    MemoryValue {
        /// Name of the setting.
        key: &'static str,
        /// The value in the URL.
        value: String,
    },
    /// The `ipc:` URL is not valid.
    #[cfg(feature = "ipc")]
    #[error(transparent)]
    Ipc(#[from] store_ipc::ConfigError),
    /// The URL or its settings are not valid for MongoDB.
    #[cfg(feature = "mongo")]
    #[error(transparent)]
    MongoSettings(#[from] store_mongo::ConfigError),
    /// The store cannot use the MongoDB server.
    #[cfg(feature = "mongo")]
    #[error(transparent)]
    Mongo(#[from] store_mongo::ConnectError),
    /// The URL or its settings are not valid for Redis.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    RedisSettings(#[from] store_redis::ConfigError),
    /// The store cannot use the Redis server.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] store_redis::ConnectError),
    /// The URL or its settings are not valid for an SQL database.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    SqlSettings(#[from] store_sql::ConfigError),
    /// The store cannot use the SQL database.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Sql(#[from] store_sql::ConnectError),
}

session_core::debug_as_display!(ConnectError);

/// The text of [`ConnectError::Scheme`] in a build with these backends: the mistake, the feature
/// that would enable the scheme, and the available schemes.
fn unsupported_scheme(scheme: &str, backends: &[Backend]) -> String {
    let available: Vec<_> = backends
        .iter()
        .flat_map(|backend| backend.schemes)
        .map(|scheme| format!("{scheme}:"))
        .collect();
    let available = available.join(", ");
    if scheme.is_empty() {
        return format!("the store URL has no scheme; start it with one of: {available}");
    }
    match FEATURES.iter().find(|(_, schemes)| schemes.contains(&scheme)) {
        Some((feature, _)) => format!(
            "store URL scheme {scheme:?} needs the feature {feature:?} of store-any, which this \
             build does not enable; available: {available}"
        ),
        None => format!("unknown store URL scheme {scheme:?}; available: {available}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_error_names_the_feature_or_the_available_urls() {
        let only_memory: Vec<_> =
            backends().iter().filter(|backend| backend.name == "memory").copied().collect();
        for (scheme, expected) in [
            ("gopher", r#"unknown store URL scheme "gopher"; available: memory:"#),
            (
                "mongodb",
                "store URL scheme \"mongodb\" needs the feature \"mongo\" of store-any, which \
                 this build does not enable; available: memory:",
            ),
            (
                "sqlite",
                "store URL scheme \"sqlite\" needs the feature \"sql\" of store-any, which this \
                 build does not enable; available: memory:",
            ),
            ("", "the store URL has no scheme; start it with one of: memory:"),
        ] {
            assert_eq!(unsupported_scheme(scheme, &only_memory), expected);
        }
    }

    #[test]
    fn debug_shows_the_text_of_display() {
        let error = ConnectError::Scheme { scheme: "gopher".to_owned() };
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    #[test]
    fn every_enabled_feature_has_a_backend_with_its_schemes() {
        for backend in backends().iter().filter(|backend| backend.name != "memory") {
            assert!(FEATURES.contains(&(backend.name, backend.schemes)), "{backend:?}");
        }
    }
}
