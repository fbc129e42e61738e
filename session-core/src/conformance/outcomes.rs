//! Checks of the outcome of a commit, and of the order of outcomes: C46.

use super::{
    assert::{check, check_eq, check_rejected},
    calls::{
        check_absent, check_outcome, clients, commit, create, create_anonymous, end_session,
        list_keys, load,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, name, principal, texts},
};
use crate::{Attributes, Change, Commit, Guard, Outcome, PrincipalChange};

/// Adds to a commit what the store has to reject.
type Addition<'a> = &'a (dyn Fn(Commit) -> Commit + Sync);

/// A commit whose secret is not the current one is `Superseded` and changes nothing.
///
/// The check uses the former secret, a future one and an unknown one, also for empty commits.
pub async fn c46_a_superseded_commit_changes_nothing(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let former = TestSession::new();
    let (key, current) = (&former.key, former.rotated());
    create(&clients[0], key, former.record(LONG).data(data([("a", "1")]))).await;
    commit(&clients[0], key, former.rotate(&current), "C46: a rotation takes effect").await;
    let stored = fixture.dump().await.or_explain("C46 (stored bytes)");
    let never = TestSession { generation: 1, ..TestSession::under(key.as_str()) };
    for (what, wrong) in
        [("the former", &former), ("a future", &current.rotated()), ("an unknown", &never)]
    {
        let rule = format!("C46: a commit with {what} secret is Superseded (law 4)");
        let next = wrong.rotated();
        for whole in [
            wrong.commit(),
            wrong.set("a", "2"),
            wrong.add("n", 1),
            wrong.commit().clear(),
            wrong.touch(LONG * 2),
            wrong.commit().authenticated(),
            wrong.sign_out(),
            wrong.commit().attributes(Attributes::default()),
            wrong.rotate(&next),
            wrong.sign_in(&next, &alice),
            wrong.set("a", "2").guard(Guard::Version(1)),
            wrong.set("a", "2").guard(Guard::Version(9)),
        ] {
            for client in &clients {
                check_outcome(client, key, whole.clone(), Outcome::Superseded, &rule).await;
            }
        }
    }
    let rule = "C46: a superseded commit changes nothing";
    let record = load(&clients[1], key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("a", "1")])), 1, None),
        rule,
    );
    check_eq((record.secret, record.generation, record.since), (current.secret, 1, 0), rule);
    check(
        record.ttl <= LONG,
        "C46: a superseded commit does not extend the ttl",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
    check_eq(list_keys(&clients[1], &alice, rule).await, [].into(), rule);
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain("C46 (stored bytes)"))
    {
        check_eq(before == after, true, "C46: superseded commits do not change the stored bytes");
    }
    commit(&clients[1], key, current.set("a", "2"), "C46: the current secret still works").await;
}

/// One commit with several faults is `Gone`, then `Superseded`, `Conflict`, `Rejected`.
///
/// `Corrupt` comes after `Gone`; C39 and C40 check it.
pub async fn c46_outcomes_have_an_order(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let (key, other) = (&session.key, TestSession::under(session.key.as_str()));
    let cap = fixture.limits().data_bytes;
    let half = format!("\"{}\"", "x".repeat(cap / 2));
    create(&store, key, session.record(LONG).data(data([("half", &half), ("text", "\"a\"")])))
        .await;
    // The validation before I/O accepts these changes.
    let sum_over_text =
        |commit: Commit| commit.and_set("b", "1").change(name("text"), Change::Add(1));
    let over_the_cap = |commit: Commit| commit.and_set("more", &half);
    let impossible: [(&str, Option<&str>, Addition<'_>); 3] = [
        ("an Add to a text", Some("NotAnInteger"), &sum_over_text),
        ("data over the limit", Some("DataTooLarge"), &over_the_cap),
        ("no change", None, &|commit| commit),
    ];
    for (what, rejection, with) in impossible {
        let rule = format!(
            "C46: with {what} and a wrong secret a commit is Superseded before it is a Conflict or \
             Rejected (law 9)"
        );
        for guard in [Guard::Any, Guard::Version(9)] {
            check_outcome(
                &store,
                key,
                with(other.commit()).guard(guard),
                Outcome::Superseded,
                &rule,
            )
            .await;
        }
        let rule = format!(
            "C46: with {what} and a stale version a commit is a Conflict before it is Rejected \
             (law 9)"
        );
        check_outcome(
            &store,
            key,
            with(session.commit()).guard(Guard::Version(9)),
            Outcome::Conflict,
            &rule,
        )
        .await;
        if let Some(rejection) = rejection {
            let rule = format!("C46: with {what} a commit is Rejected last");
            check_rejected(
                store.commit(key, with(session.commit()).guard(Guard::Version(1))).await,
                rejection,
                &rule,
            );
        }
    }
    let rule = "C46: rejected commits change nothing";
    let record = load(&store, key, rule).await;
    check_eq((record.version, record.data.len()), (1, 2), rule);
    end_session(&store, key, rule).await;
    for (what, _, with) in impossible {
        let rule = format!("C46: with {what} a commit on a dead session is Gone first (law 9)");
        for session in [&session, &other] {
            for guard in [Guard::Any, Guard::Version(9)] {
                check_outcome(
                    &store,
                    key,
                    with(session.commit()).guard(guard),
                    Outcome::Gone,
                    &rule,
                )
                .await;
            }
        }
    }
}

/// An empty commit is `Done`, `Superseded`, `Conflict` or `Gone`, like any other.
pub async fn c46_an_empty_commit_is_checked(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_anonymous(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    commit(
        &clients[0],
        key,
        session.commit(),
        "C46: an empty commit with the current secret is Done",
    )
    .await;
    let rule = "C46: an empty commit under a stale version is a Conflict";
    check_outcome(
        &clients[0],
        key,
        session.commit().guard(Guard::Version(2)),
        Outcome::Conflict,
        rule,
    )
    .await;
    commit(&clients[1], key, session.rotate(&next), "C46: a rotation takes effect").await;
    check_outcome(
        &clients[0],
        key,
        session.commit(),
        Outcome::Superseded,
        "C46: an empty commit with a superseded secret is Superseded",
    )
    .await;
    end_session(&clients[1], key, "C46: delete finds the record").await;
    for session in [&session, &next] {
        check_outcome(
            &clients[0],
            key,
            session.commit(),
            Outcome::Gone,
            "C46: an empty commit on a dead session is Gone",
        )
        .await;
    }
}

/// A commit that sets a principal without a rotation is rejected and changes nothing.
///
/// This prevents session fixation.
pub async fn c46_a_sign_in_without_a_rotation_is_rejected(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let session = create_anonymous(&store, LONG).await;
    let sign_in =
        |session: &TestSession| session.commit().principal(PrincipalChange::Set(alice.clone()));
    let rule = "C46: a sign-in without a rotation is rejected";
    for whole in [
        sign_in(&session),
        sign_in(&session).authenticated(),
        sign_in(&session).clear().ttl(LONG * 2),
    ] {
        check_rejected(store.commit(&session.key, whole).await, "PrincipalWithoutRotation", rule);
    }
    let rule = "C46: the validation before I/O comes before every outcome";
    let missing = TestSession::new();
    check_rejected(
        store.commit(&missing.key, sign_in(&missing)).await,
        "PrincipalWithoutRotation",
        rule,
    );
    check_rejected(
        store.commit(&session.key, sign_in(&session.rotated())).await,
        "PrincipalWithoutRotation",
        rule,
    );
    check_absent(&store, &missing.key, rule).await;
    let rule = "C46: a rejected sign-in changes nothing";
    let record = load(&store, &session.key, rule).await;
    check_eq((record.principal, record.authenticated, record.version), (None, None, 1), rule);
    check(record.ttl <= LONG, rule, format_args!("a ttl of at most {LONG:?}"), record.ttl);
    check_eq(list_keys(&store, &alice, rule).await, [].into(), rule);
    let next = session.rotated();
    commit(
        &store,
        &session.key,
        session.sign_in(&next, &alice),
        "C46: a sign-in with a rotation takes effect",
    )
    .await;
}
