//! The parts of one cluster: its shared state, its slots, its operator endpoints.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    net::UnixListener,
    sync::{Mutex, mpsc},
};

use super::{
    commands::{SlotCommand, SlotRegistry, SlotStart},
    endpoints::OperatorEndpoints,
    events::ServiceStep,
    shared::Shared,
};
use crate::{
    builder::ClusterBuilder,
    error::StartError,
    model::Slot,
    os::{fds::ExclusiveFiles, listener::Listener},
};

/// One cluster, as its operations see it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) shared: Arc<Shared>,
    pub(super) slots: SlotRegistry,
    pub(super) endpoints: OperatorEndpoints,
    /// Held by the operation that changes the slots or their program, so that there is one at a
    /// time.
    pub(super) changing: Mutex<()>,
    /// Held while a successor exists that has not taken over. The cluster does not end meanwhile.
    pub(super) succeeding: Mutex<()>,
}

/// What the first tasks of a cluster need.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) slot_starts: mpsc::UnboundedReceiver<SlotStart>,
    pub(super) control: Option<UnixListener>,
    pub(super) service_steps: mpsc::UnboundedReceiver<ServiceStep>,
}

impl Cluster {
    /// Claims the files of the operators and opens the ports. `files` are those of the predecessor
    /// if there is one; then this primary is not in charge yet.
    pub(super) fn open(
        config: ClusterBuilder,
        listeners: BTreeMap<String, Listener>,
        files: Option<ExclusiveFiles>,
    ) -> Result<(Self, Startup), StartError> {
        let greeting = config.greeting()?;
        let in_charge = files.is_none();
        let (endpoints, control) =
            OperatorEndpoints::claim(&config.operator, files.unwrap_or_default())?;
        let (shared, service_steps) = Shared::open(config, greeting, listeners, in_charge)?;
        let (slots, slot_starts) = SlotRegistry::new();
        let cluster = Self {
            shared: Arc::new(shared),
            slots,
            endpoints,
            changing: Mutex::default(),
            succeeding: Mutex::default(),
        };
        Ok((cluster, Startup { slot_starts, control, service_steps }))
    }

    /// Requests a task for a slot. `first` is its first command; without one it starts a worker.
    pub(super) fn start_slot(&self, slot: Slot, first: Option<SlotCommand>) {
        if !self.slots.start(slot, first) {
            self.slot_ended(slot);
        }
    }

    /// The task of a slot has ended.
    pub(super) fn slot_ended(&self, slot: Slot) {
        self.slots.remove(slot);
        self.shared.changed.send_replace(());
    }

    /// Waits until the slot has no task, or the cluster has ended.
    pub(super) async fn wait_slot_ended(&self, slot: Slot) {
        let mut changed = self.shared.changed.subscribe();
        while self.slots.has_task(slot) && self.shared.lifecycle.outcome().is_none() {
            // Cannot fail: the sender lives in `shared`.
            let _ = changed.changed().await;
        }
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster without ports and workers.
    pub(super) fn for_test() -> Arc<Self> {
        use crate::os::executable::Executable;
        let config = ClusterBuilder::new(Executable::of_this_process().unwrap(), None);
        Arc::new(Self::open(config, BTreeMap::new(), None).unwrap().0)
    }
}
