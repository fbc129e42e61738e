//! The backends of this build, and the features that enable the others.

const MEMORY: &[&str] = &["memory"];
const IPC: &[&str] = &["ipc"];
const MONGO: &[&str] = &["mongodb", "mongodb+srv"];
const REDIS: &[&str] = &[
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis+unix",
    "redis+socket",
    "redis-socket",
    "valkey+unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
];
const SQL: &[&str] = &["postgres", "postgresql", "mysql", "mariadb", "sqlite"];

/// Each feature of this crate and the URL schemes that it enables. Includes disabled features.
pub(crate) const FEATURES: [(&str, &[&str]); 4] =
    [("ipc", IPC), ("mongo", MONGO), ("redis", REDIS), ("sql", SQL)];

/// A backend: one kind of session store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// Name of the backend, for example for a command line option.
    pub name: &'static str,
    /// The schemes of its URLs, without the colon.
    pub schemes: &'static [&'static str],
    /// URL of its most common location. `None` if there is none.
    pub usual_url: Option<&'static str>,
}

/// The backends of this build: `memory`, and one for each enabled feature.
#[must_use]
pub fn backends() -> &'static [Backend] {
    &[
        Backend { name: "memory", schemes: MEMORY, usual_url: Some("memory:") },
        #[cfg(feature = "ipc")]
        Backend { name: "ipc", schemes: IPC, usual_url: None },
        #[cfg(feature = "mongo")]
        Backend {
            name: "mongo",
            schemes: MONGO,
            usual_url: Some("mongodb://127.0.0.1:27017/sessions"),
        },
        #[cfg(feature = "redis")]
        Backend { name: "redis", schemes: REDIS, usual_url: Some("redis://127.0.0.1:6379/0") },
        #[cfg(feature = "sql")]
        Backend { name: "sql", schemes: SQL, usual_url: Some("sqlite:sessions.db") },
    ]
}

/// The backend of this build for URLs with this scheme. `None` if the scheme is unknown or its
/// feature is disabled.
#[must_use]
pub fn backend(scheme: &str) -> Option<&'static Backend> {
    backends().iter().find(|backend| backend.schemes.contains(&scheme))
}
