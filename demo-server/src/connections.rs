//! How many connections a worker process serves at once.

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

/// Descriptors that a worker needs beside those of its connections: event loops, the listener, the
/// connection to the primary, the log, and the connections to the store.
const RESERVE: u64 = 128;

/// Fewer connections than this are not worth a worker.
const LEAST: u64 = 16;

/// The most connections without an explicit setting, so that a process without a limit of
/// descriptors does not run out of memory.
const MOST: u64 = 25_600;

/// The limit of connections of a worker process, and how many are open.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pub(crate) per_thread: usize,
    /// With more connections than this, none is kept after its response.
    roomy: usize,
    open: Arc<AtomicUsize>,
}

impl Connections {
    /// The limit that the settings and the process's limit of open files allow.
    ///
    /// # Errors
    /// [`SettingError`] if the limit of open files is too low.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        Self::within(settings, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn within(settings: &Settings, files: u64) -> Result<Self, SettingError> {
        let threads = settings.threads.get();
        let least = LEAST.max(threads as u64);
        let most = files.saturating_sub(RESERVE);
        let too_low = |needed: u64| SettingError::Together {
            why: format!(
                "the limit of open files is {files}, and a worker needs {needed} here: {RESERVE} for itself and one for each connection; raise it \
                 with ulimit -n or LimitNOFILE=, or lower --max-connections"
            ),
        };
        let total = match settings.max_connections {
            None if most < least => return Err(too_low(RESERVE + least)),
            None => most.min(MOST),
            Some(given) if given.get() < threads => {
                let why = format!(
                    "--max-connections is {given} and --threads is {threads}: each thread needs a connection"
                );
                return Err(SettingError::Together { why });
            }
            Some(given) if given.get() as u64 > most => {
                return Err(too_low(RESERVE + given.get() as u64));
            }
            Some(given) => given.get() as u64,
        };
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        Ok(Self { per_thread: total / threads, roomy: total - total / 4, open: Arc::default() })
    }

    /// Counts the connections of a server, for its `on_connect`.
    pub(crate) fn counting(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
        let open = Arc::clone(&self.open);
        move |_, of_connection| {
            open.fetch_add(1, Ordering::Relaxed);
            of_connection.insert(Arc::new(Open(Arc::clone(&open))));
        }
    }

    /// Whether connections are to be closed after their response.
    ///
    /// actix-web has no deadline for the head of the second request on a connection. So a client
    /// can hold a connection after a complete request. It must not be able to hold all of them.
    pub(crate) fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.roomy
    }
}

/// A connection, counted until it is closed.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
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
        Connections::within(&settings, files)
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
