//! What a Redis server answers, from the bytes on.

use session_core::{Change, Commit, Name, Outcome, Record, StoreKey};
use store_redis::fuzzing::{Answer, key_at, place};

use crate::same::{holds_secret, is_record, shows_no_secret};

/// An answer in RESP.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        places(text);
    }
    let Some(answer) = Answer::read(bytes) else { return };
    let _ = answer.time();
    for now in [0, 2_000, u64::MAX] {
        if let Some(listed) = answer.listed("{abcd}efgh", now) {
            assert!(!listed.ttl.is_zero() && listed.key == StoreKey::from_text("abcdefgh"));
        }
        record(&answer, now, bytes);
    }
    if let Ok((answer, now)) = answer.timed() {
        record(&answer, now, bytes);
    }
    let commit = ["a", "b"]
        .into_iter()
        .filter_map(|name| Name::new(name).ok())
        .fold(Commit::new(), |commit, name| commit.change(name, Change::Add(1)));
    match answer.committed(&commit) {
        Ok(Some(Outcome::Done(done))) => assert!(done.added.keys().eq(commit.changes.keys()), "sums of other names"),
        Ok(_) => {}
        Err(error) => {
            if holds_secret(bytes) {
                shows_no_secret(&error);
            }
        }
    }
}

fn record(answer: &Answer, now: u64, bytes: &[u8]) {
    match answer.record(now) {
        Ok(Some(record)) => {
            is_record(&record);
            // The same record, written down in the plainest way, is read as the same.
            let again = Answer::read(&written(&record, now)).map(|answer| answer.record(now));
            assert!(again.is_some_and(|read| read.as_ref().ok() == Some(&Some(record))), "a record does not come back");
        }
        Ok(None) => {}
        Err(error) => {
            if holds_secret(bytes) {
                shows_no_secret(&error);
            }
        }
    }
}

fn written(record: &Record, now: u64) -> Vec<u8> {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (created, deadline) = (now - millis(record.age), now + millis(record.ttl));
    let head = format!("1|{}|{}|{created}|{deadline}|{}", record.version, record.data.bytes(), record.lifetime.to_text());
    let mut fields = vec![("", head.as_str())];
    fields.extend(record.principal.iter().map(|principal| ("\t", principal.as_str())));
    fields.extend(record.data.iter().map(|(name, json)| (name.as_str(), json.as_str())));
    let mut answer = format!("%{}\r\n", fields.len()).into_bytes();
    for text in fields.into_iter().flat_map(|(name, value)| [name, value]) {
        answer.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
    }
    answer
}

fn places(text: &str) {
    if let Some(key) = key_at(text) {
        assert!(key.is_storable());
        assert_eq!(place(&key), text);
    }
    let key = StoreKey::from_text(text);
    if key.is_storable() {
        assert_eq!(key_at(&place(&key)), Some(key));
    }
}
