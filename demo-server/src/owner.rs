//! The process, or the thread, that owns the sessions.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use session_core::MemoryStore;
use store_ipc::{Owner, OwnerHandle};

use crate::{
    primary::until_stopped,
    problem::Problem,
    settings::{SettingError, Settings, Store},
};

/// How often expired sessions are purged. They are dead at their deadline; this only frees their
/// memory.
const SWEEP: Duration = Duration::from_secs(10);

/// Owns sessions in memory, on a thread of its own: those of the `predecessor`, once that one hands
/// them over, or new ones.
pub(crate) fn spawn(
    settings: &Settings,
    predecessor: Option<OwnedFd>,
) -> Result<OwnerHandle, Problem> {
    let store = MemoryStore::builder()
        .max_sessions(settings.max_sessions.get())
        .max_bytes(settings.max_bytes.get())
        .build();
    let owner = Owner::memory(Arc::new(store)).sweep(SWEEP);
    match predecessor {
        Some(stream) => Ok(owner.build_successor(stream.into())?),
        None => Ok(owner
            .build()
            .map_err(|why| SettingError::Together { why: why.to_string() })?
            .spawn_thread()?),
    }
}

/// Owns sessions for servers that name the same socket, until it is told to stop.
#[expect(
    clippy::print_stdout,
    reason = "what a command-line program says on standard output is its interface"
)]
pub(crate) fn run(settings: &Settings) -> Result<(), Problem> {
    let Store::Url(url) = &settings.store else {
        let why = "an owner needs to know where: demo-server owner --store-url ipc:/run/demo.sock";
        return Err(SettingError::Together { why: why.to_owned() }.into());
    };
    let path = path(url)?;
    let handle = spawn(settings, None)?;
    handle.listen(&path)?;
    println!("owner listening on {}", path.display());
    until_stopped()?;
    handle.shutdown();
    Ok(())
}

fn path(url: &str) -> Result<PathBuf, Problem> {
    let config = store_ipc::Config::from_url(url)
        .map_err(|why| SettingError::Together { why: why.to_string() })?;
    Ok(config.path().to_owned())
}
