//! Handles received RPC frames: passes requests to their reader and replies to their waiters.

use std::sync::Arc;

use super::{
    calls::{Call, RequestQueue},
    channel::{RpcChannel, cost},
};
use crate::{
    model::WorkerId,
    wire::frame::{RpcFrame, RpcRefusal},
};

/// The receiving end of a channel. Dropping it means that the peer has ended: all requests that
/// wait for a reply fail.
#[derive(Debug)]
pub(crate) struct RpcDispatcher {
    channel: Arc<RpcChannel>,
    requests: Arc<RequestQueue>,
    /// The peer; `None` if it is the primary.
    from: Option<WorkerId>,
}

impl RpcDispatcher {
    pub(crate) fn new(
        channel: &Arc<RpcChannel>,
        requests: &Arc<RequestQueue>,
        from: Option<WorkerId>,
    ) -> Self {
        Self { channel: Arc::clone(channel), requests: Arc::clone(requests), from }
    }

    /// Handles one frame. Never waits.
    pub(crate) fn dispatch(&self, frame: RpcFrame) {
        let (id, body) = match frame {
            RpcFrame::Reply { id, answer } => return self.channel.deliver_reply(id, answer),
            RpcFrame::Request { id, body } => (id, body),
        };
        let Some(budget) = self.channel.budget.try_acquire(cost(body.len())) else {
            let has_reader = self.requests.has_reader();
            let why = if has_reader { RpcRefusal::Busy } else { RpcRefusal::NoReader };
            return self.channel.refuse(id, why);
        };
        let call = Call::new(Arc::clone(&self.channel), self.from, id, body, budget);
        if let Err(call) = self.requests.dispatch(call) {
            call.refuse(RpcRefusal::NoReader);
        }
    }
}

impl Drop for RpcDispatcher {
    fn drop(&mut self) {
        self.channel.close();
        // A worker gets requests only from its primary. The queue of the primary belongs to all of
        // its workers.
        if self.from.is_none() {
            self.requests.close();
        }
    }
}
