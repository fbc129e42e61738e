//! The indexes of the collection.

use mongodb::{
    IndexModel,
    bson::{Document, doc, rawdoc},
    options::{Hint, IndexOptions},
};

use crate::{
    clients::Sessions,
    error::{ClientError, OLDEST},
    field::{EXPIRES, KEY, LINEAGE, PRINCIPAL},
};

/// No two documents have one key. The lineage comes first, because a sharded collection can only keep an index unique that begins with what it
/// is split by.
const BY_KEY: &str = "session_key";
/// The sessions of a user.
const BY_PRINCIPAL: &str = "session_principal";
/// The server itself deletes what is over.
const BY_EXPIRY: &str = "session_expiry";

/// What is known of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deployment {
    /// A server, or a replica set.
    Whole,
    /// A sharded cluster. A change to one document has to name what the collection is split by, so an `_id` alone does not do.
    Sharded,
}

/// Which index finds a key. If it is not there, a server says so instead of reading every document.
pub(crate) fn by_key() -> Hint {
    Hint::Name(BY_KEY.to_owned())
}

pub(crate) fn by_principal() -> Hint {
    Hint::Name(BY_PRINCIPAL.to_owned())
}

pub(crate) fn by_expiry() -> Hint {
    Hint::Name(BY_EXPIRY.to_owned())
}

/// Looks at the server, and makes the indexes that are not there. Any number of processes may do that at once: the server makes each once.
pub(crate) async fn prepare(sessions: &Sessions) -> Result<Deployment, ClientError> {
    let database = sessions.client().database(&sessions.namespace().db);
    let hello = database.run_raw_command(rawdoc! { "hello": 1 }).await?;
    let spoken = hello.get_i32("maxWireVersion").unwrap_or(0);
    if spoken < OLDEST.1 {
        return Err(ClientError::TooOld { found: spoken });
    }
    match sessions.create_indexes(models()).await.map_err(ClientError::from) {
        // An administrator may have made them, for a user without the right to.
        Err(ClientError::NoRight(why)) => all_there(sessions).await.map_err(|_| ClientError::NoRight(why))?,
        made => drop(made?),
    }
    Ok(if matches!(hello.get_str("msg"), Ok("isdbgrid")) { Deployment::Sharded } else { Deployment::Whole })
}

fn models() -> Vec<IndexModel> {
    let model = |name: &str, keys: Document, mut options: IndexOptions| {
        options.name = Some(name.to_owned());
        IndexModel::builder().keys(keys).options(options).build()
    };
    let expired_at_once = IndexOptions::builder().expire_after(std::time::Duration::ZERO).build();
    // Most sessions are nobody's; those are not in it.
    let signed_in = IndexOptions::builder().partial_filter_expression(doc! { PRINCIPAL: { "$exists": true } }).build();
    vec![
        model(BY_KEY, doc! { LINEAGE: 1, KEY: 1 }, IndexOptions::builder().unique(true).build()),
        model(BY_PRINCIPAL, doc! { PRINCIPAL: 1, EXPIRES: 1 }, signed_in),
        model(BY_EXPIRY, doc! { EXPIRES: 1 }, expired_at_once),
    ]
}

async fn all_there(sessions: &Sessions) -> Result<(), ClientError> {
    let names = sessions.list_index_names().await?;
    let missing = [BY_KEY, BY_PRINCIPAL, BY_EXPIRY].into_iter().find(|wanted| !names.iter().any(|name| name == wanted));
    missing.map_or(Ok(()), |name| Err(ClientError::NoRight(format!("the index {name} is missing, and the user may make none"))))
}
