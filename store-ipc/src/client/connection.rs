//! The state of one connection to the owner, which all callers and the I/O task share.
//!
//! Callers append their request to the write buffer and wait for the reply. The [I/O
//! task](super::io_task) writes the buffer and delivers each reply to the call with its id. One
//! lock guards both sides. It is held for a short time and never across an await.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use super::{
    io_buffers::IoBuffers,
    pending_calls::{CallId, PendingCalls},
};
use crate::{
    error::{ClientError, FailedCall},
    trusted_owner::TrustedOwner,
    wire::{
        frame::{FrameError, Hello, HelloStatus, WriteBuffer},
        message::{Reply, Request},
    },
};

/// Requests are appended while fewer bytes than this wait. At the limit, callers wait until the
/// socket has taken some bytes. The buffer exceeds the limit by one request at most.
const WRITE_BUFFER_BYTES: usize = 512 * 1024;

/// One connection to the owner, shared by all callers.
pub(super) struct ClientConnection {
    /// The I/O task uses a duplicate of it. This one stays, so that a task on another runtime can
    /// continue after the runtime of the first task has ended.
    pub(super) stream: UnixStream,
    pub(super) buffers: Mutex<IoBuffers>,
    state: Mutex<State>,
    /// Wakes callers that wait to send.
    can_send: Notify,
    /// True if the state's phase is `Closed`. Read without the lock.
    closed: AtomicBool,
    frame_bytes: usize,
    /// The users whose processes may be at the other end. `None` for an inherited stream: this
    /// process chose its other end.
    pub(super) trusted: Option<TrustedOwner>,
}

struct State {
    phase: Phase,
    write_buffer: WriteBuffer,
    /// How many bytes were appended to the write buffer in total.
    queued_bytes: u64,
    calls: PendingCalls,
    /// Whether an I/O task is running.
    has_io_task: bool,
    io_task: Option<Waker>,
}

enum Phase {
    /// The owner's hello has not arrived. The client has sent its own hello only.
    Handshake,
    /// The owner accepts requests of at most this length.
    Open { frame_bytes: usize },
    /// Every call fails.
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, Clone)]
pub(super) struct CloseReason {
    pub(super) error: ClientError,
    /// Whether the owner had accepted the client. If so, an owner was there and is gone.
    pub(super) was_open: bool,
}

/// The result of an attempt to queue a request.
pub(super) enum Enqueued {
    Queued(CallId),
    /// The write buffer is full, or the owner's hello has not arrived.
    MustWait,
}

impl ClientConnection {
    /// Takes a connected stream. The first call starts the I/O.
    pub(super) fn new(
        stream: UnixStream,
        frame_bytes: usize,
        trusted: Option<TrustedOwner>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut write_buffer = WriteBuffer::default();
        write_buffer.push_hello(Hello {
            status: HelloStatus::Accepted,
            frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX),
        });
        let queued_bytes = write_buffer.len() as u64;
        let state = State {
            phase: Phase::Handshake,
            write_buffer,
            queued_bytes,
            calls: PendingCalls::default(),
            has_io_task: false,
            io_task: None,
        };
        Ok(Self {
            stream,
            buffers: Mutex::new(IoBuffers::new(frame_bytes)),
            state: Mutex::new(state),
            can_send: Notify::new(),
            closed: AtomicBool::new(false),
            frame_bytes,
            trusted,
        })
    }

    /// Why the connection ended. `None` while it is usable.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        if !self.closed.load(Ordering::Acquire) {
            return None;
        }
        match &self.state.lock().phase {
            Phase::Closed(reason) => Some(reason.clone()),
            Phase::Handshake | Phase::Open { .. } => None,
        }
    }

    /// Ends the connection: every waiting call and every later call fails with `error`. `written`
    /// is how many of the queued bytes may have left this process.
    pub(super) fn close(&self, error: &ClientError, written: u64) {
        let wakers = {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Closed(_)) {
                return;
            }
            let was_open = matches!(state.phase, Phase::Open { .. });
            state.phase = Phase::Closed(CloseReason { error: error.clone(), was_open });
            state.write_buffer = WriteBuffer::default();
            self.closed.store(true, Ordering::Release);
            let mut wakers = state.calls.fail_all(|queued_at| FailedCall {
                error: error.clone(),
                sent: queued_at < written,
            });
            wakers.extend(state.io_task.take());
            wakers
        };
        // A shutdown reaches the owner even while a duplicate of the descriptor is open. It fails
        // only if the owner has closed the connection already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.can_send.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Completes the handshake with the owner's hello.
    pub(super) fn open(&self, hello: Hello) {
        let frame_bytes =
            self.frame_bytes.min(usize::try_from(hello.frame_bytes).unwrap_or(usize::MAX));
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Handshake) {
            state.phase = Phase::Open { frame_bytes };
        }
        drop(state);
        self.can_send.notify_waiters();
    }

    /// Moves the queued bytes to `into` and keeps `io_task` to wake the task when more bytes are
    /// queued. Returns how many bytes the I/O tasks have taken in total, or `None` if the
    /// connection is closed.
    pub(super) fn take_queued(&self, io_task: &Waker, into: &mut WriteBuffer) -> Option<u64> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Closed(_)) {
            return None;
        }
        match &mut state.io_task {
            Some(waker) if waker.will_wake(io_task) => {}
            waker => *waker = Some(io_task.clone()),
        }
        // The task takes more bytes only after it has written what it holds. Otherwise the limit of
        // the write buffer would have no effect.
        if into.is_empty() && !state.write_buffer.is_empty() {
            let (was_full, queued_bytes) =
                (state.write_buffer.len() >= WRITE_BUFFER_BYTES, state.queued_bytes);
            std::mem::swap(&mut state.write_buffer, into);
            drop(state);
            if was_full {
                self.can_send.notify_waiters();
            }
            return Some(queued_bytes);
        }
        Some(state.queued_bytes - state.write_buffer.len() as u64)
    }

    /// Delivers a reply to the call that waits for it. Drops the reply if the call was cancelled.
    pub(super) fn deliver(&self, id: u64, reply: Reply) {
        let waker = self.state.lock().calls.deliver(CallId::from_wire(id), reply);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Reserves the right to start the I/O task. False if a task is running or the connection is
    /// closed.
    pub(super) fn claim_io_task(&self) -> bool {
        let mut state = self.state.lock();
        if state.has_io_task || matches!(state.phase, Phase::Closed(_)) {
            return false;
        }
        state.has_io_task = true;
        true
    }

    /// Records that the I/O task has ended, possibly with its runtime. Wakes the callers on other
    /// runtimes, so that one of them starts the next task.
    pub(super) fn io_task_ended(&self) {
        let wakers = {
            let mut state = self.state.lock();
            (state.has_io_task, state.io_task) = (false, None);
            state.calls.wakers()
        };
        self.can_send.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Queues a request whole, or not at all.
    pub(super) fn enqueue(&self, request: &Request) -> Result<Enqueued, FailedCall> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let frame_bytes = match &state.phase {
            Phase::Closed(reason) => return Err(FailedCall::unsent(reason.error.clone())),
            Phase::Handshake => return Ok(Enqueued::MustWait),
            Phase::Open { .. } if state.write_buffer.len() >= WRITE_BUFFER_BYTES => {
                return Ok(Enqueued::MustWait);
            }
            Phase::Open { frame_bytes } => *frame_bytes,
        };
        let before = state.write_buffer.len();
        let id = state.calls.insert(state.queued_bytes);
        if let Err(error) = state.write_buffer.push(id.to_wire(), request, frame_bytes) {
            state.calls.remove(id);
            return Err(FailedCall::unsent(match error {
                FrameError::Length { bytes, limit } => ClientError::TooLong { bytes, limit },
                other => ClientError::Encode(Arc::new(other)),
            }));
        }
        state.queued_bytes += (state.write_buffer.len() - before) as u64;
        if before == 0
            && let Some(io_task) = &state.io_task
        {
            io_task.wake_by_ref();
        }
        Ok(Enqueued::Queued(id))
    }

    /// Resolves when a caller that waits to send may try again.
    pub(super) fn can_send(&self) -> Notified<'_> {
        self.can_send.notified()
    }

    /// The result of a call if there is one, and whether an I/O task is running.
    pub(super) fn poll_call(
        &self,
        id: CallId,
        waker: &Waker,
    ) -> (Option<Result<Reply, FailedCall>>, bool) {
        let mut state = self.state.lock();
        (state.calls.poll(id, waker), state.has_io_task)
    }

    /// Removes a call. A later reply to it is dropped.
    pub(super) fn forget_call(&self, id: CallId) {
        self.state.lock().calls.remove(id);
    }
}
