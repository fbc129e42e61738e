//! Executes one request at the wrapped store and encodes a reply that fits a frame.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use session_core::{Attributes, Cursor, Page, SessionStore, StoreError, StoreKey};

use crate::wire::{
    frame::{FrameError, WriteBuffer, encoded_bytes},
    message::{Failure, Reply, Request},
};

/// The most records of a page that the wrapped store is asked for, so that a page in memory takes a
/// few MiB at most.
const PAGE_RECORDS: usize = 64;
/// The most sessions that one request purges or ends. A store in memory does so without a pause,
/// and the calls of other clients wait meanwhile.
const PURGE_RECORDS: usize = 10_000;
/// More than a frame's id, a reply's tag and a list's length take.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// More than a cursor takes. If the cursor of a store is longer, the client gets the error that the
/// reply does not fit.
const CURSOR_BYTES: usize = 1024;
/// More than a summary takes: a key, three durations of at most 15 bytes, and attributes.
/// Attributes take fewer bytes here than as text.
const SUMMARY_BYTES: usize = StoreKey::MAX_BYTES + Attributes::MAX_TEXT_BYTES + 64;

/// Executes a request. If the store panics, only this request fails. The panic hook reports the
/// panic.
pub(crate) async fn execute(
    store: &dyn SessionStore,
    request: Request,
    frame_bytes: usize,
) -> Reply {
    // Unwind safe: other tasks share the store and also continue to use it after a panic.
    match AssertUnwindSafe(call_store(store, request, frame_bytes)).catch_unwind().await {
        Ok(result) => result.unwrap_or_else(|error| Reply::Failed(error.into())),
        Err(_panic) => wrapped_store_failed("it panicked"),
    }
}

fn wrapped_store_failed(text: impl Into<Box<str>>) -> Reply {
    Reply::Failed(Failure::Other { store: "wrapped".into(), text: text.into() })
}

async fn call_store(
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
            Reply::Page(scan_page(store, after, limit, frame_bytes).await?)
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

/// Scans with smaller and smaller limits until the page fits a frame. The store is asked each time,
/// because only the store knows the cursor after a shorter page.
async fn scan_page(
    store: &dyn SessionStore,
    after: Option<Cursor>,
    limit: u64,
    frame_bytes: usize,
) -> Result<Page, StoreError> {
    let mut limit = at_most(limit, PAGE_RECORDS);
    loop {
        let page = store.scan(after.clone(), limit).await?;
        // If a page of one record does not fit, `push_reply` reports it.
        if limit <= 1 || encoded_bytes(&page) + FRAME_OVERHEAD_BYTES <= frame_bytes {
            return Ok(page);
        }
        limit /= 2;
    }
}

fn at_most(limit: u64, max: usize) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(max)
}

/// Appends a reply. If the reply is too long for a frame, appends an error that says so.
pub(crate) fn push_reply(
    buffer: &mut WriteBuffer,
    id: u64,
    reply: &Reply,
    frame_bytes: usize,
) -> Result<(), FrameError> {
    match buffer.push(id, reply, frame_bytes) {
        Err(FrameError::Length { bytes, limit }) => {
            let text = format!(
                "the reply has {bytes} bytes, more than the limit of {limit}; \
                 raise frame_bytes on both sides"
            );
            buffer.push(id, &wrapped_store_failed(text), frame_bytes)
        }
        pushed => pushed,
    }
}
