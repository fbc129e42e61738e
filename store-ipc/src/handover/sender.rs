//! The predecessor's side of a handover.

use std::{os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use session_core::MemoryStore;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    clock::boot_time,
    error::{HandoverError, HandoverReport, TimeLimitExceeded},
    forwarded_client::ForwardedClient,
    message::Message,
    stream::{HandoverStream, Side, StreamError},
};
use crate::owner::{
    connection::ConnectionSnapshot,
    shared::{HandoverGuard, OwnerShared},
};

/// The approximate number of bytes of sessions, or of a client, in one message.
const BATCH_BYTES: usize = 256 * 1024;
/// The least time that the successor has to confirm that it serves, even if the time limit is
/// reached.
const MIN_CONFIRMATION_TIME: Duration = Duration::from_secs(1);
/// The largest time limit, so that no clock overflows.
const MAX_TIME_LIMIT: Duration = Duration::from_secs(86_400);

/// The task that serves a successor's clients and then hands the sessions over. Dropping all clones
/// ends the task, unless a handover has begun.
#[derive(Clone)]
pub(crate) struct HandoverSender(mpsc::Sender<HandoverRequest>);

struct HandoverRequest {
    time_limit: Duration,
    outcome: oneshot::Sender<Result<HandoverReport, HandoverError>>,
}

/// The task of a [`HandoverSender`] ended without an answer.
pub(crate) struct TaskEnded;

impl HandoverSender {
    /// Starts the task for the successor at the other end of `stream`.
    pub(crate) fn spawn(
        runtime: &Handle,
        owner: Arc<OwnerShared>,
        memory: Arc<MemoryStore>,
        stream: StdUnixStream,
    ) -> Self {
        let (sender, requests) = mpsc::channel(1);
        runtime.spawn(run(owner, memory, stream, requests));
        Self(sender)
    }

    /// Hands the sessions over.
    pub(crate) async fn handover(
        self,
        time_limit: Duration,
    ) -> Result<Result<HandoverReport, HandoverError>, TaskEnded> {
        let (outcome, mut received) = oneshot::channel();
        let request = HandoverRequest { time_limit: time_limit.min(MAX_TIME_LIMIT), outcome };
        // The channel holds one request. The task takes it or ends.
        self.0.send(request).await.map_err(|_| TaskEnded)?;
        tokio::select! {
            biased;
            outcome = &mut received => outcome.map_err(|_| TaskEnded),
            // If the request was sent while the task ended, it stays in the channel. The task sends
            // an outcome before it ends.
            () = self.0.closed() => received.try_recv().map_err(|_| TaskEnded),
        }
    }
}

/// The task of one [`HandoverSender`].
async fn run(
    owner: Arc<OwnerShared>,
    memory: Arc<MemoryStore>,
    stream: StdUnixStream,
    mut requests: mpsc::Receiver<HandoverRequest>,
) {
    let served = async {
        let stream = HandoverStream::open(stream, Side::Predecessor).await?;
        let mut predecessor = Predecessor::new(Arc::clone(&owner), memory, stream);
        let request = predecessor.serve(&mut requests).await?;
        Ok::<_, StreamError>(request.map(|request| (predecessor, request)))
    };
    match served.await {
        Ok(Some((predecessor, request))) => {
            let (outcome, guard) = predecessor.handover(request.time_limit).await;
            if let Err(error) = &outcome {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "did not hand the sessions over"
                );
            }
            let _ = request.outcome.send(outcome);
            // The owner's thread may end now, after the caller has the outcome.
            drop(guard);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "detached the successor; this owner continues to serve"
        ),
    }
}

/// The predecessor's state for one successor. Dropping it closes all forwarded clients.
struct Predecessor {
    owner: Arc<OwnerShared>,
    memory: Arc<MemoryStore>,
    stream: HandoverStream,
    clients: JoinSet<Option<ForwardedClient>>,
    freeze: watch::Sender<bool>,
}

impl Predecessor {
    fn new(owner: Arc<OwnerShared>, memory: Arc<MemoryStore>, stream: HandoverStream) -> Self {
        Self { owner, memory, stream, clients: JoinSet::new(), freeze: watch::Sender::new(false) }
    }

    /// Accepts forwarded clients until a handover is requested. Returns `None` if there will be no
    /// handover.
    async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<HandoverRequest>,
    ) -> Result<Option<HandoverRequest>, StreamError> {
        loop {
            tokio::select! {
                // A client that arrived before the request is served first.
                biased;
                message = self.stream.receive() => match message? {
                    Some((message, client)) => self.accept(message, client)?,
                    None => return Err(StreamError::Ended),
                },
                request = requests.recv() => return Ok(request),
                () = self.owner.stopped() => {
                    // Forwarded clients end like all others, with their replies.
                    while self.clients.join_next().await.is_some() {}
                    return Ok(None);
                }
                Some(_) = self.clients.join_next() => {}
            }
        }
    }

    fn accept(
        &mut self,
        message: Message,
        client: Option<StdUnixStream>,
    ) -> Result<(), StreamError> {
        let (Message::Client(id), Some(client)) = (message, client) else {
            return Err(StreamError::Unexpected("expected a forwarded client"));
        };
        if let Some(client) = ForwardedClient::admit(&self.owner, id, client) {
            self.clients.spawn(client.serve(Arc::clone(&self.owner), self.freeze.subscribe()));
        }
        Ok(())
    }

    /// The guard keeps the owner's thread alive until the caller has the outcome.
    async fn handover(
        mut self,
        time_limit: Duration,
    ) -> (Result<HandoverReport, HandoverError>, Option<HandoverGuard>) {
        let exceeded = || TimeLimitExceeded(time_limit);
        let no_successor = |source| (Err(HandoverError::NoSuccessor(Some(source))), None);
        match timeout(time_limit, self.prepare(time_limit)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return no_successor(error.into()),
            Err(_elapsed) => return no_successor(exceeded().into()),
        }
        if self.owner.is_stopped() {
            return (Err(HandoverError::Stopped), None);
        }
        // From here on this owner serves no client, whatever happens.
        let started = Instant::now();
        // The full time limit, however long the successor took to prepare: a timeout from here on
        // loses all sessions.
        let deadline = started + time_limit;
        let guard = self.owner.stop_for_handover();
        let failed = HandoverError::Failed;
        let (sessions, clients) = match timeout_at(deadline, self.transfer()).await {
            Ok(Ok(transferred)) => transferred,
            Ok(Err(error)) => return (Err(failed(error.into())), Some(guard)),
            Err(_elapsed) => return (Err(failed(exceeded().into())), Some(guard)),
        };
        let deadline = deadline.max(Instant::now() + MIN_CONFIRMATION_TIME);
        let confirmed = self.activate(clients, deadline, time_limit).await;
        (
            confirmed.map(|connections| HandoverReport {
                sessions,
                connections,
                took: started.elapsed(),
            }),
            Some(guard),
        )
    }

    /// Tells the successor to prepare, and accepts the last forwarded clients.
    async fn prepare(&mut self, time_limit: Duration) -> Result<(), StreamError> {
        self.stream.send(&Message::Prepare(time_limit)).await?;
        loop {
            match self.stream.receive().await? {
                Some((Message::Prepared, _)) => return Ok(()),
                Some((message, client)) => self.accept(message, client)?,
                None => return Err(StreamError::Ended),
            }
        }
    }

    /// Sends everything and waits until the successor has it. The returned clients are shut down
    /// when they are dropped.
    async fn transfer(&mut self) -> Result<(u64, Vec<ForwardedClient>), StreamError> {
        self.freeze.send_replace(true);
        let mut clients = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            // A task that panicked has shut its client down.
            clients.extend(client.ok().flatten());
        }
        // The other connections can write to the store until their calls have ended. After that, a
        // client that does not read delays nothing.
        self.owner.tasks.wait_inactive().await;
        let sessions = self.send_sessions().await?;
        let mut sent = Vec::new();
        for client in clients {
            self.send_connection(client.id, client.connection().snapshot()).await?;
            sent.push(client);
        }
        self.stream.send(&Message::End { sessions, connections: sent.len() as u64 }).await?;
        match self.stream.receive().await? {
            Some((Message::Imported, _)) => Ok((sessions, sent)),
            Some(_) => Err(StreamError::Unexpected("expected the confirmation of the import")),
            None => Err(StreamError::Ended),
        }
    }

    async fn send_sessions(&mut self) -> Result<u64, StreamError> {
        let stamp = boot_time();
        let memory = Arc::clone(&self.memory);
        let mut export = memory.export();
        self.stream.send(&Message::Snapshot { taken_at: export.taken_at(), stamp }).await?;
        let mut sessions = 0;
        loop {
            let batch = export.batch(BATCH_BYTES);
            if batch.is_empty() {
                return Ok(sessions);
            }
            sessions += batch.len() as u64;
            self.stream.send(&Message::Sessions(batch)).await?;
        }
    }

    async fn send_connection(
        &mut self,
        client: u64,
        snapshot: ConnectionSnapshot,
    ) -> Result<(), StreamError> {
        let (request_bytes, reply_bytes) =
            (snapshot.request_bytes as u64, snapshot.reply_bytes.map(|bytes| bytes as u64));
        self.stream.send(&Message::Connection { client, request_bytes, reply_bytes }).await?;
        for bytes in snapshot.unread.chunks(BATCH_BYTES) {
            self.stream.send(&Message::Unread(bytes.to_vec())).await?;
        }
        for bytes in snapshot.unwritten.chunks(BATCH_BYTES) {
            self.stream.send(&Message::Unwritten(bytes.to_vec())).await?;
        }
        Ok(())
    }

    /// Lets the successor serve. If the kernel did not take `Activate`, the successor does not
    /// receive it. If the kernel took it, the successor may receive it.
    async fn activate(
        &mut self,
        clients: Vec<ForwardedClient>,
        deadline: Instant,
        time_limit: Duration,
    ) -> Result<usize, HandoverError> {
        let connections = clients.len();
        let exceeded = || HandoverError::Unconfirmed(TimeLimitExceeded(time_limit).into());
        match timeout_at(deadline, self.stream.send(&Message::Activate)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(HandoverError::Failed(error.into())),
            Err(_elapsed) => {
                clients.into_iter().for_each(ForwardedClient::release);
                return Err(exceeded());
            }
        }
        clients.into_iter().for_each(ForwardedClient::release);
        match timeout_at(deadline, self.stream.receive()).await {
            Ok(Ok(Some((Message::Serving, _)))) => Ok(connections),
            Ok(Ok(Some(_))) => Err(HandoverError::Unconfirmed(
                StreamError::Unexpected("expected the confirmation that the successor serves")
                    .into(),
            )),
            Ok(Ok(None)) => Err(HandoverError::Unconfirmed(StreamError::Ended.into())),
            Ok(Err(error)) => Err(HandoverError::Unconfirmed(error.into())),
            Err(_elapsed) => Err(exceeded()),
        }
    }
}
