use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast};

use crate::event::{Event, Events, Unread};

/// Unread events kept for each reader.
const UNREAD: usize = 1024;

/// Bytes of messages that may wait to be read: 8 MiB, each message counted with [`COST`] on top of
/// its length. Without a bound of their own, messages of 1 MiB would make the unread events a
/// gigabyte.
const BUDGET: usize = 8 << 20;

/// What an unread message costs beside its bytes.
const COST: usize = 64;

/// The events on their way to the readers.
#[derive(Debug)]
pub(super) struct Feed {
    // Taken at the end, so that readers see the end of the stream.
    sender: Option<broadcast::Sender<Unread>>,
    // The reader that missed nothing; the first caller gets it.
    first: Option<Events>,
    room: Arc<Semaphore>,
    /// Messages dropped since the last event.
    dropped: u64,
}

impl Feed {
    pub(super) fn new() -> Self {
        let (sender, first) = broadcast::channel(UNREAD);
        Self {
            sender: Some(sender),
            first: Some(Events::new(first)),
            room: Arc::new(Semaphore::new(BUDGET)),
            dropped: 0,
        }
    }

    /// Passes an event on. A message for which there is no room is dropped, and counted before the
    /// next event.
    pub(super) fn emit(&mut self, event: Event) {
        let room = match &event {
            Event::Message { message, .. } => {
                // A message has at most 1 MiB, which fits.
                let cost = u32::try_from(message.as_bytes().len() + COST).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(cost) else {
                    self.dropped += 1;
                    return;
                };
                Some(Arc::new(room))
            }
            _ => None,
        };
        self.own_up();
        self.send(Unread { event, _room: room });
    }

    pub(super) fn reader(&mut self) -> Events {
        if let Some(first) = self.first.take() {
            return first;
        }
        match &self.sender {
            Some(sender) => Events::new(sender.subscribe()),
            None => Events::new(broadcast::channel(1).1),
        }
    }

    /// Ends the stream.
    pub(super) fn end(&mut self) {
        self.own_up();
        self.sender = None;
    }

    fn own_up(&mut self) {
        if self.dropped > 0 {
            let event = Event::Lagged(std::mem::take(&mut self.dropped));
            self.send(Unread { event, _room: None });
        }
    }

    fn send(&self, event: Unread) {
        if let Some(sender) = &self.sender {
            // Fails without a reader: then nobody wants to know.
            let _ = sender.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkerId;
    use crate::message::Message;

    #[tokio::test]
    async fn k13_unread_messages_are_bounded_in_bytes_and_the_dropped_are_counted() {
        let (mut feed, from) = (Feed::new(), WorkerId::new(1));
        let message = || Event::Message { from, message: Message::from_bytes(vec![0; 1 << 20]) };
        for _ in 0..20 {
            feed.emit(message());
        }
        feed.emit(Event::Ready(from));
        let mut events = feed.reader();
        for _ in 0..7 {
            assert!(matches!(events.next().await, Some(Event::Message { .. })));
        }
        assert!(matches!(events.next().await, Some(Event::Lagged(13))));
        assert!(matches!(events.next().await, Some(Event::Ready(_))));

        // What was read makes room.
        feed.emit(message());
        feed.end();
        assert!(matches!(events.next().await, Some(Event::Message { .. })));
        assert!(events.next().await.is_none());
    }
}
