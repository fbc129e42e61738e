//! The messages between an owner and its successor.

use store_ipc::fuzzing::{Framing, predecessor, successor};

/// The first byte of the input selects the framing and the reader. The rest is the messages.
pub(crate) fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let framing = if kind & 1 == 0 { Framing::Included } else { Framing::Added };
    if kind & 2 == 0 {
        let _ = predecessor(bytes, framing);
    } else {
        let _ = successor(bytes, framing);
    }
}
