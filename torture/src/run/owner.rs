//! A process that owns the sessions of `ipc:`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::getppid;
use serde::{Deserialize, Serialize};
use session_core::{MemoryStore, SessionStore};
use store_ipc::Owner;

use super::{BuggyStore, PlantedBug, error::BoxError};

/// How often expired sessions are purged.
const SWEEP: Duration = Duration::from_millis(500);
/// How often it is looked whether the run still lives.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What an owner has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerSettings {
    /// Where it listens.
    pub path: PathBuf,
    /// The mistake to plant.
    pub plant: Option<PlantedBug>,
}

/// Serves sessions in memory for as long as the process that started this one lives.
///
/// # Errors
/// If it cannot listen there.
pub fn run_owner(settings: &OwnerSettings) -> Result<(), BoxError> {
    let parent = getppid();
    let memory: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let store =
        settings.plant.map_or(memory.clone(), |plant| Arc::new(BuggyStore::new(memory, plant)));
    let owner = Owner::builder(store).sweep(SWEEP).build()?.spawn_thread()?;
    owner.listen(&settings.path)?;
    while getppid() == parent {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
