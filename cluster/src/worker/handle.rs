//! A connected worker: orders, messages and requests of its primary.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{UnixStream, unix::OwnedReadHalf},
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        broadcast::{self, Receiver, error::RecvError},
        watch,
    },
    time::timeout,
};

use super::heartbeat::{EventLoops, Heartbeat};
use crate::{
    error::{BootError, Gone, RequestError, SendError},
    lock::lock,
    model::{DrainOrder, DrainPolicy, DrainReason, ListenAddress, Message, Slot, WorkerId},
    wire::{
        frame::{self, PROTOCOL, ToPrimary, ToWorker},
        message,
        outbox::Outbox,
        rpc::{ByteBudget, RequestQueue, Requests, RpcChannel, RpcDispatcher, WhenFull},
    },
};

/// Unread messages that are kept for each reader.
const UNREAD: usize = 256;

/// How long a worker waits for an order of the primary after `SIGTERM`, before it gives the order
/// to itself. A service manager sends the signal to all processes of a unit. Then the primary stops
/// the whole cluster, and its order lets the workers empty the kernel's queue.
const PRIMARY_FIRST: Duration = Duration::from_millis(250);

/// A connected worker. Cloning is cheap; all clones refer to the same worker.
#[derive(Debug, Clone)]
pub struct Worker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: WorkerId,
    slot: Slot,
    settings: Vec<u8>,
    outbox: Outbox,
    order: watch::Receiver<Option<DrainOrder>>,
    messages: broadcast::WeakSender<Message>,
    loops: Arc<EventLoops>,
    // Sees every message since the connection. The first caller of `messages` gets it.
    first_reader: Mutex<Option<Receiver<Message>>>,
    channel: Arc<RpcChannel>,
    requests: Arc<RequestQueue>,
}

impl Worker {
    pub(super) async fn connect(
        id: WorkerId,
        slot: Slot,
        stream: UnixStream,
    ) -> Result<Self, BootError> {
        let (mut from_primary, to_primary) = stream.into_split();
        let terminate = signal(SignalKind::terminate()).map_err(BootError::Handshake)?;
        let outbox = Outbox::start(to_primary);
        let hello =
            encode(&ToPrimary::Hello { protocol: PROTOCOL }).map_err(BootError::Handshake)?;
        // A failure appears as the end of the stream below.
        let _ = outbox.send_unbounded(hello);
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
                    "the first frame is not a greeting",
                )));
            }
            None => {
                return Err(BootError::Handshake(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the control socket ended",
                )));
            }
        };

        let (orders, order) = watch::channel(None);
        let orders = Arc::new(orders);
        let (messages, first_reader) = broadcast::channel(UNREAD);
        let weak = messages.downgrade();
        let channel = RpcChannel::new(
            outbox.clone(),
            |rpc| frame::encode(&ToPrimary::Rpc(rpc)),
            ByteBudget::default(),
        );
        let requests = Arc::default();
        let dispatcher = RpcDispatcher::new(&channel, &requests, None);
        tokio::spawn(drain_on_terminate(terminate, outbox.clone(), Arc::clone(&orders), policy));
        tokio::spawn(read_frames(from_primary, orders, messages, dispatcher, policy));
        let loops = Arc::new(EventLoops::default());
        if let Some(every) = beat {
            tokio::spawn(Arc::clone(&loops).send_heartbeats(every, outbox.clone()));
        }
        Ok(Self(Arc::new(Inner {
            id,
            slot,
            settings,
            outbox,
            order,
            messages: weak,
            loops,
            first_reader: Mutex::new(Some(first_reader)),
            channel,
            requests,
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

    /// The bytes of [`ClusterBuilder::settings`](crate::ClusterBuilder::settings); empty if none.
    #[must_use]
    pub fn settings(&self) -> &[u8] {
        &self.0.settings
    }

    /// Tells the primary that this worker serves. Without it the worker counts as failed after the
    /// readiness time.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the primary died. The drain order for that follows.
    pub async fn ready(&self) -> Result<(), Gone> {
        self.send_frame(&ToPrimary::Ready).await
    }

    /// Tells the primary that this worker accepts connections at `addr`. The only effect is an
    /// event in the primary.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the primary died.
    pub async fn listening(&self, name: &str, addr: impl Into<ListenAddress>) -> Result<(), Gone> {
        let addr = addr.into();
        self.send_frame(&ToPrimary::Listening { name: name.to_owned(), addr }).await
    }

    /// Adds the event loop that runs this call to the heartbeat, for as long as the [`Heartbeat`] is
    /// kept. Call it once on each thread that serves, for example in the App factory of actix-web,
    /// and keep the result with the service of that thread.
    ///
    /// The worker sends a heartbeat only while all its loops run. So the primary notices one
    /// blocked thread of several, and kills and replaces the worker, as
    /// [`HeartbeatPolicy`](crate::HeartbeatPolicy) describes. The runtime that ran
    /// [`connect`](crate::WorkerBoot::connect) is one of the loops without a call. So a program
    /// with one loop needs this call only to [count](Heartbeat::count) requests. A runtime of
    /// several threads counts as running while one of its threads is free.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "the worker stops watching this event loop when the value is dropped"]
    pub fn heartbeat(&self) -> Heartbeat {
        self.0.loops.heartbeat()
    }

    /// Waits until this worker must drain: on an order of the primary, on `SIGTERM`, or when the
    /// primary died.
    ///
    /// After the first order it resolves at once, for every clone. Another order may follow: see
    /// [`order_changed`](Self::order_changed). After `SIGTERM` it takes up to 250 ms, in which the
    /// worker continues to serve: if a service manager sent the signal to the whole cluster, the
    /// order of the primary comes first and has the right times. Cancel safe.
    pub async fn drain_requested(&self) -> DrainOrder {
        let mut order = self.0.order.clone();
        match order.wait_for(Option::is_some).await.map(|order| *order) {
            Ok(Some(order)) => order,
            // The tasks of the connection ended with their runtime. That is the same as a dead
            // primary.
            Ok(None) | Err(_) => DrainPolicy::default().order(DrainReason::PrimaryGone),
        }
    }

    /// Waits until another order than `known` applies: a stop after a retirement, a second signal
    /// that shortens the stop, the death of the primary. It resolves at once if `known` is already
    /// outdated. Cancel safe.
    ///
    /// The newer order replaces the older one. Its times count from its own arrival.
    pub async fn order_changed(&self, known: DrainOrder) -> DrainOrder {
        let mut order = self.0.order.clone();
        match order
            .wait_for(|order| order.is_some_and(|order| order != known))
            .await
            .map(|order| *order)
        {
            Ok(Some(order)) => order,
            // No further order can come.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The messages of the primary. The first reader gets all messages since the connection, later
    /// readers get those from now on.
    #[must_use]
    pub fn messages(&self) -> Messages {
        let first = lock(&self.0.first_reader).take();
        let receiver = first.or_else(|| self.0.messages.upgrade().map(|sender| sender.subscribe()));
        // Without a sender the primary has ended. A closed channel has the same effect.
        Messages(receiver.unwrap_or_else(|| broadcast::channel(1).1))
    }

    /// Sends a message to the primary, in order, and waits until it is written to the socket.
    ///
    /// Cancel safe: a message is sent whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError::Gone`] when the primary died. [`SendError::TooLarge`] and
    /// [`SendError::Encode`] concern the message itself.
    pub async fn send<T: Serialize + Sync + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        let message = message::encode(message)?;
        self.send_frame(&ToPrimary::Message(message)).await.map_err(|Gone| SendError::Gone)
    }

    /// Sends a request to the primary and waits for its reply. While the queue to the primary is
    /// full it waits for room, as [`send`](Self::send) does, within the same time. Messages and
    /// requests arrive in order.
    ///
    /// Cancel safe: a request is sent whole or not at all. Dropping the future drops the reply; the
    /// primary does not learn it.
    ///
    /// # Errors
    ///
    /// [`RequestError::Gone`] when the primary died, [`RequestError::TimedOut`] after `within`.
    /// [`RequestError::NoReader`], [`RequestError::Busy`] and [`RequestError::NotAnswered`] come
    /// from the primary. The others concern the request or the reply itself.
    /// [`RequestError::Full`] never occurs.
    pub async fn request<R: DeserializeOwned>(
        &self,
        request: &(impl Serialize + Sync + ?Sized),
        within: Duration,
    ) -> Result<R, RequestError> {
        self.0.channel.request(message::encode(request)?, within, WhenFull::Wait).await
    }

    /// The requests of the primary, in the order in which they arrived. The stream ends when the
    /// primary has ended.
    ///
    /// Call it before [`ready`](Self::ready), so that no request after that is refused. There is
    /// one reader: a further call replaces it, and the previous stream ends. While there is no
    /// reader, the primary gets [`RequestError::NoReader`].
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.0.requests.subscribe()
    }

    async fn send_frame(&self, frame: &ToPrimary) -> Result<(), Gone> {
        let bytes = encode(frame).map_err(|_| Gone)?;
        self.0.outbox.send(bytes).await.map_err(|_| Gone)
    }
}

/// Reads the messages of the primary in order. From [`Worker::messages`].
#[derive(Debug)]
pub struct Messages(Receiver<Message>);

impl Messages {
    /// Waits for the next message; `None` when the primary has ended and all messages were read.
    ///
    /// Up to 256 unread messages are kept for each reader. Cancel safe: dropping the future loses
    /// no message.
    ///
    /// # Errors
    ///
    /// [`Lagged`] counts the messages that are missing here because the reader was too slow. The
    /// next call continues after them.
    pub async fn next(&mut self) -> Option<Result<Message, Lagged>> {
        match self.0.recv().await {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(RecvError::Closed) => None,
        }
    }
}

/// This number of messages is missing because the reader was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages were dropped because they were not read in time")]
pub struct Lagged(pub u64);

/// The only reader of the control socket. It waits only for the socket, so orders always arrive.
async fn read_frames(
    mut socket: OwnedReadHalf,
    orders: Arc<watch::Sender<Option<DrainOrder>>>,
    messages: broadcast::Sender<Message>,
    dispatcher: RpcDispatcher,
    policy: DrainPolicy,
) {
    loop {
        match frame::read(&mut socket).await {
            Ok(Some(ToWorker::Drain(order))) => drop(orders.send_replace(Some(order))),
            // Fails without a reader; then the message is dropped.
            Ok(Some(ToWorker::Message(bytes))) => drop(messages.send(Message::from_bytes(bytes))),
            Ok(Some(ToWorker::Rpc(rpc))) => dispatcher.dispatch(rpc),
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
            let _ = outbox.send_unbounded(frame);
        }
        let wait = PRIMARY_FIRST.min(policy.deadline / 4);
        if timeout(wait, order.wait_for(Option::is_some)).await.is_err() {
            // The primary counts the deadline from the report above.
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
    frame::encode(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
