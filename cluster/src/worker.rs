use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{self, Receiver, error::RecvError};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::boot::ended;
use crate::call::{Desk, Requests};
use crate::drain::{DrainOrder, DrainPolicy, DrainReason};
use crate::error::{BootError, Gone, RequestError, SendError};
use crate::frame::{self, PROTOCOL, ToPrimary, ToWorker};
use crate::id::{Slot, WorkerId};
use crate::line::{Ear, Line, Room, WhenFull};
use crate::message::{self, Message};
use crate::outbox::Outbox;
use crate::pulse::{Hearts, Pulse};

/// Unread messages kept for each reader.
const UNREAD: usize = 256;

/// How long a worker that was sent `SIGTERM` waits for an order before it gives itself one. A
/// service manager sends the signal to all processes of a unit: then the primary stops the cluster,
/// and its order lets workers empty the kernel's queue.
const PRIMARY_FIRST: Duration = Duration::from_millis(250);

/// A connected worker. Cloning is cheap; all clones are the same worker.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: WorkerId,
    slot: Slot,
    settings: Vec<u8>,
    outbox: Outbox,
    order: watch::Receiver<Option<DrainOrder>>,
    messages: broadcast::WeakSender<Message>,
    hearts: Arc<Hearts>,
    // The reader that saw every message since the greeting; the first caller gets it.
    first: Mutex<Option<Receiver<Message>>>,
    line: Arc<Line>,
    desk: Arc<Desk>,
}

impl Worker {
    pub(crate) async fn greet(
        id: WorkerId,
        slot: Slot,
        stream: UnixStream,
    ) -> Result<Self, BootError> {
        let (mut from_primary, to_primary) = stream.into_split();
        let terminate = signal(SignalKind::terminate()).map_err(BootError::Handshake)?;
        let outbox = Outbox::start(to_primary);
        let hello =
            encode(&ToPrimary::Hello { protocol: PROTOCOL }).map_err(BootError::Handshake)?;
        // A failure shows as the end of the stream below.
        let _ = outbox.insist(hello);
        let greeting = frame::read(&mut from_primary).await.map_err(BootError::Handshake)?;
        let (policy, settings, beat) = match greeting {
            Some(ToWorker::Hello { protocol: PROTOCOL, drain, settings, beat }) => {
                (drain, settings, beat)
            }
            Some(ToWorker::Hello { protocol, .. }) => {
                return Err(BootError::Protocol { ours: PROTOCOL, theirs: protocol });
            }
            Some(_) => {
                return Err(BootError::Handshake(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the first frame is no greeting",
                )));
            }
            None => return Err(BootError::Handshake(ended())),
        };

        let (orders, order) = watch::channel(None);
        let orders = Arc::new(orders);
        let (messages, first) = broadcast::channel(UNREAD);
        let weak = messages.downgrade();
        let line = Line::new(
            outbox.clone(),
            |talk| frame::encode(&ToPrimary::Talk(talk)),
            Room::default(),
        );
        let desk = Arc::default();
        let ear = Ear::new(&line, &desk, None);
        tokio::spawn(drain_on_terminate(terminate, outbox.clone(), Arc::clone(&orders), policy));
        tokio::spawn(read_frames(from_primary, orders, messages, ear, policy));
        let hearts = Arc::new(Hearts::default());
        if let Some(every) = beat {
            tokio::spawn(Arc::clone(&hearts).beat(every, outbox.clone()));
        }
        let first = Mutex::new(Some(first));
        Ok(Self(Arc::new(Inner {
            id,
            slot,
            settings,
            outbox,
            order,
            messages: weak,
            hearts,
            first,
            line,
            desk,
        })))
    }

    /// This worker's id.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// The slot that this worker fills.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.0.slot
    }

    /// The bytes that the primary gave to
    /// [`ClusterBuilder::settings`](crate::ClusterBuilder::settings); empty if none.
    #[must_use]
    pub fn settings(&self) -> &[u8] {
        &self.0.settings
    }

    /// Tells the primary that this worker serves. Without it the worker counts as failed after the
    /// readiness time.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the primary died; the drain order for that is on its way.
    pub async fn ready(&self) -> Result<(), Gone> {
        self.tell(&ToPrimary::Ready).await
    }

    /// Tells the primary that this worker accepts connections at `addr`; a note for its events,
    /// without effect otherwise.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the primary died.
    pub async fn listening(&self, name: &str, addr: SocketAddr) -> Result<(), Gone> {
        self.tell(&ToPrimary::Listening { name: name.to_owned(), addr }).await
    }

    /// Gives the event loop that runs this call a heartbeat, for as long as the pulse is kept. Call
    /// it once on each thread that serves, in the App factory of actix-web for example, and keep
    /// the pulse with what serves there.
    ///
    /// The worker beats only while all its loops run, so that one blocked thread of several is
    /// noticed; then the primary kills and replaces it, as
    /// [`HeartbeatPolicy`](crate::HeartbeatPolicy) says. The runtime that ran
    /// [`connect`](crate::WorkerBoot::connect) is one of the loops without a call: a program with
    /// one loop needs a pulse only to [count](Pulse::count) requests. A runtime of several threads
    /// beats as long as one of them is free.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "the heartbeat ends with the pulse"]
    pub fn pulse(&self) -> Pulse {
        self.0.hearts.pulse()
    }

    /// Waits until this worker shall leave: on an order of the primary, on `SIGTERM`, or when the
    /// primary died.
    ///
    /// Once ordered it resolves at once, for every clone. Another order may follow: see
    /// [`order_changed`](Self::order_changed). After `SIGTERM` it takes up to 250 ms, in which the
    /// worker serves on: if the whole cluster was sent the signal, the order of the primary is the
    /// one that fits. Cancel safe.
    pub async fn drain_requested(&self) -> DrainOrder {
        let mut order = self.0.order.clone();
        match order.wait_for(Option::is_some).await.map(|order| *order) {
            Ok(Some(order)) => order,
            // The tasks of the connection are gone with their runtime: as good as a dead primary.
            Ok(None) | Err(_) => DrainPolicy::default().order(DrainReason::PrimaryGone),
        }
    }

    /// Waits until another order than `known` is in force: a stop that follows a retirement, a
    /// second signal that hurries the stop, the death of the primary. It resolves at once if
    /// `known` is outdated already. Cancel safe.
    ///
    /// The newer order takes the place of the older one; its times count from its own arrival.
    pub async fn order_changed(&self, known: DrainOrder) -> DrainOrder {
        let mut order = self.0.order.clone();
        match order
            .wait_for(|order| order.is_some_and(|order| order != known))
            .await
            .map(|order| *order)
        {
            Ok(Some(order)) => order,
            // Nobody is left who could give another order.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The messages of the primary. The first reader sees all since the connection, later ones
    /// those from now on.
    #[must_use]
    pub fn messages(&self) -> Messages {
        let first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receiver = first.or_else(|| self.0.messages.upgrade().map(|sender| sender.subscribe()));
        // Without a sender the primary is gone, and a closed channel says so.
        Messages(receiver.unwrap_or_else(|| broadcast::channel(1).1))
    }

    /// Sends a message to the primary, in order, and waits until it is handed to the system.
    ///
    /// Cancel safe: a message is sent whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError::Gone`] when the primary died, [`SendError::TooLarge`] or [`SendError::Encode`]
    /// for the message itself.
    pub async fn send<T: Serialize + Sync + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        let message = message::encode(message)?;
        self.tell(&ToPrimary::Message(message)).await.map_err(|Gone| SendError::Gone)
    }

    /// Asks the primary, and waits for its reply. While the queue to it is full it waits for room,
    /// as [`send`](Self::send) does, within the same time; both arrive in order.
    ///
    /// Cancel safe: a request is sent whole or not at all, and its reply is dropped if nobody waits
    /// for it any more. The primary is not told.
    ///
    /// # Errors
    ///
    /// [`RequestError::Gone`] when the primary died, [`RequestError::Late`] after `within`.
    /// [`RequestError::NobodyListens`], [`RequestError::Busy`] and [`RequestError::NotAnswered`]
    /// come from the primary. The others are for the request or the reply itself;
    /// [`RequestError::Full`] never comes.
    pub async fn request<R: DeserializeOwned>(
        &self,
        request: &(impl Serialize + Sync + ?Sized),
        within: Duration,
    ) -> Result<R, RequestError> {
        self.0.line.ask(message::encode(request)?, within, WhenFull::Wait).await
    }

    /// The requests of the primary, in the order in which they came. It ends when the primary is
    /// gone.
    ///
    /// Take it before [`ready`](Self::ready), and no request that follows it is refused. There is
    /// one reader: a further call takes over, and the stream before it ends. While there is none,
    /// the primary is told [`RequestError::NobodyListens`].
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.0.desk.sit()
    }

    async fn tell(&self, frame: &ToPrimary) -> Result<(), Gone> {
        let bytes = encode(frame).map_err(|_| Gone)?;
        self.0.outbox.deliver(bytes).await.map_err(|_| Gone)
    }
}

/// Reads the messages of the primary in order. From [`Worker::messages`].
#[derive(Debug)]
pub struct Messages(Receiver<Message>);

impl Messages {
    /// Waits for the next message; `None` when the primary is gone and all were read.
    ///
    /// Up to 256 unread messages are kept for each reader. Cancel safe: no message is lost by
    /// dropping the future.
    ///
    /// # Errors
    ///
    /// [`Lagged`] counts the messages that are missing here because the reader was too slow;
    /// reading goes on after it.
    pub async fn next(&mut self) -> Option<Result<Message, Lagged>> {
        match self.0.recv().await {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(RecvError::Closed) => None,
        }
    }
}

/// So many messages are missing, because the reader was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages were dropped because they were not read in time")]
pub struct Lagged(pub u64);

/// The only reader of the control socket. It never waits for anything but the socket, so that an
/// order always comes through.
async fn read_frames(
    mut socket: OwnedReadHalf,
    orders: Arc<watch::Sender<Option<DrainOrder>>>,
    messages: broadcast::Sender<Message>,
    ear: Ear,
    policy: DrainPolicy,
) {
    loop {
        match frame::read(&mut socket).await {
            Ok(Some(ToWorker::Drain(order))) => drop(orders.send_replace(Some(order))),
            // Without a reader the message is of no interest to anyone.
            Ok(Some(ToWorker::Message(bytes))) => drop(messages.send(Message::from_bytes(bytes))),
            Ok(Some(ToWorker::Talk(talk))) => ear.hear(talk),
            Ok(Some(ToWorker::Hello { .. })) => {}
            Ok(None) | Err(_) => break,
        }
    }
    orders.send_replace(Some(policy.order(DrainReason::PrimaryGone)));
}

async fn drain_on_terminate(
    mut terminate: Signal,
    outbox: Outbox,
    orders: Arc<watch::Sender<Option<DrainOrder>>>,
    policy: DrainPolicy,
) {
    let mut order = orders.subscribe();
    while terminate.recv().await.is_some() {
        if let Ok(frame) = encode(&ToPrimary::Draining) {
            let _ = outbox.insist(frame);
        }
        let wait = PRIMARY_FIRST.min(policy.deadline / 4);
        if timeout(wait, order.wait_for(Option::is_some)).await.is_err() {
            // The primary counts from the report above.
            let own =
                policy.order(DrainReason::Signal).within(policy.deadline.saturating_sub(wait));
            orders.send_if_modified(|order| {
                let first = order.is_none();
                order.get_or_insert(own);
                first
            });
        }
    }
}

fn encode(frame: &ToPrimary) -> io::Result<Vec<u8>> {
    frame::encode(frame).map_err(|unframed| io::Error::new(io::ErrorKind::InvalidData, unframed))
}
