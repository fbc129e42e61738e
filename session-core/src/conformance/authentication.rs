//! Checks of the age of the authentication: C48.

use std::time::{Duration, Instant};

use super::{
    assert::{check_between, check_eq},
    calls::{Client, commit, create, create_anonymous, list_in_pages, load},
    fixture::Fixture,
    session::{LONG, TestSession, principal},
};
use crate::{Attributes, Commit, NewRecord, PrincipalChange, StoreKey};

/// A sign-in and an authentication restart the authentication age, not the session age.
///
/// A second sign-in of the same user restarts it as well.
pub async fn c48_a_sign_in_restarts_the_authentication_age(fixture: &dyn Fixture) {
    let (store, tolerance, passed) = (fixture.store(), fixture.tolerance(), advance_step(fixture));
    let mut session = create_anonymous(&store, LONG).await;
    let key = session.key.clone();
    let started = Instant::now();
    let mut steps = 0;
    for what in [
        "alice signs in",
        "alice signs in again",
        "bob signs in",
        "bob authenticates",
        "bob authenticates with a rotation",
    ] {
        fixture.advance(passed).await;
        steps += 1;
        let next = session.rotated();
        let whole = match what {
            "bob signs in" => session.sign_in(&next, &principal("bob")),
            "bob authenticates" => session.commit().authenticated(),
            "bob authenticates with a rotation" => session.rotate(&next).authenticated(),
            _ => session.sign_in(&next, &principal("alice")),
        };
        session = if whole.rotate.is_some() { next } else { session };
        let rule = format!("C48: the authentication age restarts when {what}");
        let asked = Instant::now();
        for age in ages(&store, &key, whole, &rule).await {
            check_between(age.unwrap_or(LONG), Duration::ZERO, asked.elapsed(), tolerance, &rule);
        }
        let rule = "C48: a sign-in does not restart the session age";
        check_between(
            load(&store, &key, rule).await.age,
            passed * steps,
            (passed * steps).max(started.elapsed()) + tolerance,
            tolerance,
            rule,
        );
    }
}

/// All other commits keep the authentication age, and a sign-out clears it.
pub async fn c48_other_commits_keep_the_authentication_age(fixture: &dyn Fixture) {
    let (store, tolerance, passed) = (fixture.store(), fixture.tolerance(), advance_step(fixture));
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&store, key, session.record(LONG).principal(principal("alice"))).await;
    let started = Instant::now();
    fixture.advance(passed).await;
    let last = next.rotated();
    for (what, whole) in [
        ("a rotation", session.rotate(&next)),
        ("a rotation with a grace", next.rotate_with_grace(&last, LONG / 10)),
        ("a value", last.set("a", "1")),
        ("an Add", last.add("n", 1)),
        ("clear", last.commit().clear()),
        ("a longer ttl", last.touch(LONG * 2)),
        ("attributes", last.commit().attributes(Attributes::default())),
        ("an empty commit", last.commit()),
    ] {
        let rule = format!("C48: {what} does not restart the authentication age");
        for age in ages(&store, key, whole, &rule).await {
            check_between(
                age.unwrap_or_default(),
                passed,
                passed.max(started.elapsed()),
                tolerance,
                &rule,
            );
        }
    }
    let rule = "C48: a commit that removes the principal clears the authentication";
    check_eq(ages(&store, key, last.sign_out(), rule).await, [None, None], rule);
    let rule = "C48: a sign-out wins over an authentication in the same commit";
    let signed_in = last.rotated();
    commit(&store, key, last.sign_in(&signed_in, &principal("alice")), rule).await;
    check_eq(
        ages(&store, key, signed_in.sign_out().authenticated(), rule).await,
        [None, None],
        rule,
    );
    let rule = "C48: an anonymous session has no authentication";
    check_eq(ages(&store, key, signed_in.commit().authenticated(), rule).await, [None, None], rule);
    check_eq(
        ages(&store, key, signed_in.rotate(&signed_in.rotated()).authenticated(), rule).await,
        [None, None],
        rule,
    );
}

/// `commit` returns the session age and the authentication age without a `load`.
///
/// The session of the check is 8 hours old and was signed in 5 minutes ago.
pub async fn c48_a_commit_without_a_load_returns_both_ages(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let (hours, minutes) = (Duration::from_secs(8 * 3600), Duration::from_secs(5 * 60));
    let session = TestSession::new();
    let new = session.record(LONG).principal(principal("alice"));
    let started = Instant::now();
    create(&store, &session.key, NewRecord { age: hours, authenticated: Some(minutes), ..new })
        .await;
    let rule = "C48: commit returns the session age and the authentication age";
    let returned = commit(&store, &session.key, session.add("n", 1), rule).await;
    check_between(returned.age, hours, hours + started.elapsed(), tolerance, rule);
    check_between(
        returned.authenticated.unwrap_or_default(),
        minutes,
        minutes + started.elapsed(),
        tolerance,
        rule,
    );
    let rule = "C48: list returns the authentication age";
    for summary in list_in_pages(&store, &principal("alice"), 10, rule).await {
        check_between(summary.age, hours, hours + started.elapsed(), tolerance, rule);
        check_between(summary.authenticated, minutes, minutes + started.elapsed(), tolerance, rule);
    }
    let (rule, next) = ("C48: a sign-in restarts only the authentication age", session.rotated());
    let whole = session.rotate(&next).principal(PrincipalChange::Set(principal("alice")));
    let returned = commit(&store, &session.key, whole, rule).await;
    check_between(returned.age, hours, hours + started.elapsed(), tolerance, rule);
    check_between(
        returned.authenticated.unwrap_or(LONG),
        Duration::ZERO,
        started.elapsed(),
        tolerance,
        rule,
    );
}

/// The time between two commits. It is long enough to tell a restarted age from a running one.
fn advance_step(fixture: &dyn Fixture) -> Duration {
    fixture.tolerance() * 2 + Duration::from_millis(200)
}

/// Makes a commit, and returns the authentication age from its result and from a load.
async fn ages(store: &Client, key: &StoreKey, next: Commit, rule: &str) -> [Option<Duration>; 2] {
    let returned = commit(store, key, next, rule).await.authenticated;
    [returned, load(store, key, rule).await.authenticated]
}
