//! The task that reads and writes a connection.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{net::UnixStream, runtime::Handle};

use crate::{
    connection::Connection,
    error::ClientError,
    frame::{Inbox, Outbox, Verdict, decode},
};

/// After this many reads and writes in a row other tasks of the runtime have their turn.
const ROUNDS: usize = 16;

/// What is half read and half written. It belongs to the connection and outlives a driver, so that
/// the next one goes on mid-frame.
pub(crate) struct Pipes {
    inbox: Inbox,
    sending: Outbox,
    /// How many bytes were ever taken from the connection's outbox.
    taken: u64,
    greeted: bool,
}

impl Pipes {
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self {
            inbox: Inbox::new(frame_bytes),
            sending: Outbox::default(),
            taken: 0,
            greeted: false,
        }
    }

    /// Hands out every whole reply that came.
    fn deliver(&mut self, connection: &Connection) -> Result<(), ClientError> {
        if !self.greeted {
            let Some(hello) = self.inbox.hello()? else { return Ok(()) };
            match hello.verdict {
                Verdict::Welcome => connection.open(hello),
                Verdict::Full => return Err(ClientError::Full),
                Verdict::OtherUser => return Err(ClientError::OtherUser),
            }
            self.greeted = true;
        }
        while let Some((id, message)) = self.inbox.frame()? {
            connection.deliver(id, decode(message)?);
        }
        Ok(())
    }
}

/// Reads and writes one connection until it ends, on the runtime it was spawned on.
pub(crate) struct Driver {
    connection: Arc<Connection>,
    stream: UnixStream,
}

impl Driver {
    /// Starts the task on the current runtime.
    pub(crate) fn spawn(connection: &Arc<Connection>) -> Result<(), ClientError> {
        let stream = UnixStream::from_std(connection.stream.try_clone()?)?;
        if let Some(trusted) = connection.trusted {
            // The kernel recorded this uid when the peer called listen(). It is checked before
            // anything is sent.
            let uid = stream.peer_cred()?.uid();
            if !trusted.includes(uid) {
                let error = ClientError::OtherOwner { uid, trusted };
                // The next call makes a new connection, because the right owner may listen there by
                // then.
                connection.close(&error, 0);
                return Err(error);
            }
        }
        Handle::current().spawn(Self { connection: Arc::clone(connection), stream });
        Ok(())
    }

    /// `Ready(Ok(()))` if the connection was closed by our side.
    fn poll_pipes(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &mut Pipes,
    ) -> Poll<Result<(), ClientError>> {
        for _ in 0..ROUNDS {
            loop {
                let Some(taken) = self.connection.take_outbox(cx.waker(), &mut pipes.sending)
                else {
                    return Poll::Ready(Ok(()));
                };
                pipes.taken = taken;
                if pipes.sending.is_empty() {
                    break;
                }
                match pipes.sending.poll_flush(&mut self.stream, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(self.last_words(cx, pipes).and(Err(error.into())));
                    }
                    Poll::Pending => break,
                }
            }
            match pipes.inbox.poll_read(&mut self.stream, cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(Err(ClientError::Closed)),
                Poll::Ready(_) => pipes.deliver(&self.connection)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what the owner said before it closed: replies, or why it refuses us. Bounded, should
    /// it only have stopped reading.
    fn last_words(&mut self, cx: &mut Context<'_>, pipes: &mut Pipes) -> Result<(), ClientError> {
        for _ in 0..ROUNDS {
            let Poll::Ready(Ok(1..)) = pipes.inbox.poll_read(&mut self.stream, cx) else { break };
            pipes.deliver(&self.connection)?;
        }
        Ok(())
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = Arc::clone(&self.connection);
        // Only the one driver takes this lock, so it never waits here. Lock order: pipes, then the
        // connection's state.
        let mut pipes = connection.pipes.lock();
        match self.poll_pipes(cx, &mut pipes) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                connection.close(&error, pipes.taken - pipes.sending.len() as u64);
                Poll::Ready(())
            }
        }
    }
}

/// Also runs when the runtime ends under the task.
impl Drop for Driver {
    fn drop(&mut self) {
        self.connection.undriven();
    }
}
