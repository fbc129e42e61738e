//! Walks in pages, in the order of `_id`. An `_id` never changes, so a walk meets a session that
//! lives throughout exactly once.

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Binary, Document, RawBsonRef, RawDocumentBuf, doc, spec::BinarySubtype},
    options::Hint,
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use session_core::{Cursor, DeletedPage, Page, observe::retried};

use crate::{
    STORE,
    document::{self, has_expired, record_and_now},
    error::ClientError,
    field::{EXPIRES, ID, NOW},
    inner::Inner,
    purge::ids,
};

/// The most sessions of a page.
const MOST: usize = 1_000;

impl Inner {
    pub(crate) async fn page(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let (documents, next) =
            self.walk(Document::new(), None, record_and_now(), after, limit).await?;
        let records = documents.iter().filter_map(|document| {
            let record = document::record(document, document::time(document, NOW).ok()?).ok()??;
            Some((document::key(document)?, record))
        });
        Ok(Page { records: records.collect(), next })
    }

    /// Deletes the documents of one page, whatever they hold: a record that this version cannot
    /// read may be one to another version.
    pub(crate) async fn delete_page(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeletedPage, ClientError> {
        let (documents, next) = self
            .walk(Document::new(), None, doc! { EXPIRES: 1, NOW: "$$NOW" }, after, limit)
            .await?;
        let (sessions, ids) = (self.ready().await?, ids(&documents));
        let mut left = ids.len() as u64;
        // A pass over a sharded collection misses documents of a chunk that moves meanwhile
        // (SERVER-20361).
        while left > 0 {
            match sessions.delete_many(doc! { ID: { "$in": ids.clone() } }).await?.deleted_count {
                0 => break,
                deleted => left = left.saturating_sub(deleted),
            }
        }
        let ended = documents.iter().filter(|document| !has_expired(document)).count();
        Ok(DeletedPage { ended: ended as u64, next })
    }

    /// One page of the documents that `filter` matches, and where to go on.
    pub(crate) async fn walk(
        &self,
        mut filter: Document,
        hint: Option<Hint>,
        projection: Document,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<RawDocumentBuf>, Option<Cursor>), ClientError> {
        let sessions = self.ready().await?;
        let limit = limit.clamp(1, MOST);
        let count = u32::try_from(limit).unwrap_or(u32::MAX);
        // Compared with bytes, an `_id` of another type does not match: that document is not a
        // session.
        let from = after
            .map_or(Some(Binary { subtype: BinarySubtype::Generic, bytes: Vec::new() }), position);
        filter.insert(ID, doc! { "$gt": from.ok_or(ClientError::Cursor)? });
        let documents: Vec<RawDocumentBuf> = loop {
            let reading = self.reading().await?;
            let mut find = sessions
                .find(filter.clone())
                .sort(doc! { ID: 1 })
                .limit(i64::from(count))
                .batch_size(count);
            if let Some(hint) = &hint {
                find = find.hint(hint.clone());
            }
            if let Some(concern) = reading.concern() {
                find = find.read_concern(concern);
            }
            let documents = find.projection(projection.clone()).await?.try_collect().await?;
            if reading.counts() {
                break documents;
            }
            retried(STORE);
        };
        let next = documents.last().filter(|_| documents.len() == limit).and_then(cursor);
        Ok((documents, next))
    }
}

/// The place after a document.
fn cursor(document: &RawDocumentBuf) -> Option<Cursor> {
    let id = document.get(ID).ok().flatten().and_then(RawBsonRef::as_binary)?;
    Some(Cursor::new(format!(
        "{}.{}",
        u8::from(id.subtype),
        percent_encode(id.bytes, NON_ALPHANUMERIC)
    )))
}

/// The `_id` of the document that a cursor stands after.
fn position(cursor: &Cursor) -> Option<Binary> {
    let (subtype, bytes) = cursor.as_str().split_once('.')?;
    Some(Binary {
        subtype: subtype.parse::<u8>().ok()?.into(),
        bytes: percent_decode_str(bytes).collect(),
    })
}
