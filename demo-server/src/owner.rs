//! The owner of the sessions: a thread of the primary, or the process of the command `owner`.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use session_core::MemoryStore;
use store_ipc::{Owner, OwnerHandle};

use crate::{
    error::AppError,
    runtime,
    settings::{SettingError, Settings, Store},
};

/// Time between two purges of expired sessions. A session ends at its deadline; a purge only frees
/// its memory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Starts a thread that owns sessions in memory. With a `predecessor` the owner takes over its
/// sessions when the predecessor hands them over. Otherwise it starts without sessions.
pub(crate) fn spawn(
    settings: &Settings,
    predecessor: Option<OwnedFd>,
) -> Result<OwnerHandle, AppError> {
    let store = MemoryStore::builder()
        .max_sessions(settings.max_sessions.get())
        .max_bytes(settings.max_bytes.get())
        .build();
    let owner = Owner::memory(Arc::new(store)).sweep(SWEEP_INTERVAL);
    match predecessor {
        Some(stream) => Ok(owner.build_successor(stream.into())?),
        None => Ok(owner
            .build()
            .map_err(|error| SettingError::Invalid { reason: error.to_string() })?
            .spawn_thread()?),
    }
}

/// Runs the command `owner`: owns sessions for all servers that use the same socket, until the
/// process receives a stop signal.
pub(crate) fn run(settings: &Settings) -> Result<(), AppError> {
    let Store::Url(url) = &settings.store else {
        let reason = "the command owner needs the path of its socket: \
                      demo-server owner --store-url ipc:/run/demo.sock";
        return Err(SettingError::Invalid { reason: reason.to_owned() }.into());
    };
    let path = socket_path(url)?;
    let handle = spawn(settings, None)?;
    handle.listen(&path)?;
    // The owner also works if standard output is closed or full.
    let _ = writeln!(io::stdout(), "owner listening on {}", path.display());
    runtime::wait_for_stop_signal()?;
    handle.shutdown();
    Ok(())
}

fn socket_path(url: &str) -> Result<PathBuf, AppError> {
    let config = store_ipc::Config::from_url(url)
        .map_err(|error| SettingError::Invalid { reason: error.to_string() })?;
    Ok(config.path().to_owned())
}
