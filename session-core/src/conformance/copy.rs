//! What a copy of a session into another store keeps.

use std::time::{Duration, Instant};

use super::{
    Fixture,
    steps::{
        LONG, Must, TestSession, absent, broken, commit, create, data, json, load, name, principal,
        refused, same, scan_records, texts, within,
    },
};
use crate::{Attributes, Claim, Deleted, Guard, Limits, NewRecord, Outcome, Record};

/// Checks that a copy has all that the original had.
fn same_record(
    copy: &Record,
    original: &Record,
    elapsed: Duration,
    tolerance: Duration,
    law: &str,
) {
    same(texts(&copy.data), texts(&original.data), law);
    same(
        (copy.version, copy.generation, copy.since),
        (original.version, original.generation, original.since),
        law,
    );
    same(
        (copy.secret, &copy.principal, &copy.attributes),
        (original.secret, &original.principal, &original.attributes),
        law,
    );
    within(copy.age, original.age, original.age + elapsed, tolerance, law);
    same(copy.authenticated.is_some(), original.authenticated.is_some(), law);
    let authenticated = original.authenticated.unwrap_or_default();
    within(
        copy.authenticated.unwrap_or_default(),
        authenticated,
        authenticated + elapsed,
        tolerance,
        law,
    );
    within(copy.ttl, original.ttl.saturating_sub(elapsed), original.ttl, tolerance, law);
}

/// A copy keeps data, version, secret, generation, `since`, both ages, deadline, principal and
/// attributes, and behaves like the original.
pub async fn c54_a_copy_keeps_ages_deadline_and_versions(fixture: &dyn Fixture) {
    let (from, tolerance) = (fixture.store(), fixture.tolerance());
    let into = fixture.open_namespace("c54").await.must("C54: opening a namespace succeeds");
    let (first, alice) = (TestSession::new(), principal("alice"));
    let (key, second) = (&first.key, first.rotated());
    let third = second.rotated();
    let attributes = Attributes { absolute_timeout: Some(LONG), ..Attributes::default() };
    let begun = Instant::now();
    let new = first.record(LONG).data(data([("a", "1")])).attributes(attributes);
    create(&from, key, NewRecord { age: Duration::from_secs(8 * 3600), ..new }).await;
    commit(&from, key, first.sign_in(&second, &alice), "C54: a sign-in takes effect").await;
    fixture.advance(tolerance * 2 + Duration::from_millis(200)).await;
    commit(&from, key, second.rotate(&third), "C54: a rotation takes effect").await;
    let mut visited = scan_records(&from, 10).await;
    let law = "C54: a scan gives the session to copy";
    let Some((found, original)) = visited.pop().filter(|(found, _)| found == key) else {
        broken(law, "the session", visited.len())
    };
    let law = "C54: a copy keeps data, ages, deadline, versions, secret and principal";
    create(&into, &found, original.clone().into_new()).await;
    let copy = load(&into, key, law).await;
    same_record(&copy, &original, begun.elapsed(), tolerance, law);
    within(
        copy.rotated,
        copy.age,
        copy.age,
        tolerance,
        "C54: `rotated` of a created record is its creation",
    );
    same(copy.grace, None, "C54: a copy has no former secret");

    let law = "C54: a copy goes on where the original was";
    refused(&into, key, second.commit(), Outcome::Superseded, law).await;
    let told = commit(&into, key, third.add("n", 1).guard(Guard::Version(2)), law).await;
    same(told.version, 3, law);
    same(into.delete(key, Claim::Generation(0)).await.must(law), Deleted::Superseded, law);
    same(into.delete(key, Claim::Generation(1)).await.must(law), Deleted::Ended, law);
    load(&from, key, "C54: the original lives on").await;
}

/// A copy dies when the original does.
pub async fn c54_a_copy_dies_with_the_original(fixture: &dyn Fixture) {
    let into = fixture.open_namespace("c54d").await.must("C54: opening a namespace succeeds");
    let (from, session, ttl) = (fixture.store(), TestSession::new(), Duration::from_secs(2));
    create(&from, &session.key, session.record(ttl)).await;
    fixture.advance(ttl / 2).await;
    let original = load(&from, &session.key, "C54: the original lives").await;
    create(&into, &session.key, original.into_new()).await;
    fixture.advance(ttl / 2 + Duration::from_millis(50)).await;
    for store in [&from, &into] {
        absent(store, &session.key, "C54: a copy prolongs nothing").await;
    }
}

/// The greatest and the least values of every number are kept exactly.
pub async fn c54_extreme_numbers_are_kept(fixture: &dyn Fixture) {
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
        let law = format!("C54: {what} numbers are kept exactly");
        let session = TestSession { generation, ..TestSession::new() };
        let who = authenticated.map(|_| principal("alice"));
        let data = [(name("n"), json("1"))].into_iter().collect();
        let new = NewRecord {
            version,
            since,
            age,
            authenticated,
            principal: who,
            ..session.record(LONG).data(data)
        };
        let begun = Instant::now();
        create(&store, &session.key, new).await;
        let record = load(&store, &session.key, &law).await;
        same((record.version, record.generation, record.since), (version, generation, since), &law);
        within(record.age, age, age + begun.elapsed(), tolerance, &law);
        let age = authenticated.unwrap_or_default();
        within(
            record.authenticated.unwrap_or_default(),
            age,
            age + begun.elapsed(),
            tolerance,
            &law,
        );
        let guarded = session.add("n", 1).guard(Guard::Version(version));
        same(commit(&store, &session.key, guarded, &law).await.version, version + 1, &law);
        refused(
            &store,
            &session.key,
            session.add("n", 1).guard(Guard::Version(version)),
            Outcome::Conflict,
            &law,
        )
        .await;
        if since > 0 {
            same(
                store.delete(&session.key, Claim::Generation(since - 1)).await.must(&law),
                Deleted::Superseded,
                &law,
            );
        }
        same(
            store.delete(&session.key, Claim::Generation(since)).await.must(&law),
            Deleted::Ended,
            &law,
        );
    }
}
