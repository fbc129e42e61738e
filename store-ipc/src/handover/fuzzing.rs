//! The stream between two owners, with a stranger at either end.

use std::{io::Write, net::Shutdown, os::unix::net::UnixStream, sync::Arc};

use session_core::MemoryStore;
use tokio::{runtime::Builder, sync::mpsc};

use super::{
    heir::take_over,
    message::Message,
    wire::{Side, Wire, hello},
};
use crate::{
    Owner,
    frame::decode,
    fuzzing::{Framing, comes_back, parted},
};

/// Has a successor take over from a predecessor that says `bytes` and then no more. Returns whether
/// it did.
///
/// # Panics
/// If it serves without having been told to, or holds what no store can have held.
#[must_use]
pub fn predecessor(bytes: &[u8], framing: Framing) -> bool {
    let memory = Arc::new(MemoryStore::new());
    let Ok(owner) = Owner::memory(Arc::clone(&memory)).build() else { return false };
    let spoken = spoken(bytes, framing);
    let (ours, theirs, guest) = streams(&spoken);
    let taken_over = block_on(async {
        let (give, mut given) = mpsc::unbounded_channel();
        let _ = give.send(guest.1);
        take_over(owner.shared(), &memory, theirs, &mut given).await.is_ok()
    });
    owner.shutdown();
    drop(ours);
    let messages = understood(&spoken);
    if !taken_over {
        return false;
    }
    assert!(
        messages.iter().any(|message| matches!(message, Message::Go)),
        "it serves and was not told to"
    );
    let came: usize = messages
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
    assert!(held <= came, "it holds more sessions than came");
    true
}

/// Has a predecessor listen to a successor that says `bytes`, some of them with the stream of a
/// client. Returns how many messages it took.
///
/// # Panics
/// If a guest comes without a stream, or something else with one.
#[must_use]
pub fn successor(bytes: &[u8], framing: Framing) -> usize {
    let (ours, theirs, _guest) = streams(&spoken(bytes, framing));
    let taken = block_on(async {
        let Ok(mut wire) = Wire::open(theirs, Side::Predecessor).await else { return 0 };
        let mut taken = 0;
        while let Ok(Some((message, client))) = wire.receive().await {
            assert!(
                matches!(message, Message::Guest(_)) == client.is_some(),
                "a guest without a stream, or a stream without a guest"
            );
            comes_back(&message);
            taken += 1;
        }
        taken
    });
    drop(ours);
    taken
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("no event loop: {error}"));
    runtime.block_on(future)
}

type Pair = (UnixStream, UnixStream);

/// Both ends of a stream on which all was said, and those of a client's.
fn streams(said: &[u8]) -> (UnixStream, UnixStream, Pair) {
    let pair = || UnixStream::pair().unwrap_or_else(|error| panic!("no streams: {error}"));
    let ((mut ours, theirs), guest) = (pair(), pair());
    // As those have it that an owner is given.
    let _ = guest.1.set_nonblocking(true);
    // A socket takes this much at once; what it does not take is not said.
    let _ = ours.set_nonblocking(true);
    let _ = ours.write_all(said);
    let _ = ours.shutdown(Shutdown::Write);
    (ours, theirs, guest)
}

fn spoken(bytes: &[u8], framing: Framing) -> Vec<u8> {
    if framing == Framing::AsCame {
        return bytes.to_vec();
    }
    let mut spoken = hello();
    for message in parted::<Message>(bytes) {
        spoken.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes());
        spoken.extend_from_slice(message);
    }
    spoken
}

/// The messages of a stream, read without a wire.
fn understood(spoken: &[u8]) -> Vec<Message> {
    let (mut rest, mut messages) = (spoken.get(hello().len()..).unwrap_or_default(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some((message, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
        else {
            break;
        };
        let Ok(message) = decode::<Message>(message) else { break };
        comes_back(&message);
        messages.push(message);
        rest = after;
    }
    messages
}
