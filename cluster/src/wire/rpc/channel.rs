//! Sends requests and replies over one connection, and waits for replies.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{
    error::RequestError,
    lock::lock,
    model::Message,
    wire::{
        frame::{EncodeError, RpcFrame, RpcRefusal, RpcResult},
        outbox::{Outbox, QueueError},
    },
};

/// Bytes of unanswered requests from one peer or one slot, together with unwritten replies to it:
/// 8 MiB. Each counts its length plus [`COST`]. So a peer can neither send requests without bound
/// nor leave replies unread without bound.
pub(super) const BUDGET: usize = 8 << 20;

/// The cost of an unanswered request beside its bytes.
pub(super) const COST: usize = 256;

/// Turns an RPC frame into the bytes of a frame. It differs between the two directions.
type EncodeFrame = fn(RpcFrame) -> Result<Vec<u8>, EncodeError>;

/// The requests and replies of one connection, in both directions.
#[derive(Debug)]
pub(crate) struct RpcChannel {
    outbox: Outbox,
    encode: EncodeFrame,
    /// The requests of this side. The lock is held for a few instructions.
    pending: Mutex<PendingReplies>,
    /// Bounds the requests of the other side.
    pub(super) budget: ByteBudget,
}

/// The byte budget of unanswered requests.
///
/// All workers of one slot share one budget. Requests of a dead worker stay readable and still
/// count. So a worker that crashes repeatedly cannot fill the memory with requests.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget(pub(super) Arc<Semaphore>);

impl Default for ByteBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

impl ByteBudget {
    pub(super) fn try_acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // A frame has at most 1 MiB, which fits.
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).ok()
    }
}

/// The requests of this side that wait for a reply. An entry lives as long as the future that
/// waits for it.
#[derive(Debug, Default)]
struct PendingReplies {
    last_id: u64,
    peer_gone: bool,
    waiting: HashMap<u64, oneshot::Sender<RpcResult>>,
}

/// What to do when the queue to the peer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Refuse,
    Wait,
}

impl RpcChannel {
    pub(crate) fn new(outbox: Outbox, encode: EncodeFrame, budget: ByteBudget) -> Arc<Self> {
        Arc::new(Self { outbox, encode, pending: Mutex::default(), budget })
    }

    /// Sends a request and waits for its reply.
    ///
    /// Cancel safe: a request is sent whole or not at all. Dropping the future drops the reply.
    pub(crate) async fn request<R: DeserializeOwned>(
        &self,
        body: Vec<u8>,
        within: Duration,
        full: WhenFull,
    ) -> Result<R, RequestError> {
        let reply = timeout(within, self.exchange(body, full))
            .await
            .map_err(|_| RequestError::TimedOut(within))??;
        match reply {
            Ok(reply) => {
                serde_json::from_slice(&reply).map_err(|e| RequestError::Decode(Arc::new(e)))
            }
            Err(RpcRefusal::NoReader) => Err(RequestError::NoReader),
            Err(RpcRefusal::Busy) => Err(RequestError::Busy),
            Err(RpcRefusal::NotAnswered) => Err(RequestError::NotAnswered),
        }
    }

    async fn exchange(&self, body: Vec<u8>, full: WhenFull) -> Result<RpcResult, RequestError> {
        let (request, reply) = PendingRequest::register(self).ok_or(RequestError::Gone)?;
        let len = body.len();
        let frame = (self.encode)(RpcFrame::Request { id: request.id, body })
            .map_err(|_| RequestError::TooLarge { len, max: Message::MAX })?;
        match full {
            WhenFull::Refuse => self.outbox.try_send(frame),
            WhenFull::Wait => self.outbox.send(frame).await,
        }
        .map_err(|error| match error {
            QueueError::Full => RequestError::Full,
            QueueError::Closed => RequestError::Gone,
        })?;
        reply.await.map_err(|_| RequestError::Gone)
    }

    /// Queues a reply, which counts against the budget of its request. If the budget does not
    /// suffice, the error returns the budget of the request.
    pub(super) fn reply(
        &self,
        id: u64,
        answer: RpcResult,
        mut budget: OwnedSemaphorePermit,
    ) -> Result<(), ReplyNotQueued> {
        let (has, needs) = (budget.num_permits(), cost(answer.as_ref().map_or(0, Vec::len)));
        if needs > has {
            match self.budget.try_acquire(needs - has) {
                Some(more) => budget.merge(more),
                None => return Err(ReplyNotQueued::Full(budget)),
            }
        } else {
            drop(budget.split(has - needs));
        }
        match (self.encode)(RpcFrame::Reply { id, answer }) {
            Ok(frame) => self.outbox.send_within(frame, budget).map_err(|_| ReplyNotQueued::Gone),
            // The caller has checked the length of the body, so it fits.
            Err(_) => Err(ReplyNotQueued::Gone),
        }
    }

    /// Refuses a request that holds no budget. It never waits. If the outbox is full, the refusal
    /// is dropped: a peer that sends faster than it reads runs into its own timeout.
    pub(super) fn refuse(&self, id: u64, why: RpcRefusal) {
        if let Ok(frame) = (self.encode)(RpcFrame::Reply { id, answer: Err(why) }) {
            let _ = self.outbox.try_send(frame);
        }
    }

    /// Delivers a reply to the future that waits for it. A late reply is dropped.
    pub(super) fn deliver_reply(&self, id: u64, answer: RpcResult) {
        if let Some(waiting) = self.pending().waiting.remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    /// The peer has ended: all requests that wait for a reply fail, and so do later ones.
    pub(super) fn close(&self) {
        let mut pending = self.pending();
        pending.peer_gone = true;
        pending.waiting.clear();
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending().waiting.len()
    }

    fn pending(&self) -> MutexGuard<'_, PendingReplies> {
        lock(&self.pending)
    }
}

/// Why a reply was not queued.
#[derive(Debug)]
pub(super) enum ReplyNotQueued {
    Full(OwnedSemaphorePermit),
    Gone,
}

/// A request that waits for its reply. Dropping it removes its entry.
struct PendingRequest<'a> {
    id: u64,
    channel: &'a RpcChannel,
}

impl<'a> PendingRequest<'a> {
    /// `None` when the peer has ended.
    fn register(channel: &'a RpcChannel) -> Option<(Self, oneshot::Receiver<RpcResult>)> {
        let mut pending = channel.pending();
        if pending.peer_gone {
            return None;
        }
        pending.last_id += 1;
        let (sender, reply) = oneshot::channel();
        let id = pending.last_id;
        pending.waiting.insert(id, sender);
        Some((Self { id, channel }, reply))
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.channel.pending().waiting.remove(&self.id);
    }
}

/// The cost of a request or reply with a body of `bytes` bytes.
pub(super) fn cost(bytes: usize) -> usize {
    bytes + COST
}
