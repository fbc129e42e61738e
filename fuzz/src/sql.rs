//! Rows of the databases.

use store_sql::fuzzing::{Row, data, record, text};

use crate::same::{holds_secret, is_record, shows_no_secret};

/// A line with version, creation, expiry, format and time, one with the lifetime, one with the principal (empty for nobody); the rest is the
/// column of names and values.
pub(crate) fn check(bytes: &[u8]) {
    values(bytes);
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let (Some(numbers), Some(lifetime), Some(principal)) = (parts.next(), parts.next(), parts.next()) else { return };
    let mut numbers = std::str::from_utf8(numbers).unwrap_or_default().split(' ').map(|text| text.parse::<i64>().unwrap_or_default());
    let mut number = || numbers.next().unwrap_or_default();
    let row = Row {
        version: number(),
        created: number(),
        expires: number(),
        format: number(),
        now: number(),
        lifetime,
        principal: Some(principal).filter(|principal| !principal.is_empty()),
        data: parts.next().unwrap_or_default(),
    };
    values(row.data);
    match record(&row) {
        Ok(Some(record)) => {
            assert!(row.format == 1 && row.expires > row.now, "a row of another format, or one whose time is over, is a record");
            is_record(&record);
            assert_eq!(record.principal.as_ref().map(|principal| principal.as_str().as_bytes()), row.principal);
            assert_eq!(data(text(&record.data).as_bytes()), Ok(record.data), "values do not come back");
        }
        Ok(None) => assert!(row.expires <= row.now, "a row whose time is not over is none"),
        Err(error) => {
            if holds_secret(bytes) {
                shows_no_secret(&error);
            }
        }
    }
}

/// What is read is what a database would read: an object of strings.
fn values(column: &[u8]) {
    let Ok(read) = data(column) else { return };
    let model: serde_json::Map<_, _> = serde_json::from_slice(column).unwrap_or_else(|error| panic!("values that are no object: {error}"));
    assert_eq!(read.len(), model.len(), "more or less values than a database finds");
    for (_, json) in read.iter() {
        assert!(model.values().any(|value| value.as_str() == Some(json.as_str())), "a value that no database finds");
    }
    assert_eq!(data(text(&read).as_bytes()), Ok(read), "values do not come back");
}
