//! The functions that the fuzz targets of this repository call.

use session_core::{Data, Record};

pub use crate::codec::Columns;
use crate::{
    codec::{object, read},
    error::Unreadable,
};

/// Reads a row as the store does.
///
/// # Errors
/// The text of the store's error.
pub fn record(row: &Columns<'_>) -> Result<Option<Record>, String> {
    row.record().map_err(|error| shown(&error))
}

/// Reads the column of names and values.
///
/// # Errors
/// The text of the store's error.
pub fn data(text: &[u8]) -> Result<Data, String> {
    read(text).map_err(|error| shown(&error))
}

/// The text that the store writes into that column.
#[must_use]
pub fn text(data: &Data) -> String {
    object(data)
}

fn shown(error: &Unreadable) -> String {
    format!("{error} {error:?}")
}
