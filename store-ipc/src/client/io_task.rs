//! The task that reads and writes a client's connection.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{net::UnixStream, runtime::Handle};

use super::{connection::ClientConnection, io_buffers::IoBuffers};
use crate::{
    error::ClientError,
    wire::frame::{HelloStatus, decode},
};

/// After this many reads and writes in a row, the task yields to the other tasks of the runtime.
const ROUNDS: usize = 16;

/// Reads and writes one connection until it ends, on the runtime on which it was spawned.
struct IoTask {
    connection: Arc<ClientConnection>,
    stream: UnixStream,
}

/// Starts an I/O task for the connection on the current runtime, unless one is running.
pub(super) fn ensure_running(connection: &Arc<ClientConnection>) -> Result<(), ClientError> {
    if !connection.claim_io_task() {
        return Ok(());
    }
    // After a successful spawn, the task's `Drop` releases the claim, even if the task never runs.
    spawn(connection).inspect_err(|_| connection.io_task_ended())
}

fn spawn(connection: &Arc<ClientConnection>) -> Result<(), ClientError> {
    let stream = UnixStream::from_std(connection.stream.try_clone()?)?;
    if let Some(trusted) = connection.trusted {
        // The kernel recorded this uid when the peer called listen(). The client checks it before
        // it sends anything.
        let uid = stream.peer_cred()?.uid();
        if !trusted.includes(uid) {
            let error = ClientError::UntrustedOwner { uid, trusted };
            // The next call makes a new connection. The right owner may listen there by then.
            connection.close(&error, 0);
            return Err(error);
        }
    }
    Handle::current().spawn(IoTask { connection: Arc::clone(connection), stream });
    Ok(())
}

impl IoTask {
    /// `Ready(Ok(()))` if this process closed the connection.
    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut IoBuffers,
    ) -> Poll<Result<(), ClientError>> {
        for _ in 0..ROUNDS {
            loop {
                let Some(taken_bytes) =
                    self.connection.take_queued(cx.waker(), &mut buffers.outgoing)
                else {
                    return Poll::Ready(Ok(()));
                };
                buffers.taken_bytes = taken_bytes;
                if buffers.outgoing.is_empty() {
                    break;
                }
                match buffers.outgoing.poll_flush(&mut self.stream, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(
                            self.read_remaining(cx, buffers).and(Err(error.into())),
                        );
                    }
                    Poll::Pending => break,
                }
            }
            match buffers.incoming.poll_read(&mut self.stream, cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(Err(ClientError::Closed)),
                Poll::Ready(_) => self.deliver(buffers)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what the owner sent before it closed the connection: replies, or the reason of a
    /// refusal. The number of reads is bounded, because the owner may only have stopped reading.
    fn read_remaining(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut IoBuffers,
    ) -> Result<(), ClientError> {
        for _ in 0..ROUNDS {
            let Poll::Ready(Ok(1..)) = buffers.incoming.poll_read(&mut self.stream, cx) else {
                break;
            };
            self.deliver(buffers)?;
        }
        Ok(())
    }

    /// Delivers every whole reply that has arrived.
    fn deliver(&self, buffers: &mut IoBuffers) -> Result<(), ClientError> {
        if !buffers.handshake_done {
            let Some(hello) = buffers.incoming.take_hello()? else { return Ok(()) };
            match hello.status {
                HelloStatus::Accepted => self.connection.open(hello),
                HelloStatus::TooManyConnections => return Err(ClientError::TooManyConnections),
                HelloStatus::UserNotAllowed => return Err(ClientError::UserNotAllowed),
            }
            buffers.handshake_done = true;
        }
        while let Some((id, message)) = buffers.incoming.take_frame()? {
            self.connection.deliver(id, decode(message)?);
        }
        Ok(())
    }
}

impl Future for IoTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = Arc::clone(&self.connection);
        // There is one I/O task at a time and only it takes this lock, so it never waits here. Lock
        // order: the buffers, then the connection's state.
        let mut buffers = connection.buffers.lock();
        match self.poll_io(cx, &mut buffers) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                connection.close(&error, buffers.taken_bytes - buffers.outgoing.len() as u64);
                Poll::Ready(())
            }
        }
    }
}

/// Also runs when the runtime ends and drops the task.
impl Drop for IoTask {
    fn drop(&mut self) {
        self.connection.io_task_ended();
    }
}
