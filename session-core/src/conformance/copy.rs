//! Checks of copying a session into another store: C54.

use std::time::{Duration, Instant};

use super::{
    assert::{Must, check_between, check_eq, fail},
    calls::{check_absent, check_outcome, commit, create, load, scan_records},
    fixture::Fixture,
    session::{LONG, TestSession, data, json, name, principal, texts},
};
use crate::{Attributes, Claim, Deleted, Guard, Limits, NewRecord, Outcome, Record};

/// A copy in another store has all stored fields and behaves like the original.
///
/// These are data, version, secret, generation, `since`, both ages, deadline, principal and
/// attributes.
pub async fn c54_a_copy_keeps_ages_deadline_and_versions(fixture: &dyn Fixture) {
    let (from, tolerance) = (fixture.store(), fixture.tolerance());
    let into = fixture.open_namespace("c54").await.must("C54: opening a namespace succeeds");
    let (first, alice) = (TestSession::new(), principal("alice"));
    let (key, second) = (&first.key, first.rotated());
    let third = second.rotated();
    let attributes = Attributes { absolute_timeout: Some(LONG), ..Attributes::default() };
    let started = Instant::now();
    let new = first.record(LONG).data(data([("a", "1")])).attributes(attributes);
    create(&from, key, NewRecord { age: Duration::from_secs(8 * 3600), ..new }).await;
    commit(&from, key, first.sign_in(&second, &alice), "C54: a sign-in takes effect").await;
    fixture.advance(tolerance * 2 + Duration::from_millis(200)).await;
    commit(&from, key, second.rotate(&third), "C54: a rotation takes effect").await;
    let mut visited = scan_records(&from, 10).await;
    let rule = "C54: a scan returns the session to copy";
    let Some((found, original)) = visited.pop().filter(|(found, _)| found == key) else {
        fail(rule, "the session", visited.len())
    };
    let rule = "C54: a copy keeps data, ages, deadline, versions, secret and principal";
    create(&into, &found, original.clone().into_new()).await;
    let copy = load(&into, key, rule).await;
    check_copy(&copy, &original, started.elapsed(), tolerance, rule);
    check_between(
        copy.rotated,
        copy.age,
        copy.age,
        tolerance,
        "C54: `rotated` of a created record is its creation",
    );
    check_eq(copy.grace, None, "C54: a copy has no former secret");

    let rule = "C54: a copy continues from the state of the original";
    check_outcome(&into, key, second.commit(), Outcome::Superseded, rule).await;
    let returned = commit(&into, key, third.add("n", 1).guard(Guard::Version(2)), rule).await;
    check_eq(returned.version, 3, rule);
    check_eq(into.delete(key, Claim::Generation(0)).await.must(rule), Deleted::Superseded, rule);
    check_eq(into.delete(key, Claim::Generation(1)).await.must(rule), Deleted::Ended, rule);
    load(&from, key, "C54: the original stays live").await;
}

/// A copy expires when the original does.
pub async fn c54_a_copy_expires_with_the_original(fixture: &dyn Fixture) {
    let into = fixture.open_namespace("c54d").await.must("C54: opening a namespace succeeds");
    let (from, session, ttl) = (fixture.store(), TestSession::new(), Duration::from_secs(2));
    create(&from, &session.key, session.record(ttl)).await;
    fixture.advance(ttl / 2).await;
    let original = load(&from, &session.key, "C54: the original is live").await;
    create(&into, &session.key, original.into_new()).await;
    fixture.advance(ttl / 2 + Duration::from_millis(50)).await;
    for store in [&from, &into] {
        check_absent(store, &session.key, "C54: a copy does not extend the ttl").await;
    }
}

/// The greatest and least values of every number are stored exactly.
pub async fn c54_extreme_numbers_are_stored_exactly(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let largest = Limits::LARGEST_VERSION;
    for (what, version, generation, since, age, authenticated) in [
        ("the least", 1, 0, 0, Duration::ZERO, Some(Duration::ZERO)),
        (
            "32-bit signs",
            1 << 31,
            1 << 31,
            1 << 31,
            Duration::from_secs(1 << 31),
            Some(Duration::from_secs(1 << 31)),
        ),
        (
            "beyond 32 bits",
            1 << 32,
            u32::MAX - 1,
            1,
            Duration::from_millis(1 << 32),
            Some(Duration::from_millis(1)),
        ),
        (
            "the greatest",
            largest - 1,
            u32::MAX,
            u32::MAX,
            Limits::LONGEST_AGE,
            Some(Limits::LONGEST_AGE),
        ),
        (
            "the greatest of an anonymous session",
            largest - 1,
            u32::MAX,
            0,
            Limits::LONGEST_AGE,
            None,
        ),
    ] {
        let rule = format!("C54: {what} numbers are stored exactly");
        let session = TestSession { generation, ..TestSession::new() };
        let user = authenticated.map(|_| principal("alice"));
        let data = [(name("n"), json("1"))].into_iter().collect();
        let new = NewRecord {
            version,
            since,
            age,
            authenticated,
            principal: user,
            ..session.record(LONG).data(data)
        };
        let started = Instant::now();
        create(&store, &session.key, new).await;
        let record = load(&store, &session.key, &rule).await;
        check_eq(
            (record.version, record.generation, record.since),
            (version, generation, since),
            &rule,
        );
        check_between(record.age, age, age + started.elapsed(), tolerance, &rule);
        let age = authenticated.unwrap_or_default();
        check_between(
            record.authenticated.unwrap_or_default(),
            age,
            age + started.elapsed(),
            tolerance,
            &rule,
        );
        let guarded = session.add("n", 1).guard(Guard::Version(version));
        check_eq(commit(&store, &session.key, guarded, &rule).await.version, version + 1, &rule);
        check_outcome(
            &store,
            &session.key,
            session.add("n", 1).guard(Guard::Version(version)),
            Outcome::Conflict,
            &rule,
        )
        .await;
        if since > 0 {
            check_eq(
                store.delete(&session.key, Claim::Generation(since - 1)).await.must(&rule),
                Deleted::Superseded,
                &rule,
            );
        }
        check_eq(
            store.delete(&session.key, Claim::Generation(since)).await.must(&rule),
            Deleted::Ended,
            &rule,
        );
    }
}

/// Checks that a copy has all fields of the original.
fn check_copy(
    copy: &Record,
    original: &Record,
    elapsed: Duration,
    tolerance: Duration,
    rule: &str,
) {
    check_eq(texts(&copy.data), texts(&original.data), rule);
    check_eq(
        (copy.version, copy.generation, copy.since),
        (original.version, original.generation, original.since),
        rule,
    );
    check_eq(
        (copy.secret, &copy.principal, &copy.attributes),
        (original.secret, &original.principal, &original.attributes),
        rule,
    );
    check_between(copy.age, original.age, original.age + elapsed, tolerance, rule);
    check_eq(copy.authenticated.is_some(), original.authenticated.is_some(), rule);
    let authenticated = original.authenticated.unwrap_or_default();
    check_between(
        copy.authenticated.unwrap_or_default(),
        authenticated,
        authenticated + elapsed,
        tolerance,
        rule,
    );
    check_between(copy.ttl, original.ttl.saturating_sub(elapsed), original.ttl, tolerance, rule);
}
