//! Decoding of documents: a document of the collection becomes a record, a header or a key.

use std::time::Duration;

use mongodb::bson::{
    DateTime, RawBsonRef, RawDocument, error::Error as BsonError, spec::BinarySubtype::Generic,
};
use session_core::{
    Attributes, Data, Grace, Json, JsonError, Name, Principal, Record, SecretHash, StoreKey,
};

use crate::codec::{
    expression::bson_size,
    field::{
        self, ATTRIBUTES, AUTHENTICATED, BYTES, CREATED, CURRENT_FORMAT, DATA, EXPIRES, FORMAT,
        FORMER, GENERATION, ID, NOW, PRINCIPAL, ROTATED, SECRET, SINCE, UNTIL, VERSION,
    },
};

/// Result of decoding a document: a live record, `None` if the record has expired, or an error if
/// the document is not a valid record.
pub(crate) type DecodedRecord = Result<Option<Record>, DecodeError>;

/// A document that is not a valid record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(
        "the record's format is not {CURRENT_FORMAT}; another version of this crate may have \
         written it"
    )]
    Format,
    #[error("the record's {0} cannot be decoded")]
    Field(&'static str),
    #[error("a value of the record is not valid JSON")]
    Json(#[source] JsonError),
    #[error("the document is not well-formed BSON")]
    Bson,
}

impl From<BsonError> for DecodeError {
    fn from(_: BsonError) -> Self {
        Self::Bson
    }
}

/// The fields of a record that commits and lists return. The data is not decoded.
pub(crate) struct Header {
    pub(crate) version: u64,
    created: DateTime,
    expires: DateTime,
    authenticated: Option<DateTime>,
    pub(crate) attributes: Attributes,
}

impl Header {
    pub(crate) fn decode(document: &RawDocument) -> Result<Self, DecodeError> {
        if document.get(FORMAT)?.and_then(RawBsonRef::as_i32) != Some(CURRENT_FORMAT) {
            return Err(DecodeError::Format);
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
        elapsed(self.created, now)
    }

    pub(crate) fn authenticated(&self, now: DateTime) -> Option<Duration> {
        self.authenticated.map(|authenticated| elapsed(authenticated, now))
    }

    /// `None` if the record has expired, even if the server has not deleted it yet.
    pub(crate) fn ttl(&self, now: DateTime) -> Option<Duration> {
        Some(elapsed(now, self.expires)).filter(|left| !left.is_zero())
    }
}

/// Decodes a live record. `None` if the record has expired.
pub(crate) fn record(document: &RawDocument, now: DateTime) -> DecodedRecord {
    let header = Header::decode(document)?;
    let Some(ttl) = header.ttl(now) else { return Ok(None) };
    let principal = optional(document, PRINCIPAL, |text| Principal::new(text.as_str()?).ok())?;
    if principal.is_some() != header.authenticated.is_some() {
        return Err(DecodeError::Field(AUTHENTICATED));
    }
    let mut values = Vec::with_capacity(4);
    for field in required(document, DATA, RawBsonRef::as_document)? {
        let (field, value) = field?;
        let name = field::decode(field.as_str())
            .and_then(|name| Name::new(name).ok())
            .ok_or(DecodeError::Field("names"))?;
        let text = value.as_str().ok_or(DecodeError::Field("values"))?;
        values.push((name, Json::from_text(text).map_err(DecodeError::Json)?));
    }
    let data = Data::from(values);
    // Commits calculate with this size. A wrong size would block every later change.
    if document.get(BYTES)?.and_then(RawBsonRef::as_i64) != Some(bson_size(data.bytes())) {
        return Err(DecodeError::Field("size"));
    }
    let rotated = optional(document, ROTATED, RawBsonRef::as_datetime)?.unwrap_or(header.created);
    Ok(Some(Record {
        data,
        version: header.version,
        secret: required(document, SECRET, secret_hash)?,
        generation: optional(document, GENERATION, generation)?.unwrap_or(0),
        since: optional(document, SINCE, generation)?.unwrap_or(0),
        grace: optional(document, FORMER, RawBsonRef::as_document)?
            .map_or(Ok(None), |former| grace(former, now))?,
        age: header.age(now),
        rotated: elapsed(rotated, now),
        authenticated: header.authenticated(now),
        ttl,
        principal,
        attributes: header.attributes,
    }))
}

/// `None` after the end of the grace period.
fn grace(former: &RawDocument, now: DateTime) -> Result<Option<Grace>, DecodeError> {
    let secret = required(former, SECRET, secret_hash)?;
    let left = elapsed(now, time(former, UNTIL)?);
    Ok((!left.is_zero()).then_some(Grace { secret, left }))
}

fn secret_hash(value: RawBsonRef<'_>) -> Option<SecretHash> {
    value
        .as_binary()
        .filter(|hash| hash.subtype == Generic)
        .and_then(|hash| SecretHash::from_slice(hash.bytes))
}

fn generation(value: RawBsonRef<'_>) -> Option<u32> {
    u32::try_from(value.as_i64()?).ok()
}

/// The session's key. `None` if the document's `_id` cannot be a key.
pub(crate) fn key(document: &RawDocument) -> Option<StoreKey> {
    let id = document
        .get(ID)
        .ok()
        .flatten()
        .and_then(RawBsonRef::as_binary)
        .filter(|id| id.subtype == Generic)?;
    Some(StoreKey::from_text(str::from_utf8(id.bytes).ok()?)).filter(StoreKey::is_storable)
}

/// The date in a required field.
pub(crate) fn time(document: &RawDocument, field: &'static str) -> Result<DateTime, DecodeError> {
    required(document, field, RawBsonRef::as_datetime)
}

/// Whether the document's deadline has passed at the server's time in the same response. False if
/// one of the two cannot be decoded.
pub(crate) fn has_expired(document: &RawDocument) -> bool {
    let times = (time(document, EXPIRES), time(document, NOW));
    matches!(times, (Ok(expires), Ok(now)) if expires <= now)
}

fn required<'d, T>(
    document: &'d RawDocument,
    field: &'static str,
    read: impl FnOnce(RawBsonRef<'d>) -> Option<T>,
) -> Result<T, DecodeError> {
    optional(document, field, read)?.ok_or(DecodeError::Field(field))
}

/// `None` if the document lacks the field.
fn optional<'d, T>(
    document: &'d RawDocument,
    field: &'static str,
    read: impl FnOnce(RawBsonRef<'d>) -> Option<T>,
) -> Result<Option<T>, DecodeError> {
    document.get(field)?.map(|value| read(value).ok_or(DecodeError::Field(field))).transpose()
}

/// Time from `from` to `to`. Zero if `to` is earlier.
fn elapsed(from: DateTime, to: DateTime) -> Duration {
    Duration::from_millis(
        u64::try_from(to.timestamp_millis().saturating_sub(from.timestamp_millis())).unwrap_or(0),
    )
}
