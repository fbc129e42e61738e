//! The stream between predecessor and successor: hello, frames and descriptor passing.
//!
//! Each side first sends a hello of 8 bytes: a magic number, the version of this protocol and the
//! version of the clients' protocol (`u16`, little-endian), because bytes of clients are handed
//! over. Then frames follow: the length of the rest (`u32`, little-endian) and the message in
//! postcard. A client's descriptor travels with the first byte of its message.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};
use tokio::{io::Interest, net::UnixStream};

use super::message::Message;
use crate::wire::frame::{FrameError, MAX_FRAME_BYTES, PROTOCOL_VERSION, decode};

/// The version of everything that crosses this stream.
pub(crate) const HANDOVER_VERSION: u16 = 2;

const MAGIC: [u8; 4] = *b"sHND";
const HELLO_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// The largest size of one read.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most descriptors that may arrive before their messages.
const MAX_DESCRIPTORS: usize = 64;

/// The longest message of a successor. All its messages are short, so the predecessor buffers no
/// more.
const MAX_SUCCESSOR_BYTES: usize = 64;

/// One end of the stream.
pub(crate) struct HandoverStream {
    stream: UnixStream,
    handshake_done: bool,
    incoming: Vec<u8>,
    /// How many bytes of `incoming` were decoded.
    consumed: usize,
    chunk: Box<[u8]>,
    outgoing: Vec<u8>,
    /// Descriptors that arrived before their messages.
    descriptors: VecDeque<OwnedFd>,
    max_descriptors: usize,
    /// The longest message that this side accepts.
    max_bytes: usize,
}

/// The role of this end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Accepts forwarded clients.
    Predecessor,
    Successor,
}

impl HandoverStream {
    /// Takes a connected stream and sends the hello.
    pub(crate) async fn open(stream: StdUnixStream, side: Side) -> Result<Self, StreamError> {
        stream.set_nonblocking(true)?;
        let mut opened = Self {
            stream: UnixStream::from_std(stream)?,
            handshake_done: false,
            incoming: Vec::new(),
            consumed: 0,
            chunk: vec![0; CHUNK_BYTES].into(),
            outgoing: hello(),
            descriptors: VecDeque::new(),
            max_bytes: if side == Side::Predecessor {
                MAX_SUCCESSOR_BYTES
            } else {
                MAX_FRAME_BYTES
            },
            max_descriptors: if side == Side::Predecessor { MAX_DESCRIPTORS } else { 0 },
        };
        opened.flush(0).await?;
        Ok(opened)
    }

    /// Sends a message. If the future is dropped, a part of the message may be sent, and the stream
    /// is not usable any more.
    pub(crate) async fn send(&mut self, message: &Message) -> Result<(), StreamError> {
        self.encode(message)?;
        self.flush(0).await
    }

    /// Sends a client's stream.
    pub(crate) async fn send_client(
        &mut self,
        id: u64,
        client: &StdUnixStream,
    ) -> Result<(), StreamError> {
        self.encode(&Message::Client(id))?;
        let descriptors = [client.as_fd()];
        let bytes = &self.outgoing;
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || send_with(self.stream.as_fd(), bytes, &descriptors))
            .await?;
        self.flush(sent).await
    }

    /// The next message, with the stream if it is a client. `None` if the stream ends between two
    /// messages. Cancel safe.
    pub(crate) async fn receive(
        &mut self,
    ) -> Result<Option<(Message, Option<StdUnixStream>)>, StreamError> {
        loop {
            if let Some(message) = self.next()? {
                let client = match message {
                    Message::Client(_) => Some(into_stream(
                        self.descriptors.pop_front().ok_or(StreamError::Descriptor)?,
                    )?),
                    _ => None,
                };
                return Ok(Some((message, client)));
            }
            if self.fill().await? == 0 {
                return if self.incoming.len() == self.consumed {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    fn encode(&mut self, message: &Message) -> Result<(), StreamError> {
        self.outgoing.clear();
        self.outgoing.extend_from_slice(&[0; LENGTH_BYTES]);
        self.outgoing = postcard::to_extend(message, std::mem::take(&mut self.outgoing))
            .map_err(FrameError::Message)?;
        let bytes = self.outgoing.len() - LENGTH_BYTES;
        match u32::try_from(bytes) {
            Ok(length) if bytes <= MAX_FRAME_BYTES => {
                self.outgoing[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            }
            _ => return Err(StreamError::Length { bytes, limit: MAX_FRAME_BYTES }),
        }
        Ok(())
    }

    /// Writes `outgoing` from `sent` on.
    async fn flush(&mut self, mut sent: usize) -> Result<(), StreamError> {
        while sent < self.outgoing.len() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.outgoing[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.outgoing.clear();
        Ok(())
    }

    /// Decodes the next message if it has arrived whole.
    fn next(&mut self) -> Result<Option<Message>, StreamError> {
        if !self.handshake_done {
            let Some((hello, _)) = self.incoming.split_first_chunk::<HELLO_BYTES>() else {
                return Ok(None);
            };
            let [m0, m1, m2, m3, h0, h1, p0, p1] = *hello;
            if [m0, m1, m2, m3] != MAGIC {
                return Err(StreamError::InvalidHello);
            }
            let (handover, protocol) = (u16::from_le_bytes([h0, h1]), u16::from_le_bytes([p0, p1]));
            if (handover, protocol) != (HANDOVER_VERSION, PROTOCOL_VERSION) {
                return Err(StreamError::Version { handover, protocol });
            }
            (self.handshake_done, self.consumed) = (true, HELLO_BYTES);
        }
        let Some((length, rest)) =
            self.incoming[self.consumed..].split_first_chunk::<LENGTH_BYTES>()
        else {
            return Ok(None);
        };
        // Widening: usize has at least 32 bits on every platform with Unix-domain sockets.
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.max_bytes {
            return Err(StreamError::Length { bytes: length, limit: self.max_bytes });
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = decode(message)?;
        self.consumed += LENGTH_BYTES + length;
        Ok(Some(message))
    }

    /// Reads once. The buffer grows with the bytes that arrive, never with the length that a frame
    /// claims.
    async fn fill(&mut self) -> Result<usize, StreamError> {
        if self.consumed > 0 {
            self.incoming.drain(..self.consumed);
            self.consumed = 0;
        }
        let (stream, chunk, descriptors) = (&self.stream, &mut self.chunk, &mut self.descriptors);
        let count = stream
            .async_io(Interest::READABLE, || receive_with(stream.as_fd(), chunk, descriptors))
            .await?;
        if self.descriptors.len() > self.max_descriptors {
            return Err(StreamError::Descriptor);
        }
        self.incoming.extend_from_slice(&self.chunk[..count]);
        Ok(count)
    }
}

/// The first bytes of each side.
pub(crate) fn hello() -> Vec<u8> {
    let mut hello = MAGIC.to_vec();
    hello.extend_from_slice(&HANDOVER_VERSION.to_le_bytes());
    hello.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    hello
}

fn send_with(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // There is room for one descriptor, and each message carries one at most.
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())?)
}

/// Reads bytes and descriptors. The descriptors are close-on-exec, so that no child process
/// inherits them.
fn receive_with(
    from: BorrowedFd<'_>,
    chunk: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(from, &mut [IoSliceMut::new(chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = ancillary {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "could not receive a client's descriptor; raise the limit of open files",
        ));
    }
    Ok(message.bytes)
}

/// The descriptor as a stream. Fails if it is something else: the owner must not read requests from
/// it.
fn into_stream(descriptor: OwnedFd) -> Result<StdUnixStream, StreamError> {
    let unix =
        sockopt::socket_domain(&descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX);
    if !unix || !sockopt::socket_type(&descriptor).is_ok_and(|kind| kind == SocketType::STREAM) {
        return Err(StreamError::Descriptor);
    }
    let stream = StdUnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A violation of the protocol or a failure of the stream. It contains nothing of a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the stream between the processes failed")]
    Io(#[from] io::Error),
    #[error(
        "the other process does not use the handover protocol; connect the two owners with a \
         socket pair"
    )]
    InvalidHello,
    #[error(
        "the other build uses handover version {handover} and client protocol version {protocol}, \
         this build uses {HANDOVER_VERSION} and {PROTOCOL_VERSION}; its sessions cannot be taken \
         over, so start without sessions"
    )]
    Version { handover: u16, protocol: u16 },
    #[error("a message has {bytes} bytes, more than the limit of {limit}")]
    Length { bytes: usize, limit: usize },
    #[error("a message does not follow the handover protocol")]
    Frame(#[from] FrameError),
    #[error("a client arrived without its stream, or a descriptor is not a stream")]
    Descriptor,
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
    #[error("the other process ended")]
    Ended,
    #[error("received an invalid session")]
    Session(#[from] session_core::ImportError),
}
