//! Received requests, the reader that yields them, and the queue between connection and reader.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::channel::{ReplyNotQueued, RpcChannel};
use crate::{
    error::{DecodeError, ReplyError},
    lock::lock,
    model::{Message, WorkerId},
    wire::{frame::RpcRefusal, message},
};

/// A received request that waits for its reply. From [`Requests`].
///
/// Dropping it answers the request with
/// [`RequestError::NotAnswered`](crate::RequestError::NotAnswered). A call may be kept, sent to
/// another task, and answered in any order. `Debug` shows only the size of the request, because a
/// request may contain secrets.
pub struct Call {
    channel: Arc<RpcChannel>,
    from: Option<WorkerId>,
    id: u64,
    message: Message,
    // `Some` until it is answered. This bounds the requests of one peer or slot.
    budget: Option<OwnedSemaphorePermit>,
}

impl Call {
    pub(super) fn new(
        channel: Arc<RpcChannel>,
        from: Option<WorkerId>,
        id: u64,
        body: Vec<u8>,
        budget: OwnedSemaphorePermit,
    ) -> Self {
        Self { channel, from, id, message: Message::from_bytes(body), budget: Some(budget) }
    }

    /// The worker that sent the request. `None` in a worker, where all requests come from the
    /// primary.
    #[must_use]
    pub fn from(&self) -> Option<WorkerId> {
        self.from
    }

    /// Decodes the request as a `T`.
    ///
    /// # Errors
    ///
    /// The text is not a `T`. The request stays; the caller can try another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.message.decode()
    }

    /// Queues the reply, without waiting. `Ok` means queued: the requester may have given up, or
    /// may end before it reads the reply.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Gone`] when the requester has ended. [`ReplyError::Full`] when the requester
    /// does not read its replies: replies and unanswered requests of one peer, or of one slot in
    /// the primary, are limited to 8 MiB together. [`ReplyError::TooLarge`] and
    /// [`ReplyError::Encode`] concern the reply itself. After every error but `Gone` the requester
    /// gets [`RequestError::NotAnswered`](crate::RequestError::NotAnswered).
    pub fn reply<R: Serialize + ?Sized>(mut self, reply: &R) -> Result<(), ReplyError> {
        let body = message::encode(reply)?;
        let Some(budget) = self.budget.take() else { return Ok(()) };
        self.channel.reply(self.id, Ok(body), budget).map_err(|error| match error {
            ReplyNotQueued::Gone => ReplyError::Gone,
            ReplyNotQueued::Full(budget) => {
                self.budget = Some(budget);
                ReplyError::Full
            }
        })
    }

    pub(super) fn refuse(mut self, why: RpcRefusal) {
        self.answer_without_reply(why);
    }

    fn answer_without_reply(&mut self, why: RpcRefusal) {
        if let Some(budget) = self.budget.take() {
            // The budget of the request suffices for a refusal. It fails if the peer has ended.
            let _ = self.channel.reply(self.id, Err(why), budget);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.answer_without_reply(RpcRefusal::NotAnswered);
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

/// Reads requests in the order in which they arrived. From
/// [`Worker::requests`](crate::Worker::requests) and
/// [`ClusterHandle::requests`](crate::ClusterHandle::requests).
///
/// Dropping it refuses all unread requests and all later ones.
#[derive(Debug)]
pub struct Requests {
    calls: mpsc::UnboundedReceiver<Call>,
    queue: Arc<RequestQueue>,
}

impl Requests {
    /// Waits for the next request; `None` when no more can come, or when another reader has
    /// replaced this one, and all were read.
    ///
    /// Up to 8 MiB of unanswered requests are kept, each counted with 256 bytes on top of its
    /// length. Further requests are answered with
    /// [`RequestError::Busy`](crate::RequestError::Busy). In the primary the limit applies to each
    /// slot: requests of a worker that has ended stay readable, and they count against its
    /// replacement until they are answered or dropped. Cancel safe: dropping the future loses no
    /// request.
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
        // Close before the queue is checked: requests that were dispatched until then are in the
        // channel and are refused with it.
        self.calls.close();
        self.queue.unsubscribe();
    }
}

/// Passes received requests to their reader.
#[derive(Debug, Default)]
pub(crate) struct RequestQueue(Mutex<Reader>);

#[derive(Debug, Default)]
enum Reader {
    #[default]
    None,
    Active(mpsc::UnboundedSender<Call>),
    /// No more requests can come.
    Closed,
}

impl RequestQueue {
    /// Adds a reader in place of the previous one, whose stream ends.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Requests {
        let (sender, calls) = mpsc::unbounded_channel();
        let mut reader = self.reader();
        if !matches!(*reader, Reader::Closed) {
            *reader = Reader::Active(sender);
        }
        drop(reader);
        Requests { calls, queue: Arc::clone(self) }
    }

    /// Passes a request to the reader, or returns it if there is no reader. The budget that each
    /// request holds bounds how many wait.
    pub(super) fn dispatch(&self, call: Call) -> Result<(), Call> {
        // Under the lock, so that a reader that unsubscribes finds all requests that were
        // dispatched to it.
        match &*self.reader() {
            Reader::Active(reader) => reader.send(call).map_err(|refused| refused.0),
            Reader::None | Reader::Closed => Err(call),
        }
    }

    pub(super) fn has_reader(&self) -> bool {
        matches!(&*self.reader(), Reader::Active(reader) if !reader.is_closed())
    }

    /// Ends the stream: no more requests can come.
    pub(crate) fn close(&self) {
        *self.reader() = Reader::Closed;
    }

    /// Removes the reader if it was dropped.
    fn unsubscribe(&self) {
        let mut reader = self.reader();
        if matches!(&*reader, Reader::Active(sender) if sender.is_closed()) {
            *reader = Reader::None;
        }
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        lock(&self.0)
    }
}
