//! The collection of sessions: its type, its indexes and its shard key.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::{
    Collection, IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    error::ErrorKind,
    options::{Hint, IndexOptions},
};

use crate::{
    codec::field::{EXPIRES, ID, PRINCIPAL},
    error::ClientError,
};

/// The collection of sessions. Documents stay raw, so that they are decoded without a copy.
pub(crate) type SessionCollection = Collection<RawDocumentBuf>;

/// Index of a user's sessions, in the order of their `_id`. That order never changes. In the order
/// of expiry, pages would miss or repeat a session whose expiry changes meanwhile.
const PRINCIPAL_INDEX: &str = "session_principal";
/// TTL index, by which the server deletes expired documents.
const EXPIRY_INDEX: &str = "session_expiry";

/// Hint for [`PRINCIPAL_INDEX`]. If the index is missing, a command with this hint fails instead of
/// scanning the collection.
pub(crate) fn principal_hint() -> Hint {
    Hint::Name(PRINCIPAL_INDEX.to_owned())
}

/// Hint for [`EXPIRY_INDEX`].
pub(crate) fn expiry_hint() -> Hint {
    Hint::Name(EXPIRY_INDEX.to_owned())
}

/// Checks the indexes of the collection and creates the missing ones. Several processes may do so
/// at the same time: the server creates each index once.
pub(crate) async fn create_missing(sessions: &SessionCollection) -> Result<(), ClientError> {
    let existing: Vec<IndexModel> = match sessions.list_indexes().await {
        Ok(cursor) => cursor.try_collect().await?,
        // NamespaceNotFound: the collection does not exist yet.
        Err(error) if matches!(&*error.kind, ErrorKind::Command(command) if command.code == 26) => {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    for index in &existing {
        let options = index.options.as_ref();
        // The first version indexed fields that sessions no longer have. Their missing values are
        // equal, so a unique index would reject the second session.
        if options.and_then(|options| options.unique).unwrap_or(false) {
            return Err(ClientError::UniqueIndex(name_of(index).to_owned()));
        }
        if options.is_some_and(|options| options.collation.is_some()) {
            return Err(ClientError::Collation);
        }
    }
    let mut missing = models();
    for expected in models() {
        let expires_after =
            |index: &IndexModel| index.options.as_ref().and_then(|options| options.expire_after);
        match existing.iter().find(|index| name_of(index) == name_of(&expected)) {
            Some(found)
                if found.keys != expected.keys
                    || expires_after(found) != expires_after(&expected) =>
            {
                return Err(ClientError::ConflictingIndex(name_of(&expected).to_owned()));
            }
            Some(_) => missing.retain(|index| name_of(index) != name_of(&expected)),
            None => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(name_of).collect::<Vec<_>>().join(", ");
    match sessions.create_indexes(missing).await.map_err(ClientError::from) {
        Err(ClientError::MissingPrivilege(_)) => Err(ClientError::MissingPrivilege(format!(
            "createIndex for the missing indexes {names}"
        ))),
        result => result.map(drop),
    }
}

/// The names of the indexes that the collection lacks.
pub(crate) async fn missing_names(
    sessions: &SessionCollection,
) -> Result<Vec<String>, ClientError> {
    let existing = sessions.list_index_names().await?;
    let names = models().iter().map(|model| name_of(model).to_owned()).collect::<Vec<_>>();
    Ok(names.into_iter().filter(|name| !existing.contains(name)).collect())
}

fn models() -> Vec<IndexModel> {
    let model = |name: &str, keys: Document, mut options: IndexOptions| {
        options.name = Some(name.to_owned());
        IndexModel::builder().keys(keys).options(options).build()
    };
    let expire_at_date = IndexOptions::builder().expire_after(Duration::ZERO).build();
    // The index omits anonymous sessions, which are the majority.
    let signed_in = IndexOptions::builder()
        .partial_filter_expression(doc! { PRINCIPAL: { "$exists": true } })
        .build();
    vec![
        model(PRINCIPAL_INDEX, doc! { PRINCIPAL: 1, ID: 1 }, signed_in),
        model(EXPIRY_INDEX, doc! { EXPIRES: 1 }, expire_at_date),
    ]
}

fn name_of(index: &IndexModel) -> &str {
    index.options.as_ref().and_then(|options| options.name.as_deref()).unwrap_or_default()
}

/// Rejects a collection whose shard key is not `_id`: an `_id` would be unique only within each
/// shard. The check passes if the user may not read the configuration of the cluster.
pub(crate) async fn check_shard_key(sessions: &SessionCollection) -> Result<(), ClientError> {
    let collections = sessions.client().database("config").collection::<Document>("collections");
    match collections
        .find_one(doc! { ID: sessions.namespace().to_string() })
        .await
        .map_err(ClientError::from)
    {
        Ok(Some(entry)) if !is_sharded_by_id(&entry) => Err(ClientError::ShardKey),
        Ok(_) | Err(ClientError::MissingPrivilege(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_sharded_by_id(entry: &Document) -> bool {
    entry.get_document("key").is_ok_and(|key| key.keys().eq([ID]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_id_is_a_valid_shard_key() {
        let entry = |key: Document| doc! { "_id": "shop.sessions", "key": key };
        assert!(
            is_sharded_by_id(&entry(doc! { "_id": "hashed" }))
                && is_sharded_by_id(&entry(doc! { "_id": 1 }))
        );
        for key in [
            doc! { "lineage": 1 },
            doc! { "_id": 1, "principal": 1 },
            doc! { "principal": 1, "_id": 1 },
            doc! {},
        ] {
            assert!(!is_sharded_by_id(&entry(key.clone())), "{key}");
        }
    }
}
