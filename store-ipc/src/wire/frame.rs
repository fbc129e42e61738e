//! The bytes on the socket.
//!
//! Each side first sends a [`Hello`] of 12 bytes. Then come frames: the length of the rest (`u32`,
//! little-endian), the id of the call (`u64`, little-endian) and the message in postcard.

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

/// The version of everything that crosses the socket: this file and [`message`](crate::message).
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
/// One read takes at most this much, and an idle connection holds no more.
const CHUNK_BYTES: usize = 32 * 1024;

/// What each side says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Whether the speaker serves the other side.
    pub(crate) status: HelloStatus,
    /// The longest frame that the speaker takes.
    pub(crate) frame_bytes: u32,
}

/// What the owner says to a client that connected. A client always says [`HelloStatus::Accepted`].
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

/// Bytes that came and were not read yet. It grows with the bytes that arrive, never with the
/// length that a frame claims.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    frame_bytes: usize,
}

impl ReadBuffer {
    /// An empty buffer that refuses frames longer than `frame_bytes`.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, frame_bytes }
    }

    /// An buffer in which `bytes` lie already.
    pub(crate) fn with_bytes(frame_bytes: usize, bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), bytes, frame_bytes }
    }

    /// The longest frame that it takes.
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

    /// Takes the hello if it is there.
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
        // Widening: usize has at least 32 bits wherever there are Unix-domain sockets.
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

    /// Whether something came that is no whole frame yet; to be asked after [`Self::frame`] said
    /// `None`.
    pub(crate) fn has_partial_frame(&self) -> bool {
        self.start < self.end
    }

    /// What came and was not taken out.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn reserve(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // One long frame must not cost its length for the rest of the connection.
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
            // At most doubles what really came; a frame's cap bounds it, because a whole frame is
            // taken out before the next read.
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
    /// An buffer in which `bytes` wait already.
    pub(crate) fn with_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// What waits.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push_hello(&mut self, hello: Hello) {
        self.bytes.extend_from_slice(&hello.encode());
    }

    /// Appends one frame, or nothing if it would be longer than `frame_bytes`.
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

    /// Writes until all is out (`Ready`) or the socket is full.
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
        // One burst must not cost its length for the rest of the connection.
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

/// Reads a message out of a frame, which it must fill.
pub(crate) fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(message).map_err(FrameError::Message)? {
        (message, []) => Ok(message),
        _ => Err(FrameError::TrailingBytes),
    }
}

/// How many bytes `message` has on the wire.
pub(crate) fn encoded_bytes(message: &impl Serialize) -> usize {
    postcard::serialize_with_flavor(message, postcard::ser_flavors::Size::default())
        .unwrap_or(usize::MAX / 2)
}

/// Appends to a vector up to a length, so that a message over the cap stops early instead of being
/// built whole.
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

/// What is wrong with the bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the other side does not speak this protocol; is the socket another program's?")]
    InvalidHello,
    #[error(
        "the other side speaks version {version} of the protocol, this program version {PROTOCOL_VERSION}; run the same release on both"
    )]
    Version { version: u16 },
    #[error("a frame of {bytes} bytes came or was to be sent; 8 to {limit} are allowed")]
    Length { bytes: usize, limit: usize },
    #[error("the message does not fit the protocol")]
    Message(#[source] postcard::Error),
    #[error("bytes follow the message")]
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
    fn frames_come_back_in_order_and_a_rest_waits() {
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
    fn s22_a_length_over_the_cap_is_refused_by_its_four_bytes() {
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
    fn a_message_over_the_cap_leaves_the_outbox_as_it_was() {
        let mut buffer = WriteBuffer::default();
        buffer.push(1, &"short", 100).unwrap();
        let before = buffer.len();
        let error = buffer.push(2, &"x".repeat(200), 100).unwrap_err();
        assert!(matches!(error, FrameError::Length { bytes: 210, limit: 100 }), "{error}");
        assert_eq!(buffer.len(), before);
    }

    #[test]
    fn a_hello_comes_back_and_another_version_is_named() {
        let hello = Hello { status: HelloStatus::TooManyConnections, frame_bytes: 77 };
        assert_eq!(Hello::decode(hello.encode()).unwrap(), hello);
        let mut newer = hello.encode();
        newer[4] = 9;
        assert!(matches!(Hello::decode(newer), Err(FrameError::Version { version: 9 })));
        assert!(matches!(Hello::decode(*b"GET / HTTP/1"), Err(FrameError::InvalidHello)));
    }

    #[test]
    fn a_message_must_fill_its_frame() {
        assert!(decode::<u8>(&[1]).is_ok());
        assert!(matches!(decode::<u8>(&[1, 2]), Err(FrameError::TrailingBytes)));
        assert!(matches!(decode::<String>(&[200, 1, 2]), Err(FrameError::Message(_))));
    }
}
