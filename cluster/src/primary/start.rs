//! Starts a cluster: opens its endpoints, and starts its workers and its tasks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};

use super::{
    admin,
    cluster::{Cluster, Startup},
    commands::{SlotCommand, SlotStart},
    handle::ClusterHandle,
    ops::{recycle, take_over},
    shared::Shared,
    signals::SignalHandlers,
    slot::{self, InitialState},
    spawn::{SpawnedWorker, spawn},
    supervisor::{Placement, WorkerSupervisor},
};
use crate::{builder::ClusterBuilder, error::StartError, model::Slot, os::orphans::OrphanReaper};

impl ClusterBuilder {
    /// Opens the ports, starts one worker per slot, and supervises the workers on tasks of the
    /// current tokio runtime.
    ///
    /// Returns when the processes are started; [`ClusterHandle::ready`] waits until they are ready.
    /// Messages that are sent before that are queued. From here on `SIGTERM` and `SIGQUIT` stop the
    /// cluster gracefully, the first `SIGINT` fast and the second at once. `SIGHUP`
    /// [reloads](ClusterHandle::reload). `SIGTTIN` adds one slot, `SIGTTOU` removes one. `SIGUSR2`
    /// [replaces the primary](ClusterHandle::upgrade) itself. `SIGUSR1` is logged and otherwise
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what to change. Workers that were started before the error are killed
    /// and reaped, and ports are closed. The signal handlers stay, because a process cannot remove
    /// them: after an error the signals above have no effect, so let the process end.
    pub async fn start(self) -> Result<ClusterHandle, StartError> {
        self.check()?;
        start(self).await
    }
}

async fn start(mut config: ClusterBuilder) -> Result<ClusterHandle, StartError> {
    let signals = SignalHandlers::install().map_err(StartError::Signals)?;
    let orphan_reaper = OrphanReaper::for_process_one().map_err(StartError::Signals)?;
    let slots = config.slots();
    let (predecessor, listeners, files) = match config.predecessor.take() {
        Some(inherited) => (Some(inherited.connection), inherited.listeners, Some(inherited.files)),
        None => (None, BTreeMap::new(), None),
    };
    let (cluster, startup) = Cluster::open(config, listeners, files)?;
    let cluster = Arc::new(cluster);
    let workers = spawn_all(&cluster.shared, slots).await?;

    let Startup { slot_starts, control, service_steps } = startup;
    let mut supervisors = SlotSupervisors::new(Arc::clone(&cluster));
    for spawned in workers {
        // Here and not in the task: then a caller with the handle finds the workers, and messages
        // to them are queued.
        let worker = WorkerSupervisor::start(spawned, Placement::Current, &cluster.shared);
        let slot = worker.slot;
        let commands = cluster.slots.register(slot);
        supervisors.add(slot, commands, InitialState::Running(Box::new(worker)));
    }
    tokio::spawn(signals.run(Arc::clone(&cluster)));
    let shared = Arc::clone(&cluster.shared);
    tokio::spawn(async move { shared.close_ports_after_the_lead().await });
    if let Some(orphan_reaper) = orphan_reaper {
        let shared = Arc::clone(&cluster.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = orphan_reaper.run(|| shared.worker_pids()) => {}
                () = shared.lifecycle.ended() => {}
            }
        });
    }
    admin::open(&cluster, control, service_steps);
    tokio::spawn(supervisors.run(slot_starts));
    recycle::start(&cluster);
    if let Some(predecessor) = predecessor {
        let predecessor = take_over::connect(predecessor).map_err(StartError::Predecessor)?;
        tokio::spawn(take_over::take_over(predecessor, Arc::clone(&cluster)));
    }
    Ok(ClusterHandle::new(cluster))
}

/// Starts one worker for each slot. If one fails, ends the others.
async fn spawn_all(shared: &Shared, slots: usize) -> Result<Vec<SpawnedWorker>, StartError> {
    let executable = shared.executable();
    let mut workers = Vec::with_capacity(slots);
    for slot in (0..slots).map(Slot::new) {
        match spawn(shared, slot, &executable) {
            Ok(worker) => workers.push(worker),
            Err(e) => {
                for worker in workers {
                    worker.discard().await;
                }
                return Err(StartError::Spawn(e));
            }
        }
    }
    Ok(workers)
}

/// The tasks of all slots.
struct SlotSupervisors {
    tasks: JoinSet<()>,
    slots: HashMap<Id, Slot>,
    cluster: Arc<Cluster>,
}

impl SlotSupervisors {
    fn new(cluster: Arc<Cluster>) -> Self {
        Self { tasks: JoinSet::new(), slots: HashMap::new(), cluster }
    }

    fn add(
        &mut self,
        slot: Slot,
        commands: mpsc::UnboundedReceiver<SlotCommand>,
        initial: InitialState,
    ) {
        let shared = Arc::clone(&self.cluster.shared);
        let task = self.tasks.spawn(slot::run(slot, initial, commands, shared));
        self.slots.insert(task.id(), slot);
    }

    /// Adds the requested tasks until none is left. Then publishes the outcome of the cluster.
    async fn run(mut self, mut starts: mpsc::UnboundedReceiver<SlotStart>) {
        loop {
            tokio::select! {
                biased;
                Some(SlotStart { slot, first, commands }) = starts.recv() => {
                    let initial = first.map_or(InitialState::Empty, InitialState::Command);
                    self.add(slot, commands, initial);
                }
                Some(end) = self.tasks.join_next_with_id() => self.ended(end).await,
                else => break,
            }
            if self.tasks.is_empty() && starts.is_empty() {
                break;
            }
        }
        // A successor that has not taken over must not be left alone.
        let _succeeding = self.cluster.succeeding.lock().await;
        // Slots that are requested from now on are rejected.
        drop(starts);
        self.cluster.shared.conclude();
    }

    async fn ended(&mut self, end: Result<(Id, ()), JoinError>) {
        let task = end.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
        let Some(slot) = self.slots.remove(&task) else { return };
        if let Err(error) = end {
            tracing::error!(%slot, %error, "supervision of a slot failed; the slot is given up");
            slot::abandon(slot, &self.cluster.shared).await;
        }
        self.cluster.slot_ended(slot);
    }
}
