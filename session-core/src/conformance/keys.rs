//! Checks of session keys and secret hashes: C05.

use super::{
    assert::{Must, check_eq, check_rejected},
    calls::{
        check_absent, check_empty, check_outcome, commit, create, create_anonymous, end_session,
        list_in_pages, list_keys, load, scan_keys,
    },
    fixture::Fixture,
    session::{LONG, TestSession, data, name, principal, texts},
};
use crate::{Claim, Deleted, Outcome, Rejection, SecretHash, StoreKey};

/// Keys with a meaning in a query language, and keys that collations treat as equal.
const UNUSUAL_KEYS: &[&str] = &[
    "a",
    "A",
    " ",
    "  ",
    "a ",
    " a",
    "a  ",
    "*",
    "?",
    "[a-z]",
    "%",
    "_",
    "'",
    "\"",
    "';--",
    "{x}",
    "..",
    "../a",
    "a/b",
    "a:b",
    "$gt",
    "a.b",
    "\\",
    "\\0",
    "\\x00",
    "0",
    "00",
    "0x00",
    "1e1",
    "10",
    "null",
    "true",
    "-1",
    "🦀",
    "\u{10ffff}",
    "é",
    "É",
    "e",
    "e\u{301}",
    "ß",
    "ss",
    "SS",
    "ı",
    "i",
    "İ",
    "ﬁ",
    "fi",
    "\u{a0}",
    "\u{200b}",
    "\u{feff}",
    "\u{fffd}",
    "\u{202e}",
    "AbCdEfGhIjKlMnOp",
    "abcdefghijklmnop",
    "ABCDEFGHIJKLMNOP",
    "AbCdEfGhIjKlMnOp ",
    "-_-_-_-_-_-_-_-_",
    "________________",
    "%%%%%%%%%%%%%%%%",
];

/// Missing and malformed keys are absent for every method, and no call creates a record there.
pub async fn c05_missing_and_malformed_keys_are_absent(fixture: &dyn Fixture) {
    let store = fixture.store();
    let malformed = ["", "\0", "abcd\0efgh", "two\nlines", "\u{7f}", "k\u{85}"]
        .map(str::to_owned)
        .into_iter()
        .chain(["k".repeat(129), "k".repeat(65_536)]);
    for text in malformed.chain([TestSession::new().key.as_str().to_owned()]) {
        let session = TestSession::under(&text);
        let (key, next) = (&session.key, session.rotated());
        let id_and_key =
            format!("C05 (key of {} bytes {:?})", text.len(), text.get(..12).unwrap_or(&text));
        check_absent(&store, key, &format!("{id_and_key}: load returns None (law 6)")).await;
        for commit in [
            session.set("n", "1"),
            session.add("n", 1),
            session.touch(LONG),
            session.rotate(&next),
            session.commit(),
        ] {
            check_outcome(
                &store,
                key,
                commit,
                Outcome::Gone,
                &format!("{id_and_key}: commit returns Gone (law 6)"),
            )
            .await;
        }
        for claim in [Claim::Any, Claim::Generation(0), Claim::Generation(u32::MAX)] {
            let rule = format!("{id_and_key}: delete returns Missing (law 6)");
            check_eq(store.delete(key, claim).await.must(&rule), Deleted::Missing, &rule);
        }
        if !key.is_storable() {
            let rule = format!("{id_and_key}: create is rejected");
            let rejection =
                check_rejected(store.create(key, session.record(LONG)).await, "Key", &rule);
            check_eq(rejection, Rejection::Key { bytes: text.len() }, &rule);
        }
    }
    check_empty(fixture, "C05: calls with missing and malformed keys create nothing").await;
}

/// Keys that differ only in case, accents or trailing spaces are different sessions.
///
/// Every storable text is a valid key, whatever it means in the query language of the backend.
pub async fn c05_unusual_keys_are_distinct(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let (longest, other_longest) =
        ("k".repeat(StoreKey::MAX_BYTES), format!("{}K", "k".repeat(StoreKey::MAX_BYTES - 1)));
    let unusual = [UNUSUAL_KEYS, &[longest.as_str(), other_longest.as_str()]].concat();
    let sessions: Vec<TestSession> = unusual.iter().map(TestSession::under).collect();
    for (at, session) in sessions.iter().enumerate() {
        let new =
            session.record(LONG).data(data([("n", &at.to_string())])).principal(alice.clone());
        create(&store, &session.key, new).await;
    }
    let rule = "C05: list and scan return every unusual key once";
    let mut all: Vec<StoreKey> = sessions.iter().map(|session| session.key.clone()).collect();
    all.sort_unstable();
    let paged = list_in_pages(&store, &alice, 7, rule).await.into_iter().map(|summary| summary.key);
    for mut found in [scan_keys(&store, 7).await, paged.collect()] {
        found.sort_unstable();
        check_eq(found.len(), unusual.len(), rule);
        check_eq(found == all, true, rule);
    }
    for (at, session) in sessions.iter().enumerate() {
        let (key, next, rule) = (
            &session.key,
            session.rotated(),
            format!("C05: the key {:?} equals no other key", unusual[at]),
        );
        check_eq(
            texts(&load(&store, key, &rule).await.data),
            texts(&data([("n", &at.to_string())])),
            &rule,
        );
        let sum = i64::try_from(at).unwrap_or(0) + 1;
        check_eq(
            commit(&store, key, session.add("n", 1), &rule).await.added[&name("n")],
            sum,
            &rule,
        );
        commit(&store, key, session.rotate(&next), &rule).await;
        check_outcome(&store, key, session.commit(), Outcome::Superseded, &rule).await;
        end_session(&store, key, &rule).await;
        check_absent(&store, key, &rule).await;
    }
    check_eq(
        list_keys(&store, &alice, rule).await,
        [].into(),
        "C05: list is empty after each unusual key is deleted",
    );
    check_empty(fixture, "C05: the storage is empty after each unusual key is deleted").await;
}

/// Hashes with any byte at any position are stored and compared byte for byte.
///
/// The bytes include zero, line feed, space and 0xff, and pairs that differ only in case.
pub async fn c05_secret_hashes_are_compared_byte_for_byte(fixture: &dyn Fixture) {
    const ODD: [u8; 9] = [0x00, 0x0a, 0x0d, 0x20, b'\'', b'\\', b'a', 0x80, 0xff];
    let store = fixture.store();
    let hash = |bytes| SecretHash::from_bytes(bytes);
    let with = |secret| TestSession { secret, ..TestSession::new() };
    for byte in ODD {
        let session = with(hash([byte; SecretHash::BYTES]));
        let rule = format!("C05: a hash that consists of {byte:#04x} works");
        create(&store, &session.key, session.record(LONG)).await;
        check_eq(load(&store, &session.key, &rule).await.secret, session.secret, &rule);
        commit(&store, &session.key, session.commit(), &rule).await;
        end_session(&store, &session.key, &rule).await;
    }
    let mut session = create_anonymous(&store, LONG).await;
    let key = session.key.clone();
    for position in 0..SecretHash::BYTES {
        let byte = ODD[position % ODD.len()];
        // Two hashes differ in one byte, and each position has its turn. The difference 0x20 is
        // also that between the upper and lower case of a letter.
        let mut bytes = [b'A'; SecretHash::BYTES];
        (bytes[position], bytes[(position * 7 + 3) % SecretHash::BYTES]) = (byte, byte);
        let mut similar = bytes;
        similar[position] ^= 0x20;
        let next = TestSession { secret: hash(bytes), ..session.rotated() };
        let rule = format!(
            "C05: a hash with {byte:#04x} at byte {position} is stored and compared byte for byte"
        );
        commit(&store, &key, session.rotate_with_grace(&next, LONG / 10), &rule).await;
        let record = load(&store, &key, &rule).await;
        check_eq(
            (record.secret, record.grace.map(|grace| grace.secret)),
            (next.secret, Some(session.secret)),
            &rule,
        );
        let similar = TestSession { secret: hash(similar), ..next.clone() };
        check_outcome(&store, &key, similar.set("n", "1"), Outcome::Superseded, &rule).await;
        session = next;
    }
}
