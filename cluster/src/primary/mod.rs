//! The primary's side. One task per slot keeps it filled (`slot`), and runs one worker at a time
//! from birth to reaping (`life`), or two while one follows the other; `change` is how what they
//! run and how many there are becomes another; `core` is what they share; `handle` is what the user
//! holds.

mod board;
mod change;
mod control;
mod core;
mod feed;
mod handle;
mod life;
mod office;
mod reader;
mod recycling;
mod requests;
mod service;
mod signals;
mod silence;
mod slot;
mod spawn;
mod strangers;
mod successor;
mod take_over;
mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

use crate::config::ClusterBuilder;
use crate::error::StartError;
use crate::id::Slot;

use self::core::{Core, Recruit};
pub use self::handle::{ClusterHandle, Shutdown, Target};
use self::life::Life;
use self::signals::Signals;
use self::slot::{First, Order};
use self::spawn::Newborn;
use self::strangers::Strangers;

pub(crate) async fn start(mut config: ClusterBuilder) -> Result<ClusterHandle, StartError> {
    let signals = Signals::install().map_err(StartError::Signals)?;
    let strangers = Strangers::expect().map_err(StartError::Signals)?;
    let slots = config.slots();
    let predecessor = config.predecessor.take();
    let (link, listeners, held) = match predecessor {
        Some(left) => (Some(left.link), left.listeners, Some(left.held)),
        None => (None, BTreeMap::new(), None),
    };
    let (core, recruits) = Core::open(config, listeners, held)?;
    let core = Arc::new(core);
    let first = spawn_all(&core, slots).await?;

    let mut keepers = Keepers::new(Arc::clone(&core));
    for newborn in first {
        // Here and not in the task: who holds the handle finds the workers, and messages to them
        // wait until they read.
        let life = Life::begin(newborn, true, &core);
        keepers.add(life.slot, core.way_to(life.slot), First::Lives(Box::new(life)));
    }
    tokio::spawn(signals.obey(Arc::clone(&core)));
    if let Some(strangers) = strangers {
        tokio::spawn(strangers.reap(Arc::clone(&core)));
    }
    office::open(&core);
    tokio::spawn(keepers.watch(recruits));
    recycling::start(&core);
    if let Some(link) = link {
        let link = take_over::open(link).map_err(StartError::Predecessor)?;
        tokio::spawn(take_over::take_over(link, Arc::clone(&core)));
    }
    Ok(ClusterHandle::new(core))
}

/// One worker for each slot, or none at all.
async fn spawn_all(core: &Core, slots: usize) -> Result<Vec<Newborn>, StartError> {
    let image = core.image();
    let mut born = Vec::with_capacity(slots);
    for slot in (0..slots).map(Slot::new) {
        match spawn::spawn(core, slot, &image) {
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

/// The tasks of the slots.
struct Keepers {
    tasks: JoinSet<()>,
    slots: HashMap<Id, Slot>,
    core: Arc<Core>,
}

impl Keepers {
    fn new(core: Arc<Core>) -> Self {
        Self { tasks: JoinSet::new(), slots: HashMap::new(), core }
    }

    fn add(&mut self, slot: Slot, orders: mpsc::UnboundedReceiver<Order>, first: First) {
        let task = self.tasks.spawn(slot::keep(slot, first, orders, Arc::clone(&self.core)));
        self.slots.insert(task.id(), slot);
    }

    /// Adds tasks as they are asked for, until none is left; then publishes the result.
    async fn watch(mut self, mut recruits: mpsc::UnboundedReceiver<Recruit>) {
        loop {
            tokio::select! {
                biased;
                Some(Recruit { slot, first, orders }) = recruits.recv() => self.add(slot, orders, first),
                Some(end) = self.tasks.join_next_with_id() => self.ended(end).await,
                else => break,
            }
            if self.tasks.is_empty() && recruits.is_empty() {
                break;
            }
        }
        // A successor that has not taken over shall not be left alone.
        let _none = self.core.succeeding.lock().await;
        // Who asks from now on is told that there is nobody.
        drop(recruits);
        self.core.conclude();
    }

    async fn ended(&mut self, end: Result<(Id, ()), JoinError>) {
        let task = end.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
        let Some(slot) = self.slots.remove(&task) else { return };
        if let Err(error) = end {
            tracing::error!(%slot, %error, "the supervision of a slot failed; the slot is given up");
            slot::abandon(slot, &self.core).await;
        }
        self.core.forget(slot);
    }
}
