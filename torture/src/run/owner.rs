//! The process that owns the sessions of an `ipc:` store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::getppid;
use serde::{Deserialize, Serialize};
use session_core::{MemoryStore, SessionStore};
use store_ipc::Owner;

use super::{BuggyStore, PlantedBug, error::BoxError};

/// The interval at which expired sessions are purged.
const SWEEP: Duration = Duration::from_millis(500);
/// The interval at which the owner checks that the run still exists.
const CHECK_PARENT_EVERY: Duration = Duration::from_millis(200);

/// The settings of an owner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerSettings {
    /// The path of the socket.
    pub path: PathBuf,
    /// The bug to plant.
    pub plant: Option<PlantedBug>,
}

/// Serves sessions in memory until the process that started this one has ended.
///
/// # Errors
/// If the owner cannot listen at the path.
pub fn run_owner(settings: &OwnerSettings) -> Result<(), BoxError> {
    let parent = getppid();
    let memory: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let store =
        settings.plant.map_or(memory.clone(), |plant| Arc::new(BuggyStore::new(memory, plant)));
    let owner = Owner::builder(store).sweep(SWEEP).build()?.spawn_thread()?;
    owner.listen(&settings.path)?;
    while getppid() == parent {
        std::thread::sleep(CHECK_PARENT_EVERY);
    }
    Ok(())
}
