//! Expressions that the server evaluates: values as BSON, the pipeline of a creation, filters and
//! projections.

use std::time::Duration;

use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype::Generic};
use session_core::{NewRecord, StoreKey};

use crate::codec::field::{
    self, ATTRIBUTES, AUTHENTICATED, BYTES, CREATED, CURRENT_FORMAT, DATA, EXPIRES, FORMAT, FORMER,
    GENERATION, ID, MARK, NOW, PRINCIPAL, ROTATED, SECRET, SINCE, VERSION,
};

const EXPIRES_PATH: &str = "$expires";

/// A duration in whole milliseconds, the unit in which the server adds to a date.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A number of bytes as a BSON integer.
pub(crate) fn bson_size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A string that the server does not evaluate, also if it begins with a dollar sign.
pub(crate) fn literal(text: &str) -> Bson {
    if text.starts_with('$') { doc! { "$literal": text }.into() } else { text.into() }
}

pub(crate) fn binary(bytes: &[u8]) -> Bson {
    Binary { subtype: Generic, bytes: bytes.to_vec() }.into()
}

/// The update pipeline of a creation, for an upsert. It writes `new` if the document does not exist
/// or has expired, and leaves any other document unchanged. The server's clock sets the times.
pub(crate) fn creation(key: &StoreKey, new: &NewRecord) -> Vec<Document> {
    let ago = |age: Duration| doc! { "$subtract": ["$$NOW", millis(age)] };
    let data: Document = new
        .data
        .iter()
        .map(|(name, value)| (field::encode(name.as_str()).into_owned(), value.as_str().into()))
        .collect();
    let mut fields = with_key(key);
    // An upsert without a match runs its pipeline on a document that has only the `_id`.
    let absent = doc! { "$eq": ["$$ROOT", fields.clone()] };
    fields.extend(doc! {
        FORMAT: CURRENT_FORMAT,
        VERSION: i64::try_from(new.version).unwrap_or(i64::MAX),
        SECRET: binary(new.secret.as_bytes()),
        BYTES: bson_size(new.data.bytes()),
        CREATED: ago(new.age),
        EXPIRES: { "$add": ["$$NOW", millis(new.ttl)] },
        DATA: { "$literal": data },
    });
    for (field, generation) in [(GENERATION, new.generation), (SINCE, new.since)] {
        if generation > 0 {
            fields.insert(field, i64::from(generation));
        }
    }
    if let (Some(principal), Some(age)) = (&new.principal, new.authenticated) {
        fields.insert(PRINCIPAL, literal(principal.as_str()));
        fields.insert(AUTHENTICATED, ago(age));
    }
    if !new.attributes.is_default() {
        fields.insert(ATTRIBUTES, new.attributes.to_text());
    }
    let is_expired_record = doc! { "$and": [{ "$eq": ["$format", CURRENT_FORMAT] }, is_past()] };
    let may_write = doc! { "$or": [absent, is_expired_record] };
    vec![doc! { "$replaceWith": { "$cond": [may_write, fields, "$$ROOT"] } }]
}

/// The filter for the document of a key. A filter with only the `_id` skips the query planner.
pub(crate) fn with_key(key: &StoreKey) -> Document {
    doc! { ID: binary(key.as_str().as_bytes()) }
}

/// The condition that a document has not expired, by the server's clock.
pub(crate) fn alive() -> Document {
    doc! { "$gt": [EXPIRES_PATH, "$$NOW"] }
}

/// The condition that a document has expired, by the server's clock. False for a document without a
/// date as its deadline, because this version cannot decode it.
fn is_past() -> Document {
    let is_date = doc! { "$eq": [{ "$type": EXPIRES_PATH }, "date"] };
    doc! { "$and": [is_date, { "$lte": [EXPIRES_PATH, "$$NOW"] }] }
}

/// The filter for expired documents, by the server's clock.
pub(crate) fn expired() -> Document {
    // The first condition selects the index. Alone it would also match an array with such a date.
    doc! { EXPIRES: { "$gte": DateTime::from_millis(0) }, "$expr": is_past() }
}

/// The projection for a whole record, its commit marker, and the server's time.
pub(crate) fn record_and_now() -> Document {
    let mut fields = summary_and_now();
    fields.extend(
        [SECRET, GENERATION, SINCE, FORMER, BYTES, ROTATED, PRINCIPAL, DATA, MARK]
            .map(|field| (field.to_owned(), 1.into())),
    );
    fields
}

/// The projection for the fields of a session summary, and the server's time.
pub(crate) fn summary_and_now() -> Document {
    let mut fields: Document = [FORMAT, VERSION, CREATED, EXPIRES, AUTHENTICATED, ATTRIBUTES]
        .map(|field| (field.to_owned(), Bson::from(1)))
        .into_iter()
        .collect();
    fields.extend(now());
    fields
}

/// The projection for the deadline and the server's time.
pub(crate) fn expires_and_now() -> Document {
    let mut fields = doc! { EXPIRES: 1 };
    fields.extend(now());
    fields
}

fn now() -> Document {
    doc! { NOW: "$$NOW" }
}
