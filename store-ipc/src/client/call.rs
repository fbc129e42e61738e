//! One call over a connection: queues the request and waits for the reply.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    connection::{ClientConnection, Enqueued},
    io_task,
    pending_calls::CallId,
};
use crate::{
    error::FailedCall,
    wire::message::{Reply, Request},
};

/// Sends `request` and waits for its reply without a time limit.
///
/// # Cancel safety
/// A request is queued whole or not at all. If the future is dropped, the call is removed and its
/// reply is dropped when it arrives.
pub(super) async fn call(
    connection: &Arc<ClientConnection>,
    request: &Request,
) -> Result<Reply, FailedCall> {
    io_task::ensure_running(connection).map_err(FailedCall::unsent)?;
    let id = match connection.enqueue(request)? {
        Enqueued::Queued(id) => id,
        Enqueued::MustWait => enqueue_when_possible(connection, request).await?,
    };
    WaitForReply { connection, id }.await
}

async fn enqueue_when_possible(
    connection: &Arc<ClientConnection>,
    request: &Request,
) -> Result<CallId, FailedCall> {
    loop {
        // Created before the attempt, so that a notification after the attempt is not missed.
        let can_send = connection.can_send();
        io_task::ensure_running(connection).map_err(FailedCall::unsent)?;
        if let Enqueued::Queued(id) = connection.enqueue(request)? {
            return Ok(id);
        }
        can_send.await;
    }
}

/// Waits for the reply to a queued request.
struct WaitForReply<'a> {
    connection: &'a Arc<ClientConnection>,
    id: CallId,
}

impl Future for WaitForReply<'_> {
    type Output = Result<Reply, FailedCall>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (result, has_io_task) = self.connection.poll_call(self.id, cx.waker());
        if let Some(result) = result {
            return Poll::Ready(result);
        }
        if !has_io_task && let Err(error) = io_task::ensure_running(self.connection) {
            return Poll::Ready(Err(FailedCall { error, sent: true }));
        }
        Poll::Pending
    }
}

impl Drop for WaitForReply<'_> {
    fn drop(&mut self) {
        self.connection.forget_call(self.id);
    }
}
