//! Documents of MongoDB, from the bytes on.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use session_core::{Record, StoreKey};
use store_mongo::fuzzing::{field, name, record};

use crate::same::{holds_secret, is_record, shows_no_secret};

/// A document in BSON.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(name(&field(text)).as_deref(), Some(text));
        if let Some(name) = name(text) {
            assert_eq!(field(&name), text, "two fields for one name");
        }
    }
    for now in [0, 2_000, i64::MAX] {
        match record(bytes, now) {
            Ok(Some((key, record))) => {
                is_record(&record);
                assert!(key.as_ref().is_none_or(StoreKey::is_storable));
                comes_back(&record, now);
            }
            Ok(None) => {}
            Err(error) => {
                if holds_secret(bytes) {
                    shows_no_secret(&error);
                }
            }
        }
    }
}

/// The same record, written down in the plainest way, is read as the same.
fn comes_back(of: &Record, now: i64) {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    // From the first moment to the last there are more milliseconds than have a number.
    let (Some(created), Some(expires)) = (now.checked_sub(millis(of.age)), now.checked_add(millis(of.ttl))) else { return };
    let data: Document = of.data.iter().map(|(name, json)| (field(name.as_str()).into_owned(), json.as_str().into())).collect();
    let mut document = doc! {
        "format": 1,
        "version": i64::try_from(of.version).unwrap_or(i64::MAX),
        "bytes": i64::try_from(of.data.bytes()).unwrap_or(i64::MAX),
        "created": DateTime::from_millis(created),
        "expires": DateTime::from_millis(expires),
        "lifetime": of.lifetime.to_text(),
        "data": data,
    };
    if let Some(principal) = &of.principal {
        document.insert("principal", principal.as_str());
    }
    let bytes = document.to_vec().unwrap_or_else(|error| panic!("{error}"));
    let again = record(&bytes, now).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.map(|(_, record)| record).as_ref(), Some(of), "a record does not come back");
}
