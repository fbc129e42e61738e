use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Bytes that may wait for one peer: 4 MiB, each frame counted with [`COST`] on top of its length.
const BUDGET: usize = 4 << 20;

/// What a queued frame costs beside its bytes, so that many empty frames are bounded too.
const COST: usize = 64;

/// The bounded queue in front of one peer's socket. Frames leave in the order in which they were
/// queued.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    written: Option<oneshot::Sender<()>>,
    // Held until the bytes are written: it is what bounds the queue.
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a frame was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl Outbox {
    /// Starts the task that writes to `socket`. It ends when the peer is gone or all outboxes are
    /// dropped.
    pub(crate) fn start(mut socket: OwnedWriteHalf) -> Self {
        let (queue, mut frames) = mpsc::unbounded_channel::<Queued>();
        let room = Arc::new(Semaphore::new(BUDGET));
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if socket.write_all(&frame.bytes).await.is_err() {
                    break;
                }
                if let Some(written) = frame.written {
                    // The sender may have stopped waiting; the frame is out all the same.
                    let _ = written.send(());
                }
            }
        });
        Self { queue, room }
    }

    /// Queues a frame if there is room for it.
    pub(crate) fn offer(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(cost(&bytes))
            .map_err(|_| Refused::Full)?;
        self.put(Queued { bytes, written: None, _room: Some(room) })
    }

    /// Queues a frame for which there is room elsewhere, which it holds until it is written.
    pub(crate) fn attach(&self, bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Result<(), Refused> {
        self.put(Queued { bytes, written: None, _room: Some(room) })
    }

    /// Queues one of the few frames that must not be refused: the greeting and orders, a handful in
    /// a worker's life.
    pub(crate) fn insist(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        self.put(Queued { bytes, written: None, _room: None })
    }

    /// Waits for room, queues a frame and waits until the kernel has it.
    ///
    /// Cancel safe: a frame is written whole or not at all.
    pub(crate) async fn deliver(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        let room = Arc::clone(&self.room)
            .acquire_many_owned(cost(&bytes))
            .await
            .map_err(|_| Refused::Closed)?;
        let (written, out) = oneshot::channel();
        self.put(Queued { bytes, written: Some(written), _room: Some(room) })?;
        out.await.map_err(|_| Refused::Closed)
    }

    fn put(&self, frame: Queued) -> Result<(), Refused> {
        self.queue.send(frame).map_err(|_| Refused::Closed)
    }
}

fn cost(bytes: &[u8]) -> u32 {
    // A frame has at most 1 MiB, which fits; the budget is larger than any frame, so waiting for
    // room always ends.
    u32::try_from(bytes.len() + COST).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn k13_a_peer_that_does_not_read_is_refused_not_awaited() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(ours.into_split().1);
        let mut queued = 0;
        while outbox.offer(vec![0; 64 << 10]).is_ok() {
            queued += 1;
            assert!(queued < 1_000, "the queue has no bound");
        }
        assert!(queued >= 60, "refused after {queued} frames of 64 KiB");
        assert_eq!(outbox.offer(vec![0; 64 << 10]), Err(Refused::Full));
        assert_eq!(outbox.insist(vec![1]), Ok(()));

        let mut read = vec![0; queued * (64 << 10) + 1];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(read.last(), Some(&1));
        assert_eq!(outbox.deliver(vec![2]).await, Ok(()));
    }

    #[tokio::test]
    async fn a_peer_that_left_closes_the_outbox() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(ours.into_split().1);
        drop(theirs);
        assert_eq!(outbox.deliver(vec![0]).await, Err(Refused::Closed));
    }
}
