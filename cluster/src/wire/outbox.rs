//! The bounded send queue of one connection.

use std::sync::Arc;

use tokio::{
    io::AsyncWriteExt,
    net::unix::OwnedWriteHalf,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};

/// Bytes that may wait for one peer: 4 MiB. Each frame counts its length plus [`COST`].
const BUDGET: usize = 4 << 20;

/// The cost of a queued frame beside its bytes. It also bounds the number of empty frames.
const COST: usize = 64;

/// The bounded queue in front of one peer's socket. Frames leave in the order in which they were
/// queued.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<QueuedFrame>,
    budget: Arc<Semaphore>,
}

#[derive(Debug)]
struct QueuedFrame {
    bytes: Vec<u8>,
    written: Option<oneshot::Sender<()>>,
    // Held until the bytes are written. This bounds the queue.
    _budget: Option<OwnedSemaphorePermit>,
}

/// Why a frame was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueueError {
    Full,
    Closed,
}

impl Outbox {
    /// Starts the task that writes to `socket`. The task ends when the peer has ended or all clones
    /// of the outbox are dropped.
    pub(crate) fn start(mut socket: OwnedWriteHalf) -> Self {
        let (queue, mut frames) = mpsc::unbounded_channel::<QueuedFrame>();
        let budget = Arc::new(Semaphore::new(BUDGET));
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if socket.write_all(&frame.bytes).await.is_err() {
                    break;
                }
                if let Some(written) = frame.written {
                    // Fails if the sender has stopped waiting. The frame is written anyway.
                    let _ = written.send(());
                }
            }
        });
        Self { queue, budget }
    }

    /// Queues a frame if the budget allows it.
    pub(crate) fn try_send(&self, bytes: Vec<u8>) -> Result<(), QueueError> {
        let budget = Arc::clone(&self.budget)
            .try_acquire_many_owned(cost(&bytes))
            .map_err(|_| QueueError::Full)?;
        self.put(QueuedFrame { bytes, written: None, _budget: Some(budget) })
    }

    /// Queues a frame that counts against another budget until it is written.
    pub(crate) fn send_within(
        &self,
        bytes: Vec<u8>,
        budget: OwnedSemaphorePermit,
    ) -> Result<(), QueueError> {
        self.put(QueuedFrame { bytes, written: None, _budget: Some(budget) })
    }

    /// Queues a frame without a budget. Only for the few frames that must not be rejected: the
    /// greeting and the orders.
    pub(crate) fn send_unbounded(&self, bytes: Vec<u8>) -> Result<(), QueueError> {
        self.put(QueuedFrame { bytes, written: None, _budget: None })
    }

    /// Waits for budget, queues a frame and waits until it is written to the socket.
    ///
    /// Cancel safe: a frame is written whole or not at all.
    pub(crate) async fn send(&self, bytes: Vec<u8>) -> Result<(), QueueError> {
        let budget = Arc::clone(&self.budget)
            .acquire_many_owned(cost(&bytes))
            .await
            .map_err(|_| QueueError::Closed)?;
        let (written, out) = oneshot::channel();
        self.put(QueuedFrame { bytes, written: Some(written), _budget: Some(budget) })?;
        out.await.map_err(|_| QueueError::Closed)
    }

    fn put(&self, frame: QueuedFrame) -> Result<(), QueueError> {
        self.queue.send(frame).map_err(|_| QueueError::Closed)
    }
}

fn cost(bytes: &[u8]) -> u32 {
    // A frame has at most 1 MiB, which fits. The budget is larger than any frame, so waiting for
    // it always ends.
    u32::try_from(bytes.len() + COST).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::UnixStream};

    use super::*;

    #[tokio::test]
    async fn k13_full_queue_rejects_frames_without_waiting() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(ours.into_split().1);
        let mut queued = 0;
        while outbox.try_send(vec![0; 64 << 10]).is_ok() {
            queued += 1;
            assert!(queued < 1_000, "the queue has no bound");
        }
        assert!(queued >= 60, "refused after {queued} frames of 64 KiB");
        assert_eq!(outbox.try_send(vec![0; 64 << 10]), Err(QueueError::Full));
        assert_eq!(outbox.send_unbounded(vec![1]), Ok(()));

        let mut read = vec![0; queued * (64 << 10) + 1];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(read.last(), Some(&1));
        assert_eq!(outbox.send(vec![2]).await, Ok(()));
    }

    #[tokio::test]
    async fn outbox_closes_when_the_peer_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(ours.into_split().1);
        drop(theirs);
        assert_eq!(outbox.send(vec![0]).await, Err(QueueError::Closed));
    }
}
