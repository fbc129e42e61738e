//! Opening a store by its URL.

use std::{num::NonZeroUsize, sync::Arc};

use session_core::{
    MemoryStore, MemoryStoreBuilder, SessionStore,
    report::{Check, CheckReport},
};

use crate::{backend::backend, error::ConnectError};

/// Opens the store that `url` names.
///
/// An unreachable backend is not an error: the store works as soon as the backend is up, and
/// [`SessionStore::ping`] reports whether it is. A backend that responds but is too old or rejects
/// the login is an error.
///
/// # Errors
/// [`ConnectError::Scheme`] if no backend of this build has the URL's scheme, or the error of the
/// backend. Errors never contain a password from the URL.
///
/// # Examples
/// ```
/// # async fn example() {
/// let error = store_any::connect("gopher://host").await.unwrap_err();
/// assert!(error.to_string().starts_with("unknown store URL scheme \"gopher\""));
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn SessionStore>, ConnectError> {
    Ok(match Settings::parse(url)? {
        Settings::Memory(builder) => Arc::new(builder.build()),
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

/// Connects once and reports what the URL needs: whether the server can be reached, what its user
/// may do, and which settings of the server lose sessions, each with a remedy.
///
/// A server that cannot be reached or that refuses the login is a failed check of the report. As
/// [`connect`] does, this creates a missing table or index. It creates a session to try all
/// operations, and ends it. The check takes at most twelve times the deadline of the URL, which is
/// `deadline_ms`.
///
/// # Errors
/// The errors of [`check_url`].
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Examples
/// ```
/// # async fn example() -> Result<(), store_any::ConnectError> {
/// let report = store_any::check("redis://127.0.0.1:6379/0").await?;
/// print!("{report}");
/// assert!(report.is_ok());
/// # Ok(()) }
/// ```
pub async fn check(url: &str) -> Result<CheckReport, ConnectError> {
    Ok(match Settings::parse(url)? {
        Settings::Memory(_) => memory_report(),
        #[cfg(feature = "ipc")]
        Settings::Ipc(config) => store_ipc::check(&config).await,
        #[cfg(feature = "mongo")]
        Settings::Mongo(config) => store_mongo::check(&config).await,
        #[cfg(feature = "redis")]
        Settings::Redis(config) => store_redis::check(&config).await,
        #[cfg(feature = "sql")]
        Settings::Sql(config) => store_sql::check(&config).await,
    })
}

fn memory_report() -> CheckReport {
    let mut report = CheckReport::new("memory", "this process");
    report.push(Check::warning(
        "durability",
        "the sessions end with the process, and no other process can use them",
        "for sessions that survive a restart use a URL of redis:, mongodb:, postgres:, mysql: or sqlite:",
    ));
    report
}

/// Checks the URL of a store and its settings without connecting.
///
/// # Errors
/// The errors of [`connect`] that concern the URL itself.
pub fn check_url(url: &str) -> Result<(), ConnectError> {
    Settings::parse(url).map(drop)
}

/// The settings of one backend.
enum Settings {
    Memory(MemoryStoreBuilder),
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
    fn parse(url: &str) -> Result<Self, ConnectError> {
        // Text without a colon can be a password, so it does not count as a scheme.
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match backend(scheme).map(|backend| backend.name) {
            Some("memory") => memory(url).map(Self::Memory),
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

/// Parses `memory:?max_sessions=100000&max_bytes=268435456`. Both settings are optional.
fn memory(url: &str) -> Result<MemoryStoreBuilder, ConnectError> {
    // Other text after `memory:` can be the address of another store with a password, so no error
    // quotes it.
    let settings = match url.strip_prefix("memory:").map(|rest| rest.strip_prefix('?').ok_or(rest))
    {
        Some(Ok(settings)) => settings,
        Some(Err("")) => "",
        Some(Err(_)) | None => return Err(ConnectError::MemoryAddress),
    };
    let mut builder = MemoryStore::builder();
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let number = |key| {
            value
                .parse()
                .map(NonZeroUsize::get)
                .map_err(|_| ConnectError::MemoryValue { key, value: quotable(value) })
        };
        builder = match key {
            "max_sessions" => builder.max_sessions(number("max_sessions")?),
            "max_bytes" => builder.max_bytes(number("max_bytes")?),
            _ => return Err(ConnectError::MemoryKey { key: quotable(key) }),
        };
    }
    Ok(builder)
}

/// The text for an error, or "…" if it can be a part of another URL, which can contain a password.
fn quotable(text: &str) -> String {
    let plain = text.len() <= 32
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if plain { text.to_owned() } else { "…".to_owned() }
}

#[cfg(test)]
mod tests {
    use session_core::{NewRecord, Rejection, SessionId, StoreError};

    use super::*;

    #[tokio::test]
    async fn scheme_selects_the_backend() {
        assert!(connect("memory:").await.unwrap().ping().await.is_ok());
        #[cfg(feature = "ipc")]
        assert!(
            format!("{:?}", connect("ipc:/nowhere/s.sock").await.unwrap()).contains("IpcStore")
        );
        #[cfg(feature = "redis")]
        assert!(
            format!("{:?}", connect("unix:/nowhere/redis.sock").await.unwrap())
                .contains("RedisStore")
        );
        #[cfg(feature = "sql")]
        assert!(
            format!("{:?}", connect("postgres://127.0.0.1:1/nowhere").await.unwrap())
                .contains("SqlStore")
        );
    }

    #[test]
    fn c45_memory_errors_quote_no_part_of_another_url() {
        for url in [
            "memory:?redis://app:hunter2@host",
            "memory:?max_sessions=redis://app:hunter2@host",
            "memory:?max_bytes=1&a=b&app:hunter2@host=1",
        ] {
            let error = check_url(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let error = check_url("memory:?max_session=1").unwrap_err().to_string();
        assert!(error.contains("\"max_session\""), "{error}");
        let error = check_url("memory:?max_sessions=8gb").unwrap_err().to_string();
        assert!(error.contains("\"8gb\""), "{error}");
    }

    #[tokio::test]
    async fn check_of_memory_says_that_sessions_end_with_the_process() {
        let report = check("memory:").await.unwrap();
        assert!(report.is_ok() && report.to_string().contains("end with the process"), "{report}");
        assert!(matches!(check("memory:8gb").await, Err(ConnectError::MemoryAddress)));
    }

    #[tokio::test]
    async fn unknown_scheme_error_lists_the_available_urls() {
        let error = connect("reddis://:secret@host").await.unwrap_err().to_string();
        assert!(
            error.contains("\"reddis\"") && error.contains("memory:") && !error.contains("secret"),
            "{error}"
        );
        let error = connect("memory").await.unwrap_err();
        assert!(matches!(&error, ConnectError::Scheme { scheme } if scheme.is_empty()));
        assert!(error.to_string().starts_with("the store URL has no scheme"), "{error}");
        assert!(matches!(connect("no-colon").await, Err(ConnectError::Scheme { .. })));
        assert!(matches!(connect("memory:8gb").await, Err(ConnectError::MemoryAddress)));
        #[cfg(feature = "mongo")]
        assert!(matches!(check_url("mongodb://a/?w=0"), Err(ConnectError::MongoSettings(_))));
        #[cfg(feature = "redis")]
        assert!(matches!(check_url("redis://a,b"), Err(ConnectError::RedisSettings(_))));
        #[cfg(feature = "sql")]
        assert!(matches!(check_url("sqlite::memory:"), Err(ConnectError::SqlSettings(_))));
    }

    /// Creates `before` sessions and returns the limit that rejects the next one.
    async fn exceeded_limit(url: &str, before: usize) -> String {
        let store = connect(url).await.unwrap();
        for n in 0..=before {
            let id = SessionId::random().unwrap();
            match store
                .create(
                    &id.key(),
                    NewRecord::new(id.secret_hash(), std::time::Duration::from_mins(1)),
                )
                .await
            {
                Ok(_) if n < before => {}
                Err(StoreError::Rejected(Rejection::Full { what, .. })) if n == before => {
                    return what.into();
                }
                other => panic!("session {n}: {other:?}"),
            }
        }
        panic!("{url} has no limit")
    }

    #[tokio::test]
    async fn s26_memory_url_bounds_the_store() {
        assert!(
            exceeded_limit("memory:?max_sessions=10", 8)
                .await
                .contains("max_sessions for sessions without a principal = 8")
        );
        assert!(exceeded_limit("memory:?max_bytes=1", 0).await.contains("max_bytes = 1"));
        let both = exceeded_limit("memory:?max_bytes=1000000&max_sessions=1", 1).await;
        assert!(both.contains("max_sessions = 1"));
        assert!(check_url("memory:").is_ok() && check_url("memory:?").is_ok());
    }

    #[test]
    fn memory_url_error_names_the_invalid_setting() {
        for (url, expected) in [
            (
                "memory:?max_session=2",
                r#"memory: unknown setting "max_session": use max_sessions or max_bytes"#,
            ),
            (
                "memory:?max_sessions=2&sweep=1",
                r#"memory: unknown setting "sweep": use max_sessions or max_bytes"#,
            ),
            (
                "memory:?max_bytes=1gb",
                r#"memory: max_bytes: "1gb" is not valid: use a whole number above 0"#,
            ),
            (
                "memory:?max_sessions=0",
                r#"memory: max_sessions: "0" is not valid: use a whole number above 0"#,
            ),
            (
                "memory:?max_sessions",
                r#"memory: max_sessions: "" is not valid: use a whole number above 0"#,
            ),
            (
                "memory://:s3cret@host",
                "memory: does not take an address: use memory: or \
                 memory:?max_sessions=100000&max_bytes=268435456",
            ),
        ] {
            assert_eq!(check_url(url).unwrap_err().to_string(), expected);
        }
    }
}
