//! A session as a document.

use std::time::Duration;

use mongodb::bson::{
    Binary, Bson, DateTime, Document, RawBsonRef, RawDocument, doc, error::Error as BsonError,
    spec::BinarySubtype::Generic,
};
use session_core::{
    Attributes, Data, Grace, Json, JsonError, Name, NewRecord, Principal, Record, SecretHash,
    StoreKey,
};

use crate::field::{
    ATTRIBUTES, AUTHENTICATED, BYTES, CREATED, DATA, EXPIRES, FORMAT, FORMER, GENERATION, ID, MARK,
    NOW, PRINCIPAL, ROTATED, SECRET, SINCE, UNTIL, VERSION, escaped, unescaped,
};

/// The format of a record that this version reads and writes.
pub(crate) const CURRENT: i32 = 2;

/// Why what is stored is not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(
        "the record has another format than {CURRENT}; another version of this crate may have written it"
    )]
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

/// The parts of a document that a commit and a list return.
pub(crate) struct Head {
    pub(crate) version: u64,
    created: DateTime,
    expires: DateTime,
    authenticated: Option<DateTime>,
    pub(crate) attributes: Attributes,
}

impl Head {
    pub(crate) fn read(document: &RawDocument) -> Result<Self, Unreadable> {
        if document.get(FORMAT)?.and_then(RawBsonRef::as_i32) != Some(CURRENT) {
            return Err(Unreadable::Format);
        }
        Ok(Self {
            version: required(document, VERSION, |version| u64::try_from(version.as_i64()?).ok())?,
            created: time(document, CREATED)?,
            expires: time(document, EXPIRES)?,
            authenticated: optional(document, AUTHENTICATED, RawBsonRef::as_datetime)?,
            attributes: optional(document, ATTRIBUTES, |text| {
                Attributes::from_text(text.as_str()?)
            })?
            .unwrap_or_default(),
        })
    }

    pub(crate) fn age(&self, now: DateTime) -> Duration {
        between(self.created, now)
    }

    pub(crate) fn authenticated(&self, now: DateTime) -> Option<Duration> {
        self.authenticated.map(|authenticated| between(authenticated, now))
    }

    /// `None` if the record has expired, whether or not the server still has it.
    pub(crate) fn ttl(&self, now: DateTime) -> Option<Duration> {
        Some(between(now, self.expires)).filter(|left| !left.is_zero())
    }
}

/// Reads a live record. `None` if it has expired.
pub(crate) fn record(document: &RawDocument, now: DateTime) -> Result<Option<Record>, Unreadable> {
    let head = Head::read(document)?;
    let Some(ttl) = head.ttl(now) else { return Ok(None) };
    let principal = optional(document, PRINCIPAL, |text| Principal::new(text.as_str()?).ok())?;
    if principal.is_some() != head.authenticated.is_some() {
        return Err(Unreadable::Part(AUTHENTICATED));
    }
    let mut values = Vec::with_capacity(4);
    for field in required(document, DATA, RawBsonRef::as_document)? {
        let (field, value) = field?;
        let name = unescaped(field.as_str())
            .and_then(|name| Name::new(name).ok())
            .ok_or(Unreadable::Part("names"))?;
        let text = value.as_str().ok_or(Unreadable::Part("values"))?;
        values.push((name, Json::from_text(text).map_err(Unreadable::Json)?));
    }
    let data = Data::from(values);
    // A commit calculates with it; a wrong one would keep the record from ever changing again.
    if document.get(BYTES)?.and_then(RawBsonRef::as_i64) != Some(count(data.bytes())) {
        return Err(Unreadable::Part("size"));
    }
    let rotated = optional(document, ROTATED, RawBsonRef::as_datetime)?.unwrap_or(head.created);
    Ok(Some(Record {
        data,
        version: head.version,
        secret: required(document, SECRET, hash)?,
        generation: optional(document, GENERATION, generation)?.unwrap_or(0),
        since: optional(document, SINCE, generation)?.unwrap_or(0),
        grace: optional(document, FORMER, RawBsonRef::as_document)?
            .map_or(Ok(None), |former| grace(former, now))?,
        age: head.age(now),
        rotated: between(rotated, now),
        authenticated: head.authenticated(now),
        ttl,
        principal,
        attributes: head.attributes,
    }))
}

/// `None` once the grace is over.
fn grace(former: &RawDocument, now: DateTime) -> Result<Option<Grace>, Unreadable> {
    let (secret, left) = (required(former, SECRET, hash)?, between(now, time(former, UNTIL)?));
    Ok((!left.is_zero()).then_some(Grace { secret, left }))
}

fn hash(value: RawBsonRef<'_>) -> Option<SecretHash> {
    value
        .as_binary()
        .filter(|hash| hash.subtype == Generic)
        .and_then(|hash| SecretHash::from_slice(hash.bytes))
}

fn generation(value: RawBsonRef<'_>) -> Option<u32> {
    u32::try_from(value.as_i64()?).ok()
}

/// The key of a document, if it can be one.
pub(crate) fn key(document: &RawDocument) -> Option<StoreKey> {
    let id = document
        .get(ID)
        .ok()
        .flatten()
        .and_then(RawBsonRef::as_binary)
        .filter(|id| id.subtype == Generic)?;
    Some(StoreKey::from_text(str::from_utf8(id.bytes).ok()?)).filter(StoreKey::is_storable)
}

/// A point in time of a document's.
pub(crate) fn time(document: &RawDocument, field: &'static str) -> Result<DateTime, Unreadable> {
    required(document, field, RawBsonRef::as_datetime)
}

/// Whether the deadline in an answer is past, by the server's time in it. A deadline that cannot be
/// read is not.
pub(crate) fn has_expired(document: &RawDocument) -> bool {
    matches!((time(document, EXPIRES), time(document, NOW)), (Ok(expires), Ok(now)) if expires <= now)
}

fn required<'d, T>(
    document: &'d RawDocument,
    field: &'static str,
    read: impl FnOnce(RawBsonRef<'d>) -> Option<T>,
) -> Result<T, Unreadable> {
    optional(document, field, read)?.ok_or(Unreadable::Part(field))
}

/// `None` if the document lacks the field.
fn optional<'d, T>(
    document: &'d RawDocument,
    field: &'static str,
    read: impl FnOnce(RawBsonRef<'d>) -> Option<T>,
) -> Result<Option<T>, Unreadable> {
    document.get(field)?.map(|value| read(value).ok_or(Unreadable::Part(field))).transpose()
}

/// From one time to another; nothing if they are in the other order.
fn between(from: DateTime, to: DateTime) -> Duration {
    Duration::from_millis(
        u64::try_from(to.timestamp_millis().saturating_sub(from.timestamp_millis())).unwrap_or(0),
    )
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

pub(crate) fn binary(bytes: &[u8]) -> Bson {
    Binary { subtype: Generic, bytes: bytes.to_vec() }.into()
}

/// The pipeline of an upsert that makes the document what `new` says if there is none or an expired
/// one, and else leaves it as it is. The record's times are the server's.
pub(crate) fn creation(key: &StoreKey, new: &NewRecord) -> Vec<Document> {
    let ago = |age: Duration| doc! { "$subtract": ["$$NOW", millis(age)] };
    let data: Document = new
        .data
        .iter()
        .map(|(name, value)| (escaped(name.as_str()).into_owned(), Bson::from(value.as_str())))
        .collect();
    let mut fields = with_key(key);
    // An upsert runs its pipeline on a document of nothing but the `_id`.
    let absent = doc! { "$eq": ["$$ROOT", fields.clone()] };
    fields.extend(doc! {
        FORMAT: CURRENT,
        VERSION: i64::try_from(new.version).unwrap_or(i64::MAX),
        SECRET: binary(new.secret.as_bytes()),
        BYTES: count(new.data.bytes()),
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
    let leftover = doc! { "$and": [{ "$eq": ["$format", CURRENT] }, is_past()] };
    vec![doc! { "$replaceWith": { "$cond": [{ "$or": [absent, leftover] }, fields, "$$ROOT"] } }]
}

/// The filter for the document of a key. A server looks up nothing but an `_id` without its
/// planner.
pub(crate) fn with_key(key: &StoreKey) -> Document {
    doc! { ID: binary(key.as_str().as_bytes()) }
}

/// The condition that a document has not expired, by the server's clock.
pub(crate) fn alive() -> Document {
    doc! { "$gt": [EXPIRES_PATH, "$$NOW"] }
}

/// The condition that a document has expired. A document without a deadline has not: this version
/// cannot read it.
fn is_past() -> Document {
    doc! { "$and": [{ "$eq": [{ "$type": EXPIRES_PATH }, "date"] }, { "$lte": [EXPIRES_PATH, "$$NOW"] }] }
}

/// The filter for expired documents, by the server's clock.
pub(crate) fn expired() -> Document {
    // The first part is for the index. Alone it would match a list that has such a time in it.
    doc! { EXPIRES: { "$gte": DateTime::from_millis(0) }, "$expr": is_past() }
}

/// The projection of an answer that holds a record, the mark of its last commit, and the server's
/// time.
pub(crate) fn record_and_now() -> Document {
    let mut fields = summary_and_now();
    fields.extend(
        [SECRET, GENERATION, SINCE, FORMER, BYTES, ROTATED, PRINCIPAL, DATA, MARK]
            .map(|field| (field.to_owned(), 1.into())),
    );
    fields
}

/// The projection of an answer that holds what a list shows, and the server's time.
pub(crate) fn summary_and_now() -> Document {
    doc! { FORMAT: 1, VERSION: 1, CREATED: 1, EXPIRES: 1, AUTHENTICATED: 1, ATTRIBUTES: 1, NOW: "$$NOW" }
}

const EXPIRES_PATH: &str = "$expires";
