use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::error::{DecodeError, ReplyError};
use crate::frame::Refusal;
use crate::id::WorkerId;
use crate::line::{Line, Unsent};
use crate::message::{self, Message};

/// A request that waits for its reply. From [`Requests`].
///
/// One that is dropped is answered with
/// [`RequestError::NotAnswered`](crate::RequestError::NotAnswered), so nobody waits in vain. It may
/// be kept, sent to another task, and answered in any order. `Debug` shows its size only, because a
/// request may carry secrets.
pub struct Call {
    line: Arc<Line>,
    from: Option<WorkerId>,
    id: u64,
    message: Message,
    // There until it is answered: what bounds the requests of one peer, or slot.
    room: Option<OwnedSemaphorePermit>,
}

impl Call {
    pub(crate) fn new(
        line: Arc<Line>,
        from: Option<WorkerId>,
        id: u64,
        body: Vec<u8>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { line, from, id, message: Message::from_bytes(body), room: Some(room) }
    }

    /// The worker that asks. `None` in a worker, where only the primary does.
    #[must_use]
    pub fn from(&self) -> Option<WorkerId> {
        self.from
    }

    /// Reads the request as a `T`.
    ///
    /// # Errors
    ///
    /// When its text is not a `T`. Nothing is consumed; another type can be tried.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.message.decode()
    }

    /// Queues the reply, without waiting. `Ok` means queued: the one who asked may have given up,
    /// or may end before.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Gone`] when the one who asked has ended. [`ReplyError::Full`] when it does not
    /// read its replies: 8 MiB are kept for it, or for the workers of its slot, together with the
    /// unanswered requests. [`ReplyError::TooLarge`] and [`ReplyError::Encode`] for the reply
    /// itself. After any but the first it is told
    /// [`RequestError::NotAnswered`](crate::RequestError::NotAnswered).
    pub fn reply<R: Serialize + ?Sized>(mut self, reply: &R) -> Result<(), ReplyError> {
        let body = message::encode(reply)?;
        let Some(room) = self.room.take() else { return Ok(()) };
        self.line.answer(self.id, Ok(body), room).map_err(|unsent| match unsent {
            Unsent::Gone => ReplyError::Gone,
            Unsent::Full(room) => {
                self.room = Some(room);
                ReplyError::Full
            }
        })
    }

    pub(crate) fn refuse(mut self, why: Refusal) {
        self.close(why);
    }

    fn close(&mut self, why: Refusal) {
        if let Some(room) = self.room.take() {
            // The room of the request is enough for a refusal; a peer that is gone needs none.
            let _ = self.line.answer(self.id, Err(why), room);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.close(Refusal::NotAnswered);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("from", &self.from)
            .field("id", &self.id)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Reads requests in the order in which they came. From
/// [`Worker::requests`](crate::Worker::requests) and
/// [`ClusterHandle::requests`](crate::ClusterHandle::requests).
///
/// Dropping it refuses what was not read, and what comes later.
#[derive(Debug)]
pub struct Requests {
    calls: mpsc::UnboundedReceiver<Call>,
    desk: Arc<Desk>,
}

impl Requests {
    /// Waits for the next request; `None` when none can come any more, or another reader has taken
    /// over, and all were read.
    ///
    /// Up to 8 MiB of unanswered requests are kept, each counted with 256 bytes on top of its
    /// length; further ones are answered with [`RequestError::Busy`](crate::RequestError::Busy). In
    /// the primary that is for each slot: requests of a worker that has ended are still read, and
    /// until they are answered or dropped its successor has so much less. Cancel safe: no request
    /// is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Call> {
        self.calls.recv().await
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // Closed before the desk is looked at: what was passed on until then is in the queue, and
        // is refused with it.
        self.calls.close();
        self.desk.leave();
    }
}

/// Where requests are handed to the one who reads them.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Seat>);

#[derive(Debug, Default)]
enum Seat {
    #[default]
    Empty,
    Taken(mpsc::UnboundedSender<Call>),
    Closed,
}

impl Desk {
    /// Seats a reader in the place of the one before, whose stream ends.
    pub(crate) fn sit(self: &Arc<Self>) -> Requests {
        let (calls, reader) = mpsc::unbounded_channel();
        let mut seat = self.seat();
        if !matches!(*seat, Seat::Closed) {
            *seat = Seat::Taken(calls);
        }
        drop(seat);
        Requests { calls: reader, desk: Arc::clone(self) }
    }

    /// Gives the call back if nobody reads. How many wait is bounded by the room that each of them
    /// holds.
    pub(crate) fn pass(&self, call: Call) -> Result<(), Call> {
        // Under the lock, so that a reader who leaves finds what was passed to it.
        match &*self.seat() {
            Seat::Taken(reader) => reader.send(call).map_err(|refused| refused.0),
            Seat::Empty | Seat::Closed => Err(call),
        }
    }

    pub(crate) fn listens(&self) -> bool {
        matches!(&*self.seat(), Seat::Taken(reader) if !reader.is_closed())
    }

    /// Nobody will ask any more.
    pub(crate) fn close(&self) {
        *self.seat() = Seat::Closed;
    }

    /// Empties the seat if its reader has left.
    fn leave(&self) {
        let mut seat = self.seat();
        if matches!(&*seat, Seat::Taken(reader) if reader.is_closed()) {
            *seat = Seat::Empty;
        }
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        // Whole after every instruction, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
