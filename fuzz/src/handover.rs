//! What an owner and its successor say to each other.

use store_ipc::fuzzing::{Framing, predecessor, successor};

/// A byte that says who speaks and how, then what.
pub(crate) fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let framing = if kind & 1 == 0 { Framing::Included } else { Framing::Added };
    if kind & 2 == 0 {
        let _ = predecessor(bytes, framing);
    } else {
        let _ = successor(bytes, framing);
    }
}
