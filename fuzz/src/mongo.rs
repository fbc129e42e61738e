//! Documents of MongoDB, from the bytes on.

use std::time::Duration;

use mongodb::bson::{Binary, DateTime, Document, doc, spec::BinarySubtype};
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
    let ago = |age: Duration| now.checked_sub(millis(age)).map(DateTime::from_millis);
    let (Some(created), Some(rotated), Some(expires)) =
        (ago(of.age), ago(of.rotated), now.checked_add(millis(of.ttl)))
    else {
        return;
    };
    let data: Document = of
        .data
        .iter()
        .map(|(name, json)| (field(name.as_str()).into_owned(), json.as_str().into()))
        .collect();
    let mut document = doc! {
        "_id": binary(b"key"),
        "format": 2,
        "secret": binary(of.secret.as_bytes()),
        "generation": i64::from(of.generation),
        "since": i64::from(of.since),
        "version": i64::try_from(of.version).unwrap_or(i64::MAX),
        "bytes": i64::try_from(of.data.bytes()).unwrap_or(i64::MAX),
        "created": created,
        "rotated": rotated,
        "expires": DateTime::from_millis(expires),
        "attributes": of.attributes.to_text(),
        "data": data,
    };
    if let (Some(principal), Some(authenticated)) = (&of.principal, of.authenticated.map(ago)) {
        document.insert("principal", principal.as_str());
        let Some(authenticated) = authenticated else { return };
        document.insert("authenticated", authenticated);
    }
    if let Some(grace) = &of.grace {
        let Some(until) = now.checked_add(millis(grace.left)) else { return };
        document.insert("former", doc! { "secret": binary(grace.secret.as_bytes()), "until": DateTime::from_millis(until) });
    }
    let bytes = document.to_vec().unwrap_or_else(|error| panic!("{error}"));
    let again = record(&bytes, now).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.map(|(_, record)| record).as_ref(), Some(of), "a record does not come back");
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}
