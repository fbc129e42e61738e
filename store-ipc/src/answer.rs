//! What the owner's store says to one request, in a form that fits the frames.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use session_core::{Cursor, Page, SessionStore, StoreError};

use crate::{
    frame::{FrameError, Outbox, encoded_bytes},
    message::{Failure, Reply, Request},
};

/// The most records of a page that the wrapped store is asked for, so that a page in memory stays within a few MiB.
const PAGE_RECORDS: usize = 64;
/// The most expired records that one request purges. A store in memory purges without a pause, and the others' calls wait meanwhile.
const PURGE_RECORDS: usize = 10_000;
/// More than a frame's id, a reply's tag and a list's length take.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// More than one entry of a list takes: a key of at most 128 bytes and two durations.
const LISTED_BYTES: usize = 192;

/// Carries a request out. A store that panics, which the panic hook reports, fails this request alone.
pub(crate) async fn answer(store: &dyn SessionStore, request: Request, frame_bytes: usize) -> Reply {
    // Unwind safe: the store is shared with other tasks anyway, which go on after a panic in one of them as well.
    match AssertUnwindSafe(ask(store, request, frame_bytes)).catch_unwind().await {
        Ok(answered) => answered.unwrap_or_else(|error| Reply::Failed(error.into())),
        Err(_panic) => wrapped_failed("it panicked"),
    }
}

fn wrapped_failed(text: impl Into<Box<str>>) -> Reply {
    Reply::Failed(Failure::Other { store: "wrapped".into(), text: text.into() })
}

async fn ask(store: &dyn SessionStore, request: Request, frame_bytes: usize) -> Result<Reply, StoreError> {
    Ok(match request {
        Request::Create(key, new) => Reply::Created(store.create(&key, new).await?),
        Request::Load(key) => Reply::Loaded(store.load(&key).await?),
        Request::Commit(key, commit) => Reply::Committed(store.commit(&key, commit).await?),
        Request::Delete(key) => Reply::Deleted(store.delete(&key).await?),
        Request::List(principal) => Reply::Listed { sessions: store.list(&principal).await?, last: true },
        Request::DeleteAll(principal, except) => Reply::Count(store.delete_all(&principal, except.as_ref()).await?),
        Request::Scan(after, limit) => Reply::Page(page_that_fits(store, after, limit, frame_bytes).await?),
        Request::DeleteExpired(limit) => Reply::Count(store.delete_expired(at_most(limit, PURGE_RECORDS)).await?),
        Request::Ping => {
            store.ping().await?;
            Reply::Pong
        }
    })
}

/// Asks for fewer records until their page fits a frame. The store is asked again, because only it can say where a shorter page ends.
async fn page_that_fits(store: &dyn SessionStore, after: Option<Cursor>, limit: u64, frame_bytes: usize) -> Result<Page, StoreError> {
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

/// Appends a reply: a long list in several frames, one that fits no frame as the error that says so.
pub(crate) fn push_reply(outbox: &mut Outbox, id: u64, reply: Reply, frame_bytes: usize) -> Result<(), FrameError> {
    let at_once = (frame_bytes - FRAME_OVERHEAD_BYTES) / LISTED_BYTES;
    let pushed = match reply {
        Reply::Listed { sessions, last: true } if sessions.len() > at_once => {
            let mut rest = sessions.into_iter();
            loop {
                let sessions = rest.by_ref().take(at_once).collect();
                let last = rest.len() == 0;
                let pushed = outbox.push(id, &Reply::Listed { sessions, last }, frame_bytes);
                if last || pushed.is_err() {
                    break pushed;
                }
            }
        }
        reply => outbox.push(id, &reply, frame_bytes),
    };
    match pushed {
        Err(FrameError::Length { bytes, limit }) => {
            let text = format!("its reply has {bytes} bytes, a frame at most {limit}; raise frame_bytes on both sides");
            outbox.push(id, &wrapped_failed(text), frame_bytes)
        }
        pushed => pushed,
    }
}
