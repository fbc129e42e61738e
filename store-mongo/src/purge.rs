//! Deleting expired records without waiting until the server does it.

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, RawDocumentBuf, doc};

use crate::{
    clients::Sessions, document::expired, error::ClientError, field::ID, index::by_expiry,
};

/// The most documents of one step.
const MOST: usize = 1_000;

/// Deletes at most `limit` expired documents, and says how many; 0 if there is none.
pub(crate) async fn delete_expired(sessions: &Sessions, limit: usize) -> Result<u64, ClientError> {
    let count = u32::try_from(limit.min(MOST)).unwrap_or(u32::MAX);
    if count == 0 {
        return Ok(0);
    }
    loop {
        let found = sessions
            .find(expired())
            .projection(doc! { ID: 1 })
            .limit(i64::from(count))
            .batch_size(count)
            .hint(by_expiry())
            .await?;
        let ids = ids(&found.try_collect::<Vec<_>>().await?);
        if ids.is_empty() {
            return Ok(0);
        }
        // The server checks the deadline again: a commit may have extended a session meanwhile.
        let mut still = expired();
        still.insert(ID, doc! { "$in": ids });
        let deleted = sessions.delete_many(still).await?.deleted_count;
        // None, if other callers deleted all of them first; then there may be more.
        if deleted > 0 {
            return Ok(deleted);
        }
    }
}

pub(crate) fn ids(documents: &[RawDocumentBuf]) -> Vec<Bson> {
    documents.iter().filter_map(|document| Bson::try_from(document.get(ID).ok()??).ok()).collect()
}
