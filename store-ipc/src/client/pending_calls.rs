//! The calls of one connection that wait for their replies.

use std::task::Waker;

use crate::{error::FailedCall, wire::message::Reply};

/// Identifies one call of a connection. The generation distinguishes the call from earlier calls
/// with the same index, so that a late reply is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId {
    index: u32,
    generation: u32,
}

impl CallId {
    /// The id on the wire. The owner sends it back with the reply.
    pub(super) fn to_wire(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_wire(id: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the id")]
        Self { index: id as u32, generation: (id >> 32) as u32 }
    }
}

/// The waiting calls of one connection. The list is as long as the largest number of calls that
/// ever waited at the same time.
#[derive(Default)]
pub(super) struct PendingCalls {
    calls: Vec<PendingCall>,
    free: Vec<u32>,
}

struct PendingCall {
    generation: u32,
    state: CallState,
}

enum CallState {
    Free,
    Waiting {
        waker: Option<Waker>,
        /// How many bytes were queued before the request of this call.
        queued_at: u64,
    },
    Done(Result<Reply, FailedCall>),
}

impl PendingCalls {
    /// Adds a call whose request starts after `queued_at` bytes.
    pub(super) fn insert(&mut self, queued_at: u64) -> CallId {
        let state = CallState::Waiting { waker: None, queued_at };
        if let Some(index) = self.free.pop() {
            let call = &mut self.calls[index as usize];
            call.state = state;
            return CallId { index, generation: call.generation };
        }
        // The store's limit of calls in flight keeps the count far below u32::MAX.
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(PendingCall { generation: 0, state });
        CallId { index, generation: 0 }
    }

    /// Returns the result if there is one. Otherwise keeps `waker` and wakes it when the result
    /// arrives.
    pub(super) fn poll(&mut self, id: CallId, waker: &Waker) -> Option<Result<Reply, FailedCall>> {
        let call = self.get_mut(id)?;
        match &mut call.state {
            CallState::Waiting { waker: Some(kept), .. } if kept.will_wake(waker) => None,
            CallState::Waiting { waker: kept, .. } => {
                *kept = Some(waker.clone());
                None
            }
            CallState::Done(_) | CallState::Free => {
                match std::mem::replace(&mut call.state, CallState::Free) {
                    CallState::Done(result) => Some(result),
                    CallState::Free | CallState::Waiting { .. } => None,
                }
            }
        }
    }

    /// Stores the reply of a call and returns the waker of that call. Drops the reply if the call
    /// was cancelled.
    pub(super) fn deliver(&mut self, id: CallId, reply: Reply) -> Option<Waker> {
        let state = &mut self.get_mut(id)?.state;
        let CallState::Waiting { waker, .. } = state else { return None };
        let waker = waker.take();
        *state = CallState::Done(Ok(reply));
        waker
    }

    /// Fails every waiting call and returns the wakers. `error` receives the `queued_at` of a call.
    pub(super) fn fail_all(&mut self, error: impl Fn(u64) -> FailedCall) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for call in &mut self.calls {
            if let CallState::Waiting { waker, queued_at, .. } = &mut call.state {
                wakers.extend(waker.take());
                call.state = CallState::Done(Err(error(*queued_at)));
            }
        }
        wakers
    }

    /// The wakers of all waiting calls.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        let waker = |call: &PendingCall| match &call.state {
            CallState::Waiting { waker, .. } => waker.clone(),
            CallState::Free | CallState::Done(_) => None,
        };
        self.calls.iter().filter_map(waker).collect()
    }

    /// Removes a call, whether it has a result or not.
    pub(super) fn remove(&mut self, id: CallId) {
        if let Some(call) = self.get_mut(id) {
            call.generation = call.generation.wrapping_add(1);
            call.state = CallState::Free;
            self.free.push(id.index);
        }
    }

    fn get_mut(&mut self, id: CallId) -> Option<&mut PendingCall> {
        self.calls.get_mut(id.index as usize).filter(|call| call.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ClientError;

    #[test]
    fn late_reply_of_a_cancelled_call_is_dropped() {
        let mut calls = PendingCalls::default();
        let cancelled = calls.insert(0);
        calls.remove(cancelled);
        let next = calls.insert(10);
        assert_eq!(next.index, cancelled.index, "the index is used again");
        assert!(calls.deliver(CallId::from_wire(cancelled.to_wire()), Reply::Count(1)).is_none());
        assert!(calls.poll(next, Waker::noop()).is_none());
        calls.deliver(CallId::from_wire(next.to_wire()), Reply::Count(2));
        assert!(matches!(calls.poll(next, Waker::noop()), Some(Ok(Reply::Count(2)))));
    }

    #[test]
    fn only_calls_whose_bytes_left_count_as_sent() {
        let mut calls = PendingCalls::default();
        let (first, second) = (calls.insert(0), calls.insert(100));
        calls
            .fail_all(|queued_at| FailedCall { error: ClientError::Closed, sent: queued_at < 100 });
        assert!(matches!(
            calls.poll(first, Waker::noop()),
            Some(Err(FailedCall { sent: true, .. }))
        ));
        assert!(matches!(
            calls.poll(second, Waker::noop()),
            Some(Err(FailedCall { sent: false, .. }))
        ));
    }
}
