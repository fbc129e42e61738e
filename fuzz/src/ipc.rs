//! Frames and messages between clients and the owner of the sessions.

use store_ipc::fuzzing::{Framing, replies, requests};

/// The first byte of the input selects the framing and the direction. The rest is the messages.
pub(crate) fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let framing = if kind & 1 == 0 { Framing::Included } else { Framing::Added };
    if kind & 2 == 0 { requests(bytes, framing) } else { replies(bytes, framing) }
}
