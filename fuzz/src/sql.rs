//! The rows of the SQL databases.

use store_sql::fuzzing::{Columns, data, record, text};

use crate::assertions::{assert_no_secret, assert_valid_record, contains_secret};

/// The input has these lines:
///
/// 1. the numbers: version, generation, since, creation, expiry, rotation, authentication, end of
///    the grace, format, time. Rotation, authentication and end of the grace are null if negative.
/// 2. the hashes of both secrets
/// 3. the attributes, with `;` in place of a line end
/// 4. the principal. The line is empty for none.
/// 5. all remaining bytes: the column of names and values
pub(crate) fn check(bytes: &[u8]) {
    values(bytes);
    let mut parts = bytes.splitn(5, |byte| *byte == b'\n');
    let (Some(numbers), Some(secrets), Some(attributes), Some(principal)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let mut numbers = std::str::from_utf8(numbers)
        .unwrap_or_default()
        .split(' ')
        .map(|text| text.parse::<i64>().unwrap_or_default());
    let mut number = || numbers.next().unwrap_or_default();
    let null = |number: i64| Some(number).filter(|number| *number >= 0);
    let (secret, former) = secrets.split_at(secrets.len().min(32));
    let attributes: Vec<u8> =
        attributes.iter().map(|byte| if *byte == b';' { b'\n' } else { *byte }).collect();
    let row = Columns {
        version: number(),
        generation: number(),
        since: number(),
        created: number(),
        expires: number(),
        rotated: null(number()),
        authenticated: null(number()),
        former_until: null(number()),
        format: number(),
        now: number(),
        secret,
        former_secret: Some(former).filter(|former| !former.is_empty()),
        attributes: &attributes,
        principal: Some(principal).filter(|principal| !principal.is_empty()),
        data: parts.next().unwrap_or_default(),
    };
    values(row.data);
    match record(&row) {
        Ok(Some(record)) => {
            assert!(
                row.format == 2 && row.expires > row.now,
                "a row that has another format or has expired is read as a record"
            );
            assert_valid_record(&record);
            assert_eq!(
                record.principal.as_ref().map(|principal| principal.as_str().as_bytes()),
                row.principal
            );
            assert_eq!(
                record.principal.is_some(),
                record.authenticated.is_some(),
                "the principal and the time of its authentication do not belong together"
            );
            assert_eq!(record.secret.as_bytes().as_slice(), row.secret);
            let in_grace = row.former_secret.is_some()
                && row.former_until.is_some_and(|until| until > row.now);
            assert_eq!(
                record.grace.is_some(),
                in_grace,
                "the grace of the record does not match the row"
            );
            assert_eq!(
                data(text(&record.data).as_bytes()),
                Ok(record.data),
                "the values change when they are encoded and decoded"
            );
        }
        Ok(None) => assert!(row.expires <= row.now, "a row that has not expired counts as missing"),
        Err(error) => {
            if contains_secret(bytes) {
                assert_no_secret(&error);
            }
        }
    }
}

/// The decoder reads the same values as a database: an object of strings.
fn values(column: &[u8]) {
    let Ok(read) = data(column) else { return };
    let model: serde_json::Map<_, _> = serde_json::from_slice(column).unwrap_or_else(|error| {
        panic!("the decoder accepts a column that is not an object: {error}")
    });
    assert_eq!(read.len(), model.len(), "the number of values differs from that of a database");
    for (_, json) in read.iter() {
        assert!(
            model.values().any(|value| value.as_str() == Some(json.as_str())),
            "a database does not find this value"
        );
    }
    assert_eq!(
        data(text(&read).as_bytes()),
        Ok(read),
        "the values change when they are encoded and decoded"
    );
}
