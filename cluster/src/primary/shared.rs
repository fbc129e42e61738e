//! The state that all tasks of a cluster share.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use super::{
    events::{EventPublisher, ServiceStep},
    lifecycle::Lifecycle,
    table::WorkerTable,
};
use crate::{
    builder::ClusterBuilder,
    error::{RunError, StartError},
    event::{Event, Events},
    lock::lock,
    model::{Addresses, Ended, Phase, Slot, WorkerId},
    os::{executable::Executable, listener::Listener},
    wire::rpc::{ByteBudget, RequestQueue},
};

/// The state that all tasks of a cluster share.
///
/// Its locks are held for a few instructions, never across an await, and one at a time.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ClusterBuilder,
    /// The first frame for every worker.
    pub(super) greeting: Vec<u8>,
    pub(super) addresses: Addresses,
    pub(super) lifecycle: Lifecycle,
    /// Notified by every change of the table.
    pub(super) changed: watch::Sender<()>,
    table: Mutex<WorkerTable>,
    listeners: Mutex<BTreeMap<String, Listener>>,
    events: Mutex<EventPublisher>,
    /// The requests of all workers.
    pub(super) requests: Arc<RequestQueue>,
    /// The byte budget for requests of each slot that ever existed.
    budgets: Mutex<BTreeMap<Slot, ByteBudget>>,
    last_id: AtomicU64,
    /// What new slots run: the program of the last successful reload.
    executable: Mutex<Arc<Executable>>,
    /// The runtime of all tasks of the cluster.
    pub(super) runtime: Handle,
}

impl Shared {
    /// Opens the ports, or takes them from `inherited`. The second value receives the steps for the
    /// service manager.
    pub(super) fn open(
        config: ClusterBuilder,
        greeting: Vec<u8>,
        mut inherited: BTreeMap<String, Listener>,
        in_charge: bool,
    ) -> Result<(Self, mpsc::UnboundedReceiver<ServiceStep>), StartError> {
        let mut listeners = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (name, spec) in &config.listen {
            let listener = spec.open(name, &mut inherited)?;
            let address = listener.address().map_err(|source| StartError::Listen {
                name: name.clone(),
                address: format!("{spec:?}"),
                source,
            })?;
            addresses.insert(name.clone(), address);
            listeners.insert(name.clone(), listener);
        }
        let (events, service_steps) = EventPublisher::new();
        let shared = Self {
            table: Mutex::new(WorkerTable::new(config.slots())),
            executable: Mutex::new(Arc::clone(&config.executable)),
            config,
            greeting,
            addresses,
            lifecycle: Lifecycle::new(in_charge),
            changed: watch::Sender::new(()),
            listeners: Mutex::new(listeners),
            events: Mutex::new(events),
            requests: Arc::default(),
            budgets: Mutex::default(),
            last_id: AtomicU64::new(0),
            runtime: Handle::current(),
        };
        Ok((shared, service_steps))
    }

    pub(super) fn next_id(&self) -> WorkerId {
        WorkerId::new(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The byte budget for the requests of all workers of a slot.
    pub(super) fn request_budget(&self, slot: Slot) -> ByteBudget {
        lock(&self.budgets).entry(slot).or_default().clone()
    }

    /// Copies of the shared sockets for one child process.
    pub(super) fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        lock(&self.listeners)
            .iter()
            .map(|(name, listener)| Ok((name.clone(), listener.copy()?)))
            .collect()
    }

    /// Runs `read` with the listeners.
    pub(super) fn with_listeners<T>(
        &self,
        read: impl FnOnce(&BTreeMap<String, Listener>) -> T,
    ) -> T {
        read(&lock(&self.listeners))
    }

    pub(super) fn executable(&self) -> Arc<Executable> {
        Arc::clone(&lock(&self.executable))
    }

    pub(super) fn set_executable(&self, executable: Arc<Executable>) {
        *lock(&self.executable) = executable;
    }

    /// Reads the table.
    pub(super) fn read<T>(&self, read: impl FnOnce(&WorkerTable) -> T) -> T {
        read(&lock(&self.table))
    }

    /// Changes the table and notifies the tasks that wait for a change.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut WorkerTable) -> T) -> T {
        let result = change(&mut lock(&self.table));
        self.changed.send_replace(());
        result
    }

    /// The process ids of the live workers.
    pub(super) fn worker_pids(&self) -> HashSet<i32> {
        self.read(|table| {
            table.live().values().filter_map(|entry| entry.pid.try_into().ok()).collect()
        })
    }

    pub(super) fn emit(&self, event: Event) {
        lock(&self.events).emit(event);
    }

    pub(super) fn events(&self) -> Events {
        lock(&self.events).reader()
    }

    /// Tells the service manager that `successor` is in charge. The receiver resolves when that was
    /// sent. Without a service manager it fails.
    pub(super) fn announce_handover(&self, successor: u32) -> oneshot::Receiver<()> {
        let (sender, sent) = oneshot::channel();
        lock(&self.events).tell_service_manager(ServiceStep::HandedOver(successor, sender));
        sent
    }

    /// Waits until every slot serves or was given up and at least one serves, or until the cluster
    /// has ended. Fails if all slots were given up.
    pub(super) async fn ready(&self) -> Result<(), RunError> {
        let mut changed = self.changed.subscribe();
        let mut outcome = self.lifecycle.watch_outcome();
        loop {
            changed.borrow_and_update();
            if self.read(WorkerTable::is_settled) {
                return Ok(());
            }
            tokio::select! {
                _ = changed.changed() => {}
                ended = outcome.wait_for(Option::is_some) => {
                    return match ended.as_deref() {
                        Ok(Some(Err(e))) => Err(e.clone()),
                        _ => Ok(()),
                    };
                }
            }
        }
    }

    /// Raises the phase of the cluster. A stop without a lead closes the ports before that.
    pub(super) fn stop(&self, phase: Phase) {
        self.lifecycle.begin_stop();
        if phase > Phase::Stopping || self.config.drain.lead.is_zero() {
            self.close_ports();
        }
        self.lifecycle.raise(phase);
    }

    /// Waits for a graceful stop, and closes the ports when its lead has passed.
    pub(super) async fn close_ports_after_the_lead(&self) {
        self.lifecycle.stopping().await;
        tokio::select! {
            () = tokio::time::sleep(self.config.drain.lead) => self.close_ports(),
            // A fast stop closes them at once.
            () = self.lifecycle.ended() => {}
        }
    }

    /// Closes the ports to new connections and drops the sockets of the primary, so that the last
    /// worker closes them. If another primary is in charge, it decides about the ports.
    fn close_ports(&self) {
        if self.lifecycle.is_in_charge() {
            self.reject_new_connections();
        }
    }

    fn reject_new_connections(&self) {
        for (name, listener) in std::mem::take(&mut *lock(&self.listeners)) {
            if let Err(error) = listener.reject_new_connections() {
                tracing::warn!(
                    listener = name,
                    %error,
                    "cannot close a port to new connections; the stop may reset some"
                );
            }
        }
    }

    /// Leaves the ports to a successor and lets the workers drain. Does nothing and returns `false`
    /// if the cluster already stops.
    pub(super) fn hand_over(&self, successor: u32) -> bool {
        if !self.lifecycle.begin_handover(successor) {
            return false;
        }
        for mut listener in std::mem::take(&mut *lock(&self.listeners)).into_values() {
            listener.leave_to_successor();
        }
        self.lifecycle.raise(Phase::HandedOver);
        true
    }

    /// Makes the ports belong to this primary alone.
    pub(super) fn take_charge(&self) {
        self.lifecycle.take_charge();
        for (name, listener) in &mut *lock(&self.listeners) {
            if let Err(error) = listener.take_charge() {
                tracing::error!(
                    listener = name,
                    %error,
                    "cannot write the process id into the lock file of a socket; its lock is held"
                );
            }
        }
        if self.lifecycle.is_stopping() {
            // The stop began before this primary was in charge, so the ports are still open.
            self.reject_new_connections();
        }
        self.emit(Event::TookOver);
    }

    /// Records the end of a worker.
    pub(super) fn record_end(&self, ended: Ended) {
        self.lifecycle.record_end(ended);
        self.update(|table| table.remove(ended));
    }

    /// All slots have ended: publishes the outcome and ends all streams.
    pub(super) fn conclude(&self) {
        lock(&self.listeners).clear();
        let outcome = self.lifecycle.conclude(|| self.read(WorkerTable::run_error));
        lock(&self.events).end();
        self.requests.close();
        self.lifecycle.publish(outcome);
        self.changed.send_replace(());
    }
}

#[cfg(test)]
impl Shared {
    /// The state of a cluster without ports.
    pub(super) fn for_test() -> Arc<Self> {
        let config = ClusterBuilder::new(Executable::of_this_process().unwrap(), None);
        Arc::new(Self::open(config, Vec::new(), BTreeMap::new(), true).unwrap().0)
    }
}
