//! Requests at an owner, and replies at a client.

use std::time::Duration;

use futures_util::FutureExt;
use session_core::{Created, MemoryStore, Outcome, Record, SessionStore, StoreError, StoreKey};

use super::{Framing, comes_back, parted};
use crate::{
    answer::{answer, push_reply},
    config::LEAST_FRAME_BYTES,
    frame::{FrameError, Inbox, Outbox, decode},
    message::{Failure, Reply, Request},
};

/// Has an owner in memory carry out whatever requests there are in `bytes`, at once, and a client read the replies.
///
/// # Panics
/// If a law of the contract is broken, a reply is not the request's, or a frame is longer than agreed.
pub fn requests(bytes: &[u8], framing: Framing) {
    let (store, clock) = MemoryStore::with_manual_clock();
    let stream = match framing {
        Framing::AsCame => bytes.to_vec(),
        Framing::Added => framed(&parted::<Request>(bytes)),
    };
    let mut inbox = Inbox::filled(LEAST_FRAME_BYTES, stream);
    while let Some((id, message)) = frame(&mut inbox) {
        let Ok(request) = decode::<Request>(message) else { return };
        comes_back(&request);
        if matches!(request, Request::Ping) {
            clock.advance(Duration::from_secs(60));
        }
        carry_out(&store, id, request);
    }
}

/// Has a client read whatever replies there are in `bytes`.
///
/// # Panics
/// If one does not come back, or an error is another decision afterwards.
pub fn replies(bytes: &[u8], framing: Framing) {
    let stream = match framing {
        Framing::AsCame => bytes.to_vec(),
        Framing::Added => framed(&parted::<Reply>(bytes)),
    };
    let mut inbox = Inbox::filled(LEAST_FRAME_BYTES, stream);
    while let Some((_, message)) = frame(&mut inbox) {
        let Ok(reply) = decode::<Reply>(message) else { return };
        comes_back(&reply);
        match reply {
            Reply::Failed(failure) => {
                let kind = std::mem::discriminant(&failure);
                let error = StoreError::from(failure);
                let broken_handle = matches!(error, StoreError::Other { .. });
                let again = std::mem::discriminant(&Failure::from(error));
                assert!(again == kind || broken_handle, "an error became another one");
            }
            Reply::Loaded(Some(record)) => check(&record),
            _ => {}
        }
    }
}

/// A frame of at most the length that was agreed; `None` at the end or at a broken one.
fn frame(inbox: &mut Inbox) -> Option<(u64, &[u8])> {
    let waiting = inbox.unread().len();
    let (id, message) = inbox.frame().ok()??;
    assert!(message.len() + 8 <= LEAST_FRAME_BYTES, "a frame is longer than agreed");
    assert!(message.len() + 12 <= waiting, "a frame is longer than what came");
    Some((id, message))
}

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (id, message) in (0_u64..).zip(messages) {
        stream.extend_from_slice(&u32::try_from(message.len() + 8).unwrap_or(u32::MAX).to_le_bytes());
        stream.extend_from_slice(&id.to_le_bytes());
        stream.extend_from_slice(message);
    }
    stream
}

/// Carries a request out and holds what came of it against what was there before.
fn carry_out(store: &MemoryStore, id: u64, request: Request) {
    let told = Told::of(&request);
    let before = told.key.as_ref().and_then(|key| load(store, key));
    let target = told.target.as_ref().and_then(|key| load(store, key));
    // Written down, because the call takes it.
    let wanted = postcard::to_stdvec(&request).unwrap_or_default();
    let reply = answer(store, request, LEAST_FRAME_BYTES).now_or_never().unwrap_or_else(|| panic!("a store in memory let a call wait"));
    if let Some(key) = &told.key {
        let after = load(store, key);
        match &reply {
            Reply::Created(Created::New) => {
                let Ok(Request::Create(_, new)) = decode(&wanted) else { panic!("created by another request") };
                let after = after.unwrap_or_else(|| panic!("what was created is not there"));
                assert!(before.is_none() && key.is_storable(), "a creation over a live session, or under no key");
                assert!((&after.data, &after.principal, after.version) == (&new.data, &new.principal, 1), "another session was created");
            }
            Reply::Loaded(loaded) => assert!(*loaded == before && after == before, "a load changed something"),
            Reply::Deleted(was) => assert!(*was == before.is_some() && after.is_none(), "a deleted session is there"),
            Reply::Committed(Outcome::Done(done)) => {
                assert!(before.is_some(), "a commit without a session");
                let after = match &told.target {
                    Some(target) => load(store, target),
                    None => after,
                };
                let after = after.unwrap_or_else(|| panic!("a commit ended a session"));
                assert!(done.version == after.version && done.lifetime == after.lifetime, "a commit says something else than it did");
            }
            // Refused, taken, in conflict, gone: nothing has changed.
            _ => {
                assert!(after == before, "a refused request changed a session");
                assert!(told.target.as_ref().and_then(|key| load(store, key)) == target, "a refused move left something");
                assert!(!matches!(reply, Reply::Committed(Outcome::Gone)) || before.is_none(), "a live session is said to be gone");
            }
        }
    }
    if let Reply::Failed(Failure::Other { text, .. }) = &reply {
        assert!(!text.contains("panicked"), "the store panicked");
    }
    sent(id, reply);
}

/// The reply arrives, in frames of at most the length that was agreed.
fn sent(id: u64, reply: Reply) {
    let (kind, mut outbox) = (std::mem::discriminant(&reply), Outbox::default());
    push_reply(&mut outbox, id, reply, LEAST_FRAME_BYTES).unwrap_or_else(|error| panic!("a reply is not sent: {error}"));
    let mut inbox = Inbox::filled(LEAST_FRAME_BYTES, outbox.unwritten().to_vec());
    let mut frames = 0;
    while let Some((of, message)) = inbox.frame().unwrap_or_else(|error: FrameError| panic!("a reply does not arrive: {error}")) {
        let reply = decode::<Reply>(message).unwrap_or_else(|error| panic!("a reply is not read: {error}"));
        assert!(of == id, "a reply to another request");
        assert!(std::mem::discriminant(&reply) == kind || matches!(reply, Reply::Failed(_)), "another reply");
        frames += 1;
    }
    assert!(frames > 0 && !inbox.has_rest(), "half a reply");
}

fn load(store: &MemoryStore, key: &StoreKey) -> Option<Record> {
    let loaded = store.load(key).now_or_never().and_then(Result::ok).unwrap_or_else(|| panic!("a store in memory failed"));
    loaded.inspect(check)
}

/// What a record always is, and whatever is asked of it does not fail.
fn check(record: &Record) {
    let names: Vec<_> = record.data.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()), "names out of order");
    let _ = (record.lifetime.bounded(), record.data.bytes(), format!("{record:?}"));
}

/// Of which session a request is, and where it wants to have it.
struct Told {
    key: Option<StoreKey>,
    target: Option<StoreKey>,
}

impl Told {
    fn of(request: &Request) -> Self {
        match request {
            Request::Create(key, _) | Request::Load(key) | Request::Delete(key) => Self { key: Some(key.clone()), target: None },
            Request::Commit(key, commit) => Self { key: Some(key.clone()), target: commit.move_to.clone() },
            _ => Self { key: None, target: None },
        }
    }
}
