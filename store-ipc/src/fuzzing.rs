//! What the fuzz targets of this repository reach. What is checked stands here, because the types
//! are private to the crate.

mod calls;

pub use crate::handover::fuzzing::{predecessor, successor};
pub use calls::{replies, requests};

use serde::{Serialize, de::DeserializeOwned};

use crate::frame::decode;

/// Whether lengths stand in the bytes, or the messages follow each other without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As on the socket.
    AsCame,
    /// Messages alone. A mutation that makes one longer does not spoil those behind it.
    Added,
}

/// What is written of a message that was read is read as the same message.
pub(crate) fn comes_back<T: Serialize + DeserializeOwned>(message: &T) {
    // The first writing puts in order what a stranger may have written otherwise: numbers with
    // zeros in front, names out of order.
    let written = bytes(message);
    let again = decode::<T>(&written)
        .unwrap_or_else(|error| panic!("what was written is not read: {error}"));
    assert!(bytes(&again) == written, "a message does not come back");
}

fn bytes(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message)
        .unwrap_or_else(|error| panic!("what was read is not written: {error}"))
}

/// Messages that follow each other, parted.
pub(crate) fn parted<T: DeserializeOwned>(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = postcard::take_from_bytes::<T>(bytes)
            .map_or(bytes.len(), |(_, rest)| bytes.len() - rest.len());
        // One of no bytes would never end.
        let (message, rest) = bytes.split_at(length.max(1));
        messages.push(message);
        bytes = rest;
    }
    messages
}
