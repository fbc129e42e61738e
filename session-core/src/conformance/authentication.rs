//! When the age of the authentication starts.

use std::time::{Duration, Instant};

use super::{
    Fixture,
    steps::{
        Client, LONG, TestSession, commit, create, create_any, list_in_pages, load, principal,
        same, within,
    },
};
use crate::{Commit, NewRecord, PrincipalChange, StoreKey};

/// The time that passes between two steps, so that a restarted age differs from one that goes on.
fn step(fixture: &dyn Fixture) -> Duration {
    fixture.tolerance() * 2 + Duration::from_millis(200)
}

/// Makes a commit, and gives the age of the authentication that it tells and the one that a load
/// gives.
async fn ages(store: &Client, key: &StoreKey, next: Commit, law: &str) -> [Option<Duration>; 2] {
    let told = commit(store, key, next, law).await.authenticated;
    [told, load(store, key, law).await.authenticated]
}

/// A sign-in, also a second one of the same user, and an authentication start the age anew. The age
/// of the session goes on.
pub async fn c48_a_sign_in_stamps_the_authentication(fixture: &dyn Fixture) {
    let (store, tolerance, passed) = (fixture.store(), fixture.tolerance(), step(fixture));
    let mut session = create_any(&store, LONG).await;
    let key = session.key.clone();
    let begun = Instant::now();
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
        let law = format!("C48: the age of the authentication starts anew when {what}");
        let asked = Instant::now();
        for age in ages(&store, &key, whole, &law).await {
            within(age.unwrap_or(LONG), Duration::ZERO, asked.elapsed(), tolerance, &law);
        }
        let law = "C48: a sign-in does not restart the age of the session";
        within(
            load(&store, &key, law).await.age,
            passed * steps,
            (passed * steps).max(begun.elapsed()) + tolerance,
            tolerance,
            law,
        );
    }
}

/// Rotations, values, lives and attributes keep the age of the authentication. Removing the
/// principal clears it.
pub async fn c48_other_commits_keep_the_authentication(fixture: &dyn Fixture) {
    let (store, tolerance, passed) = (fixture.store(), fixture.tolerance(), step(fixture));
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&store, key, session.record(LONG).principal(principal("alice"))).await;
    let begun = Instant::now();
    fixture.advance(passed).await;
    let last = next.rotated();
    for (what, whole) in [
        ("a rotation", session.rotate(&next)),
        ("a rotation with a grace", next.rotate_with_grace(&last, LONG / 10)),
        ("a value", last.set("a", "1")),
        ("a sum", last.add("n", 1)),
        ("clear", last.commit().clear()),
        ("a longer life", last.touch(LONG * 2)),
        ("attributes", last.commit().attributes(crate::Attributes::default())),
        ("an empty commit", last.commit()),
    ] {
        let law = format!("C48: {what} does not restart the age of the authentication");
        for age in ages(&store, key, whole, &law).await {
            within(age.unwrap_or_default(), passed, passed.max(begun.elapsed()), tolerance, &law);
        }
    }
    let law = "C48: removing the principal clears the authentication";
    same(ages(&store, key, last.sign_out(), law).await, [None, None], law);
    let law = "C48: a sign-out beats an authentication in the same commit";
    let signed_in = last.rotated();
    commit(&store, key, last.sign_in(&signed_in, &principal("alice")), law).await;
    same(ages(&store, key, signed_in.sign_out().authenticated(), law).await, [None, None], law);
    let law = "C48: an anonymous session has no authentication";
    same(ages(&store, key, signed_in.commit().authenticated(), law).await, [None, None], law);
    same(
        ages(&store, key, signed_in.rotate(&signed_in.rotated()).authenticated(), law).await,
        [None, None],
        law,
    );
}

/// A commit without a load tells both ages: here of a session that began 8 hours ago and was signed
/// in 5 minutes ago.
pub async fn c48_a_blind_commit_tells_both_ages(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let (hours, minutes) = (Duration::from_secs(8 * 3600), Duration::from_secs(5 * 60));
    let session = TestSession::new();
    let new = session.record(LONG).principal(principal("alice"));
    let begun = Instant::now();
    create(&store, &session.key, NewRecord { age: hours, authenticated: Some(minutes), ..new })
        .await;
    let law = "C48: a commit tells the age of the session and the age of the authentication";
    let told = commit(&store, &session.key, session.add("n", 1), law).await;
    within(told.age, hours, hours + begun.elapsed(), tolerance, law);
    within(
        told.authenticated.unwrap_or_default(),
        minutes,
        minutes + begun.elapsed(),
        tolerance,
        law,
    );
    let law = "C48: list tells the age of the authentication";
    for summary in list_in_pages(&store, &principal("alice"), 10, law).await {
        within(summary.age, hours, hours + begun.elapsed(), tolerance, law);
        within(summary.authenticated, minutes, minutes + begun.elapsed(), tolerance, law);
    }
    let (law, next) =
        ("C48: a sign-in restarts the age of the authentication alone", session.rotated());
    let whole = session.rotate(&next).principal(PrincipalChange::Set(principal("alice")));
    let told = commit(&store, &session.key, whole, law).await;
    within(told.age, hours, hours + begun.elapsed(), tolerance, law);
    within(told.authenticated.unwrap_or(LONG), Duration::ZERO, begun.elapsed(), tolerance, law);
}
