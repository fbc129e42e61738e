//! The bytes between predecessor and successor.
//!
//! Each side first sends a hello of 8 bytes: a mark, the version of this protocol and that of the
//! clients' (`u16`, little-endian), since bytes of clients change hands. Then come frames: the
//! length of the rest (`u32`, little-endian) and the message in postcard. A client's descriptor
//! travels with the first byte of its message.

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
use crate::{
    config::MOST_FRAME_BYTES,
    frame::{FrameError, PROTOCOL, decode},
};

/// The version of everything that crosses this stream.
pub(super) const HANDOVER: u16 = 2;

const MAGIC: [u8; 4] = *b"sHND";
const HELLO_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// One read takes at most this much.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many descriptors may have come before their messages.
const MOST_DESCRIPTORS: usize = 64;

/// The longest message of a successor, which has words and numbers to say: who holds the sessions
/// buffers no more.
const MOST_WORDS: usize = 64;

/// One end of the stream.
pub(super) struct Wire {
    stream: UnixStream,
    greeted: bool,
    inbox: Vec<u8>,
    /// How much of the inbox was taken out.
    taken: usize,
    chunk: Box<[u8]>,
    outbox: Vec<u8>,
    /// Those that came and whose message did not yet.
    descriptors: VecDeque<OwnedFd>,
    most_descriptors: usize,
    /// The longest message that is believed.
    most_bytes: usize,
}

/// Which end it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Takes guests.
    Predecessor,
    Successor,
}

impl Wire {
    /// Takes a connected stream and says hello.
    pub(super) async fn open(stream: StdUnixStream, side: Side) -> Result<Self, WireError> {
        stream.set_nonblocking(true)?;
        let mut wire = Self {
            stream: UnixStream::from_std(stream)?,
            greeted: false,
            inbox: Vec::new(),
            taken: 0,
            chunk: vec![0; CHUNK_BYTES].into(),
            outbox: hello(),
            descriptors: VecDeque::new(),
            most_bytes: if side == Side::Predecessor { MOST_WORDS } else { MOST_FRAME_BYTES },
            most_descriptors: if side == Side::Predecessor { MOST_DESCRIPTORS } else { 0 },
        };
        wire.flush(0).await?;
        Ok(wire)
    }

    /// Sends a message. Dropped half-way it leaves half a message behind, and the wire is of no use
    /// any more.
    pub(super) async fn send(&mut self, message: &Message) -> Result<(), WireError> {
        self.encode(message)?;
        self.flush(0).await
    }

    /// Sends a client's stream.
    pub(super) async fn send_guest(
        &mut self,
        guest: u64,
        client: &StdUnixStream,
    ) -> Result<(), WireError> {
        self.encode(&Message::Guest(guest))?;
        let descriptors = [client.as_fd()];
        let bytes = &self.outbox;
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || send_with(self.stream.as_fd(), bytes, &descriptors))
            .await?;
        self.flush(sent).await
    }

    /// The next message, with the client's stream if it is a guest; `None` at an end between two
    /// messages. Cancel safe.
    pub(super) async fn receive(
        &mut self,
    ) -> Result<Option<(Message, Option<StdUnixStream>)>, WireError> {
        loop {
            if let Some(message) = self.next()? {
                let client = match message {
                    Message::Guest(_) => {
                        Some(stream(self.descriptors.pop_front().ok_or(WireError::Descriptor)?)?)
                    }
                    _ => None,
                };
                return Ok(Some((message, client)));
            }
            if self.fill().await? == 0 {
                return if self.inbox.len() == self.taken {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    fn encode(&mut self, message: &Message) -> Result<(), WireError> {
        self.outbox.clear();
        self.outbox.extend_from_slice(&[0; LENGTH_BYTES]);
        self.outbox = postcard::to_extend(message, std::mem::take(&mut self.outbox))
            .map_err(FrameError::Message)?;
        let bytes = self.outbox.len() - LENGTH_BYTES;
        match u32::try_from(bytes) {
            Ok(length) if bytes <= MOST_FRAME_BYTES => {
                self.outbox[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes())
            }
            _ => return Err(WireError::Length { bytes }),
        }
        Ok(())
    }

    /// Writes the outbox from `sent` on.
    async fn flush(&mut self, mut sent: usize) -> Result<(), WireError> {
        while sent < self.outbox.len() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.outbox[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox.clear();
        Ok(())
    }

    /// Takes the next message out of the inbox if it is there whole.
    fn next(&mut self) -> Result<Option<Message>, WireError> {
        if !self.greeted {
            let Some((hello, _)) = self.inbox.split_first_chunk::<HELLO_BYTES>() else {
                return Ok(None);
            };
            let [m0, m1, m2, m3, h0, h1, p0, p1] = *hello;
            if [m0, m1, m2, m3] != MAGIC {
                return Err(WireError::NoHello);
            }
            let (handover, protocol) = (u16::from_le_bytes([h0, h1]), u16::from_le_bytes([p0, p1]));
            if (handover, protocol) != (HANDOVER, PROTOCOL) {
                return Err(WireError::Version { handover, protocol });
            }
            (self.greeted, self.taken) = (true, HELLO_BYTES);
        }
        let Some((length, rest)) = self.inbox[self.taken..].split_first_chunk::<LENGTH_BYTES>()
        else {
            return Ok(None);
        };
        // Widening: usize has at least 32 bits wherever there are Unix-domain sockets.
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.most_bytes {
            return Err(WireError::Length { bytes: length });
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = decode(message)?;
        self.taken += LENGTH_BYTES + length;
        Ok(Some(message))
    }

    /// Reads once. The inbox grows with what comes, never with the length that a frame claims.
    async fn fill(&mut self) -> Result<usize, WireError> {
        if self.taken > 0 {
            self.inbox.drain(..self.taken);
            self.taken = 0;
        }
        let (stream, chunk, descriptors) = (&self.stream, &mut self.chunk, &mut self.descriptors);
        let count = stream
            .async_io(Interest::READABLE, || receive_with(stream.as_fd(), chunk, descriptors))
            .await?;
        if self.descriptors.len() > self.most_descriptors {
            return Err(WireError::Descriptor);
        }
        self.inbox.extend_from_slice(&self.chunk[..count]);
        Ok(count)
    }
}

/// What each side says first.
pub(super) fn hello() -> Vec<u8> {
    let mut hello = MAGIC.to_vec();
    hello.extend_from_slice(&HANDOVER.to_le_bytes());
    hello.extend_from_slice(&PROTOCOL.to_le_bytes());
    hello
}

fn send_with(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // There is room for one, and one is all that is ever sent.
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())?)
}

/// No process that is started meanwhile inherits what came.
fn receive_with(
    from: BorrowedFd<'_>,
    chunk: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(from, &mut [IoSliceMut::new(chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            descriptors.extend(came);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "a client's descriptor could not be taken; raise the limit of open files",
        ));
    }
    Ok(received.bytes)
}

/// The descriptor as a stream, if it is one: whatever else it might be, nobody should read requests
/// from it.
fn stream(descriptor: OwnedFd) -> Result<StdUnixStream, WireError> {
    let unix =
        sockopt::socket_domain(&descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX);
    if !unix || !sockopt::socket_type(&descriptor).is_ok_and(|kind| kind == SocketType::STREAM) {
        return Err(WireError::Descriptor);
    }
    let stream = StdUnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What is wrong with the other side, or with what it sent. Nothing of a session is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the stream between the processes failed")]
    Io(#[from] io::Error),
    #[error(
        "the other process does not speak this protocol; is the stream one end of a pair that two owners hold?"
    )]
    NoHello,
    #[error(
        "the other build hands over in version {handover} with clients of version {protocol}, this one in version {HANDOVER} with clients of \
         version {PROTOCOL}; its sessions stay behind, so start anew"
    )]
    Version { handover: u16, protocol: u16 },
    #[error(
        "a message of {bytes} bytes came or was to be sent; {MOST_FRAME_BYTES} at most are allowed"
    )]
    Length { bytes: usize },
    #[error("a message does not fit the protocol")]
    Frame(#[from] FrameError),
    #[error("a message came without the stream of a client, or a descriptor that is none")]
    Descriptor,
    #[error("a message came that has no place here: {0}")]
    Unexpected(&'static str),
    #[error("the other process ended")]
    Ended,
    #[error("a session came that no store can have held")]
    Session(#[from] session_core::ImportError),
}
