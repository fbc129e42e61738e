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

use crate::{
    answer::{answer, push_reply},
    error::OwnerError,
    frame::{FrameError, Hello, Inbox, Outbox, Verdict, decode},
    message::{Reply, Request},
    owner::Shared,
    presence::Place,
};

/// Replies are encoded up to here; beyond, no request is read until the client took some. One more
/// reply may lie above.
const OUTBOX_BYTES: usize = 512 * 1024;
/// After this many reads in a row other connections have their turn.
const ROUNDS: usize = 2;

type Answering = Pin<Box<dyn Future<Output = (u64, Reply)> + Send>>;

/// How a client came to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its stream was given to the owner. No deadline holds for it: the other end is with a process
    /// that was chosen and is counted, which may first call whenever it likes, may be blocked in
    /// the middle of a frame, and could not connect again.
    Given,
    /// It connected to a path.
    Accepted,
}

/// One client.
pub(crate) struct Connection {
    owner: Arc<Shared>,
    stream: UnixStream,
    origin: Origin,
    inbox: Inbox,
    outbox: Outbox,
    /// The calls that the wrapped store did not answer at once.
    answering: FuturesUnordered<Answering>,
    /// What the client takes; `None` before its hello.
    frame_bytes: Option<usize>,
    patience: Patience,
}

/// What is left of a connection of which no call is in flight: all that another process needs to
/// serve it from there on.
pub(crate) struct Residue {
    /// The longest request that the client was told it may send.
    pub(crate) request_bytes: usize,
    /// What the client takes; `None` before its hello.
    pub(crate) reply_bytes: Option<usize>,
    /// What came and is no whole request yet, or one that had to wait because the client did not
    /// read.
    pub(crate) unread: Vec<u8>,
    /// What the client did not take yet, the hello among it if that is still to go.
    pub(crate) unwritten: Vec<u8>,
}

/// Why a connection was ended from this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the socket failed")]
    Io(#[from] io::Error),
    #[error("the bytes do not fit the protocol")]
    Frame(#[from] FrameError),
    #[error("no whole hello or frame came within {0:?}")]
    Slow(Duration),
}

impl Connection {
    pub(crate) fn new(owner: Arc<Shared>, stream: UnixStream, origin: Origin) -> Self {
        let frame_bytes = owner.settings.frame_bytes;
        let mut outbox = Outbox::default();
        outbox.push_hello(hello(Verdict::Welcome, frame_bytes));
        let inbox = Inbox::new(frame_bytes);
        Self {
            owner,
            stream,
            origin,
            inbox,
            outbox,
            answering: FuturesUnordered::new(),
            frame_bytes: None,
            patience: Patience::new(),
        }
    }

    /// Goes on where another process stopped.
    pub(crate) fn resume(owner: Arc<Shared>, stream: UnixStream, residue: Residue) -> Self {
        let Residue { request_bytes, reply_bytes, unread, unwritten } = residue;
        let (inbox, outbox) = (Inbox::filled(request_bytes, unread), Outbox::filled(unwritten));
        let (origin, answering) = (Origin::Given, FuturesUnordered::new());
        Self {
            owner,
            stream,
            origin,
            inbox,
            outbox,
            answering,
            frame_bytes: reply_bytes,
            patience: Patience::new(),
        }
    }

    /// Ends the calls that were begun, reads no more, and leaves the replies in the outbox. Cancel
    /// safe.
    pub(crate) async fn settle(&mut self) -> Result<(), ServeError> {
        while let Some((id, reply)) = self.answering.next().await {
            self.push(id, &reply)?;
        }
        Ok(())
    }

    /// What is left after [`Self::settle`].
    pub(crate) fn residue(&self) -> Residue {
        Residue {
            request_bytes: self.inbox.frame_bytes(),
            reply_bytes: self.frame_bytes,
            unread: self.inbox.unread().to_vec(),
            unwritten: self.outbox.unwritten().to_vec(),
        }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Serves until the client leaves. Cancel safe: all that is half done stays in `self`.
    pub(crate) async fn run(&mut self) -> Result<(), ServeError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Ends the calls that were begun, reads no more, and sends the replies, as long as a client
    /// that does not read may hold up the owner's end.
    pub(crate) async fn finish_in_time(
        &mut self,
        place: Option<&mut Place>,
    ) -> Result<(), ServeError> {
        let deadline = self.owner.settings.drain_deadline;
        let finish = async {
            self.settle().await?;
            if let Some(place) = place {
                place.settle();
            }
            Ok(std::future::poll_fn(|cx| self.outbox.poll_flush(&mut self.stream, cx)).await?)
        };
        tokio::time::timeout(deadline, finish).await.unwrap_or(Ok(()))
    }

    /// Says in the log if the client had to be cut off.
    pub(crate) fn report(&self, ended: Result<(), ServeError>) {
        match ended {
            Ok(()) => {}
            // A client that was killed is no fault of anybody's.
            Err(ServeError::Io(error)) => tracing::debug!(%error, "a client's connection ended"),
            Err(error) => {
                self.owner.counted_cut_off();
                tracing::warn!(
                    pid = self.pid(),
                    error = &error as &dyn std::error::Error,
                    "a client was cut off"
                );
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        for _ in 0..ROUNDS {
            self.work(cx)?;
            let full = !self.has_room();
            // What does not fit into the socket stays; the task is woken when the client took some.
            if let Poll::Ready(written) = self.outbox.poll_flush(&mut self.stream, cx) {
                written?;
            }
            if !self.has_room() {
                // Reading stops, so nothing can be held against the client.
                self.patience.forget();
                return Poll::Pending;
            }
            if full {
                // Calls that were ready were not asked for their replies; nobody would wake the
                // task for them.
                continue;
            }
            match self.inbox.poll_read(&mut self.stream, cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => return self.poll_patience(cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready` when a client that has deadlines missed one.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        let settings = &self.owner.settings;
        let limit = match (self.origin, self.frame_bytes) {
            (Origin::Given, _) => return Poll::Pending,
            (Origin::Accepted, None) => settings.hello_deadline,
            (Origin::Accepted, Some(_)) => settings.frame_deadline,
        };
        let waits = self.frame_bytes.is_none() || self.inbox.has_rest();
        self.patience.poll(cx, waits, limit).map(|()| Err(ServeError::Slow(limit)))
    }

    /// Encodes the replies that became ready and starts the requests that came, as far as there is
    /// room.
    fn work(&mut self, cx: &mut Context<'_>) -> Result<(), ServeError> {
        while self.outbox.len() < OUTBOX_BYTES
            && let Poll::Ready(Some((id, reply))) = self.answering.poll_next_unpin(cx)
        {
            self.push(id, &reply)?;
        }
        if self.frame_bytes.is_none() {
            let Some(hello) = self.inbox.hello()? else { return Ok(()) };
            let theirs = usize::try_from(hello.frame_bytes)
                .unwrap_or(usize::MAX)
                .max(crate::config::LEAST_FRAME_BYTES);
            self.frame_bytes = Some(theirs.min(self.owner.settings.frame_bytes));
            self.patience.forget();
        }
        while self.has_room() {
            let Some((id, message)) = self.inbox.frame()? else { break };
            let request = decode(message)?;
            self.patience.forget();
            self.start(id, request, cx)?;
        }
        Ok(())
    }

    /// Starts one call. A store that answers at once costs no task and no turn of the event loop.
    fn start(&mut self, id: u64, request: Request, cx: &mut Context<'_>) -> Result<(), ServeError> {
        self.owner.counted_request();
        let (owner, frame_bytes) = (Arc::clone(&self.owner), self.frame_bytes());
        let mut call: Answering =
            Box::pin(async move { (id, answer(&*owner.store, request, frame_bytes).await) });
        match call.as_mut().poll(cx) {
            Poll::Ready((id, reply)) => self.push(id, &reply),
            // It keeps this task's waker until the next turn asks it again.
            Poll::Pending => {
                self.answering.push(call);
                Ok(())
            }
        }
    }

    fn push(&mut self, id: u64, reply: &Reply) -> Result<(), ServeError> {
        let frame_bytes = self.frame_bytes();
        Ok(push_reply(&mut self.outbox, id, reply, frame_bytes)?)
    }

    /// The client's process. Of a socket pair the kernel only knows who made it, which would be the
    /// owner's own process.
    fn pid(&self) -> Option<i32> {
        match self.origin {
            Origin::Given => None,
            Origin::Accepted => self.stream.peer_cred().ok()?.pid(),
        }
    }

    fn has_room(&self) -> bool {
        self.answering.len() < self.owner.settings.max_in_flight && self.outbox.len() < OUTBOX_BYTES
    }

    fn frame_bytes(&self) -> usize {
        self.frame_bytes.unwrap_or(self.owner.settings.frame_bytes)
    }
}

/// Tells a client why it is not served, as far as the socket takes it at once.
pub(crate) fn refuse(stream: &UnixStream, verdict: Verdict, frame_bytes: usize) {
    let _ = stream.try_write(&hello(verdict, frame_bytes).encode());
}

fn hello(verdict: Verdict, frame_bytes: usize) -> Hello {
    Hello { verdict, frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX) }
}

/// How long something half has been waited for. The timer is moved only when it fires, never for a
/// frame that goes well.
struct Patience {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new() -> Self {
        Self { since: None, timer: None }
    }

    fn forget(&mut self) {
        self.since = None;
    }

    /// `Ready` when it `waits` for longer than `limit` and was not made to forget.
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
        // The timer may still stand for an earlier frame; it then fires too early and is moved on.
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

/// Serves a client and says in the log if it had to be cut off.
pub(crate) async fn serve(
    owner: Arc<Shared>,
    stream: UnixStream,
    origin: Origin,
) -> Result<(), OwnerError> {
    let Some(place) = admit(&owner, &stream)? else { return Ok(()) };
    attend(&owner, Connection::new(Arc::clone(&owner), stream, origin), place).await;
    Ok(())
}

/// A place for the client at the other end; `None` if it was told that there is none.
pub(crate) fn admit(owner: &Arc<Shared>, stream: &UnixStream) -> Result<Option<Place>, OwnerError> {
    let place = owner.enter_connection();
    if place.is_none() {
        if owner.is_stopped() {
            return Err(OwnerError::Stopped);
        }
        refuse(stream, Verdict::Full, owner.settings.frame_bytes);
        tracing::warn!(
            max_connections = owner.settings.max_connections,
            "a client was refused: there are as many connections as there may be"
        );
    }
    Ok(place)
}

/// Serves a connection that has its place until the client leaves or the owner is shut down.
pub(crate) async fn attend(owner: &Shared, mut connection: Connection, mut place: Place) {
    let ended = tokio::select! {
        // No call is begun by an owner that has stopped.
        biased;
        () = owner.stopped() => connection.finish_in_time(Some(&mut place)).await,
        ended = connection.run() => ended,
    };
    connection.report(ended);
}
