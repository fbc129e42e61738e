//! The calls that are about all sessions of a user.

use futures_util::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc};
use session_core::{Listed, Principal, StoreKey, observe::retried};

use crate::{
    STORE,
    document::{self, Head, alive, listing_and_now},
    error::ClientError,
    field::{KEY, NOW, PRINCIPAL},
    index::by_principal,
    inner::Inner,
};

/// How many documents the first answer to a list holds.
const LIST: u32 = 1_000;

impl Inner {
    pub(crate) async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let (sessions, _) = self.ready().await?;
        let documents: Vec<RawDocumentBuf> = loop {
            let theirs = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
            let mut find = sessions.find(theirs).projection(listing_and_now()).batch_size(LIST).hint(by_principal());
            let reading = self.reading().await?;
            if let Some(concern) = reading.concern() {
                find = find.read_concern(concern);
            }
            let documents = find.await?.try_collect().await?;
            if reading.counts() {
                break documents;
            }
            retried(STORE);
        };
        let mut listed: Vec<Listed> = documents.iter().filter_map(listed).collect();
        listed.sort_by_key(|listed| listed.age);
        Ok(listed)
    }

    pub(crate) async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, ClientError> {
        let (sessions, _) = self.ready().await?;
        let mut theirs = doc! { PRINCIPAL: principal.as_str(), "$expr": alive() };
        if let Some(except) = except {
            theirs.insert(KEY, doc! { "$ne": except.as_str() });
        }
        Ok(sessions.delete_many(theirs).hint(by_principal()).await?.deleted_count)
    }
}

fn listed(document: &RawDocumentBuf) -> Option<Listed> {
    let (head, now) = (Head::read(document).ok()?, document::time(document, NOW).ok()?);
    Some(Listed { key: document::key(document)?, age: head.age(now), ttl: head.ttl(now)? })
}
