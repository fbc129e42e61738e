//! What a build can open.

/// A kind of place where sessions can live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// Its name, as people choose it.
    pub name: &'static str,
    /// What its URLs begin with, before the colon.
    pub schemes: &'static [&'static str],
    /// Where it usually is; `None` if there is no usual place.
    pub usual_url: Option<&'static str>,
}

/// The backends of this build.
#[must_use]
pub fn backends() -> &'static [Backend] {
    &[
        Backend { name: "memory", schemes: &["memory"], usual_url: Some("memory:") },
        #[cfg(feature = "ipc")]
        Backend { name: "ipc", schemes: &["ipc"], usual_url: None },
        #[cfg(feature = "mongo")]
        Backend {
            name: "mongo",
            schemes: &["mongodb", "mongodb+srv"],
            usual_url: Some("mongodb://127.0.0.1:27017/sessions"),
        },
        #[cfg(feature = "redis")]
        Backend { name: "redis", schemes: REDIS, usual_url: Some("redis://127.0.0.1:6379/0") },
        #[cfg(feature = "sql")]
        Backend {
            name: "sql",
            schemes: &["postgres", "postgresql", "mysql", "mariadb", "sqlite"],
            usual_url: Some("sqlite:sessions.db"),
        },
    ]
}

#[cfg(feature = "redis")]
const REDIS: &[&str] = &[
    "redis",
    "rediss",
    "unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
];

/// The backend whose URLs have this scheme.
#[must_use]
pub fn backend(scheme: &str) -> Option<&'static Backend> {
    backends().iter().find(|backend| backend.schemes.contains(&scheme))
}
