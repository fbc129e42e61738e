//! One connection to the owner, with many calls in flight.
//!
//! Callers append their request to the outbox and wait in a slot; the [`driver`](crate::driver)
//! writes the outbox and hands each reply to the slot that its id names. One short lock guards both
//! sides; nothing awaits while holding it.

use std::{
    future::Future,
    io,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    config::Trusted,
    driver::{Driver, Pipes},
    error::ClientError,
    frame::{FrameError, Hello, Outbox, Verdict},
    message::{Reply, Request},
    slots::{Slots, Ticket},
};

/// Requests are appended up to here; beyond, callers wait until the socket took some. Holds one
/// more request at most.
const OUTBOX_BYTES: usize = 512 * 1024;

/// One connection to the owner, shared by all callers.
pub(crate) struct Connection {
    /// Kept beside the driver's duplicate, so that another runtime can take over where the first
    /// one ended.
    pub(crate) stream: UnixStream,
    pub(crate) pipes: Mutex<Pipes>,
    state: Mutex<State>,
    /// Tells callers that wait to send that they may try again.
    room: Notify,
    /// The state's phase is `Closed`; read without the lock.
    closed: AtomicBool,
    frame_bytes: usize,
    /// The users whose processes may be at the other end. `None` for an inherited stream, whose
    /// other end this process chose.
    pub(crate) trusted: Option<Trusted>,
}

struct State {
    phase: Phase,
    outbox: Outbox,
    /// How many bytes were ever appended to the outbox.
    queued: u64,
    slots: Slots,
    /// Whether a task does the reading and writing.
    driven: bool,
    driver: Option<Waker>,
}

enum Phase {
    /// The owner's hello has not come yet; nothing but our own was sent.
    Greeting,
    /// The owner takes requests of at most this length.
    Open { frame_bytes: usize },
    /// No call will be answered any more.
    Closed(Closed),
}

/// A call that the connection did not answer.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) error: ClientError,
    /// Whether some of the request may have left this process. If not, another connection may carry
    /// it.
    pub(crate) sent: bool,
}

impl Lost {
    fn unsent(error: ClientError) -> Self {
        Self { error, sent: false }
    }
}

impl Connection {
    /// Takes a connected stream. Nothing happens on it before the first call.
    pub(crate) fn new(
        stream: UnixStream,
        frame_bytes: usize,
        trusted: Option<Trusted>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut outbox = Outbox::default();
        outbox.push_hello(Hello {
            verdict: Verdict::Welcome,
            frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX),
        });
        let queued = outbox.len() as u64;
        let state = State {
            phase: Phase::Greeting,
            outbox,
            queued,
            slots: Slots::default(),
            driven: false,
            driver: None,
        };
        Ok(Self {
            stream,
            pipes: Mutex::new(Pipes::new(frame_bytes)),
            state: Mutex::new(state),
            room: Notify::new(),
            closed: AtomicBool::new(false),
            frame_bytes,
            trusted,
        })
    }

    /// Sends `request` and waits for its reply, as long as the caller polls.
    ///
    /// Cancel safe: a request is queued whole or not at all, and a dropped call gives its slot
    /// back; its reply is ignored when it comes.
    pub(crate) async fn call(self: &Arc<Self>, request: &Request) -> Result<Reply, Lost> {
        self.drive().map_err(Lost::unsent)?;
        let ticket = match self.enqueue(request)? {
            Some(ticket) => ticket,
            None => self.enqueue_when_possible(request).await?,
        };
        Call { connection: self, ticket }.await
    }

    /// Whether it has ended, and why.
    pub(crate) fn closed(&self) -> Option<Closed> {
        if !self.closed.load(Ordering::Acquire) {
            return None;
        }
        match &self.state.lock().phase {
            Phase::Closed(closed) => Some(closed.clone()),
            Phase::Greeting | Phase::Open { .. } => None,
        }
    }

    /// Ends it: every waiting call and every later one gets `error`. `written` is how many queued
    /// bytes may have left.
    pub(crate) fn close(&self, error: &ClientError, written: u64) {
        let wakers = {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Closed(_)) {
                return;
            }
            let greeted = matches!(state.phase, Phase::Open { .. });
            state.phase = Phase::Closed(Closed { error: error.clone(), greeted });
            state.outbox = Outbox::default();
            self.closed.store(true, Ordering::Release);
            let mut wakers = state
                .slots
                .fail_all(|queued_at| Lost { error: error.clone(), sent: queued_at < written });
            wakers.extend(state.driver.take());
            wakers
        };
        // The owner must see the end even while a duplicate of the descriptor lives; an error says
        // that it saw it already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The owner said hello.
    pub(crate) fn open(&self, hello: Hello) {
        let frame_bytes =
            self.frame_bytes.min(usize::try_from(hello.frame_bytes).unwrap_or(usize::MAX));
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Greeting) {
            state.phase = Phase::Open { frame_bytes };
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// Hands everything that waits to be sent to the driver, which is woken when there is more, and
    /// says how many bytes it was given in all. `None` once the connection is closed.
    pub(crate) fn take_outbox(&self, driver: &Waker, into: &mut Outbox) -> Option<u64> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Closed(_)) {
            return None;
        }
        match &mut state.driver {
            Some(waker) if waker.will_wake(driver) => {}
            waker => *waker = Some(driver.clone()),
        }
        // What the driver holds must be out before it takes more, or the bound on the outbox would
        // bound nothing.
        if into.is_empty() && !state.outbox.is_empty() {
            let (was_full, queued) = (state.outbox.len() >= OUTBOX_BYTES, state.queued);
            std::mem::swap(&mut state.outbox, into);
            drop(state);
            if was_full {
                self.room.notify_waiters();
            }
            return Some(queued);
        }
        Some(state.queued - state.outbox.len() as u64)
    }

    /// Hands a reply to the call that waits for it. That of an abandoned call is dropped.
    pub(crate) fn deliver(&self, id: u64, reply: Reply) {
        let waker = self.state.lock().slots.deliver(Ticket::from_id(id), reply);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The runtime that drove it ended. Callers elsewhere are woken, so that one of them takes
    /// over.
    pub(crate) fn undriven(&self) {
        let wakers = {
            let mut state = self.state.lock();
            (state.driven, state.driver) = (false, None);
            state.slots.wakers()
        };
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sees to it that a task on some runtime does the reading and writing.
    fn drive(self: &Arc<Self>) -> Result<(), ClientError> {
        {
            let mut state = self.state.lock();
            if state.driven || matches!(state.phase, Phase::Closed(_)) {
                return Ok(());
            }
            state.driven = true;
        }
        // From here on the driver's `Drop` says that it is undriven again, also if it never runs.
        match Driver::spawn(self) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.undriven();
                Err(error)
            }
        }
    }

    /// Queues the request, or says `None` if it has to wait for room or for the owner's hello.
    fn enqueue(&self, request: &Request) -> Result<Option<Ticket>, Lost> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let frame_bytes = match &state.phase {
            Phase::Closed(closed) => return Err(Lost::unsent(closed.error.clone())),
            Phase::Greeting => return Ok(None),
            Phase::Open { .. } if state.outbox.len() >= OUTBOX_BYTES => return Ok(None),
            Phase::Open { frame_bytes } => *frame_bytes,
        };
        let before = state.outbox.len();
        let ticket = state.slots.take(state.queued);
        if let Err(error) = state.outbox.push(ticket.id(), request, frame_bytes) {
            state.slots.give_back(ticket);
            return Err(Lost::unsent(match error {
                FrameError::Length { bytes, limit } => ClientError::TooLong { bytes, limit },
                other => ClientError::Encode(Arc::new(other)),
            }));
        }
        state.queued += (state.outbox.len() - before) as u64;
        if before == 0
            && let Some(driver) = &state.driver
        {
            driver.wake_by_ref();
        }
        Ok(Some(ticket))
    }

    async fn enqueue_when_possible(self: &Arc<Self>, request: &Request) -> Result<Ticket, Lost> {
        loop {
            // Made before the attempt: whoever makes room after it wakes this one.
            let room = self.room.notified();
            self.drive().map_err(Lost::unsent)?;
            if let Some(ticket) = self.enqueue(request)? {
                return Ok(ticket);
            }
            room.await;
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub(crate) error: ClientError,
    /// Whether the owner had welcomed us, so that it was there and is gone.
    pub(crate) greeted: bool,
}

/// A request that was queued and waits for its reply.
struct Call<'a> {
    connection: &'a Arc<Connection>,
    ticket: Ticket,
}

impl Future for Call<'_> {
    type Output = Result<Reply, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let driven = {
            let mut state = self.connection.state.lock();
            if let Some(result) = state.slots.poll(self.ticket, cx.waker()) {
                return Poll::Ready(result);
            }
            state.driven
        };
        if !driven && let Err(error) = self.connection.drive() {
            return Poll::Ready(Err(Lost { error, sent: true }));
        }
        Poll::Pending
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.connection.state.lock().slots.give_back(self.ticket);
    }
}
