use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::board::Board;
use super::feed::Feed;
use super::office::Office;
use super::slot::{First, Order};
use crate::call::Desk;
use crate::config::ClusterBuilder;
use crate::error::{RunError, StartError};
use crate::event::{Addresses, Event, Events};
use crate::held::Held;
use crate::id::{Slot, WorkerId};
use crate::image::Image;
use crate::line::Room;
use crate::listener::close_door;
use crate::status::{Ended, Phase, ShutdownReport};

pub(super) type Outcome = Result<ShutdownReport, RunError>;

/// What the tasks of a cluster share. Its locks are held for a few instructions, never over an
/// await, and one at a time.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: ClusterBuilder,
    pub(super) greeting: Vec<u8>,
    pub(super) addresses: Addresses,
    /// Only ever rises; everything that waits for the stop watches it.
    pub(super) phase: watch::Sender<Phase>,
    pub(super) outcome: watch::Sender<Option<Outcome>>,
    /// Woken by every change of the board.
    pub(super) changed: watch::Sender<()>,
    board: Mutex<Board>,
    sockets: Mutex<BTreeMap<String, TcpListener>>,
    feed: Mutex<Feed>,
    /// Where the requests of all workers go.
    pub(super) desk: Arc<Desk>,
    /// What bounds them, for each slot that there ever was.
    rooms: Mutex<BTreeMap<Slot, Room>>,
    stop: Mutex<Option<Stop>>,
    last_id: AtomicU64,
    /// What new slots run: the program of the last reload that succeeded.
    image: Mutex<Arc<Image>>,
    /// The way to the task of each slot.
    keepers: Mutex<BTreeMap<Slot, mpsc::UnboundedSender<Order>>>,
    recruits: mpsc::UnboundedSender<Recruit>,
    /// Of all tasks of the cluster, whoever calls for one.
    pub(super) runtime: Handle,
    /// Held by who changes the slots or what they run.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Held while there is a successor that has not taken over: the cluster does not end beside it.
    pub(super) succeeding: tokio::sync::Mutex<()>,
    /// Whether the ports are this primary's alone. Before it has taken over, another one serves
    /// them.
    in_charge: watch::Sender<bool>,
    successor: watch::Sender<Option<u32>>,
    pub(super) office: Office,
}

/// A slot that needs a task.
pub(super) struct Recruit {
    pub(super) slot: Slot,
    pub(super) first: First,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
}

/// A stop under way.
#[derive(Debug)]
struct Stop {
    since: Instant,
    ended: Vec<Ended>,
}

impl Core {
    /// Opens the ports, or takes over those that the predecessor left. The second part of what is
    /// returned hears of the slots that need a task.
    pub(super) fn open(
        config: ClusterBuilder,
        mut left: BTreeMap<String, TcpListener>,
        held: Option<Held>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Recruit>), StartError> {
        let greeting = config.greeting()?;
        let image = Arc::clone(&config.image);
        let in_charge = held.is_none();
        let office = Office::claim(&config.operation, held.unwrap_or_default())?;
        let mut sockets = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (name, spec) in &config.listen {
            let socket = spec.open(name, &mut left)?;
            let address = socket.local_addr().map_err(|source| StartError::Listen {
                name: name.clone(),
                address: format!("{spec:?}"),
                source,
            })?;
            addresses.insert(name.clone(), address);
            sockets.insert(name.clone(), socket);
        }
        let (recruits, recruited) = mpsc::unbounded_channel();
        let core = Self {
            board: Mutex::new(Board::new(config.slots())),
            in_charge: watch::Sender::new(in_charge),
            successor: watch::Sender::new(None),
            config,
            greeting,
            addresses,
            phase: watch::Sender::new(Phase::Running),
            outcome: watch::Sender::new(None),
            changed: watch::Sender::new(()),
            sockets: Mutex::new(sockets),
            feed: Mutex::new(Feed::new()),
            desk: Arc::default(),
            rooms: Mutex::default(),
            stop: Mutex::new(None),
            last_id: AtomicU64::new(0),
            image: Mutex::new(image),
            keepers: Mutex::default(),
            recruits,
            runtime: Handle::current(),
            changing: tokio::sync::Mutex::default(),
            succeeding: tokio::sync::Mutex::default(),
            office,
        };
        Ok((core, recruited))
    }

    pub(super) fn next_id(&self) -> WorkerId {
        WorkerId::new(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The room that all workers of a slot have for requests.
    pub(super) fn room(&self, slot: Slot) -> Room {
        lock(&self.rooms).entry(slot).or_default().clone()
    }

    /// Copies of the shared sockets for one worker.
    pub(super) fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        lock(&self.sockets)
            .iter()
            .map(|(name, socket)| Ok((name.clone(), socket.try_clone()?.into())))
            .collect()
    }

    pub(super) fn image(&self) -> Arc<Image> {
        Arc::clone(&lock(&self.image))
    }

    pub(super) fn set_image(&self, image: Arc<Image>) {
        *lock(&self.image) = image;
    }

    /// Makes the way to the task of a slot that has none.
    pub(super) fn way_to(&self, slot: Slot) -> mpsc::UnboundedReceiver<Order> {
        let (way, orders) = mpsc::unbounded_channel();
        lock(&self.keepers).insert(slot, way);
        orders
    }

    /// Whether the slot has a task, which may be at its end.
    pub(super) fn is_kept(&self, slot: Slot) -> bool {
        lock(&self.keepers).contains_key(&slot)
    }

    /// The task of a slot has ended, and nothing of it is left.
    pub(super) fn forget(&self, slot: Slot) {
        lock(&self.keepers).remove(&slot);
        self.changed.send_replace(());
    }

    /// Tells the task of a slot what to do. Whether it does shows by its answer: it may be at its
    /// end. Gives the order back if there is no task.
    pub(super) fn order(&self, slot: Slot, order: Order) -> Result<(), Order> {
        match lock(&self.keepers).get(&slot) {
            // Dropped if it is at its end, and then nobody answers.
            Some(way) => drop(way.send(order)),
            None => return Err(order),
        }
        Ok(())
    }

    /// Waits until the slot has no task, or the cluster has ended.
    pub(super) async fn unkept(&self, slot: Slot) {
        let mut changed = self.changed.subscribe();
        while self.is_kept(slot) && self.outcome.borrow().is_none() {
            // The sender lives here.
            let _ = changed.changed().await;
        }
    }

    /// Whether nothing is started any more.
    pub(super) fn ends(&self) -> bool {
        *self.phase.borrow() > Phase::Running || self.outcome.borrow().is_some()
    }

    /// Waits until nothing is started any more.
    pub(super) async fn stopping(&self) {
        let (mut phase, ended) = (self.phase.subscribe(), self.ended());
        tokio::select! {
            // The sender lives here.
            _ = phase.wait_for(|phase| *phase > Phase::Running) => {}
            () = ended => {}
        }
    }

    /// Waits for the outcome.
    pub(super) async fn ended(&self) {
        // The sender lives here.
        let _ = self.outcome.subscribe().wait_for(Option::is_some).await;
    }

    /// Asks for a task for a slot. From here on it can be given orders. After the end of the
    /// cluster nobody hears it.
    pub(super) fn recruit(&self, slot: Slot, first: First) {
        let orders = self.way_to(slot);
        if self.recruits.send(Recruit { slot, first, orders }).is_err() {
            self.forget(slot);
        }
    }

    /// Looks at the board.
    pub(super) fn see<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&lock(&self.board))
    }

    /// Changes the board and wakes who waits for it.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        let result = change(&mut lock(&self.board));
        self.changed.send_replace(());
        result
    }

    pub(super) fn emit(&self, event: Event) {
        self.office.hear(&event);
        lock(&self.feed).emit(event);
    }

    pub(super) fn events(&self) -> Events {
        lock(&self.feed).reader()
    }

    /// Raises the phase. With the first stop no further connection is let in, and the primary lets
    /// go of its ports, so that the last worker closes them.
    pub(super) fn stop(&self, phase: Phase) {
        let mut stop = lock(&self.stop);
        // After the first one the ports are another primary's, or their doors are closed.
        let is_first = stop.is_none();
        if is_first {
            *stop = Some(Stop { since: Instant::now(), ended: Vec::new() });
        }
        drop(stop);
        // Else another primary serves the ports, and lets in whom it likes.
        if is_first && self.is_in_charge() {
            self.close_doors();
        }
        self.raise(phase);
    }

    fn close_doors(&self) {
        for (name, socket) in std::mem::take(&mut *lock(&self.sockets)) {
            if let Err(e) = close_door(&socket) {
                tracing::warn!(listener = name, error = %e, "connections that come during the stop may be reset");
            }
        }
    }

    /// Leaves the ports to a successor, and lets the workers leave. Does nothing, and returns
    /// `false`, if the cluster stops already.
    pub(super) fn hand_over(&self, successor: u32) -> bool {
        let mut stop = lock(&self.stop);
        if stop.is_some() {
            return false;
        }
        *stop = Some(Stop { since: Instant::now(), ended: Vec::new() });
        drop(stop);
        self.successor.send_replace(Some(successor));
        lock(&self.sockets).clear();
        self.raise(Phase::HandedOver);
        true
    }

    fn raise(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let rises = phase > *current;
            *current = phase.max(*current);
            rises
        });
    }

    /// The primary that has taken over, if that is why this one stops.
    pub(super) fn successor(&self) -> Option<u32> {
        *self.successor.borrow()
    }

    pub(super) fn is_in_charge(&self) -> bool {
        *self.in_charge.borrow()
    }

    /// Waits until the ports are this primary's alone; `false` if the cluster ends before.
    pub(super) async fn charged(&self) -> bool {
        let mut in_charge = self.in_charge.subscribe();
        tokio::select! {
            // The sender lives here.
            _ = in_charge.wait_for(|in_charge| *in_charge) => true,
            () = self.ended() => false,
        }
    }

    /// Waits until another primary has taken over. Never, if none does.
    pub(super) async fn handed_over(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
        if self.successor().is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// From now on the ports are this primary's alone.
    pub(super) fn take_charge(&self) {
        self.office.take_charge();
        self.in_charge.send_replace(true);
        if self.ends() {
            // It was told to stop before they were its.
            self.close_doors();
        }
        self.emit(Event::TookOver);
    }

    /// Records the end of a worker for the report, if the cluster stops.
    pub(super) fn report(&self, ended: Ended) {
        if let Some(stop) = &mut *lock(&self.stop) {
            stop.ended.push(ended);
        }
    }

    /// All slots have ended: publishes the outcome and ends the event stream.
    pub(super) fn conclude(&self) {
        lock(&self.sockets).clear();
        let stop = lock(&self.stop).take();
        let outcome = match stop {
            Some(stop) => Ok(ShutdownReport {
                workers: stop.ended,
                took: stop.since.elapsed(),
                successor: self.successor(),
            }),
            None => Err(self.see(Board::why_empty)),
        };
        lock(&self.feed).end();
        self.desk.close();
        self.outcome.send_replace(Some(outcome));
        self.changed.send_replace(());
    }
}

/// The data behind these locks is whole after every instruction, so a panic elsewhere does not
/// spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
