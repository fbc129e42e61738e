//! The partly read and partly written bytes of a client's connection.

use crate::wire::frame::{ReadBuffer, WriteBuffer};

/// The bytes that are partly read or partly written. They belong to the connection and outlive an
/// I/O task, so that the next I/O task continues in the middle of a frame.
pub(super) struct IoBuffers {
    pub(super) incoming: ReadBuffer,
    pub(super) outgoing: WriteBuffer,
    /// How many bytes the I/O tasks have taken from the connection's write buffer in total.
    pub(super) taken_bytes: u64,
    pub(super) handshake_done: bool,
}

impl IoBuffers {
    pub(super) fn new(frame_bytes: usize) -> Self {
        Self {
            incoming: ReadBuffer::new(frame_bytes),
            outgoing: WriteBuffer::default(),
            taken_bytes: 0,
            handshake_done: false,
        }
    }
}
