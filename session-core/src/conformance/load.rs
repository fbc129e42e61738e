//! Checks of the fields that `load` and `commit` return: C03.

use std::time::{Duration, Instant};

use super::{
    assert::{Must, check_between, check_eq},
    calls::{commit, create, create_anonymous, load},
    fixture::Fixture,
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Attributes, NewRecord, Opened, Persistence, Principal, ShortText};

/// `load` returns values, version, secret, generation, principal and attributes as stored.
pub async fn c03_load_returns_the_stored_record(fixture: &dyn Fixture) {
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
    check_eq(texts(&record.data), texts(&values), "C03: load returns exactly the stored values");
    check_eq(record.version, 1, "C03: load returns the version");
    check_eq(record.principal, Some(principal("alice")), "C03: load returns the principal");
    check_eq(record.attributes, attributes.clone(), "C03: load returns the attributes unchanged");
    check_eq(record.secret, session.secret, "C03: load returns the hash of the secret");
    let rule =
        "C03: load returns generation and since, and no former secret before the first rotation";
    check_eq((record.generation, record.since, record.grace), (0, 0, None), rule);
    let opened = store.load(&session.key).await.must(rule).must(rule).open(&session.secret);
    check_eq(
        matches!(opened, Opened::Current(_)),
        true,
        "C03: the secret of the session opens the loaded record",
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
    let rule = "C03: a commit replaces the attributes";
    for next in [
        browser,
        longest.bounded(),
        Attributes { label: short("a".to_owned()), ..Attributes::default() },
        Attributes::default(),
    ] {
        let committed =
            commit(&store, &session.key, session.commit().attributes(next.clone()), rule).await;
        check_eq(committed.attributes, next.clone(), rule);
        check_eq(load(&store, &session.key, rule).await.attributes, next, rule);
    }
}

/// Ages and ttl follow the clock of the backend, within the tolerance of the fixture.
pub async fn c03_age_and_ttl_follow_the_backend_clock(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let started = Instant::now();
    let session = TestSession::new();
    create(&store, &session.key, session.record(LONG).principal(principal("alice"))).await;
    let mut passed = Duration::ZERO;
    for _ in 0..2 {
        let record = load(&store, &session.key, "C03: a live record is found").await;
        // A manual clock advances by `advance` only, a real clock at least by the duration of this
        // check.
        let (least, most) =
            (passed, passed.max(started.elapsed()) + started.elapsed().min(tolerance));
        check_between(record.age, least, most, tolerance, "C03: age is the time since creation");
        check_between(
            record.rotated,
            least,
            most,
            tolerance,
            "C03: before the first rotation `rotated` is the time since creation",
        );
        check_between(
            record.authenticated.unwrap_or(LONG),
            least,
            most,
            tolerance,
            "C03: `authenticated` is the time since the sign-in",
        );
        let (least, most) = (LONG.saturating_sub(most), LONG.saturating_sub(least));
        check_between(record.ttl, least, most, tolerance, "C03: ttl is the remaining time");
        passed = tolerance + Duration::from_millis(200);
        fixture.advance(passed).await;
    }
}

/// `commit` returns the version, ages, ttl and attributes that a following `load` returns.
pub async fn c03_commit_returns_the_same_fields_as_load(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    for user in [None, Some(principal("alice"))] {
        let session = TestSession::new();
        let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
        let new = NewRecord { age: LONG, ..session.record(LONG).attributes(attributes) };
        let new =
            NewRecord { authenticated: user.as_ref().map(|_| LONG / 2), principal: user, ..new };
        create(&store, &session.key, new).await;
        fixture.advance(Duration::from_millis(20)).await;
        for next in [session.add("n", 2).ttl(LONG * 2), session.add("n", 1), session.commit()] {
            let returned = commit(&store, &session.key, next, "C03: a commit takes effect").await;
            let record = load(&store, &session.key, "C03: a live record is found").await;
            let rule = "C03: commit returns the same version and attributes as load";
            check_eq(
                (returned.version, returned.attributes),
                (record.version, record.attributes),
                rule,
            );
            check_between(
                returned.age,
                record.age,
                record.age,
                tolerance,
                "C03: commit returns the age of the record",
            );
            check_between(
                returned.ttl,
                record.ttl,
                record.ttl,
                tolerance,
                "C03: commit returns the remaining ttl",
            );
            let rule = "C03: commit returns the authentication age";
            check_eq(returned.authenticated.is_some(), record.authenticated.is_some(), rule);
            let authenticated = record.authenticated.unwrap_or_default();
            check_between(
                returned.authenticated.unwrap_or_default(),
                authenticated,
                authenticated,
                tolerance,
                rule,
            );
        }
    }
}

/// A principal is stored byte for byte, up to the longest one.
pub async fn c03_unusual_principals_are_stored_exactly(fixture: &dyn Fixture) {
    let store = fixture.store();
    let longest = "ü".repeat(Principal::MAX_BYTES / 2);
    for text in
        ["bob ", " bob", "Bob", "é", "e\u{301}", "null", "🦀", "\"'\\$%", "\u{feff}", &longest]
    {
        let session = create_anonymous(&store, LONG).await;
        let (next, rule) =
            (session.rotated(), format!("C03: the principal {text:?} is stored exactly"));
        commit(&store, &session.key, session.sign_in(&next, &principal(text)), &rule).await;
        check_eq(load(&store, &session.key, &rule).await.principal, Some(principal(text)), &rule);
    }
}
