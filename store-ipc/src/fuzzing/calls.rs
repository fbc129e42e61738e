//! Fuzzed requests at an owner, and fuzzed replies at a client.

use std::time::Duration;

use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use session_core::{
    Change, Claim, Commit, Created, Deleted, MemoryStore, NewRecord, Outcome, Record, SessionStore,
    StoreError, StoreKey, Stored,
};

use super::framing::{Framing, assert_round_trip, split};
use crate::{
    owner::execute::{execute, push_reply},
    wire::{
        frame::{FrameError, MIN_FRAME_BYTES, ReadBuffer, WriteBuffer, decode},
        message::{Failure, Reply, Request},
    },
};

/// Executes the requests in `bytes` at a memory store and decodes the replies as a client does.
///
/// # Panics
/// If the store breaks the contract, a reply does not belong to its request, or a frame is longer
/// than agreed.
pub fn requests(bytes: &[u8], framing: Framing) {
    let (store, clock) = MemoryStore::with_manual_clock();
    let mut incoming = incoming::<Request>(bytes, framing);
    while let Some((id, message)) = next_frame(&mut incoming) {
        let Ok(request) = decode::<Request>(message) else { return };
        assert_round_trip(&request);
        if matches!(request, Request::Ping) {
            clock.advance(Duration::from_secs(60));
        }
        execute_and_check(&store, id, request);
    }
}

/// Decodes the replies in `bytes` as a client does.
///
/// # Panics
/// If a reply changes in a round trip, or an error becomes a different error.
pub fn replies(bytes: &[u8], framing: Framing) {
    let mut incoming = incoming::<Reply>(bytes, framing);
    while let Some((_, message)) = next_frame(&mut incoming) {
        let Ok(reply) = decode::<Reply>(message) else { return };
        assert_round_trip(&reply);
        match reply {
            Reply::Failed(failure) => {
                let kind = std::mem::discriminant(&failure);
                let error = StoreError::from(failure);
                let broken_handle = matches!(error, StoreError::Other { .. });
                let again = std::mem::discriminant(&Failure::from(error));
                assert!(again == kind || broken_handle, "an error became a different error");
            }
            Reply::Loaded(Some(stored)) => check_record(&stored.into_record()),
            _ => {}
        }
    }
}

/// The frames in `bytes`, which contain messages of this type.
fn incoming<T: DeserializeOwned>(bytes: &[u8], framing: Framing) -> ReadBuffer {
    let stream = match framing {
        Framing::Included => bytes.to_vec(),
        Framing::Added => framed(&split::<T>(bytes)),
    };
    ReadBuffer::with_bytes(MIN_FRAME_BYTES, stream)
}

/// A frame of at most the agreed length. `None` at the end or for an invalid frame.
fn next_frame(incoming: &mut ReadBuffer) -> Option<(u64, &[u8])> {
    let waiting = incoming.unread().len();
    let (id, message) = incoming.take_frame().ok()??;
    assert!(message.len() + 8 <= MIN_FRAME_BYTES, "a frame is longer than agreed");
    assert!(message.len() + 12 <= waiting, "a frame is longer than the received bytes");
    Some((id, message))
}

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (id, message) in (0_u64..).zip(messages) {
        stream
            .extend_from_slice(&u32::try_from(message.len() + 8).unwrap_or(u32::MAX).to_le_bytes());
        stream.extend_from_slice(&id.to_le_bytes());
        stream.extend_from_slice(message);
    }
    stream
}

/// Executes a request and compares the reply and the record afterwards with the record before.
fn execute_and_check(store: &MemoryStore, id: u64, request: Request) {
    let key = match &request {
        Request::Create(key, _)
        | Request::Load(key)
        | Request::Commit(key, _)
        | Request::Delete(key, _) => Some(key.clone()),
        _ => None,
    };
    let before = key.as_ref().and_then(|key| load(store, key));
    // A second copy, because the call takes the first.
    let copy = postcard::to_stdvec(&request).ok().and_then(|bytes| decode::<Request>(&bytes).ok());
    let reply = execute(store, request, MIN_FRAME_BYTES)
        .now_or_never()
        .unwrap_or_else(|| panic!("a memory store did not answer at once"));
    let after = key.as_ref().and_then(|key| load(store, key));
    match (copy, &reply) {
        (Some(Request::Create(key, new)), Reply::Created(Created::New)) => {
            check_create(&key, &new, before.as_ref(), after);
        }
        (Some(Request::Load(_)), Reply::Loaded(loaded)) => {
            let loaded = loaded.clone().map(Stored::into_record);
            assert!(
                loaded == before && after == before,
                "a load returned another record or changed it"
            );
        }
        (Some(Request::Delete(_, claim)), Reply::Deleted(deleted)) => match deleted {
            Deleted::Ended | Deleted::Missing => {
                assert!(
                    (*deleted == Deleted::Ended) == before.is_some() && after.is_none(),
                    "a delete reported the wrong outcome or left the session"
                );
            }
            Deleted::Superseded => {
                let since = before.as_ref().map(|record| record.since);
                let refused = matches!(
                    (claim, since),
                    (Claim::Generation(generation), Some(since)) if generation < since
                );
                assert!(
                    refused && after == before,
                    "a sufficient claim was refused, or a refused claim changed the session"
                );
            }
        },
        (Some(Request::Commit(_, commit)), Reply::Committed(outcome)) => {
            check_commit(&commit, outcome, before, after);
        }
        // A rejected request, a taken key, or another call changes nothing.
        (_, _) => assert!(after == before, "a rejected request changed a session"),
    }
    if let Reply::Failed(Failure::Other { text, .. }) = &reply {
        assert!(!text.contains("panicked"), "the store panicked");
    }
    check_encoding(id, &reply);
}

fn check_create(key: &StoreKey, new: &NewRecord, before: Option<&Record>, after: Option<Record>) {
    let after = after.unwrap_or_else(|| panic!("a created session is missing"));
    assert!(
        before.is_none() && key.is_storable(),
        "a create replaced a live session, or used a key that cannot be stored"
    );
    let (wanted, found) =
        ((&new.data, &new.principal, new.version), (&after.data, &after.principal, after.version));
    assert!(wanted == found, "a created session has other data");
    assert!(
        (new.secret, new.generation, new.since) == (after.secret, after.generation, after.since),
        "a created session has another secret"
    );
}

fn check_commit(commit: &Commit, outcome: &Outcome, before: Option<Record>, after: Option<Record>) {
    let Outcome::Done(done) = outcome else {
        let current = before.as_ref().map(|record| record.secret == commit.secret);
        let fits = match outcome {
            Outcome::Gone => current.is_none(),
            Outcome::Superseded => current == Some(false),
            Outcome::Conflict | Outcome::Done(_) => current == Some(true),
        };
        assert!(
            fits && after == before,
            "a verdict does not match the session, or a rejected commit changed it"
        );
        return;
    };
    let (Some(before), Some(after)) = (before, after) else {
        panic!("a commit succeeded without a session, or ended it")
    };
    assert!(commit.secret == before.secret, "a superseded secret changed a session");
    assert!(
        done.version == after.version && done.attributes == after.attributes,
        "the outcome of a commit differs from the record"
    );
    assert!(
        after.version == before.version + u64::from(commit.is_change()),
        "the version does not count the changes"
    );
    let rotated = commit.rotate.map_or((before.secret, before.generation), |rotation| {
        (rotation.secret, rotation.generation)
    });
    assert!(
        (after.secret, after.generation) == rotated,
        "a session has another secret than the commit set"
    );
    assert!(
        after.principal.is_some() == after.authenticated.is_some(),
        "a principal without the time of its authentication"
    );
    let set = commit
        .changes
        .iter()
        .filter(|(_, change)| matches!(change, Change::Set(_) | Change::Add(_)));
    assert!(
        set.into_iter().all(|(name, _)| after.data.get(name.as_str()).is_some()),
        "a committed value is missing"
    );
}

/// Asserts that the reply arrives in one frame of at most the agreed length.
fn check_encoding(id: u64, reply: &Reply) {
    let (kind, mut outgoing) = (std::mem::discriminant(reply), WriteBuffer::default());
    push_reply(&mut outgoing, id, reply, MIN_FRAME_BYTES)
        .unwrap_or_else(|error| panic!("a reply cannot be encoded: {error}"));
    let mut incoming = ReadBuffer::with_bytes(MIN_FRAME_BYTES, outgoing.unwritten().to_vec());
    let frame = incoming
        .take_frame()
        .unwrap_or_else(|error: FrameError| panic!("a reply cannot be read: {error}"));
    let (of, message) = frame.unwrap_or_else(|| panic!("a reply is incomplete"));
    let reply = decode::<Reply>(message)
        .unwrap_or_else(|error| panic!("a reply cannot be decoded: {error}"));
    assert!(of == id, "a reply has the id of another request");
    assert!(
        std::mem::discriminant(&reply) == kind || matches!(reply, Reply::Failed(_)),
        "a reply changed its kind"
    );
    assert!(!incoming.has_partial_frame(), "a reply takes more than one frame");
}

fn load(store: &MemoryStore, key: &StoreKey) -> Option<Record> {
    let loaded = store
        .load(key)
        .now_or_never()
        .and_then(Result::ok)
        .unwrap_or_else(|| panic!("a memory store failed"));
    loaded.map(Stored::into_record).inspect(check_record)
}

/// Asserts what holds for every record, and that its methods do not panic.
fn check_record(record: &Record) {
    let names: Vec<_> = record.data.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.is_sorted() && names.iter().all(|name| !name.is_empty()),
        "names are empty or out of order"
    );
    let _ = (record.attributes.clone().bounded(), record.data.bytes(), format!("{record:?}"));
}
