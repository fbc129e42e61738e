//! A session as a document.

use std::{num::TryFromIntError, time::Duration};

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc, error::Error as BsonError};
use session_core::{Data, Json, JsonError, Lifetime, Name, NewRecord, Principal, Record, StoreKey};

use crate::{
    address::Address,
    field::{BYTES, CREATED, DATA, EXPIRES, FORMAT, ID, KEY, LIFETIME, LINEAGE, NOW, PRINCIPAL, VERSION, WRITTEN, escaped, unescaped},
};

/// The format of a record that this version reads and writes.
pub(crate) const CURRENT: i32 = 1;

/// With data up to this size an answer holds all of a document: to leave a part out takes a server longer.
const SMALL: i64 = 1_536;

/// Why what is stored is not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the record has another format than {CURRENT}; a newer version may have written it")]
    Format,
    #[error("the record's {0} cannot be read")]
    Part(&'static str),
    #[error("a value is not JSON")]
    Json(#[source] JsonError),
    #[error("the document is not well-formed BSON")]
    Bson,
}

impl From<BsonError> for Unreadable {
    fn from(_: BsonError) -> Self {
        Self::Bson
    }
}

impl From<TryFromIntError> for Unreadable {
    fn from(_: TryFromIntError) -> Self {
        Self::Part(VERSION)
    }
}

/// The parts of a document that say which session it is, and since when and how long.
pub(crate) struct Head {
    pub(crate) version: u64,
    created: DateTime,
    expires: DateTime,
    pub(crate) lifetime: Lifetime,
}

impl Head {
    pub(crate) fn read(document: &RawDocument) -> Result<Self, Unreadable> {
        if document.get(FORMAT)?.and_then(RawBsonRef::as_i32) != Some(CURRENT) {
            return Err(Unreadable::Format);
        }
        let version = document.get(VERSION)?.and_then(RawBsonRef::as_i64).ok_or(Unreadable::Part(VERSION))?;
        let lifetime = document.get(LIFETIME)?.and_then(RawBsonRef::as_str).and_then(Lifetime::from_text);
        Ok(Self {
            version: u64::try_from(version)?,
            created: time(document, CREATED)?,
            expires: time(document, EXPIRES)?,
            lifetime: lifetime.ok_or(Unreadable::Part(LIFETIME))?,
        })
    }

    pub(crate) fn age(&self, now: DateTime) -> Duration {
        since(self.created, now)
    }

    /// `None` if its time is over, whether or not the server still has it.
    pub(crate) fn ttl(&self, now: DateTime) -> Option<Duration> {
        let left = since(now, self.expires);
        (!left.is_zero()).then_some(left)
    }
}

/// Reads a live record. `None` if its time is over.
pub(crate) fn record(document: &RawDocument, now: DateTime) -> Result<Option<Record>, Unreadable> {
    let head = Head::read(document)?;
    let Some(ttl) = head.ttl(now) else { return Ok(None) };
    let principal = match document.get(PRINCIPAL)? {
        None => None,
        Some(text) => Some(text.as_str().and_then(|text| Principal::new(text).ok()).ok_or(Unreadable::Part(PRINCIPAL))?),
    };
    let fields = document.get(DATA)?.and_then(RawBsonRef::as_document).ok_or(Unreadable::Part(DATA))?;
    let mut values = Vec::with_capacity(4);
    for field in fields {
        let (field, value) = field?;
        let name = unescaped(field.as_str()).and_then(|name| Name::new(name).ok()).ok_or(Unreadable::Part("names"))?;
        let text = value.as_str().ok_or(Unreadable::Part("values"))?;
        values.push((name, Json::from_text(text).map_err(Unreadable::Json)?));
    }
    let data = Data::from(values);
    // A commit calculates with it; a wrong one would keep the record from ever changing again.
    if document.get(BYTES)?.and_then(RawBsonRef::as_i64) != Some(count(data.bytes())) {
        return Err(Unreadable::Part("size"));
    }
    Ok(Some(Record { data, version: head.version, age: head.age(now), ttl, principal, lifetime: head.lifetime }))
}

/// The key of a document, if it can be one.
pub(crate) fn key(document: &RawDocument) -> Option<StoreKey> {
    let text = document.get(KEY).ok().flatten().and_then(RawBsonRef::as_str)?;
    Some(StoreKey::from_text(text)).filter(StoreKey::is_storable)
}

/// Whether a document is the one of this key.
pub(crate) fn is_of(document: &RawDocument, key: &StoreKey) -> bool {
    document.get(KEY).ok().flatten().and_then(RawBsonRef::as_str) == Some(key.as_str())
}

/// Where a document lies. `None` if its `_id` is none of this crate's.
pub(crate) fn address(document: &RawDocument) -> Option<Address> {
    let id = document.get(ID).ok().flatten().and_then(RawBsonRef::as_object_id)?;
    let bytes = document.get(BYTES).ok().flatten().and_then(RawBsonRef::as_i64);
    Some(Address { id, small: bytes.is_some_and(|bytes| bytes <= SMALL) })
}

/// Whether an answer may hold all of a document with so much data.
pub(crate) fn is_small(bytes: usize) -> bool {
    count(bytes) <= SMALL
}

/// A point in time of a document's.
pub(crate) fn time(document: &RawDocument, field: &'static str) -> Result<DateTime, Unreadable> {
    document.get(field)?.and_then(RawBsonRef::as_datetime).ok_or(Unreadable::Part(field))
}

/// From one time to another; nothing if they are in the other order.
pub(crate) fn since(from: DateTime, to: DateTime) -> Duration {
    Duration::from_millis(u64::try_from(to.timestamp_millis().saturating_sub(from.timestamp_millis())).unwrap_or(0))
}

/// A duration in whole milliseconds, as servers add it to a time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A size as servers count it.
pub(crate) fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A text that a server takes for nothing but a text, whatever it begins with.
pub(crate) fn literal(text: &str) -> Bson {
    if text.starts_with('$') { doc! { "$literal": text }.into() } else { text.into() }
}

/// The pipeline that makes a new document what `new` says. Its times are the server's.
pub(crate) fn creation(key: &StoreKey, new: &NewRecord) -> Vec<Document> {
    let data: Document = new.data.iter().map(|(name, value)| (escaped(name.as_str()).into_owned(), Bson::from(value.as_str()))).collect();
    let mut fields = doc! {
        LINEAGE: literal(key.lineage()),
        KEY: literal(key.as_str()),
        FORMAT: CURRENT,
        VERSION: 1_i64,
        BYTES: count(new.data.bytes()),
        CREATED: "$$NOW",
        WRITTEN: "$$NOW",
        EXPIRES: { "$add": ["$$NOW", millis(new.ttl)] },
        LIFETIME: new.lifetime.to_text(),
        DATA: { "$literal": data },
    };
    if let Some(principal) = &new.principal {
        fields.insert(PRINCIPAL, literal(principal.as_str()));
    }
    vec![doc! { "$set": fields }]
}

/// Which document has a key.
pub(crate) fn with_key(key: &StoreKey) -> Document {
    doc! { LINEAGE: key.lineage(), KEY: key.as_str() }
}

/// The condition that a document's time is not over, by the server's clock.
pub(crate) fn alive() -> Document {
    doc! { "$gt": [EXPIRES_PATH, "$$NOW"] }
}

/// The filter for documents whose time is over, by the server's clock. What has no time is left alone: it is no record of this version.
pub(crate) fn expired() -> Document {
    let is_past = doc! { "$and": [{ "$eq": [{ "$type": EXPIRES_PATH }, "date"] }, { "$lte": [EXPIRES_PATH, "$$NOW"] }] };
    // The first part is for the index, and would be content with a list that has such a time in it.
    doc! { EXPIRES: { "$gte": DateTime::from_millis(0) }, "$expr": is_past }
}

/// What an answer is to hold of a document: all that a record is made of, and the server's time.
pub(crate) fn record_and_now() -> Document {
    doc! { KEY: 1, FORMAT: 1, VERSION: 1, BYTES: 1, CREATED: 1, EXPIRES: 1, LIFETIME: 1, PRINCIPAL: 1, DATA: 1, NOW: "$$NOW" }
}

/// What an answer is to hold for a list.
pub(crate) fn listing_and_now() -> Document {
    doc! { KEY: 1, FORMAT: 1, VERSION: 1, CREATED: 1, EXPIRES: 1, LIFETIME: 1, NOW: "$$NOW" }
}

const EXPIRES_PATH: &str = "$expires";
