//! Assertions that several targets use.

use session_core::Record;

/// The secret in the inputs. Error texts must not contain it.
pub(crate) const SECRET: &str = "hunter2";

/// Whether these bytes contain the secret.
pub(crate) fn contains_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Checks that the text of an error does not contain the secret.
pub(crate) fn assert_no_secret(error: &str) {
    assert!(!error.contains(SECRET), "an error contains the secret: {error}");
}

/// Checks the invariants of a record that a store has read.
pub(crate) fn assert_valid_record(record: &Record) {
    assert!(!record.ttl.is_zero(), "a live record has no time left");
    let names: Vec<_> = record.data.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "the names are not sorted or not unique");
    for (name, json) in record.data.iter() {
        assert!(session_core::Name::new(name.as_str()).is_ok(), "a name is not valid");
        assert!(session_core::Json::from_text(json.as_str()).is_ok(), "a value is not JSON");
    }
    let shown = format!("{record:?}");
    assert!(
        record
            .data
            .iter()
            .all(|(_, json)| json.as_str().len() < 32 || !shown.contains(json.as_str())),
        "the Debug form contains a value"
    );
}
