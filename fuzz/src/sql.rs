//! Rows of the databases.

use store_sql::fuzzing::{Columns, data, record, text};

use crate::same::{holds_secret, is_record, shows_no_secret};

/// A line with the numbers (version, generation, since, creation, expiry, rotation, authentication,
/// end of the grace, format, time; the three that may be null are null if they are negative), one
/// with the hashes of both secrets, one with the attributes, whose own lines are separated by `;`,
/// and one with the principal, empty for none. The rest is the column of names and values.
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
                "a row of another format, or an expired one, is read as a record"
            );
            is_record(&record);
            assert_eq!(
                record.principal.as_ref().map(|principal| principal.as_str().as_bytes()),
                row.principal
            );
            assert_eq!(
                record.principal.is_some(),
                record.authenticated.is_some(),
                "a principal without a time, or a time without a principal"
            );
            assert_eq!(record.secret.as_bytes().as_slice(), row.secret);
            let in_grace = row.former_secret.is_some()
                && row.former_until.is_some_and(|until| until > row.now);
            assert_eq!(
                record.grace.is_some(),
                in_grace,
                "a grace that is over, or none while it lasts"
            );
            assert_eq!(
                data(text(&record.data).as_bytes()),
                Ok(record.data),
                "values do not come back"
            );
        }
        Ok(None) => assert!(row.expires <= row.now, "a row that has not expired is missing"),
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
    let model: serde_json::Map<_, _> = serde_json::from_slice(column)
        .unwrap_or_else(|error| panic!("values that are no object: {error}"));
    assert_eq!(read.len(), model.len(), "more or less values than a database finds");
    for (_, json) in read.iter() {
        assert!(
            model.values().any(|value| value.as_str() == Some(json.as_str())),
            "a value that no database finds"
        );
    }
    assert_eq!(data(text(&read).as_bytes()), Ok(read), "values do not come back");
}
