//! What several targets hold against what they got.

use session_core::Record;

/// Stands for a secret in inputs. No error may show it.
pub(crate) const SECRET: &str = "hunter2";

/// Whether there is one in these bytes.
pub(crate) fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// The text of an error that shows no secret.
pub(crate) fn shows_no_secret(error: &str) {
    assert!(!error.contains(SECRET), "an error shows a secret: {error}");
}

/// What every record is that a store read.
pub(crate) fn is_record(record: &Record) {
    assert!(!record.ttl.is_zero(), "a record that is alive and has no time left");
    let names: Vec<_> = record.data.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "names out of order, or twice");
    for (name, json) in record.data.iter() {
        assert!(session_core::Name::new(name.as_str()).is_ok(), "a name that is none");
        assert!(session_core::Json::from_text(json.as_str()).is_ok(), "a value that is no JSON");
    }
    let shown = format!("{record:?}");
    assert!(
        record
            .data
            .iter()
            .all(|(_, json)| json.as_str().len() < 32 || !shown.contains(json.as_str())),
        "a value is shown"
    );
}
