//! The documents of MongoDB, as bytes of BSON.

use std::time::Duration;

use mongodb::bson::{Binary, DateTime, Document, doc, spec::BinarySubtype};
use session_core::{Record, StoreKey};
use store_mongo::fuzzing::{field, name, record};

use crate::assertions::{assert_no_secret, assert_valid_record, contains_secret};

/// The input is a document in BSON. As text it is also a name and a field.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(name(&field(text)).as_deref(), Some(text));
        if let Some(name) = name(text) {
            assert_eq!(field(&name), text, "two fields have the same name");
        }
    }
    for now in [0, 2_000, i64::MAX] {
        match record(bytes, now) {
            Ok(Some((key, record))) => {
                assert_valid_record(&record);
                assert!(key.as_ref().is_none_or(StoreKey::is_storable));
                check_round_trip(&record, now);
            }
            Ok(None) => {}
            Err(error) => {
                if contains_secret(bytes) {
                    assert_no_secret(&error);
                }
            }
        }
    }
}

/// The record is the same after a simple encoder has written it.
fn check_round_trip(original: &Record, now: i64) {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    // The difference of two times can exceed the range of `i64`.
    let ago = |age: Duration| now.checked_sub(millis(age)).map(DateTime::from_millis);
    let (Some(created), Some(rotated), Some(expires)) =
        (ago(original.age), ago(original.rotated), now.checked_add(millis(original.ttl)))
    else {
        return;
    };
    let data: Document = original
        .data
        .iter()
        .map(|(name, json)| (field(name.as_str()).into_owned(), json.as_str().into()))
        .collect();
    let mut document = doc! {
        "_id": binary(b"key"),
        "format": 2,
        "secret": binary(original.secret.as_bytes()),
        "generation": i64::from(original.generation),
        "since": i64::from(original.since),
        "version": i64::try_from(original.version).unwrap_or(i64::MAX),
        "bytes": i64::try_from(original.data.bytes()).unwrap_or(i64::MAX),
        "created": created,
        "rotated": rotated,
        "expires": DateTime::from_millis(expires),
        "attributes": original.attributes.to_text(),
        "data": data,
    };
    if let (Some(principal), Some(authenticated)) =
        (&original.principal, original.authenticated.map(ago))
    {
        document.insert("principal", principal.as_str());
        let Some(authenticated) = authenticated else { return };
        document.insert("authenticated", authenticated);
    }
    if let Some(grace) = &original.grace {
        let Some(until) = now.checked_add(millis(grace.left)) else { return };
        let former = doc! {
            "secret": binary(grace.secret.as_bytes()),
            "until": DateTime::from_millis(until),
        };
        document.insert("former", former);
    }
    let bytes = document.to_vec().unwrap_or_else(|error| panic!("{error}"));
    let again = record(&bytes, now).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        again.map(|(_, record)| record).as_ref(),
        Some(original),
        "a record changes when it is encoded and decoded"
    );
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}
