//! From a URL to a store.

use std::sync::Arc;

use session_core::{MemoryStore, SessionStore};

use crate::ConnectError;

/// Opens the store that `url` names.
///
/// Whether the backend answers is not asked: [`SessionStore::ping`] does that. A backend that is down now works once it is up.
///
/// # Errors
/// [`ConnectError::Scheme`] if no backend of this build has the URL's scheme; otherwise what the backend's own configuration says. A
/// password in the URL is in no error.
///
/// # Examples
/// ```
/// # async fn example() {
/// let error = store_any::connect("gopher://host").await.unwrap_err();
/// assert!(error.to_string().starts_with("no session store has the scheme \"gopher\""));
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn SessionStore>, ConnectError> {
    let scheme = url.split(':').next().filter(|scheme| scheme.len() < url.len()).unwrap_or_default();
    match scheme {
        "memory" if url == "memory:" => Ok(Arc::new(MemoryStore::new())),
        "memory" => Err(ConnectError::Memory),
        #[cfg(feature = "ipc")]
        "ipc" => Ok(Arc::new(store_ipc::IpcStore::connect_with(&store_ipc::Config::from_url(url)?)?)),
        _ => Err(ConnectError::Scheme { scheme: scheme.to_owned() }),
    }
}

/// The schemes that this build has a backend for.
#[must_use]
pub fn schemes() -> &'static [&'static str] {
    &[
        "memory",
        #[cfg(feature = "ipc")]
        "ipc",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scheme_picks_the_backend() {
        assert!(connect("memory:").await.unwrap().ping().await.is_ok());
        #[cfg(feature = "ipc")]
        assert!(format!("{:?}", connect("ipc:/nowhere/s.sock").await.unwrap()).contains("IpcStore"));
    }

    #[tokio::test]
    async fn a_url_that_names_no_backend_says_what_would_do() {
        let error = connect("reddis://:secret@host").await.unwrap_err().to_string();
        assert!(error.contains("\"reddis\"") && error.contains("memory:") && !error.contains("secret"), "{error}");
        assert!(matches!(connect("no-colon").await, Err(ConnectError::Scheme { .. })));
        assert!(matches!(connect("memory:8gb").await, Err(ConnectError::Memory)));
    }
}
