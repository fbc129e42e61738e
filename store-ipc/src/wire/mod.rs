//! The protocol between clients and the owner: sockets, frames and messages.

pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod socket;
