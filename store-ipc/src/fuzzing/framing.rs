//! How the fuzzed bytes are divided into messages, and the round-trip check of a message.

use serde::{Serialize, de::DeserializeOwned};

use crate::wire::frame::decode;

/// Whether the fuzzed bytes contain the lengths of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The bytes are as on the socket.
    Included,
    /// The bytes are messages without lengths, and the harness adds the lengths. So a mutation that
    /// makes one message longer does not damage the next ones.
    Added,
}

/// Asserts that a decoded message, encoded again, decodes to the same message.
pub(super) fn assert_round_trip<T: Serialize + DeserializeOwned>(message: &T) {
    // The first encoding normalizes the message: the fuzzer may have written numbers with leading
    // zeros, or names out of order.
    let encoded = encode(message);
    let again = decode::<T>(&encoded)
        .unwrap_or_else(|error| panic!("an encoded message cannot be decoded: {error}"));
    assert!(encode(&again) == encoded, "a message changed in a round trip");
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message)
        .unwrap_or_else(|error| panic!("a decoded message cannot be encoded: {error}"))
}

/// Splits consecutive messages.
pub(super) fn split<T: DeserializeOwned>(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = postcard::take_from_bytes::<T>(bytes)
            .map_or(bytes.len(), |(_, rest)| bytes.len() - rest.len());
        // A message of zero bytes would loop forever.
        let (message, rest) = bytes.split_at(length.max(1));
        messages.push(message);
        bytes = rest;
    }
    messages
}
