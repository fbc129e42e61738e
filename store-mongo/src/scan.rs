//! All sessions, page by page, in the order of their `_id`: that never changes, so a session that lives throughout is met once.

use futures_util::TryStreamExt;
use mongodb::{
    bson::{RawDocumentBuf, doc, oid::ObjectId},
    options::ReadConcern,
};
use session_core::{Cursor, Page, observe::retried};

use crate::{
    STORE,
    clients::Sessions,
    document::{self, record_and_now},
    error::ClientError,
    field::{ID, NOW},
    inner::Inner,
};

/// The most sessions of a page.
const MOST: usize = 1_000;

impl Inner {
    /// The page after `after`.
    pub(crate) async fn page(&self, after: Option<&Cursor>, limit: usize) -> Result<Page, ClientError> {
        let (sessions, _) = self.ready().await?;
        loop {
            let reading = self.reading().await?;
            let page = page(&sessions, after, limit, reading.concern()).await?;
            if reading.counts() {
                return Ok(page);
            }
            retried(STORE);
        }
    }
}

async fn page(sessions: &Sessions, after: Option<&Cursor>, limit: usize, concern: Option<ReadConcern>) -> Result<Page, ClientError> {
    let limit = limit.clamp(1, MOST);
    // What has an `_id` of another kind is no session.
    let from = match after {
        None => doc! { ID: { "$gte": ObjectId::from_bytes([0; 12]) } },
        Some(cursor) => doc! { ID: { "$gt": ObjectId::parse_str(&*cursor.0).map_err(|_| ClientError::Cursor)? } },
    };
    let count = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut find = sessions.find(from).sort(doc! { ID: 1 }).limit(i64::from(count)).batch_size(count).projection(record_and_now());
    if let Some(concern) = concern {
        find = find.read_concern(concern);
    }
    let documents: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
    let next = match documents.last() {
        Some(last) if documents.len() == limit => {
            let id = last.get_object_id(ID).map_err(|_| ClientError::Answer("a document has an _id"))?;
            Some(Cursor(id.to_hex().into()))
        }
        _ => None,
    };
    let records = documents.iter().filter_map(|document| {
        let record = document::record(document, document::time(document, NOW).ok()?).ok()??;
        Some((document::key(document)?, record))
    });
    Ok(Page { records: records.collect(), next })
}
