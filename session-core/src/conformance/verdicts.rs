//! Which verdict a commit gets, and in which order.

use super::{
    Fixture,
    steps::{
        CommitWords, LONG, TestSession, absent, clients, commit, create, create_any, data, end,
        holds, listed, load, name, principal, refused, rejected, same, texts,
    },
};
use crate::{Change, Commit, Guard, Outcome, PrincipalChange};

/// A commit with another secret than the current one is `Superseded` and changes nothing, an empty
/// one as well: with the former secret, a future one, and one that never was.
pub async fn c46_a_superseded_commit_changes_nothing(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let former = TestSession::new();
    let (key, current) = (&former.key, former.rotated());
    create(&clients[0], key, former.record(LONG).data(data([("a", "1")]))).await;
    commit(&clients[0], key, former.rotate(&current), "C46: a rotation takes effect").await;
    let stored = fixture.dump().await.or_explain("C46 (stored bytes)");
    let never = TestSession { generation: 1, ..TestSession::under(key.as_str()) };
    for (what, wrong) in [("the former", &former), ("a future", &current.rotated()), ("no", &never)]
    {
        let law = format!("C46: a commit with {what} secret of the session is Superseded (law 4)");
        let next = wrong.rotated();
        for whole in [
            wrong.commit(),
            wrong.set("a", "2"),
            wrong.add("n", 1),
            wrong.commit().clear(),
            wrong.touch(LONG * 2),
            wrong.commit().authenticated(),
            wrong.sign_out(),
            wrong.commit().attributes(crate::Attributes::default()),
            wrong.rotate(&next),
            wrong.sign_in(&next, &alice),
            wrong.set("a", "2").guard(Guard::Version(1)),
            wrong.set("a", "2").guard(Guard::Version(9)),
        ] {
            for client in &clients {
                refused(client, key, whole.clone(), Outcome::Superseded, &law).await;
            }
        }
    }
    let law = "C46: a superseded commit changes nothing";
    let record = load(&clients[1], key, law).await;
    same(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("a", "1")])), 1, None),
        law,
    );
    same((record.secret, record.generation, record.since), (current.secret, 1, 0), law);
    holds(
        record.ttl <= LONG,
        "C46: a superseded commit does not extend the life",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
    same(listed(&clients[1], &alice, law).await, [].into(), law);
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain("C46 (stored bytes)"))
    {
        same(before == after, true, "C46: superseded commits leave the stored bytes as they are");
    }
    commit(&clients[1], key, current.set("a", "2"), "C46: the current secret still works").await;
}

/// What a commit tries besides.
type Addition<'a> = &'a (dyn Fn(Commit) -> Commit + Sync);

/// The verdicts of one commit come in their order: `Gone`, `Superseded`, `Conflict`, `Rejected`.
/// `Corrupt` is between the first two; C39 and C40 check it.
pub async fn c46_verdicts_come_in_their_order(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let (key, other) = (&session.key, TestSession::under(session.key.as_str()));
    let cap = fixture.limits().data_bytes;
    let half = format!("\"{}\"", "x".repeat(cap / 2));
    create(&store, key, session.record(LONG).data(data([("half", &half), ("text", "\"a\"")])))
        .await;
    // No check before I/O finds these.
    let sum_over_text =
        |commit: Commit| commit.and_set("b", "1").change(name("text"), Change::Add(1));
    let over_the_cap = |commit: Commit| commit.and_set("more", &half);
    let impossible: [(&str, Option<&str>, Addition<'_>); 3] = [
        ("a sum over a text", Some("NotAnInteger"), &sum_over_text),
        ("data over the cap", Some("DataTooLarge"), &over_the_cap),
        ("no change", None, &|commit| commit),
    ];
    for (what, rejection, with) in impossible {
        let law = format!(
            "C46: with {what} and a wrong secret a commit is Superseded before it is a Conflict or Rejected (law 9)"
        );
        for guard in [Guard::Any, Guard::Version(9)] {
            refused(&store, key, with(other.commit()).guard(guard), Outcome::Superseded, &law)
                .await;
        }
        let law = format!(
            "C46: with {what} and a stale version a commit is a Conflict before it is Rejected (law 9)"
        );
        refused(
            &store,
            key,
            with(session.commit()).guard(Guard::Version(9)),
            Outcome::Conflict,
            &law,
        )
        .await;
        if let Some(rejection) = rejection {
            let law = format!("C46: with {what} a commit is Rejected last");
            rejected(
                store.commit(key, with(session.commit()).guard(Guard::Version(1))).await,
                rejection,
                &law,
            );
        }
    }
    let law = "C46: refused commits change nothing";
    let record = load(&store, key, law).await;
    same((record.version, record.data.len()), (1, 2), law);
    end(&store, key, law).await;
    for (what, _, with) in impossible {
        let law =
            format!("C46: with {what} a commit on a dead session is Gone before all else (law 9)");
        for session in [&session, &other] {
            for guard in [Guard::Any, Guard::Version(9)] {
                refused(&store, key, with(session.commit()).guard(guard), Outcome::Gone, &law)
                    .await;
            }
        }
    }
}

/// An empty commit is judged like any other: `Done`, `Superseded`, `Conflict` or `Gone`.
pub async fn c46_an_empty_commit_is_judged(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_any(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    commit(
        &clients[0],
        key,
        session.commit(),
        "C46: an empty commit with the current secret is Done",
    )
    .await;
    let law = "C46: an empty commit under a stale version is a Conflict";
    refused(&clients[0], key, session.commit().guard(Guard::Version(2)), Outcome::Conflict, law)
        .await;
    commit(&clients[1], key, session.rotate(&next), "C46: a rotation takes effect").await;
    refused(
        &clients[0],
        key,
        session.commit(),
        Outcome::Superseded,
        "C46: an empty commit with a superseded secret is Superseded",
    )
    .await;
    end(&clients[1], key, "C46: delete finds the record").await;
    for session in [&session, &next] {
        refused(
            &clients[0],
            key,
            session.commit(),
            Outcome::Gone,
            "C46: an empty commit on a dead session is Gone",
        )
        .await;
    }
}

/// A new principal without a rotation is refused, whatever else the commit has, and changes nothing
/// (session fixation).
pub async fn c46_a_sign_in_without_a_rotation_is_refused(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let session = create_any(&store, LONG).await;
    let sign_in =
        |session: &TestSession| session.commit().principal(PrincipalChange::Set(alice.clone()));
    let law = "C46: a sign-in without a rotation is refused";
    for whole in [
        sign_in(&session),
        sign_in(&session).authenticated(),
        sign_in(&session).clear().ttl(LONG * 2),
    ] {
        rejected(store.commit(&session.key, whole).await, "PrincipalWithoutRotation", law);
    }
    let law = "C46: the check before I/O comes before every verdict";
    let missing = TestSession::new();
    rejected(store.commit(&missing.key, sign_in(&missing)).await, "PrincipalWithoutRotation", law);
    rejected(
        store.commit(&session.key, sign_in(&session.rotated())).await,
        "PrincipalWithoutRotation",
        law,
    );
    absent(&store, &missing.key, law).await;
    let law = "C46: a refused sign-in changes nothing";
    let record = load(&store, &session.key, law).await;
    same((record.principal, record.authenticated, record.version), (None, None, 1), law);
    holds(record.ttl <= LONG, law, format_args!("a ttl of at most {LONG:?}"), record.ttl);
    same(listed(&store, &alice, law).await, [].into(), law);
    let next = session.rotated();
    commit(
        &store,
        &session.key,
        session.sign_in(&next, &alice),
        "C46: a sign-in with a rotation takes effect",
    )
    .await;
}
