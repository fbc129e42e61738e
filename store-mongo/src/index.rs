//! The indexes of the collection.

use futures_util::TryStreamExt;
use mongodb::{
    IndexModel,
    bson::{Document, doc, rawdoc},
    error::ErrorKind,
    options::{Hint, IndexOptions},
};

use crate::{
    clients::Sessions,
    error::{ClientError, OLDEST},
    field::{EXPIRES, ID, KEY, LINEAGE, PRINCIPAL},
};

/// No two documents have one key. The lineage comes first, because a sharded collection can only keep an index unique that begins with what it
/// is split by.
const BY_KEY: &str = "session_key";
/// The sessions of a user, in an order that never changes: a walk in that of their expiry would miss or repeat those that are extended meanwhile.
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
pub(crate) async fn prepare(sessions: &Sessions, is_direct: bool) -> Result<Deployment, ClientError> {
    let database = sessions.client().database(&sessions.namespace().db);
    let hello = database.run_raw_command(rawdoc! { "hello": 1 }).await?;
    let spoken = hello.get_i32("maxWireVersion").unwrap_or(0);
    if spoken < OLDEST.1 {
        return Err(ClientError::TooOld { found: spoken });
    }
    // The driver then reads from it whatever it has become, and a secondary may still have what was ended.
    if is_direct && hello.contains_key("setName") {
        return Err(ClientError::Direct);
    }
    match sessions.create_indexes(models()).await.map_err(ClientError::from) {
        // An administrator may have made them, for a user without the right to.
        Err(ClientError::NoRight(_)) => all_there(sessions).await?,
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
        model(BY_PRINCIPAL, doc! { PRINCIPAL: 1, ID: 1 }, signed_in),
        model(BY_EXPIRY, doc! { EXPIRES: 1 }, expired_at_once),
    ]
}

async fn all_there(sessions: &Sessions) -> Result<(), ClientError> {
    let there: Vec<IndexModel> = match sessions.list_indexes().await {
        Ok(cursor) => cursor.try_collect().await?,
        // NamespaceNotFound: there is no collection.
        Err(error) if matches!(&*error.kind, ErrorKind::Command(command) if command.code == 26) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for wanted in models() {
        let (name, options) = (name_of(&wanted), wanted.options.as_ref());
        let found = there.iter().find(|index| name_of(index) == name);
        let Some(found) = found else {
            return Err(ClientError::NoRight(format!("the index {name} is missing, and the user may make none")));
        };
        let is_unique = |index: Option<&IndexOptions>| index.and_then(|options| options.unique).unwrap_or(false);
        let expires_after = |index: Option<&IndexOptions>| index.and_then(|options| options.expire_after);
        let given = found.options.as_ref();
        if found.keys != wanted.keys || is_unique(given) != is_unique(options) || expires_after(given) != expires_after(options) {
            return Err(ClientError::OtherIndex(name.to_owned()));
        }
    }
    Ok(())
}

fn name_of(index: &IndexModel) -> &str {
    index.options.as_ref().and_then(|options| options.name.as_deref()).unwrap_or_default()
}
