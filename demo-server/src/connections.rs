//! The limit of connections that a worker process serves at once.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::dev::Extensions;
use rustix::process::{Resource, getrlimit};

use crate::settings::{SettingError, Settings};

/// File descriptors that a worker needs for other purposes than its client connections: event
/// loops, the listener, the connection to the primary, the log, and the connections to the store.
const RESERVED_FILES: u64 = 128;

/// The lowest useful limit of connections. A server with a lower limit does not start.
const MIN_CONNECTIONS: u64 = 16;

/// The highest limit without an explicit setting, so that a process without a limit of file
/// descriptors does not run out of memory.
const MAX_DEFAULT_CONNECTIONS: u64 = 25_600;

/// The limit of connections of a worker process, and the number of open connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pub(crate) per_thread: usize,
    /// If more connections than this are open, a response closes its connection.
    keep_alive_limit: usize,
    open: Arc<AtomicUsize>,
}

impl Connections {
    /// The limit from the settings and from the process's limit of open files.
    ///
    /// # Errors
    /// [`SettingError`] if the limit of open files is too low.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        Self::for_file_limit(settings, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn for_file_limit(settings: &Settings, files: u64) -> Result<Self, SettingError> {
        let threads = settings.threads.get();
        let least = MIN_CONNECTIONS.max(threads as u64);
        let most = files.saturating_sub(RESERVED_FILES);
        let too_low = |needed: u64| SettingError::Invalid {
            reason: format!(
                "the limit of open files is {files}, and a worker needs {needed} here: \
                 {RESERVED_FILES} for itself and one for each connection; raise it with ulimit -n \
                 or LimitNOFILE=, or lower --max-connections"
            ),
        };
        let total = match settings.max_connections {
            None if most < least => return Err(too_low(RESERVED_FILES + least)),
            None => most.min(MAX_DEFAULT_CONNECTIONS),
            Some(limit) if limit.get() < threads => {
                let reason = format!(
                    "--max-connections is {limit} and --threads is {threads}: each thread needs a \
                     connection"
                );
                return Err(SettingError::Invalid { reason });
            }
            Some(limit) if limit.get() as u64 > most => {
                return Err(too_low(RESERVED_FILES + limit.get() as u64));
            }
            Some(limit) => limit.get() as u64,
        };
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        Ok(Self {
            per_thread: total / threads,
            keep_alive_limit: total - total / 4,
            open: Arc::default(),
        })
    }

    /// The `on_connect` callback of a server, which counts its connections.
    pub(crate) fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
        let open = Arc::clone(&self.open);
        move |_, extensions| {
            open.fetch_add(1, Ordering::Relaxed);
            extensions.insert(Arc::new(OpenConnection(Arc::clone(&open))));
        }
    }

    /// Whether a response must close its connection.
    ///
    /// actix-web has no deadline for the head of the second request on a connection, so a client
    /// can keep a connection open after a complete request. This limit keeps clients from holding
    /// all connections that way.
    pub(crate) fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.keep_alive_limit
    }
}

/// Counts a connection until it is closed.
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn limit(arguments: &[&str], files: u64) -> Result<usize, String> {
        let settings = settings(arguments).unwrap();
        Connections::for_file_limit(&settings, files)
            .map(|connections| connections.per_thread)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn s25_connections_stay_below_the_limit_of_open_files() {
        assert_eq!(limit(&[], 1024), Ok(896));
        assert_eq!(limit(&["--threads", "4"], 1024), Ok(224));
        assert_eq!(limit(&[], u64::MAX), Ok(25_600));
        assert_eq!(limit(&["--max-connections", "100"], 1024), Ok(100));
        assert_eq!(limit(&["--max-connections", "30000"], u64::MAX), Ok(30_000));
        assert_eq!(limit(&[], 144), Ok(16));
    }

    #[test]
    fn s25_too_low_limit_of_open_files_is_refused() {
        for (arguments, files, part) in [
            (&[][..], 143, "the limit of open files is 143, and a worker needs 144 here"),
            (
                &["--max-connections", "900"],
                1024,
                "the limit of open files is 1024, and a worker needs 1028 here",
            ),
            (&["--threads", "20"], 144, "and a worker needs 148 here"),
            (
                &["--max-connections", "2", "--threads", "4"],
                1024,
                "--max-connections is 2 and --threads is 4",
            ),
        ] {
            let refusal = limit(arguments, files).unwrap_err();
            assert!(refusal.contains(part), "{arguments:?} with {files}: {refusal}");
        }
    }
}
