//! Why a URL opens no store.

use crate::schemes;

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
    /// `memory:` with something behind it.
    #[error("the URL of the memory store is just memory: and takes no settings")]
    Memory,
    /// What follows `ipc:` does not fit.
    #[cfg(feature = "ipc")]
    #[error(transparent)]
    Ipc(#[from] store_ipc::ConfigError),
}

fn listed() -> String {
    schemes().iter().map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(", ")
}
