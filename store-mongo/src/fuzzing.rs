//! Functions that the fuzz targets of this repository call.

use std::borrow::Cow;

use mongodb::bson::{DateTime, RawDocument};
use session_core::{Record, StoreKey};

use crate::codec::{
    decode::{self, DecodeError},
    field,
};

/// Decodes a document as the store does, at the time `now` in milliseconds. The key is `None` if
/// the document's `_id` cannot be the key of a session.
///
/// # Errors
/// The text of the store's decode error.
pub fn record(bytes: &[u8], now: i64) -> Result<Option<(Option<StoreKey>, Record)>, String> {
    let text = |error: DecodeError| format!("{error} {error:?}");
    let document = RawDocument::from_bytes(bytes).map_err(|error| text(error.into()))?;
    let record = decode::record(document, DateTime::from_millis(now)).map_err(text)?;
    Ok(record.map(|record| (decode::key(document), record)))
}

/// Encodes the name of a value as a field name.
#[must_use]
pub fn field(name: &str) -> Cow<'_, str> {
    field::encode(name)
}

/// Decodes the name of a value from a field name.
#[must_use]
pub fn name(field: &str) -> Option<Cow<'_, str>> {
    field::decode(field)
}
