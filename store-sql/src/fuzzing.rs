//! What the fuzz targets of this repository reach.

use session_core::{Data, Record};

use crate::{
    data,
    record::{Columns, Unreadable},
};

/// The columns of a row, and the database's time.
#[derive(Debug)]
pub struct Row<'r> {
    /// Names and values.
    pub data: &'r [u8],
    /// The version.
    pub version: i64,
    /// In milliseconds.
    pub created: i64,
    /// In milliseconds.
    pub expires: i64,
    /// Whose session it is.
    pub principal: Option<&'r [u8]>,
    /// Its own timeouts.
    pub lifetime: &'r [u8],
    /// The format of the row.
    pub format: i64,
    /// In milliseconds.
    pub now: i64,
}

/// Reads a row as the store does.
///
/// # Errors
/// What the store would say of it.
pub fn record(row: &Row<'_>) -> Result<Option<Record>, String> {
    let Row { data, version, created, expires, principal, lifetime, format, now } = *row;
    Columns { data, version, created, expires, principal, lifetime, format, now }.record().map_err(|error| shown(&error))
}

/// Reads the column of names and values.
///
/// # Errors
/// What the store would say of it.
pub fn data(text: &[u8]) -> Result<Data, String> {
    data::read(text).map_err(|error| shown(&error))
}

/// The text that the store writes into that column.
#[must_use]
pub fn text(data: &Data) -> String {
    data::object(data)
}

fn shown(error: &Unreadable) -> String {
    format!("{error} {error:?}")
}
