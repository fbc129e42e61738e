//! Encodes and decodes the bytes on the socket.
//!
//! Each side first sends a [`Hello`] of 12 bytes. Then frames follow: the length of the rest
//! (`u32`, little-endian), the id of the call (`u64`, little-endian) and the message in postcard.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// The version of the whole protocol: this file and [`message`](crate::wire::message).
pub(crate) const PROTOCOL_VERSION: u16 = 2;

/// The default limit of a frame: 1 MiB. A record with 64 KiB of data fits, whatever its shape.
pub(crate) const DEFAULT_FRAME_BYTES: usize = 1024 * 1024;
/// The smallest limit of a frame: an error and a page of a list always fit.
pub(crate) const MIN_FRAME_BYTES: usize = 16 * 1024;
/// The largest limit of a frame: a length always fits its four bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 1024 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"sIPC";
const LENGTH_BYTES: usize = 4;
const ID_BYTES: usize = 8;
/// The largest size of one read, and the size of an idle connection's buffer.
const CHUNK_BYTES: usize = 32 * 1024;

/// The first message of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Whether the sender serves the other side.
    pub(crate) status: HelloStatus,
    /// The longest frame that the sender accepts.
    pub(crate) frame_bytes: u32,
}

/// The owner's answer to a client that connected. A client always sends [`HelloStatus::Accepted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HelloStatus {
    Accepted,
    TooManyConnections,
    UserNotAllowed,
}

impl Hello {
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let status: u16 = match self.status {
            HelloStatus::Accepted => 0,
            HelloStatus::TooManyConnections => 1,
            HelloStatus::UserNotAllowed => 2,
        };
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&status.to_le_bytes());
        bytes[8..].copy_from_slice(&self.frame_bytes.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, p0, p1, v0, v1, f0, f1, f2, f3] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::InvalidHello);
        }
        let version = u16::from_le_bytes([p0, p1]);
        if version != PROTOCOL_VERSION {
            return Err(FrameError::Version { version });
        }
        let status = match u16::from_le_bytes([v0, v1]) {
            0 => HelloStatus::Accepted,
            1 => HelloStatus::TooManyConnections,
            2 => HelloStatus::UserNotAllowed,
            _ => return Err(FrameError::InvalidHello),
        };
        Ok(Self { status, frame_bytes: u32::from_le_bytes([f0, f1, f2, f3]) })
    }
}

/// Received bytes that are not decoded yet. The buffer grows with the bytes that arrive, never with
/// the length that a frame claims.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    frame_bytes: usize,
}

impl ReadBuffer {
    /// An empty buffer that rejects frames longer than `frame_bytes`.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, frame_bytes }
    }

    /// A buffer that already contains `bytes`.
    pub(crate) fn with_bytes(frame_bytes: usize, bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), bytes, frame_bytes }
    }

    /// The longest frame that the buffer accepts.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut UnixStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.reserve();
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Takes the hello if it has arrived.
    pub(crate) fn take_hello(&mut self) -> Result<Option<Hello>, FrameError> {
        let Some((hello, _)) = self.unread().split_first_chunk::<{ Hello::BYTES }>() else {
            return Ok(None);
        };
        let hello = Hello::decode(*hello)?;
        self.start += Hello::BYTES;
        Ok(Some(hello))
    }

    /// Takes the next whole frame: the call's id and the message.
    pub(crate) fn take_frame(&mut self) -> Result<Option<(u64, &[u8])>, FrameError> {
        let Some((length, rest)) = self.unread().split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        // Widening: usize has at least 32 bits on every platform with Unix-domain sockets.
        let length = u32::from_le_bytes(*length) as usize;
        if !(ID_BYTES..=self.frame_bytes).contains(&length) {
            return Err(FrameError::Length { bytes: length, limit: self.frame_bytes });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let frame = self.start + LENGTH_BYTES..self.start + LENGTH_BYTES + length;
        self.start = frame.end;
        let Some((id, message)) = self.bytes[frame].split_first_chunk::<ID_BYTES>() else {
            return Ok(None);
        };
        Ok(Some((u64::from_le_bytes(*id), message)))
    }

    /// Whether a part of a frame has arrived. Valid after [`Self::take_frame`] returned `None`.
    pub(crate) fn has_partial_frame(&self) -> bool {
        self.start < self.end
    }

    /// The received bytes that were not taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn reserve(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // Otherwise one long frame would keep its memory for the rest of the connection.
            if self.bytes.len() > CHUNK_BYTES {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.end >= CHUNK_BYTES / 2 {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.bytes.len() - self.end < CHUNK_BYTES / 2 {
            // At most doubles the received bytes. The frame limit bounds it, because a whole frame
            // is taken before the next read.
            self.bytes.resize((2 * self.end).max(CHUNK_BYTES), 0);
        }
    }
}

/// Bytes to send, in order.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl WriteBuffer {
    /// A buffer that already contains `bytes`.
    pub(crate) fn with_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// The bytes that are not written yet.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The number of bytes that are not written yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push_hello(&mut self, hello: Hello) {
        self.bytes.extend_from_slice(&hello.encode());
    }

    /// Appends one frame. Appends nothing if the frame would be longer than `frame_bytes`.
    pub(crate) fn push(
        &mut self,
        id: u64,
        message: &impl Serialize,
        frame_bytes: usize,
    ) -> Result<(), FrameError> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        self.bytes.extend_from_slice(&id.to_le_bytes());
        let sink = BoundedSink { bytes: &mut self.bytes, limit: at + LENGTH_BYTES + frame_bytes };
        let written = postcard::serialize_with_flavor(message, sink);
        let length = self.bytes.len() - at - LENGTH_BYTES;
        match (written, u32::try_from(length)) {
            (Ok(()), Ok(length)) => {
                self.bytes[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
                Ok(())
            }
            (Err(postcard::Error::SerializeBufferFull), _) | (_, Err(_)) => {
                self.bytes.truncate(at);
                Err(FrameError::Length {
                    bytes: encoded_bytes(message) + ID_BYTES,
                    limit: frame_bytes,
                })
            }
            (Err(error), _) => {
                self.bytes.truncate(at);
                Err(FrameError::Message(error))
            }
        }
    }

    /// Writes until the buffer is empty (`Ready`) or the socket is full.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut UnixStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = match Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.start..]) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.drop_written();
                    return Poll::Pending;
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
        }
        self.start = 0;
        self.bytes.clear();
        // Otherwise one burst would keep its memory for the rest of the connection.
        if self.bytes.capacity() > 4 * CHUNK_BYTES {
            self.bytes.shrink_to(CHUNK_BYTES);
        }
        Poll::Ready(Ok(()))
    }

    fn drop_written(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }
}

/// Decodes a message, which must fill its frame.
pub(crate) fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(message).map_err(FrameError::Message)? {
        (message, []) => Ok(message),
        _ => Err(FrameError::TrailingBytes),
    }
}

/// The number of bytes of an encoded `message`.
pub(crate) fn encoded_bytes(message: &impl Serialize) -> usize {
    postcard::serialize_with_flavor(message, postcard::ser_flavors::Size::default())
        .unwrap_or(usize::MAX / 2)
}

/// Appends to a vector up to a limit, so that encoding stops early for a message over the limit.
struct BoundedSink<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl Flavor for BoundedSink<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A violation of the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the other side does not use this protocol; check that the socket belongs to an owner")]
    InvalidHello,
    #[error(
        "the other side uses protocol version {version}, this program uses version \
         {PROTOCOL_VERSION}; run the same release on both sides"
    )]
    Version { version: u16 },
    #[error("a frame has {bytes} bytes, and 8 to {limit} are allowed")]
    Length { bytes: usize, limit: usize },
    #[error("the message does not follow the protocol")]
    Message(#[source] postcard::Error),
    #[error("bytes follow the message in its frame")]
    TrailingBytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &[u8]) -> ReadBuffer {
        let mut buffer = ReadBuffer::new(1_000);
        buffer.bytes = bytes.to_vec();
        buffer.end = bytes.len();
        buffer
    }

    #[test]
    fn frames_decode_in_order_and_a_partial_frame_waits() {
        let mut buffer = WriteBuffer::default();
        buffer.push(7, &"seven", 1_000).unwrap();
        buffer.push(u64::MAX, &"last", 1_000).unwrap();
        let mut buffer = received(&buffer.bytes[..buffer.bytes.len() - 1]);
        let (id, message) = buffer.take_frame().unwrap().unwrap();
        assert_eq!((id, decode::<String>(message).unwrap().as_str()), (7, "seven"));
        assert!(buffer.take_frame().unwrap().is_none());
        assert!(buffer.has_partial_frame());
    }

    #[test]
    fn s22_length_over_the_limit_is_rejected_by_its_four_bytes() {
        for length in [0, 7, 1_001, u32::MAX] {
            assert!(
                matches!(
                    received(&length.to_le_bytes()).take_frame(),
                    Err(FrameError::Length { .. })
                ),
                "{length}"
            );
        }
    }

    #[test]
    fn message_over_the_limit_leaves_the_buffer_unchanged() {
        let mut buffer = WriteBuffer::default();
        buffer.push(1, &"short", 100).unwrap();
        let before = buffer.len();
        let error = buffer.push(2, &"x".repeat(200), 100).unwrap_err();
        assert!(matches!(error, FrameError::Length { bytes: 210, limit: 100 }), "{error}");
        assert_eq!(buffer.len(), before);
    }

    #[test]
    fn hello_round_trips_and_other_versions_are_named() {
        let hello = Hello { status: HelloStatus::TooManyConnections, frame_bytes: 77 };
        assert_eq!(Hello::decode(hello.encode()).unwrap(), hello);
        let mut newer = hello.encode();
        newer[4] = 9;
        assert!(matches!(Hello::decode(newer), Err(FrameError::Version { version: 9 })));
        assert!(matches!(Hello::decode(*b"GET / HTTP/1"), Err(FrameError::InvalidHello)));
    }

    #[test]
    fn message_must_fill_its_frame() {
        assert!(decode::<u8>(&[1]).is_ok());
        assert!(matches!(decode::<u8>(&[1, 2]), Err(FrameError::TrailingBytes)));
        assert!(matches!(decode::<String>(&[200, 1, 2]), Err(FrameError::Message(_))));
    }
}
