//! Checks of the grace, in which the former secret of a rotated session still reads: C22.

use std::time::{Duration, Instant};

use super::{
    assert::{check, check_between, check_eq, check_rejected, fail},
    calls::{check_superseded, clients, commit, create, create_anonymous, load, open_session},
    fixture::Fixture,
    session::{CommitExt, GRACE, LONG, TestSession, principal},
};
use crate::{Limits, Opened, PrincipalChange};

/// During its grace the former secret reads and cannot write; afterwards it is forgotten.
pub async fn c22_a_former_secret_only_reads_during_its_grace(fixture: &dyn Fixture) {
    let (clients, tolerance) = (clients(fixture, 2).await, fixture.tolerance());
    let session = create_anonymous(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let grace = tolerance + Duration::from_secs(2);
    let started = Instant::now();
    commit(
        &clients[0],
        key,
        session.rotate_with_grace(&next, grace),
        "C22: a rotation with a grace takes effect",
    )
    .await;
    for client in &clients {
        let rule = "C22: load returns the former secret during its grace";
        match open_session(client, &session, rule).await {
            Opened::Grace(record) => {
                let Some(grace_left) = record.grace else { fail(rule, "a grace", "None") };
                check_eq(
                    (grace_left.secret, record.secret, record.generation),
                    (session.secret, next.secret, 1),
                    rule,
                );
                let least = grace.saturating_sub(started.elapsed());
                check(!grace_left.left.is_zero(), rule, "some time left", grace_left.left);
                check_between(
                    grace_left.left,
                    least,
                    grace,
                    tolerance,
                    "C22: `left` is the remaining grace",
                );
            }
            opened => fail(rule, "Grace", format_args!("{opened:?}")),
        }
        let commits = [
            session.set("a", "9"),
            session.touch(LONG),
            session.rotate(&session.rotated()),
            session.commit(),
        ];
        let rule = "C22: a former secret cannot write during its grace (law 4)";
        check_superseded(client, key, commits, rule).await;
    }
    commit(
        &clients[0],
        key,
        next.set("a", "1").ttl(LONG),
        "C22: the new secret writes during the grace",
    )
    .await;
    let rule = "C22: a commit without a rotation keeps the grace";
    check_eq(
        matches!(
            open_session(&clients[1], &session, rule).await,
            Opened::Grace(_) | Opened::Superseded(_)
        ),
        true,
        rule,
    );
    fixture.advance(grace + tolerance).await;
    for client in &clients {
        let rule = "C22: load returns no former secret after its grace";
        check_eq(load(client, key, rule).await.grace, None, rule);
        check_eq(
            matches!(open_session(client, &session, rule).await, Opened::Superseded(_)),
            true,
            rule,
        );
    }
}

/// Each rotation replaces the stored former secret, or drops it if it has no grace.
pub async fn c22_the_next_rotation_drops_the_older_secret(fixture: &dyn Fixture) {
    let store = fixture.store();
    let first = TestSession::new();
    let key = &first.key;
    create(&store, key, first.record(LONG).principal(principal("alice"))).await;
    let graced = async |from: &TestSession, to: &TestSession| {
        commit(
            &store,
            key,
            from.rotate_with_grace(to, GRACE),
            "C22: a rotation with a grace takes effect",
        )
        .await;
    };
    let check_former = async |expected: Option<&TestSession>, rule: &str| {
        check_eq(
            load(&store, key, rule).await.grace.map(|grace| grace.secret),
            expected.map(|session| session.secret),
            rule,
        );
    };
    let second = first.rotated();
    graced(&first, &second).await;
    check_former(Some(&first), "C22: load returns the former secret during its grace").await;
    let third = second.rotated();
    graced(&second, &third).await;
    check_former(Some(&second), "C22: a second grace replaces the first").await;
    let mut session = third.rotated();
    commit(&store, key, third.rotate(&session), "C22: a rotation takes effect").await;
    check_former(None, "C22: a rotation without a grace drops the former secret").await;
    for what in ["a sign-in", "a sign-out", "an authentication"] {
        let next = session.rotated();
        graced(&session, &next).await;
        let last = next.rotated();
        let rotation = next.rotate(&last);
        let whole = match what {
            "a sign-in" => rotation.principal(PrincipalChange::Set(principal("alice"))),
            "a sign-out" => rotation.principal(PrincipalChange::Unset),
            _ => rotation.authenticated(),
        };
        let rule = format!("C22: {what} drops the former secret");
        commit(&store, key, whole, &rule).await;
        check_former(None, &rule).await;
        session = last;
    }
}

/// A grace out of range, or with a sign-in or authentication, is rejected without effect.
pub async fn c22_a_grace_out_of_range_is_rejected(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let millisecond = Duration::from_millis(1);
    for grace in [
        Duration::ZERO,
        Duration::from_micros(999),
        Limits::LONGEST_GRACE + millisecond,
        Duration::MAX,
    ] {
        let rule = format!("C22: a grace of {grace:?} is rejected");
        check_rejected(
            store.commit(key, session.rotate_with_grace(&next, grace).and_set("a", "1")).await,
            "Grace",
            &rule,
        );
    }
    let with_grace = session.rotate_with_grace(&next, GRACE);
    for (what, commit) in [
        ("a sign-in", with_grace.clone().principal(PrincipalChange::Set(principal("alice")))),
        ("a sign-out", with_grace.clone().principal(PrincipalChange::Unset)),
        ("an authentication", with_grace.clone().authenticated()),
    ] {
        check_rejected(
            store.commit(key, commit).await,
            "GraceWithSignIn",
            &format!("C22: a grace in the same commit as {what} is rejected"),
        );
    }
    let rule = "C22: a rejected rotation changes nothing";
    let record = load(&store, key, rule).await;
    check_eq(
        (record.secret, record.generation, record.version, record.grace),
        (session.secret, 0, 1, None),
        rule,
    );
    commit(
        &store,
        key,
        session.rotate_with_grace(&next, Limits::LONGEST_GRACE),
        "C22: the longest grace is allowed",
    )
    .await;
    let rule = "C22: the remaining grace does not exceed the grace of the rotation";
    let left = load(&store, key, rule).await.grace.map_or(Duration::MAX, |grace| grace.left);
    check(
        left <= Limits::LONGEST_GRACE,
        rule,
        format_args!("at most {:?}", Limits::LONGEST_GRACE),
        left,
    );
}
