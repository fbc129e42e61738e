//! What the fuzz targets of this repository reach.

use std::borrow::Cow;

use mongodb::bson::{DateTime, RawDocument};
use session_core::{Record, StoreKey};

use crate::{
    document::{self, Unreadable},
    field,
};

/// Reads a document as the store does, at this time in milliseconds. With its key, if it can have
/// one.
///
/// # Errors
/// What the store would say of it.
pub fn record(bytes: &[u8], now: i64) -> Result<Option<(Option<StoreKey>, Record)>, String> {
    let shown = |error: Unreadable| format!("{error} {error:?}");
    let document = RawDocument::from_bytes(bytes).map_err(|error| shown(error.into()))?;
    let record = document::record(document, DateTime::from_millis(now)).map_err(shown)?;
    Ok(record.map(|record| (document::key(document), record)))
}

/// The field of a value.
#[must_use]
pub fn field(name: &str) -> Cow<'_, str> {
    field::escaped(name)
}

/// The name that a field stands for.
#[must_use]
pub fn name(field: &str) -> Option<Cow<'_, str>> {
    field::unescaped(field)
}
