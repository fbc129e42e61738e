//! The primary's side. One task per slot keeps it filled (`slot`), and runs one worker at a time from birth to reaping
//! (`life`); `core` is what they share; `handle` is what the user holds.

mod board;
mod core;
mod feed;
mod handle;
mod life;
mod reader;
mod signals;
mod slot;
mod spawn;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};

use crate::config::ClusterBuilder;
use crate::error::StartError;
use crate::id::Slot;

use self::core::Core;
pub use self::handle::{ClusterHandle, Shutdown, Target};
use self::life::Life;
use self::signals::Signals;
use self::spawn::Newborn;

pub(crate) async fn start(config: ClusterBuilder) -> Result<ClusterHandle, StartError> {
    let signals = Signals::install().map_err(StartError::Signals)?;
    let slots = config.slots();
    let core = Arc::new(Core::open(config)?);
    let first = spawn_all(&core, slots).await?;

    let (mut keepers, mut slots) = (JoinSet::new(), HashMap::new());
    for newborn in first {
        // Here and not in the task: who holds the handle finds the workers, and messages to them wait until they read.
        let life = Life::begin(newborn, &core);
        let slot = life.slot;
        slots.insert(keepers.spawn(slot::keep(life, Arc::clone(&core))).id(), slot);
    }
    tokio::spawn(signals.obey(Arc::clone(&core)));
    tokio::spawn(conclude(keepers, slots, Arc::clone(&core)));
    Ok(ClusterHandle::new(core))
}

/// One worker for each slot, or none at all.
async fn spawn_all(core: &Core, slots: usize) -> Result<Vec<Newborn>, StartError> {
    let mut born = Vec::with_capacity(slots);
    for slot in (0..slots).map(Slot::new) {
        match spawn::spawn(core, slot) {
            Ok(newborn) => born.push(newborn),
            Err(e) => {
                for newborn in born {
                    newborn.discard().await;
                }
                return Err(StartError::Spawn(e));
            }
        }
    }
    Ok(born)
}

/// Waits for the end of all slots and publishes the result.
async fn conclude(mut keepers: JoinSet<()>, slots: HashMap<Id, Slot>, core: Arc<Core>) {
    while let Some(end) = keepers.join_next_with_id().await {
        if let Err(error) = end
            && let Some(&slot) = slots.get(&error.id())
        {
            tracing::error!(%slot, %error, "the supervision of a slot failed; the slot is given up");
            slot::abandon(slot, &core).await;
        }
    }
    core.conclude();
}
