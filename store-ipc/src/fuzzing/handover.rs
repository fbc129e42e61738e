//! A handover whose other side sends fuzzed bytes.

use std::{io::Write, net::Shutdown, os::unix::net::UnixStream, sync::Arc};

use session_core::MemoryStore;
use tokio::{runtime::Builder, sync::mpsc};

use super::framing::{Framing, assert_round_trip, split};
use crate::{
    handover::{
        message::Message,
        receiver::take_over,
        stream::{HandoverStream, Side, hello},
    },
    owner::Owner,
    wire::frame::decode,
};

/// Runs a successor whose predecessor sends `bytes` and then closes. Returns whether the successor
/// took over.
///
/// # Panics
/// If the successor serves without an `Activate`, or holds more sessions than it received.
#[must_use]
pub fn predecessor(bytes: &[u8], framing: Framing) -> bool {
    let memory = Arc::new(MemoryStore::new());
    let Ok(owner) = Owner::memory(Arc::clone(&memory)).build() else { return false };
    let sent = framed(bytes, framing);
    let (ours, theirs, client) = streams(&sent);
    let taken_over = block_on(async {
        let (sender, mut given) = mpsc::unbounded_channel();
        let _ = sender.send(client.1);
        take_over(owner.shared(), &memory, theirs, &mut given).await.is_ok()
    });
    owner.shutdown();
    drop(ours);
    let messages = decode_all(&sent);
    if !taken_over {
        return false;
    }
    assert!(
        messages.iter().any(|message| matches!(message, Message::Activate)),
        "the successor serves without an activation"
    );
    let received: usize = messages
        .iter()
        .map(|message| if let Message::Sessions(sessions) = message { sessions.len() } else { 0 })
        .sum();
    let (mut held, mut export) = (0, memory.export());
    loop {
        let batch = export.batch(1 << 20);
        if batch.is_empty() {
            break;
        }
        held += batch.len();
    }
    assert!(held <= received, "the successor holds more sessions than it received");
    true
}

/// Runs a predecessor that reads `bytes` from its successor, some of them with the stream of a
/// client. Returns how many messages the predecessor read.
///
/// # Panics
/// If a client arrives without a stream, or another message arrives with one.
#[must_use]
pub fn successor(bytes: &[u8], framing: Framing) -> usize {
    let (ours, theirs, _client) = streams(&framed(bytes, framing));
    let count = block_on(async {
        let Ok(mut stream) = HandoverStream::open(theirs, Side::Predecessor).await else {
            return 0;
        };
        let mut count = 0;
        while let Ok(Some((message, client))) = stream.receive().await {
            assert!(
                matches!(message, Message::Client(_)) == client.is_some(),
                "a client without a stream, or a stream without a client"
            );
            assert_round_trip(&message);
            count += 1;
        }
        count
    });
    drop(ours);
    count
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"));
    runtime.block_on(future)
}

type Pair = (UnixStream, UnixStream);

/// Both ends of a stream on which `bytes` were sent, and both ends of a client's stream.
fn streams(bytes: &[u8]) -> (UnixStream, UnixStream, Pair) {
    let pair =
        || UnixStream::pair().unwrap_or_else(|error| panic!("cannot create streams: {error}"));
    let ((mut ours, theirs), client) = (pair(), pair());
    // As a stream that was passed to an owner.
    let _ = client.1.set_nonblocking(true);
    // The rest of the bytes is dropped if the socket does not take all of them at once.
    let _ = ours.set_nonblocking(true);
    let _ = ours.write_all(bytes);
    let _ = ours.shutdown(Shutdown::Write);
    (ours, theirs, client)
}

fn framed(bytes: &[u8], framing: Framing) -> Vec<u8> {
    if framing == Framing::Included {
        return bytes.to_vec();
    }
    let mut framed = hello();
    for message in split::<Message>(bytes) {
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes());
        framed.extend_from_slice(message);
    }
    framed
}

/// The messages of a stream, decoded without a [`HandoverStream`].
fn decode_all(bytes: &[u8]) -> Vec<Message> {
    let (mut rest, mut messages) = (bytes.get(hello().len()..).unwrap_or_default(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some((message, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
        else {
            break;
        };
        let Ok(message) = decode::<Message>(message) else { break };
        assert_round_trip(&message);
        messages.push(message);
        rest = after;
    }
    messages
}
