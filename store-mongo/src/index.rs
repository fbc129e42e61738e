//! What the collection must be like: its indexes, and how it is sharded.

use futures_util::TryStreamExt;
use mongodb::{
    IndexModel,
    bson::{DateTime, Document, doc, rawdoc},
    error::ErrorKind,
    options::{Hint, IndexOptions, ReadPreference, SelectionCriteria},
};

use crate::{
    clients::Sessions,
    error::{ClientError, OLDEST},
    field::{EXPIRES, ID, PRINCIPAL},
};

/// The sessions of a user, in an order that never changes: a walk in the order of their expiry
/// would miss or repeat sessions that are extended meanwhile.
const BY_PRINCIPAL: &str = "session_principal";
/// The server itself deletes what has expired.
const BY_EXPIRY: &str = "session_expiry";

/// If the index is missing, the server says so instead of reading every document.
pub(crate) fn by_principal() -> Hint {
    Hint::Name(BY_PRINCIPAL.to_owned())
}

pub(crate) fn by_expiry() -> Hint {
    Hint::Name(BY_EXPIRY.to_owned())
}

/// Looks at the server and the collection, and makes the indexes that are missing. Any number of
/// processes may do that at once: the server makes each index once.
pub(crate) async fn prepare(sessions: &Sessions, is_direct: bool) -> Result<(), ClientError> {
    let hello = hello(sessions).await?;
    let spoken = hello.get_i32("maxWireVersion").unwrap_or(0);
    if spoken < OLDEST.1 {
        return Err(ClientError::TooOld { found: spoken });
    }
    // The driver then reads from it whatever it has become, and a secondary may still have what was
    // ended.
    if is_direct && hello.contains_key("setName") {
        return Err(ClientError::Direct);
    }
    make_indexes(sessions).await?;
    if matches!(hello.get_str("msg"), Ok("isdbgrid")) {
        check_sharding(sessions).await
    } else {
        Ok(())
    }
}

/// The server's time, by a call of its own.
pub(crate) async fn server_time(sessions: &Sessions) -> Result<DateTime, ClientError> {
    hello(sessions)
        .await?
        .get_datetime("localTime")
        .copied()
        .map_err(|_| ClientError::Answer("a server tells its time"))
}

async fn hello(sessions: &Sessions) -> Result<Document, ClientError> {
    let database = sessions.client().database(&sessions.namespace().db);
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    Ok(database.run_raw_command(rawdoc! { "hello": 1 }).selection_criteria(primary).await?)
}

async fn make_indexes(sessions: &Sessions) -> Result<(), ClientError> {
    let there: Vec<IndexModel> = match sessions.list_indexes().await {
        Ok(cursor) => cursor.try_collect().await?,
        // NamespaceNotFound: there is no collection.
        Err(error) if matches!(&*error.kind, ErrorKind::Command(command) if command.code == 26) => {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    for index in &there {
        let options = index.options.as_ref();
        // Sessions have none of the fields that the first version kept unique, so the second one
        // would not be let in.
        if options.and_then(|options| options.unique).unwrap_or(false) {
            return Err(ClientError::UniqueIndex(name_of(index).to_owned()));
        }
        if options.is_some_and(|options| options.collation.is_some()) {
            return Err(ClientError::Collation);
        }
    }
    let mut missing = models();
    for wanted in models() {
        let expires_after =
            |index: &IndexModel| index.options.as_ref().and_then(|options| options.expire_after);
        match there.iter().find(|index| name_of(index) == name_of(&wanted)) {
            Some(found)
                if found.keys != wanted.keys || expires_after(found) != expires_after(&wanted) =>
            {
                return Err(ClientError::OtherIndex(name_of(&wanted).to_owned()));
            }
            Some(_) => missing.retain(|index| name_of(index) != name_of(&wanted)),
            None => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(name_of).collect::<Vec<_>>().join(", ");
    match sessions.create_indexes(missing).await.map_err(ClientError::from) {
        Err(ClientError::NoRight(_)) => {
            Err(ClientError::NoRight(format!("it may not make the missing indexes {names}")))
        }
        made => made.map(drop),
    }
}

fn models() -> Vec<IndexModel> {
    let model = |name: &str, keys: Document, mut options: IndexOptions| {
        options.name = Some(name.to_owned());
        IndexModel::builder().keys(keys).options(options).build()
    };
    let expired_at_once = IndexOptions::builder().expire_after(std::time::Duration::ZERO).build();
    // Most sessions are anonymous; those are not in it.
    let signed_in = IndexOptions::builder()
        .partial_filter_expression(doc! { PRINCIPAL: { "$exists": true } })
        .build();
    vec![
        model(BY_PRINCIPAL, doc! { PRINCIPAL: 1, ID: 1 }, signed_in),
        model(BY_EXPIRY, doc! { EXPIRES: 1 }, expired_at_once),
    ]
}

fn name_of(index: &IndexModel) -> &str {
    index.options.as_ref().and_then(|options| options.name.as_deref()).unwrap_or_default()
}

/// Refuses a collection that is split by anything but `_id`: an `_id` would be unique within each
/// shard only. A user who may not read the cluster's settings is not told.
async fn check_sharding(sessions: &Sessions) -> Result<(), ClientError> {
    let collections = sessions.client().database("config").collection::<Document>("collections");
    match collections
        .find_one(doc! { ID: sessions.namespace().to_string() })
        .await
        .map_err(ClientError::from)
    {
        Ok(Some(entry)) if !is_split_by_id(&entry) => Err(ClientError::ShardKey),
        Ok(_) | Err(ClientError::NoRight(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_split_by_id(entry: &Document) -> bool {
    entry.get_document("key").is_ok_and(|key| key.keys().eq([ID]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shard_key_of_the_id_is_taken() {
        let entry = |key: Document| doc! { "_id": "shop.sessions", "key": key };
        assert!(
            is_split_by_id(&entry(doc! { "_id": "hashed" }))
                && is_split_by_id(&entry(doc! { "_id": 1 }))
        );
        for key in [
            doc! { "lineage": 1 },
            doc! { "_id": 1, "principal": 1 },
            doc! { "principal": 1, "_id": 1 },
            doc! {},
        ] {
            assert!(!is_split_by_id(&entry(key.clone())), "{key}");
        }
    }
}
