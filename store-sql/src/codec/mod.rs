//! Between rows and records.

mod cursor;
mod object;
mod record;
mod row;

#[cfg(feature = "fuzzing")]
pub(crate) use object::read;
#[cfg(feature = "fuzzing")]
pub use record::Columns;
#[cfg(not(feature = "fuzzing"))]
pub(crate) use record::Columns;
pub(crate) use {
    cursor::{cursor, position},
    object::{Object, field, object},
    record::{COLUMNS, FORMAT, Loaded, attributes, between, key, summary, version},
    row::Row,
};
