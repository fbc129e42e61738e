//! The owner's side of one connection.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::UnixStream,
    time::{Duration, Instant, Sleep},
};

use super::{
    execute::{execute, push_reply},
    shared::{OwnerShared, TaskToken},
};
use crate::wire::{
    frame::{FrameError, Hello, HelloStatus, MIN_FRAME_BYTES, ReadBuffer, WriteBuffer, decode},
    message::{Reply, Request},
};

/// Replies are encoded while fewer bytes than this wait. At the limit, the owner reads no request
/// until the client has taken some bytes. The buffer exceeds the limit by one reply at most.
const WRITE_BUFFER_BYTES: usize = 512 * 1024;
/// After this many reads in a row, the task yields to other connections.
const ROUNDS: usize = 2;

type PendingReply = Pin<Box<dyn Future<Output = (u64, Reply)> + Send>>;

/// How a client reached the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientOrigin {
    /// The application passed its stream to the owner. Deadlines do not apply: the application
    /// chose the process at the other end. That process may be idle before its first call, may be
    /// blocked in the middle of a frame, and could not connect again.
    Provided,
    /// The client connected to a path.
    Accepted,
}

/// One client.
pub(crate) struct OwnerConnection {
    owner: Arc<OwnerShared>,
    stream: UnixStream,
    origin: ClientOrigin,
    incoming: ReadBuffer,
    outgoing: WriteBuffer,
    /// The calls that the wrapped store did not answer at once.
    calls: FuturesUnordered<PendingReply>,
    /// The longest reply that the client accepts. `None` before its hello.
    frame_bytes: Option<usize>,
    read_deadline: ReadDeadline,
}

/// The state of a connection without calls in flight: everything that another process needs to
/// continue to serve it.
pub(crate) struct ConnectionSnapshot {
    /// The longest request that the client may send, as the owner's hello said.
    pub(crate) request_bytes: usize,
    /// The longest reply that the client accepts. `None` before its hello.
    pub(crate) reply_bytes: Option<usize>,
    /// Received bytes that are not a whole request, or requests that waited because the client did
    /// not read.
    pub(crate) unread: Vec<u8>,
    /// Bytes that the client has not taken, including the hello if it was not sent.
    pub(crate) unwritten: Vec<u8>,
}

/// Why the owner ended a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the socket failed")]
    Io(#[from] io::Error),
    #[error("the bytes do not follow the protocol")]
    Frame(#[from] FrameError),
    #[error("the client did not complete a hello or frame within {0:?}")]
    Deadline(Duration),
}

impl OwnerConnection {
    pub(crate) fn new(owner: Arc<OwnerShared>, stream: UnixStream, origin: ClientOrigin) -> Self {
        let frame_bytes = owner.settings.frame_bytes;
        let mut outgoing = WriteBuffer::default();
        outgoing.push_hello(hello(HelloStatus::Accepted, frame_bytes));
        let incoming = ReadBuffer::new(frame_bytes);
        Self {
            owner,
            stream,
            origin,
            incoming,
            outgoing,
            calls: FuturesUnordered::new(),
            frame_bytes: None,
            read_deadline: ReadDeadline::new(),
        }
    }

    /// Continues where another process stopped.
    pub(crate) fn resume(
        owner: Arc<OwnerShared>,
        stream: UnixStream,
        snapshot: ConnectionSnapshot,
    ) -> Self {
        let ConnectionSnapshot { request_bytes, reply_bytes, unread, unwritten } = snapshot;
        let (incoming, outgoing) =
            (ReadBuffer::with_bytes(request_bytes, unread), WriteBuffer::with_bytes(unwritten));
        let (origin, calls) = (ClientOrigin::Provided, FuturesUnordered::new());
        Self {
            owner,
            stream,
            origin,
            incoming,
            outgoing,
            calls,
            frame_bytes: reply_bytes,
            read_deadline: ReadDeadline::new(),
        }
    }

    /// Ends the calls in progress, reads no more, and leaves the replies in the write buffer.
    /// Cancel safe.
    pub(crate) async fn finish_calls(&mut self) -> Result<(), ConnectionError> {
        while let Some((id, reply)) = self.calls.next().await {
            self.push(id, &reply)?;
        }
        Ok(())
    }

    /// The state after [`Self::finish_calls`].
    pub(crate) fn snapshot(&self) -> ConnectionSnapshot {
        ConnectionSnapshot {
            request_bytes: self.incoming.frame_bytes(),
            reply_bytes: self.frame_bytes,
            unread: self.incoming.unread().to_vec(),
            unwritten: self.outgoing.unwritten().to_vec(),
        }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Serves until the client leaves. Cancel safe: all intermediate state is in `self`.
    pub(crate) async fn run(&mut self) -> Result<(), ConnectionError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Ends the calls in progress, reads no more, and sends the replies. A client that does not
    /// read delays this by the drain deadline at most.
    pub(crate) async fn drain(
        &mut self,
        token: Option<&mut TaskToken>,
    ) -> Result<(), ConnectionError> {
        let deadline = self.owner.settings.drain_deadline;
        let finish = async {
            self.finish_calls().await?;
            if let Some(token) = token {
                token.set_inactive();
            }
            Ok(std::future::poll_fn(|cx| self.outgoing.poll_flush(&mut self.stream, cx)).await?)
        };
        tokio::time::timeout(deadline, finish).await.unwrap_or(Ok(()))
    }

    /// Logs why the connection ended, if the client is at fault.
    pub(crate) fn log_end(&self, ended: Result<(), ConnectionError>) {
        match ended {
            Ok(()) => {}
            // For example a killed client, which is not an error.
            Err(ConnectionError::Io(error)) => {
                tracing::debug!(%error, "client connection failed");
            }
            Err(error) => {
                self.owner.count_cut_off();
                tracing::warn!(
                    pid = self.pid(),
                    error = &error as &dyn std::error::Error,
                    "disconnected a client"
                );
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        for _ in 0..ROUNDS {
            self.process(cx)?;
            let full = !self.can_read();
            // The rest stays in the buffer. The task is woken when the client has taken some bytes.
            if let Poll::Ready(written) = self.outgoing.poll_flush(&mut self.stream, cx) {
                written?;
            }
            if !self.can_read() {
                // The owner stops reading here, so the client must not miss a deadline.
                self.read_deadline.reset();
                return Poll::Pending;
            }
            if full {
                // `process` did not poll calls that were ready. Nothing else would wake the task
                // for them.
                continue;
            }
            match self.incoming.poll_read(&mut self.stream, cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => return self.poll_read_deadline(cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready` if a client with deadlines missed one.
    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let settings = &self.owner.settings;
        let limit = match (self.origin, self.frame_bytes) {
            (ClientOrigin::Provided, _) => return Poll::Pending,
            (ClientOrigin::Accepted, None) => settings.hello_deadline,
            (ClientOrigin::Accepted, Some(_)) => settings.frame_deadline,
        };
        let waits = self.frame_bytes.is_none() || self.incoming.has_partial_frame();
        self.read_deadline.poll(cx, waits, limit).map(|()| Err(ConnectionError::Deadline(limit)))
    }

    /// Encodes the replies of finished calls and starts the received requests, while there is room.
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        while self.outgoing.len() < WRITE_BUFFER_BYTES
            && let Poll::Ready(Some((id, reply))) = self.calls.poll_next_unpin(cx)
        {
            self.push(id, &reply)?;
        }
        if self.frame_bytes.is_none() {
            let Some(hello) = self.incoming.take_hello()? else { return Ok(()) };
            let theirs =
                usize::try_from(hello.frame_bytes).unwrap_or(usize::MAX).max(MIN_FRAME_BYTES);
            self.frame_bytes = Some(theirs.min(self.owner.settings.frame_bytes));
            self.read_deadline.reset();
        }
        while self.can_read() {
            let Some((id, message)) = self.incoming.take_frame()? else { break };
            let request = decode(message)?;
            self.read_deadline.reset();
            self.start(id, request, cx)?;
        }
        Ok(())
    }

    /// Starts one call. A store that answers at once needs no task and no turn of the event loop.
    fn start(
        &mut self,
        id: u64,
        request: Request,
        cx: &mut Context<'_>,
    ) -> Result<(), ConnectionError> {
        self.owner.count_request();
        let (owner, frame_bytes) = (Arc::clone(&self.owner), self.frame_bytes());
        let mut call: PendingReply =
            Box::pin(async move { (id, execute(&*owner.store, request, frame_bytes).await) });
        match call.as_mut().poll(cx) {
            Poll::Ready((id, reply)) => self.push(id, &reply),
            // The call holds this task's waker until it is polled again.
            Poll::Pending => {
                self.calls.push(call);
                Ok(())
            }
        }
    }

    fn push(&mut self, id: u64, reply: &Reply) -> Result<(), ConnectionError> {
        let frame_bytes = self.frame_bytes();
        Ok(push_reply(&mut self.outgoing, id, reply, frame_bytes)?)
    }

    /// The process of the client. For a socket pair the kernel reports the process that created it,
    /// which would be the owner's own process.
    fn pid(&self) -> Option<i32> {
        match self.origin {
            ClientOrigin::Provided => None,
            ClientOrigin::Accepted => self.stream.peer_cred().ok()?.pid(),
        }
    }

    fn can_read(&self) -> bool {
        self.calls.len() < self.owner.settings.max_in_flight
            && self.outgoing.len() < WRITE_BUFFER_BYTES
    }

    fn frame_bytes(&self) -> usize {
        self.frame_bytes.unwrap_or(self.owner.settings.frame_bytes)
    }
}

pub(super) fn hello(status: HelloStatus, frame_bytes: usize) -> Hello {
    Hello { status, frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX) }
}

/// Measures how long the owner has waited for the rest of a hello or frame. The timer is moved only
/// when it fires, so a frame that arrives in time costs nothing.
struct ReadDeadline {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ReadDeadline {
    fn new() -> Self {
        Self { since: None, timer: None }
    }

    fn reset(&mut self) {
        self.since = None;
    }

    /// `Ready` if `waits` has been true for longer than `limit` without a reset.
    fn poll(&mut self, cx: &mut Context<'_>, waits: bool, limit: Duration) -> Poll<()> {
        if !waits {
            self.since = None;
            return Poll::Pending;
        }
        let now = Instant::now();
        let end = *self.since.get_or_insert(now) + limit;
        if now >= end {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // The timer may be set for an earlier frame. It then fires early and is moved.
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
