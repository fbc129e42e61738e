//! The replies of a Redis server, as bytes of the protocol.

use session_core::{Change, Commit, Name, Outcome, Record, SecretHash, StoreKey};
use store_redis::fuzzing::{Answer, key, name};

use crate::assertions::{assert_no_secret, assert_valid_record, contains_secret};

/// The input is a reply in RESP. As text it is also a key and a name.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        names(text);
    }
    let Some(answer) = Answer::read(bytes) else { return };
    let _ = answer.time();
    for now in [0, 2_000, u64::MAX] {
        for attributes in ["", "p"] {
            if let Some(summary) = answer.summary(StoreKey::from_text("abcdefgh"), attributes, now)
            {
                assert!(!summary.ttl.is_zero() && summary.attributes.to_text() == attributes);
            }
        }
        record(&answer, now, bytes);
    }
    if let Ok((answer, now)) = answer.timed() {
        record(&answer, now, bytes);
    }
    let commit = ["a", "b"]
        .into_iter()
        .filter_map(|name| Name::new(name).ok())
        .fold(Commit::new(SecretHash::from_bytes([7; 32])), |commit, name| {
            commit.change(name, Change::Add(1))
        });
    match answer.committed(&commit) {
        Ok(Some(Outcome::Done(done))) => {
            assert!(
                done.added.keys().eq(commit.changes.keys()),
                "the sums have other names than the commit"
            );
        }
        Ok(_) => {}
        Err(error) => {
            if contains_secret(bytes) {
                assert_no_secret(&error);
            }
        }
    }
}

fn record(answer: &Answer, now: u64, bytes: &[u8]) {
    match answer.record(now) {
        Ok(Some(record)) => {
            assert_valid_record(&record);
            if now == 0 {
                // The format cannot store this record: 0 means no authentication.
                return;
            }
            // The record is the same after a simple encoder has written it.
            let again = Answer::read(&encode(&record, now)).map(|answer| answer.record(now));
            assert!(
                again.is_some_and(|read| read.as_ref().ok() == Some(&Some(record))),
                "a record changes when it is encoded and decoded"
            );
        }
        Ok(None) => {}
        Err(error) => {
            if contains_secret(bytes) {
                assert_no_secret(&error);
            }
        }
    }
}

fn encode(record: &Record, now: u64) -> Vec<u8> {
    let millis =
        |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    // As in the store: a time beyond `i64::MAX` counts as `i64::MAX`.
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let time = |millis: i64| millis.to_be_bytes()[2..].to_vec();
    let ago = |age| time(now.saturating_sub(millis(age)));
    let attributes = record.attributes.to_text();
    let head = [
        vec![2],
        time(now.saturating_add(millis(record.ttl))),
        ago(record.age),
        record.authenticated.map_or_else(|| vec![0; 6], ago),
        record.version.to_be_bytes()[1..].to_vec(),
        vec![0; 4],
        vec![u8::try_from(attributes.len()).unwrap_or(u8::MAX)],
    ]
    .concat();
    let numbers =
        [&record.generation.to_be_bytes()[..], &record.since.to_be_bytes(), &ago(record.rotated)]
            .concat();
    let former = record.grace.map(|grace| {
        [&grace.secret.as_bytes()[..], &time(now.saturating_add(millis(grace.left)))].concat()
    });
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b"", &head), (b"\x01", record.secret.as_bytes()), (b"\x02", &numbers)];
    fields.extend(former.iter().map(|former| (&b"\x03"[..], &former[..])));
    if !attributes.is_empty() {
        fields.push((b"\x04", attributes.as_bytes()));
    }
    fields.extend(
        record.principal.iter().map(|principal| (&b"\t"[..], principal.as_str().as_bytes())),
    );
    fields.extend(
        record.data.iter().map(|(name, json)| (name.as_str().as_bytes(), json.as_str().as_bytes())),
    );
    let mut answer = format!("%{}\r\n", fields.len()).into_bytes();
    for bytes in fields.into_iter().flat_map(|(name, value)| [name, value]) {
        answer.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        answer.extend_from_slice(bytes);
        answer.extend_from_slice(b"\r\n");
    }
    answer
}

fn names(text: &str) {
    if let Some(key) = key(text) {
        assert!(key.is_storable());
        assert_eq!(name(&key), text);
    }
    let wanted = StoreKey::from_text(text);
    if wanted.is_storable() {
        assert_eq!(key(&name(&wanted)), Some(wanted));
    }
}
