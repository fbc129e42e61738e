//! The calls that are about all sessions of a user.

use std::time::Instant;

use mongodb::bson::{RawDocumentBuf, doc};
use session_core::{Cursor, Principal, SessionSummary, StoreKey, SummaryPage};

use crate::{
    document::{self, Head, alive, binary, millis, summary_and_now},
    error::ClientError,
    field::{CREATED, ID, NOW, PRINCIPAL},
    index::by_principal,
    inner::Inner,
};

impl Inner {
    pub(crate) async fn list(
        &self,
        principal: &Principal,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<SummaryPage, ClientError> {
        let theirs = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
        let (documents, next) =
            self.walk(theirs, Some(by_principal()), summary_and_now(), after, limit).await?;
        Ok(SummaryPage { sessions: documents.iter().filter_map(summary).collect(), next })
    }

    /// Deletes in passes until one finds nothing: a pass over a sharded collection misses documents
    /// of a chunk that moves meanwhile (SERVER-20361).
    pub(crate) async fn delete_all(
        &self,
        principal: &Principal,
        except: Option<&StoreKey>,
    ) -> Result<u64, ClientError> {
        let sessions = self.ready().await?;
        let began = Instant::now();
        let mut total = 0;
        loop {
            let mut conditions = vec![alive()];
            if total > 0 {
                // Sessions created since the call began are not its business. Without this
                // condition a stream of them would keep it busy.
                conditions.push(doc! { "$lte": [format!("${CREATED}"), { "$subtract": ["$$NOW", millis(began.elapsed())] }] });
            }
            let mut theirs =
                doc! { PRINCIPAL: principal.as_str(), "$expr": { "$and": conditions } };
            if let Some(except) = except {
                theirs.insert(ID, doc! { "$ne": binary(except.as_str().as_bytes()) });
            }
            match sessions.delete_many(theirs).hint(by_principal()).await?.deleted_count {
                0 => return Ok(total),
                deleted => total += deleted,
            }
        }
    }
}

fn summary(document: &RawDocumentBuf) -> Option<SessionSummary> {
    let (head, now) = (Head::read(document).ok()?, document::time(document, NOW).ok()?);
    Some(SessionSummary {
        key: document::key(document)?,
        age: head.age(now),
        authenticated: head.authenticated(now)?,
        ttl: head.ttl(now)?,
        attributes: head.attributes,
    })
}
