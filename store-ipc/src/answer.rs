//! Carries out one request at the owner's store, with a reply that fits a frame.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use session_core::{Attributes, Cursor, Page, SessionStore, StoreError, StoreKey};

use crate::{
    frame::{FrameError, Outbox, encoded_bytes},
    message::{Failure, Reply, Request},
};

/// The most records of a page that the wrapped store is asked for, so that a page in memory stays
/// within a few MiB.
const PAGE_RECORDS: usize = 64;
/// The most sessions that one request purges or ends. A store in memory does so without a pause,
/// and the calls of other clients wait meanwhile.
const PURGE_RECORDS: usize = 10_000;
/// More than a frame's id, a reply's tag and a list's length take.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// More than a cursor takes. A store whose cursor is longer gets the error that its reply does not
/// fit.
const CURSOR_BYTES: usize = 1024;
/// More than a summary takes: a key, three durations of at most 15 bytes, and attributes, which
/// take fewer bytes here than as text.
const SUMMARY_BYTES: usize = StoreKey::MAX_BYTES + Attributes::MAX_TEXT_BYTES + 64;

/// Carries a request out. A store that panics, which the panic hook reports, fails this request
/// alone.
pub(crate) async fn answer(
    store: &dyn SessionStore,
    request: Request,
    frame_bytes: usize,
) -> Reply {
    // Unwind safe: the store is shared with other tasks anyway, which go on after a panic in one of
    // them as well.
    match AssertUnwindSafe(ask(store, request, frame_bytes)).catch_unwind().await {
        Ok(answered) => answered.unwrap_or_else(|error| Reply::Failed(error.into())),
        Err(_panic) => wrapped_failed("it panicked"),
    }
}

fn wrapped_failed(text: impl Into<Box<str>>) -> Reply {
    Reply::Failed(Failure::Other { store: "wrapped".into(), text: text.into() })
}

async fn ask(
    store: &dyn SessionStore,
    request: Request,
    frame_bytes: usize,
) -> Result<Reply, StoreError> {
    Ok(match request {
        Request::Create(key, new) => Reply::Created(store.create(&key, new).await?),
        Request::Load(key) => Reply::Loaded(store.load(&key).await?),
        Request::Commit(key, commit) => Reply::Committed(store.commit(&key, commit).await?),
        Request::Delete(key, claim) => Reply::Deleted(store.delete(&key, claim).await?),
        Request::List(principal, after, limit) => {
            let summaries = (frame_bytes - FRAME_OVERHEAD_BYTES - CURSOR_BYTES) / SUMMARY_BYTES;
            Reply::Listed(store.list(&principal, after, at_most(limit, summaries)).await?)
        }
        Request::DeleteAll(principal, except) => {
            Reply::Count(store.delete_all(&principal, except.as_ref()).await?)
        }
        Request::DeleteEveryone(after, limit) => Reply::DeletedEveryone(
            store.delete_everyone(after, at_most(limit, PURGE_RECORDS)).await?,
        ),
        Request::Scan(after, limit) => {
            Reply::Page(page_that_fits(store, after, limit, frame_bytes).await?)
        }
        Request::DeleteExpired(limit) => {
            Reply::Count(store.delete_expired(at_most(limit, PURGE_RECORDS)).await?)
        }
        Request::Ping => {
            store.ping().await?;
            Reply::Pong
        }
    })
}

/// Asks for fewer records until their page fits a frame. The store is asked again, because only it
/// can say where a shorter page ends.
async fn page_that_fits(
    store: &dyn SessionStore,
    after: Option<Cursor>,
    limit: u64,
    frame_bytes: usize,
) -> Result<Page, StoreError> {
    let mut limit = at_most(limit, PAGE_RECORDS);
    loop {
        let page = store.scan(after.clone(), limit).await?;
        // A page of one record that does not fit is reported when it is encoded.
        if limit <= 1 || encoded_bytes(&page) + FRAME_OVERHEAD_BYTES <= frame_bytes {
            return Ok(page);
        }
        limit /= 2;
    }
}

fn at_most(limit: u64, most: usize) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(most)
}

/// Appends a reply. One that fits no frame becomes the error that says so.
pub(crate) fn push_reply(
    outbox: &mut Outbox,
    id: u64,
    reply: &Reply,
    frame_bytes: usize,
) -> Result<(), FrameError> {
    match outbox.push(id, reply, frame_bytes) {
        Err(FrameError::Length { bytes, limit }) => {
            let text = format!(
                "its reply has {bytes} bytes, a frame at most {limit}; raise frame_bytes on both sides"
            );
            outbox.push(id, &wrapped_failed(text), frame_bytes)
        }
        pushed => pushed,
    }
}
