//! Calls on many sessions: list, scan, and the deletion of a user's, all or expired sessions.
//!
//! Pages are in the order of `_id`. An `_id` never changes, so the pages contain each session that
//! stays alive exactly once.

use std::time::Instant;

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Binary, Bson, Document, RawBsonRef, RawDocumentBuf, doc, spec::BinarySubtype},
    options::Hint,
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use session_core::{
    Cursor, DeletedPage, Page, Principal, SessionSummary, StoreKey, SummaryPage, observe::retried,
};

use crate::{
    codec::{
        decode::{self, Header, has_expired},
        expression::{
            alive, binary, expired, expires_and_now, millis, record_and_now, summary_and_now,
        },
        field::{CREATED, ID, NOW, PRINCIPAL},
    },
    connect::inner::Inner,
    error::{ClientError, STORE},
    index::{expiry_hint, principal_hint},
};

/// The most documents of one page and of one deletion of expired documents.
const MAX_PAGE: usize = 1_000;

impl Inner {
    /// One page of a user's sessions.
    pub(crate) async fn list(
        &self,
        principal: &Principal,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        let filter = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
        let (documents, next) =
            self.page(filter, Some(principal_hint()), summary_and_now(), after, limit).await?;
        Ok(SummaryPage { sessions: documents.iter().filter_map(summary).collect(), next })
    }

    /// One page of all sessions.
    pub(crate) async fn scan(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let (documents, next) =
            self.page(Document::new(), None, record_and_now(), after, limit).await?;
        let records = documents.iter().filter_map(|document| {
            let record = decode::record(document, decode::time(document, NOW).ok()?).ok()??;
            Some((decode::key(document)?, record))
        });
        Ok(Page { records: records.collect(), next })
    }

    /// Deletes a user's sessions. Repeats the deletion until it finds none: in a sharded collection
    /// one deletion misses documents of a chunk that migrates meanwhile (SERVER-20361).
    pub(crate) async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        let sessions = self.sessions().await?;
        let start = Instant::now();
        let mut total = 0;
        loop {
            let mut conditions = vec![alive()];
            if total > 0 {
                // Ignores sessions that were created after the start of the call. Otherwise a
                // client that creates sessions all the time would keep the call busy.
                let started = doc! { "$subtract": ["$$NOW", millis(start.elapsed())] };
                conditions.push(doc! { "$lte": [format!("${CREATED}"), started] });
            }
            let mut filter =
                doc! { PRINCIPAL: principal.as_str(), "$expr": { "$and": conditions } };
            if let Some(except) = except {
                filter.insert(ID, doc! { "$ne": binary(except.as_str().as_bytes()) });
            }
            match sessions.delete_many(filter).hint(principal_hint()).await?.deleted_count {
                0 => return Ok(total),
                deleted => total += deleted,
            }
        }
    }

    /// Deletes the documents of one page. Includes documents that this version cannot decode,
    /// because they may be sessions of another version.
    pub(crate) async fn delete_page(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, ClientError> {
        let (documents, next) =
            self.page(Document::new(), None, expires_and_now(), after, limit).await?;
        let (sessions, ids) = (self.sessions().await?, ids(&documents));
        let mut left = ids.len() as u64;
        // Repeated for the reason that `delete_all` names.
        while left > 0 {
            match sessions.delete_many(doc! { ID: { "$in": ids.clone() } }).await?.deleted_count {
                0 => break,
                deleted => left = left.saturating_sub(deleted),
            }
        }
        let ended = documents.iter().filter(|document| !has_expired(document)).count();
        Ok(DeletedPage { ended: ended as u64, next })
    }

    /// Deletes at most `limit` expired documents and returns how many it deleted. 0 if none is
    /// left.
    pub(crate) async fn delete_expired(&self, limit: usize) -> Result<u64, ClientError> {
        let sessions = self.sessions().await?;
        let count = u32::try_from(limit.min(MAX_PAGE)).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(0);
        }
        loop {
            let found = sessions
                .find(expired())
                .projection(doc! { ID: 1 })
                .limit(i64::from(count))
                .batch_size(count)
                .hint(expiry_hint())
                .await?;
            let ids = ids(&found.try_collect::<Vec<_>>().await?);
            if ids.is_empty() {
                return Ok(0);
            }
            // The server checks the deadline again, because a commit may have extended a session
            // meanwhile.
            let mut filter = expired();
            filter.insert(ID, doc! { "$in": ids });
            let deleted = sessions.delete_many(filter).await?.deleted_count;
            // 0 if other clients deleted all of them first. Then more may be left.
            if deleted > 0 {
                return Ok(deleted);
            }
        }
    }

    /// One page of the documents that `filter` matches, and the cursor of the next page.
    async fn page(
        &self,
        mut filter: Document,
        hint: Option<Hint>,
        projection: Document,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<RawDocumentBuf>, Option<Cursor>), ClientError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let count = u32::try_from(limit).unwrap_or(u32::MAX);
        // A comparison with bytes matches only an `_id` of bytes. Other documents are not sessions.
        let start = after
            .map_or(Some(Binary { subtype: BinarySubtype::Generic, bytes: Vec::new() }), position);
        filter.insert(ID, doc! { "$gt": start.ok_or(ClientError::InvalidCursor)? });
        let documents: Vec<RawDocumentBuf> = loop {
            let (attempt, sessions) = self.start_read_of_sessions().await?;
            let mut find = sessions
                .find(filter.clone())
                .sort(doc! { ID: 1 })
                .limit(i64::from(count))
                .batch_size(count);
            if let Some(hint) = &hint {
                find = find.hint(hint.clone());
            }
            if let Some(concern) = attempt.concern() {
                find = find.read_concern(concern);
            }
            let documents = find.projection(projection.clone()).await?.try_collect().await?;
            if attempt.is_valid() {
                break documents;
            }
            retried(STORE);
        };
        let next = documents.last().filter(|_| documents.len() == limit).and_then(cursor);
        Ok((documents, next))
    }
}

fn summary(document: &RawDocumentBuf) -> Option<SessionSummary> {
    let header = Header::decode(document).ok()?;
    let now = decode::time(document, NOW).ok()?;
    Some(SessionSummary {
        key: decode::key(document)?,
        age: header.age(now),
        authenticated: header.authenticated(now)?,
        ttl: header.ttl(now)?,
        attributes: header.attributes,
    })
}

fn ids(documents: &[RawDocumentBuf]) -> Vec<Bson> {
    documents.iter().filter_map(|document| Bson::try_from(document.get(ID).ok()??).ok()).collect()
}

/// The cursor of the page that starts after this document.
fn cursor(document: &RawDocumentBuf) -> Option<Cursor> {
    let id = document.get(ID).ok().flatten().and_then(RawBsonRef::as_binary)?;
    Some(Cursor::new(format!(
        "{}.{}",
        u8::from(id.subtype),
        percent_encode(id.bytes, NON_ALPHANUMERIC)
    )))
}

/// The `_id` in a cursor. `None` if the cursor is not one of this store.
fn position(cursor: &Cursor) -> Option<Binary> {
    let (subtype, bytes) = cursor.as_str().split_once('.')?;
    Some(Binary {
        subtype: subtype.parse::<u8>().ok()?.into(),
        bytes: percent_decode_str(bytes).collect(),
    })
}
