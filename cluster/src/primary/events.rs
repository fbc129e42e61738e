//! Publishes events to the readers and to the service manager.

use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::event::{Event, Events, UnreadEvent};

/// Unread events that are kept for each reader.
const UNREAD: usize = 1024;

/// Bytes of unread messages: 8 MiB. Each message counts its length plus [`COST`]. With the bound on
/// events alone, messages of 1 MiB could take one gigabyte.
const BUDGET: usize = 8 << 20;

/// The cost of an unread message beside its bytes.
const COST: usize = 64;

/// Publishes the events of the cluster.
#[derive(Debug)]
pub(super) struct EventPublisher {
    // Removed at the end, so that readers see the end of the stream.
    sender: Option<broadcast::Sender<UnreadEvent>>,
    // Misses no event. The first caller of `reader` gets it.
    first_reader: Option<Events>,
    budget: Arc<Semaphore>,
    /// Messages dropped since the last event.
    dropped: u64,
    service_steps: mpsc::UnboundedSender<ServiceStep>,
}

/// A change that the service manager must learn. It gets all of them in order.
#[derive(Debug)]
pub(super) enum ServiceStep {
    Reloading,
    Reloaded,
    /// This primary is in charge from now on.
    TookOver,
    /// The primary with this process id is in charge from now on. The sender resolves when the
    /// service manager was told.
    HandedOver(u32, oneshot::Sender<()>),
}

impl EventPublisher {
    /// The second value receives the steps for the service manager.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<ServiceStep>) {
        let (sender, first_reader) = broadcast::channel(UNREAD);
        let (service_steps, steps) = mpsc::unbounded_channel();
        let publisher = Self {
            sender: Some(sender),
            first_reader: Some(Events::new(first_reader)),
            budget: Arc::new(Semaphore::new(BUDGET)),
            dropped: 0,
            service_steps,
        };
        (publisher, steps)
    }

    /// Publishes an event. A message that exceeds the budget is dropped and counted before the next
    /// event.
    pub(super) fn emit(&mut self, event: Event) {
        let step = match &event {
            Event::Reloading => Some(ServiceStep::Reloading),
            Event::Reloaded(_) => Some(ServiceStep::Reloaded),
            Event::TookOver => Some(ServiceStep::TookOver),
            _ => None,
        };
        if let Some(step) = step {
            self.tell_service_manager(step);
        }
        let budget = match &event {
            Event::Message { message, .. } => {
                // A message has at most 1 MiB, which fits.
                let cost = u32::try_from(message.as_bytes().len() + COST).unwrap_or(u32::MAX);
                let Ok(budget) = Arc::clone(&self.budget).try_acquire_many_owned(cost) else {
                    self.dropped += 1;
                    return;
                };
                Some(Arc::new(budget))
            }
            _ => None,
        };
        self.emit_dropped();
        self.send(UnreadEvent { event, _budget: budget });
    }

    /// Passes a step to the task that informs the service manager.
    pub(super) fn tell_service_manager(&self, step: ServiceStep) {
        // Fails without a service manager, and after the end of the cluster.
        let _ = self.service_steps.send(step);
    }

    pub(super) fn reader(&mut self) -> Events {
        if let Some(first) = self.first_reader.take() {
            return first;
        }
        match &self.sender {
            Some(sender) => Events::new(sender.subscribe()),
            None => Events::new(broadcast::channel(1).1),
        }
    }

    /// Ends the stream.
    pub(super) fn end(&mut self) {
        self.emit_dropped();
        self.sender = None;
    }

    fn emit_dropped(&mut self) {
        if self.dropped > 0 {
            let event = Event::Lagged(std::mem::take(&mut self.dropped));
            self.send(UnreadEvent { event, _budget: None });
        }
    }

    fn send(&self, event: UnreadEvent) {
        if let Some(sender) = &self.sender {
            // Fails without a reader; then the event is dropped.
            let _ = sender.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, WorkerId};

    #[tokio::test]
    async fn k13_unread_messages_are_bounded_and_drops_are_counted() {
        let (mut publisher, _steps) = EventPublisher::new();
        let from = WorkerId::new(1);
        let message = || Event::Message { from, message: Message::from_bytes(vec![0; 1 << 20]) };
        for _ in 0..20 {
            publisher.emit(message());
        }
        publisher.emit(Event::Ready(from));
        let mut events = publisher.reader();
        for _ in 0..7 {
            assert!(matches!(events.next().await, Some(Event::Message { .. })));
        }
        assert!(matches!(events.next().await, Some(Event::Lagged(13))));
        assert!(matches!(events.next().await, Some(Event::Ready(_))));

        // Read messages release their budget.
        publisher.emit(message());
        publisher.end();
        assert!(matches!(events.next().await, Some(Event::Message { .. })));
        assert!(events.next().await.is_none());
    }
}
