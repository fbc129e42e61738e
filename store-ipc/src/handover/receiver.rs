//! The successor's side of a handover.

use std::{
    collections::HashMap, os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration,
};

use session_core::MemoryStore;
use tokio::{
    net::UnixStream,
    runtime::Handle,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    clock::boot_time,
    error::TakeoverError,
    forwarded_client::ShutdownOnDrop,
    message::Message,
    stream::{HandoverStream, Side, StreamError},
};
use crate::{
    error::OwnerError,
    owner::{
        connection::{ClientOrigin, ConnectionSnapshot, OwnerConnection},
        serve::{serve, serve_admitted},
        shared::OwnerShared,
    },
    wire::frame::{MAX_FRAME_BYTES, MIN_FRAME_BYTES},
};

/// The time that the predecessor has beyond its own time limit. After that, it has given up.
const EXTRA_TIME: Duration = Duration::from_secs(1);
/// The most bytes of one direction of a client: a whole frame and what was read with it, doubled.
const MAX_UNREAD_BYTES: usize = 2 * MAX_FRAME_BYTES;

type Outcome = Option<Result<(), TakeoverError>>;

/// The task of an owner that waits for the sessions of its predecessor.
pub(crate) struct HandoverReceiver {
    clients: mpsc::UnboundedSender<StdUnixStream>,
    outcome: watch::Receiver<Outcome>,
}

impl HandoverReceiver {
    /// Starts the task for the predecessor at the other end of `stream`.
    pub(crate) fn spawn(
        runtime: &Handle,
        owner: Arc<OwnerShared>,
        memory: Arc<MemoryStore>,
        stream: StdUnixStream,
    ) -> Self {
        let (clients, given) = mpsc::unbounded_channel();
        let (sender, outcome) = watch::channel(None);
        runtime.spawn(run(owner, memory, stream, given, sender));
        Self { clients, outcome }
    }

    /// Serves a client: forwards it to the predecessor before the handover, serves it here after
    /// the handover.
    pub(crate) fn serve(&self, client: StdUnixStream) -> Result<(), OwnerError> {
        self.clients.send(client).map_err(|_| OwnerError::Stopped)
    }

    /// Waits for the outcome of the handover.
    pub(crate) async fn wait(&self) -> Result<(), TakeoverError> {
        let mut receiver = self.outcome.clone();
        // The channel closes without an outcome if the owner's thread was shut down first.
        let outcome = receiver.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(TakeoverError::Stopped))
    }

    pub(crate) fn has_taken_over(&self) -> bool {
        matches!(*self.outcome.borrow(), Some(Ok(())))
    }
}

/// The task of an owner with a predecessor: waits for the sessions, then serves the clients that it
/// is given.
async fn run(
    owner: Arc<OwnerShared>,
    memory: Arc<MemoryStore>,
    stream: StdUnixStream,
    mut given: mpsc::UnboundedReceiver<StdUnixStream>,
    outcome: watch::Sender<Outcome>,
) {
    let taken_over = tokio::select! {
        taken_over = take_over(&owner, &memory, stream, &mut given) => taken_over,
        () = owner.stopped() => Err(TakeoverError::Stopped),
    };
    let mut stream = match taken_over {
        Ok(stream) => stream,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "did not receive the predecessor's sessions; the owner is shut down"
            );
            // Before the outcome is published, so that a caller with the outcome finds an owner
            // that accepts no client.
            owner.shutdown();
            outcome.send_replace(Some(Err(error)));
            return;
        }
    };
    outcome.send_replace(Some(Ok(())));
    if let Err(error) = stream.send(&Message::Serving).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "could not confirm to the predecessor that this owner serves"
        );
    }
    drop(stream);
    loop {
        let client = tokio::select! {
            client = given.recv() => client,
            () = owner.stopped() => None,
        };
        let Some(client) = client else { return };
        let owner = Arc::clone(&owner);
        tokio::spawn(async move {
            let served = match UnixStream::from_std(client) {
                Ok(client) => serve(owner, client, ClientOrigin::Provided).await,
                Err(error) => Err(OwnerError::Stream(error)),
            };
            if let Err(error) = served {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not serve a client"
                );
            }
        });
    }
}

/// Returns when this owner serves the forwarded clients. If the future is dropped or fails before,
/// it closes them.
pub(crate) async fn take_over(
    owner: &Arc<OwnerShared>,
    memory: &MemoryStore,
    stream: StdUnixStream,
    given: &mut mpsc::UnboundedReceiver<StdUnixStream>,
) -> Result<HandoverStream, TakeoverError> {
    let stream = HandoverStream::open(stream, Side::Successor).await?;
    let mut successor = Successor { stream, clients: HashMap::new(), forwarded: 0 };
    let time_limit = successor.forward_clients(given).await?;
    let received =
        timeout(time_limit.saturating_mul(2).saturating_add(EXTRA_TIME), successor.receive(memory))
            .await;
    let connections = received.unwrap_or(Err(TakeoverError::Timeout(time_limit)))?;
    Ok(successor.resume(owner, connections))
}

/// The successor's state in one handover. Dropping it closes all forwarded clients.
struct Successor {
    stream: HandoverStream,
    clients: HashMap<u64, ShutdownOnDrop>,
    /// How many clients were forwarded in total.
    forwarded: u64,
}

impl Successor {
    /// Forwards clients until the predecessor prepares the handover. Returns the predecessor's time
    /// limit.
    async fn forward_clients(
        &mut self,
        given: &mut mpsc::UnboundedReceiver<StdUnixStream>,
    ) -> Result<Duration, TakeoverError> {
        loop {
            tokio::select! {
                // A client that was given before the predecessor prepares is forwarded.
                biased;
                Some(client) = given.recv() => {
                    let client = ShutdownOnDrop::new(client);
                    self.forwarded += 1;
                    if let Some(stream) = client.stream() {
                        self.stream.send_client(self.forwarded, stream).await?;
                    }
                    self.clients.insert(self.forwarded, client);
                }
                message = self.stream.receive() => match message?.map(|(message, _)| message) {
                    Some(Message::Prepare(time_limit)) => {
                        self.stream.send(&Message::Prepared).await?;
                        return Ok(time_limit);
                    }
                    Some(_) => {
                        let error = StreamError::Unexpected("expected the start of a handover");
                        return Err(error.into());
                    }
                    None => return Err(TakeoverError::PredecessorEnded(None)),
                },
            }
        }
    }

    /// Imports everything. Returns when the predecessor lets this owner serve.
    async fn receive(
        &mut self,
        memory: &MemoryStore,
    ) -> Result<Vec<(ShutdownOnDrop, ConnectionSnapshot)>, TakeoverError> {
        let Message::Snapshot { taken_at, stamp } = self.next().await? else {
            return Err(StreamError::Unexpected("expected the start of a snapshot").into());
        };
        if stamp > boot_time() {
            return Err(StreamError::Unexpected(
                "a snapshot from the future; both processes must share one clock",
            )
            .into());
        }
        let mut import = memory.import(taken_at, || boot_time().saturating_sub(stamp));
        let (mut received, mut connections) = (0, Vec::new());
        loop {
            match self.next().await? {
                Message::Sessions(sessions) => {
                    for session in sessions {
                        import.add(session).map_err(StreamError::from)?;
                        received += 1;
                    }
                }
                Message::Connection { client, request_bytes, reply_bytes } => {
                    let client = self
                        .clients
                        .remove(&client)
                        .ok_or(StreamError::Unexpected("a connection of an unknown client"))?;
                    let (unread, unwritten) = (Vec::new(), Vec::new());
                    let (request_bytes, reply_bytes) =
                        (frame_bytes(request_bytes)?, reply_bytes.map(frame_bytes).transpose()?);
                    connections.push((
                        client,
                        ConnectionSnapshot { request_bytes, reply_bytes, unread, unwritten },
                    ));
                }
                Message::Unread(bytes) => extend(
                    connections.last_mut().map(|(_, snapshot)| &mut snapshot.unread),
                    &bytes,
                )?,
                Message::Unwritten(bytes) => extend(
                    connections.last_mut().map(|(_, snapshot)| &mut snapshot.unwritten),
                    &bytes,
                )?,
                Message::End { sessions, connections: count } => {
                    if (sessions, count) != (received, connections.len() as u64) {
                        return Err(StreamError::Unexpected(
                            "the number of sessions or connections differs from what arrived",
                        )
                        .into());
                    }
                    break;
                }
                _ => {
                    return Err(StreamError::Unexpected("expected sessions and connections").into());
                }
            }
        }
        self.stream.send(&Message::Imported).await?;
        match self.next().await? {
            Message::Activate => {}
            _ => return Err(StreamError::Unexpected("expected the activation").into()),
        }
        tracing::info!(
            sessions = import.sessions(),
            expired = import.expired(),
            connections = connections.len(),
            "received the predecessor's sessions"
        );
        Ok(connections)
    }

    async fn next(&mut self) -> Result<Message, TakeoverError> {
        let message = self.stream.receive().await?;
        message.map(|(message, _)| message).ok_or(TakeoverError::PredecessorEnded(None))
    }

    /// Serves the forwarded clients from here on. Clients that the predecessor did not name had
    /// left.
    fn resume(
        self,
        owner: &Arc<OwnerShared>,
        connections: Vec<(ShutdownOnDrop, ConnectionSnapshot)>,
    ) -> HandoverStream {
        for (client, snapshot) in connections {
            let Some(token) = owner.track_resumed() else { break };
            let Some(client) = client.release() else { continue };
            match UnixStream::from_std(client) {
                Ok(stream) => {
                    let connection = OwnerConnection::resume(Arc::clone(owner), stream, snapshot);
                    let owner = Arc::clone(owner);
                    tokio::spawn(async move {
                        serve_admitted(&owner, connection, token).await;
                    });
                }
                Err(error) => tracing::warn!(%error, "could not resume a forwarded client"),
            }
        }
        self.stream
    }
}

fn frame_bytes(bytes: u64) -> Result<usize, StreamError> {
    let usable = usize::try_from(bytes)
        .ok()
        .filter(|bytes| (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(bytes));
    usable.ok_or(StreamError::Unexpected("a connection whose frame limit is out of range"))
}

fn extend(buffer: Option<&mut Vec<u8>>, bytes: &[u8]) -> Result<(), StreamError> {
    let buffer = buffer.ok_or(StreamError::Unexpected("bytes without a connection"))?;
    if buffer.len() + bytes.len() > MAX_UNREAD_BYTES {
        return Err(StreamError::Unexpected("more bytes than a connection can hold"));
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

impl From<StreamError> for TakeoverError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Io(error) => Self::PredecessorEnded(Some(Arc::new(error))),
            StreamError::Ended => Self::PredecessorEnded(None),
            other => Self::Protocol(Arc::new(other)),
        }
    }
}
