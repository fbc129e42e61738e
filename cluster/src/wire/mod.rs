//! The protocol between the primary and a worker: frames, bounded queues, requests with replies.

pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod rpc;
