//! Where calls wait for their replies.

use std::task::Waker;

use crate::{connection::Lost, message::Reply};

/// The place of one call. The generation tells it from earlier calls in the same slot, so that a
/// late reply finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    slot: u32,
    generation: u32,
}

impl Ticket {
    /// The id that the owner sends back.
    pub(crate) fn id(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_id(id: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the id")]
        Self { slot: id as u32, generation: (id >> 32) as u32 }
    }
}

/// The waiting calls of one connection. As long as the most calls that ever waited at once.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    state: SlotState,
}

enum SlotState {
    Free,
    Waiting {
        waker: Option<Waker>,
        /// How many bytes had been queued before this call's.
        queued_at: u64,
    },
    Done(Result<Reply, Lost>),
}

impl Slots {
    /// Takes a slot for a call whose request starts after `queued_at` bytes.
    pub(crate) fn take(&mut self, queued_at: u64) -> Ticket {
        let state = SlotState::Waiting { waker: None, queued_at };
        if let Some(slot) = self.free.pop() {
            let held = &mut self.slots[slot as usize];
            held.state = state;
            return Ticket { slot, generation: held.generation };
        }
        // The in-flight cap of the store keeps the count far below u32::MAX.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, state });
        Ticket { slot, generation: 0 }
    }

    /// The result, if it is there; otherwise `waker` is told when it is.
    pub(crate) fn poll(&mut self, ticket: Ticket, waker: &Waker) -> Option<Result<Reply, Lost>> {
        let slot = self.held(ticket)?;
        match &mut slot.state {
            SlotState::Waiting { waker: Some(held), .. } if held.will_wake(waker) => None,
            SlotState::Waiting { waker: held, .. } => {
                *held = Some(waker.clone());
                None
            }
            SlotState::Done(_) | SlotState::Free => {
                match std::mem::replace(&mut slot.state, SlotState::Free) {
                    SlotState::Done(result) => Some(result),
                    SlotState::Free | SlotState::Waiting { .. } => None,
                }
            }
        }
    }

    /// Puts a reply in its slot and returns the waker of the waiting call. Drops the reply of an
    /// abandoned call.
    pub(crate) fn deliver(&mut self, ticket: Ticket, reply: Reply) -> Option<Waker> {
        let state = &mut self.held(ticket)?.state;
        let SlotState::Waiting { waker, .. } = state else { return None };
        let waker = waker.take();
        *state = SlotState::Done(Ok(reply));
        waker
    }

    /// Ends every waiting call and returns whom to wake.
    pub(crate) fn fail_all(&mut self, lost: impl Fn(u64) -> Lost) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for slot in &mut self.slots {
            if let SlotState::Waiting { waker, queued_at, .. } = &mut slot.state {
                wakers.extend(waker.take());
                slot.state = SlotState::Done(Err(lost(*queued_at)));
            }
        }
        wakers
    }

    /// Everybody who waits.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let waker = |slot: &Slot| match &slot.state {
            SlotState::Waiting { waker, .. } => waker.clone(),
            SlotState::Free | SlotState::Done(_) => None,
        };
        self.slots.iter().filter_map(waker).collect()
    }

    /// Gives a slot back, whatever became of the call.
    pub(crate) fn give_back(&mut self, ticket: Ticket) {
        if let Some(slot) = self.held(ticket) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.state = SlotState::Free;
            self.free.push(ticket.slot);
        }
    }

    fn held(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        self.slots.get_mut(ticket.slot as usize).filter(|slot| slot.generation == ticket.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ClientError;

    #[test]
    fn a_late_reply_of_an_abandoned_call_finds_nobody() {
        let mut slots = Slots::default();
        let abandoned = slots.take(0);
        slots.give_back(abandoned);
        let next = slots.take(10);
        assert_eq!(next.slot, abandoned.slot, "the slot is used again");
        assert!(slots.deliver(Ticket::from_id(abandoned.id()), Reply::Count(1)).is_none());
        assert!(slots.poll(next, Waker::noop()).is_none());
        slots.deliver(Ticket::from_id(next.id()), Reply::Count(2));
        assert!(matches!(slots.poll(next, Waker::noop()), Some(Ok(Reply::Count(2)))));
    }

    #[test]
    fn only_calls_whose_bytes_left_count_as_sent() {
        let mut slots = Slots::default();
        let (first, second) = (slots.take(0), slots.take(100));
        slots.fail_all(|queued_at| Lost { error: ClientError::Closed, sent: queued_at < 100 });
        assert!(matches!(slots.poll(first, Waker::noop()), Some(Err(Lost { sent: true, .. }))));
        assert!(matches!(slots.poll(second, Waker::noop()), Some(Err(Lost { sent: false, .. }))));
    }
}
