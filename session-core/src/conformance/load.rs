//! What `load` promises.

use std::time::{Duration, Instant};

use super::{
    Fixture,
    steps::{
        LONG, Must, TestSession, absent, commit, create, create_any, data, empty, end,
        list_in_pages, listed, load, name, principal, refused, rejected, same, scan_all, texts,
        within,
    },
};
use crate::{
    Attributes, Claim, Deleted, NewRecord, Opened, Outcome, Persistence, Principal, Rejection,
    SecretHash, ShortText, StoreKey,
};

/// A load gives back values, version, secret, generation, principal and attributes exactly as they
/// were stored.
pub async fn c03_load_gives_back_what_was_stored(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let short = |text: String| Some(ShortText::new(text).unwrap_or_else(|error| panic!("{error}")));
    let attributes = Attributes {
        idle_timeout: Some(Duration::from_millis(1_234_567)),
        absolute_timeout: Some(Duration::from_secs(86_400)),
        persistence: Some(Persistence::Persistent),
        acr: short("urn:mfa 'a' \"b\" \\ $x %41".to_owned()),
        label: short("Firefox auf Linux äöü 🦀".to_owned()),
        replaced: Attributes::from_text("r3@1000 r4@2000")
            .unwrap_or_else(|| panic!("two replaced secrets"))
            .replaced,
    };
    let values = data([("cart", r#"{"items":[1,2]}"#), ("theme", r#""dark""#), ("visits", "3")]);
    let new = session
        .record(LONG)
        .data(values.clone())
        .principal(principal("alice"))
        .attributes(attributes.clone());
    create(&store, &session.key, new).await;
    let record = load(&store, &session.key, "C03: a live record is found").await;
    same(texts(&record.data), texts(&values), "C03: load gives back exactly the stored values");
    same(record.version, 1, "C03: load gives back the version");
    same(record.principal, Some(principal("alice")), "C03: load gives back the principal");
    same(record.attributes, attributes.clone(), "C03: load gives back the attributes unchanged");
    same(record.secret, session.secret, "C03: load gives back the hash of the secret");
    let law =
        "C03: load gives back generation and since, and no former secret before the first rotation";
    same((record.generation, record.since, record.grace), (0, 0, None), law);
    let opened = store.load(&session.key).await.must(law).must(law).open(&session.secret);
    same(
        matches!(opened, Opened::Current(_)),
        true,
        "C03: the session's secret opens what load gives",
    );
    let longest = Attributes {
        idle_timeout: Some(Duration::MAX),
        absolute_timeout: Some(Duration::MAX),
        acr: short("x".repeat(ShortText::MAX_BYTES)),
        label: short("ü".repeat(ShortText::MAX_BYTES / 2)),
        replaced: Attributes::from_text(&[" r4294967295@3153600000000"; 3].concat())
            .unwrap_or_else(|| panic!("as many as fit"))
            .replaced,
        ..attributes
    };
    let browser =
        Attributes { persistence: Some(Persistence::BrowserSession), ..Attributes::default() };
    let law = "C03: a commit replaces the attributes";
    for next in [
        browser,
        longest.bounded(),
        Attributes { label: short("a".to_owned()), ..Attributes::default() },
        Attributes::default(),
    ] {
        let committed =
            commit(&store, &session.key, session.commit().attributes(next.clone()), law).await;
        same(committed.attributes, next.clone(), law);
        same(load(&store, &session.key, law).await.attributes, next, law);
    }
}

/// Age and ttl are what the backend's clock says, within the fixture's tolerance.
pub async fn c03_age_and_ttl_follow_the_backends_clock(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let begun = Instant::now();
    let session = TestSession::new();
    create(&store, &session.key, session.record(LONG).principal(principal("alice"))).await;
    let mut passed = Duration::ZERO;
    for _ in 0..2 {
        let record = load(&store, &session.key, "C03: a live record is found").await;
        // A clock made for tests advances by `advance` alone, a real one at least by the time that
        // the check has taken.
        let (least, most) = (passed, passed.max(begun.elapsed()) + begun.elapsed().min(tolerance));
        within(record.age, least, most, tolerance, "C03: age is the time since creation");
        within(
            record.rotated,
            least,
            most,
            tolerance,
            "C03: before the first rotation `rotated` is the time since creation",
        );
        within(
            record.authenticated.unwrap_or(LONG),
            least,
            most,
            tolerance,
            "C03: `authenticated` is the time since the sign-in",
        );
        let (least, most) = (LONG.saturating_sub(most), LONG.saturating_sub(least));
        within(record.ttl, least, most, tolerance, "C03: ttl is the remaining time");
        passed = tolerance + Duration::from_millis(200);
        fixture.advance(passed).await;
    }
}

/// A commit answers with version, ages, ttl and attributes as a load right after it does.
pub async fn c03_a_commit_tells_the_record_as_load_does(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    for who in [None, Some(principal("alice"))] {
        let session = TestSession::new();
        let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
        let new = NewRecord { age: LONG, ..session.record(LONG).attributes(attributes) };
        let new =
            NewRecord { authenticated: who.as_ref().map(|_| LONG / 2), principal: who, ..new };
        create(&store, &session.key, new).await;
        fixture.advance(Duration::from_millis(20)).await;
        for next in [session.add("n", 2).ttl(LONG * 2), session.add("n", 1), session.commit()] {
            let told = commit(&store, &session.key, next, "C03: a commit takes effect").await;
            let record = load(&store, &session.key, "C03: a live record is found").await;
            let law = "C03: a commit answers with version and attributes as load does";
            same((told.version, told.attributes), (record.version, record.attributes), law);
            within(
                told.age,
                record.age,
                record.age,
                tolerance,
                "C03: a commit answers with the age of the record",
            );
            within(
                told.ttl,
                record.ttl,
                record.ttl,
                tolerance,
                "C03: a commit answers with the remaining ttl",
            );
            let law = "C03: a commit answers with the age of the authentication";
            same(told.authenticated.is_some(), record.authenticated.is_some(), law);
            let authenticated = record.authenticated.unwrap_or_default();
            within(
                told.authenticated.unwrap_or_default(),
                authenticated,
                authenticated,
                tolerance,
                law,
            );
        }
    }
}

/// Missing and malformed keys are absent, not errors, for every method, and nothing is created
/// under them.
pub async fn c05_missing_and_malformed_keys_are_absent(fixture: &dyn Fixture) {
    let store = fixture.store();
    let malformed = ["", "\0", "abcd\0efgh", "two\nlines", "\u{7f}", "k\u{85}"]
        .map(str::to_owned)
        .into_iter()
        .chain(["k".repeat(129), "k".repeat(65_536)]);
    for text in malformed.chain([TestSession::new().key.as_str().to_owned()]) {
        let session = TestSession::under(&text);
        let (key, next) = (&session.key, session.rotated());
        let shown =
            format!("C05 (key of {} bytes {:?})", text.len(), text.get(..12).unwrap_or(&text));
        absent(&store, key, &format!("{shown}: load says None (law 6)")).await;
        for commit in [
            session.set("n", "1"),
            session.add("n", 1),
            session.touch(LONG),
            session.rotate(&next),
            session.commit(),
        ] {
            refused(
                &store,
                key,
                commit,
                Outcome::Gone,
                &format!("{shown}: commit says Gone (law 6)"),
            )
            .await;
        }
        for claim in [Claim::Any, Claim::Generation(0), Claim::Generation(u32::MAX)] {
            let law = format!("{shown}: delete says Missing (law 6)");
            same(store.delete(key, claim).await.must(&law), Deleted::Missing, &law);
        }
        if !key.is_storable() {
            let law = format!("{shown}: create is refused");
            let rejection = rejected(store.create(key, session.record(LONG)).await, "Key", &law);
            same(rejection, Rejection::Key { bytes: text.len() }, &law);
        }
    }
    empty(fixture, "C05: calls with missing and malformed keys create nothing").await;
}

/// Every storable text is a key of its own, whatever it means to the backend. Keys that differ only
/// in case, in accents or in trailing spaces are different sessions, for every method.
pub async fn c05_odd_keys_are_just_keys(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let (longest, other_longest) =
        ("k".repeat(StoreKey::MAX_BYTES), format!("{}K", "k".repeat(StoreKey::MAX_BYTES - 1)));
    let odd = [
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
        &longest,
        &other_longest,
    ];
    let sessions = odd.map(TestSession::under);
    for (at, session) in sessions.iter().enumerate() {
        let new =
            session.record(LONG).data(data([("n", &at.to_string())])).principal(alice.clone());
        create(&store, &session.key, new).await;
    }
    let law = "C05: list and scan give every odd key once";
    let mut all: Vec<StoreKey> = sessions.iter().map(|session| session.key.clone()).collect();
    all.sort_unstable();
    let paged = list_in_pages(&store, &alice, 7, law).await.into_iter().map(|summary| summary.key);
    for mut found in [scan_all(&store, 7).await, paged.collect()] {
        found.sort_unstable();
        same(found.len(), odd.len(), law);
        same(found == all, true, law);
    }
    for (at, session) in sessions.iter().enumerate() {
        let (key, next, law) = (
            &session.key,
            session.rotated(),
            format!("C05: the key {:?} is a key of its own", odd[at]),
        );
        same(
            texts(&load(&store, key, &law).await.data),
            texts(&data([("n", &at.to_string())])),
            &law,
        );
        let sum = i64::try_from(at).unwrap_or(0) + 1;
        same(commit(&store, key, session.add("n", 1), &law).await.added[&name("n")], sum, &law);
        commit(&store, key, session.rotate(&next), &law).await;
        refused(&store, key, session.commit(), Outcome::Superseded, &law).await;
        end(&store, key, &law).await;
        absent(&store, key, &law).await;
    }
    same(
        listed(&store, &alice, law).await,
        [].into(),
        "C05: deleting each odd key leaves an empty list",
    );
    empty(fixture, "C05: deleting each odd key leaves none").await;
}

/// Hashes with every byte value, at every position, are stored and compared byte for byte: zero
/// bytes, line feeds, spaces, 0xff and bytes that differ only in case.
pub async fn c05_hashes_of_any_bytes_are_compared_byte_for_byte(fixture: &dyn Fixture) {
    const ODD: [u8; 9] = [0x00, 0x0a, 0x0d, 0x20, b'\'', b'\\', b'a', 0x80, 0xff];
    let store = fixture.store();
    let hash = |bytes| SecretHash::from_bytes(bytes);
    let with = |secret| TestSession { secret, ..TestSession::new() };
    for byte in ODD {
        let session = with(hash([byte; SecretHash::BYTES]));
        let law = format!("C05: a hash of {byte:#04x} alone works");
        create(&store, &session.key, session.record(LONG)).await;
        same(load(&store, &session.key, &law).await.secret, session.secret, &law);
        commit(&store, &session.key, session.commit(), &law).await;
        end(&store, &session.key, &law).await;
    }
    let mut session = create_any(&store, LONG).await;
    let key = session.key.clone();
    for position in 0..SecretHash::BYTES {
        let byte = ODD[position % ODD.len()];
        // The last byte that differs stands at each position once. 0x20 apart are also the cases of
        // a letter.
        let mut bytes = [b'A'; SecretHash::BYTES];
        (bytes[position], bytes[(position * 7 + 3) % SecretHash::BYTES]) = (byte, byte);
        let mut near = bytes;
        near[position] ^= 0x20;
        let next = TestSession { secret: hash(bytes), ..session.rotated() };
        let law = format!(
            "C05: a hash with {byte:#04x} at byte {position} is kept and compared byte for byte"
        );
        commit(&store, &key, session.rotate_with_grace(&next, LONG / 10), &law).await;
        let record = load(&store, &key, &law).await;
        same(
            (record.secret, record.grace.map(|grace| grace.secret)),
            (next.secret, Some(session.secret)),
            &law,
        );
        let near = TestSession { secret: hash(near), ..next.clone() };
        refused(&store, &key, near.set("n", "1"), Outcome::Superseded, &law).await;
        session = next;
    }
}

/// A principal is stored byte for byte, at its longest as well.
pub async fn c03_odd_principals_come_back_exactly(fixture: &dyn Fixture) {
    let store = fixture.store();
    let longest = "ü".repeat(Principal::MAX_BYTES / 2);
    for text in
        ["bob ", " bob", "Bob", "é", "e\u{301}", "null", "🦀", "\"'\\$%", "\u{feff}", &longest]
    {
        let session = create_any(&store, LONG).await;
        let (next, law) =
            (session.rotated(), format!("C03: the principal {text:?} comes back exactly"));
        commit(&store, &session.key, session.sign_in(&next, &principal(text)), &law).await;
        same(load(&store, &session.key, &law).await.principal, Some(principal(text)), &law);
    }
}
