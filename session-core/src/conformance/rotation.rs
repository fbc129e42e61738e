//! Checks of rotations: C22 to C25. The grace of a rotation is in `grace.rs`.

use std::time::{Duration, Instant};

use super::{
    assert::{Must, check, check_between, check_eq, check_rejected, fail},
    calls::{
        check_absent, check_empty, check_outcome, check_superseded, clients, commit, create,
        create_anonymous, dead_sessions, list_in_pages, load, open_session, purge_all,
        run_concurrently, scan_keys,
    },
    fixture::Fixture,
    session::{CommitExt, GRACE, LONG, TestSession, data, name, principal, texts},
};
use crate::{
    Attributes, Commit, Guard, Json, NewRecord, Opened, Outcome, Principal, PrincipalChange,
    SessionSummary, Superseded,
};

/// Adds the other changes of the commit to its rotation.
type AddChanges<'a> = Box<dyn Fn(Commit) -> Commit + Send + Sync + 'a>;

/// After a rotation the new secret opens the session, and the former secret is superseded.
///
/// The session keeps its values, and the rule holds for every client and every commit.
pub async fn c22_only_the_new_secret_opens_a_rotated_session(fixture: &dyn Fixture) {
    let (clients, tolerance) = (clients(fixture, 2).await, fixture.tolerance());
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    let attributes = Attributes { absolute_timeout: Some(LONG), ..Attributes::default() };
    let values = data([("a", "1"), ("b", "2")]);
    create(
        &clients[0],
        key,
        session
            .record(LONG)
            .data(values.clone())
            .principal(principal("alice"))
            .attributes(attributes.clone()),
    )
    .await;
    let started = Instant::now();
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let returned =
        commit(&clients[0], key, session.rotate(&next), "C22: a rotation takes effect").await;
    check_eq(returned.version, 1, "C22: a rotation is not a change (law 3)");
    for client in &clients {
        let record = load(client, key, "C22: the session is live under its key").await;
        let rule =
            "C22: load returns the new hash and generation, and no former secret without a grace";
        check_eq(
            (record.secret, record.generation, record.since, record.grace),
            (next.secret, 1, 0, None),
            rule,
        );
        check_eq(texts(&record.data), texts(&values), "C22: a rotation keeps the values");
        let rule = "C22: a rotation keeps principal and attributes";
        check_eq(
            (record.principal, record.attributes),
            (Some(principal("alice")), attributes.clone()),
            rule,
        );
        check_eq(record.version, 1, "C22: a rotation is not a change (law 3)");
        let most = passed.max(started.elapsed()) + tolerance;
        check_between(
            record.age,
            passed,
            most,
            tolerance,
            "C22: a rotation does not reset the age",
        );
        check_between(
            record.rotated,
            Duration::ZERO,
            started.elapsed().saturating_sub(passed),
            tolerance,
            "C22: a rotation resets `rotated`",
        );
        let rule = "C22: a rotation alone does not reset the authentication age";
        check_between(record.authenticated.unwrap_or_default(), passed, most, tolerance, rule);
        check_between(
            record.ttl,
            LONG.saturating_sub(most),
            LONG.saturating_sub(passed),
            tolerance,
            "C22: a rotation keeps the deadline",
        );
        let rule = "C22: the former secret is superseded (law 4)";
        match open_session(client, &session, rule).await {
            Opened::Superseded(Superseded { generation, since, principal: user, .. }) => {
                check_eq((generation, since, user), (1, 0, Some(principal("alice"))), rule);
            }
            opened => fail(rule, "Superseded", format_args!("{opened:?}")),
        }
        check_eq(
            matches!(open_session(client, &next, rule).await, Opened::Current(_)),
            true,
            "C22: the new secret opens the session",
        );
        let commits = [
            session.set("a", "9"),
            session.add("n", 1),
            session.touch(LONG),
            session.rotate(&session.rotated()),
            session.commit(),
        ];
        let rule = "C22: a commit with the former secret is Superseded (law 4)";
        check_superseded(client, key, commits, rule).await;
        commit(client, key, next.commit(), "C22: a commit with the new secret takes effect").await;
    }
    check_eq(
        texts(&load(&clients[1], key, "C22: the session is live").await.data),
        texts(&values),
        "C22: superseded commits change nothing",
    );
}

/// A rotation takes effect together with its changes, guard, principal and ttl, or not at all.
pub async fn c22_a_rotation_and_its_changes_are_atomic(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&store, key, session.record(LONG).data(data([("a", "1"), ("n", "1")]))).await;
    let rule = "C22: a rotation and its changes are one step (law 1)";
    let whole = session
        .add("n", 1)
        .and_remove("a")
        .ttl(LONG * 2)
        .guard(Guard::Version(1))
        .rotate(next.rotation());
    check_eq(commit(&store, key, whole, rule).await.version, 2, rule);
    let record = load(&store, key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.secret),
        (texts(&data([("n", "2")])), 2, next.secret),
        rule,
    );
    check(
        record.ttl > LONG,
        "C22: a rotation takes effect with the ttl of its commit",
        format_args!("more than {LONG:?}"),
        record.ttl,
    );
    let rule = "C22: a rejected change rejects the rotation";
    let third = next.rotated();
    check_rejected(
        store.commit(key, next.add("n", i64::MAX).rotate(third.rotation())).await,
        "Overflow",
        rule,
    );
    check_outcome(
        &store,
        key,
        next.rotate(&third).guard(Guard::Version(1)),
        Outcome::Conflict,
        rule,
    )
    .await;
    let record = load(&store, key, rule).await;
    check_eq((record.secret, record.generation), (next.secret, 1), rule);
    check_outcome(&store, key, third.commit(), Outcome::Superseded, rule).await;
    commit(&store, key, next.commit(), rule).await;
}

/// `generation` is that of the last rotation, and `since` is the generation of the sign-in.
///
/// `since` is 0 in an anonymous session.
pub async fn c22_generation_and_since_follow_the_commits(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (alice, bob) = (principal("alice"), principal("bob"));
    let mut session = create_anonymous(&store, LONG).await;
    let key = session.key.clone();
    let set = |user: &Principal| PrincipalChange::Set(user.clone());
    let steps: [(&str, u32, AddChanges<'_>, u32); 9] = [
        ("a rotation", 1, Box::new(|commit| commit), 0),
        ("a sign-in", 2, Box::new(|commit| commit.principal(set(&alice))), 2),
        ("a rotation", 3, Box::new(|commit| commit), 2),
        ("a rotation with an authentication", 4, Box::new(Commit::authenticated), 2),
        ("a second sign-in of the user", 5, Box::new(|commit| commit.principal(set(&alice))), 5),
        ("a change of user", 6, Box::new(|commit| commit.principal(set(&bob))), 6),
        (
            "a sign-out with a rotation",
            7,
            Box::new(|commit| commit.principal(PrincipalChange::Unset)),
            0,
        ),
        (
            "a sign-in that skips generations",
            1000,
            Box::new(|commit| commit.principal(set(&bob))),
            1000,
        ),
        (
            "the highest generation",
            u32::MAX,
            Box::new(|commit| commit.principal(set(&alice))),
            u32::MAX,
        ),
    ];
    for (what, generation, add_changes, since) in steps {
        let next = TestSession { generation, ..TestSession::under(key.as_str()) };
        let rule = format!("C22: generation and since after {what}");
        commit(&store, &key, add_changes(session.rotate(&next)), &rule).await;
        let record = load(&store, &key, &rule).await;
        check_eq(
            (record.generation, record.since, record.secret),
            (generation, since, next.secret),
            &rule,
        );
        session = next;
        let rule =
            format!("C22: values, ttls and authentications keep generation and since after {what}");
        for next in [
            session.set("a", "1"),
            session.touch(LONG),
            session.commit().authenticated(),
            session.commit(),
        ] {
            commit(&store, &key, next, &rule).await;
        }
        let record = load(&store, &key, &rule).await;
        check_eq(
            (record.generation, record.since, record.secret),
            (generation, since, session.secret),
            &rule,
        );
    }
    let rule = "C22: a sign-out without a rotation sets since to 0 and keeps the generation";
    commit(&store, &key, session.sign_out(), rule).await;
    let record = load(&store, &key, rule).await;
    check_eq((record.generation, record.since, record.secret), (u32::MAX, 0, session.secret), rule);
}

/// An `Add` during a rotation is `Done` before it or `Superseded` after it.
///
/// The record contains exactly the sums that were `Done`.
pub async fn c23_a_rotation_among_adds_is_serialized(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let rule = "C23: an Add during a rotation is Done or Superseded (law 4)";
    for _ in 0..5 {
        let session = create_anonymous(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = run_concurrently(&clients, 24, |store, at| {
            let (session, next) = (session.clone(), next.clone());
            async move {
                if at == 12 {
                    commit(
                        &store,
                        &session.key,
                        session.rotate(&next),
                        "C23: a rotation among adds takes effect",
                    )
                    .await;
                    return 0;
                }
                match store.commit(&session.key, session.add("n", 1)).await.must(rule) {
                    Outcome::Done(_) => 1,
                    Outcome::Superseded => 0,
                    other => fail(rule, "Done or Superseded", format_args!("{other:?}")),
                }
            }
        });
        let done: i64 = answers.await.into_iter().sum();
        let record = load(&clients[1], &session.key, rule).await;
        let sum = record.data.get("n").and_then(Json::as_integer).unwrap_or(0);
        check_eq(sum, done, "C23: the record contains exactly the Adds that were Done");
        check_eq(
            commit(&clients[2], &session.key, next.add("n", 1), rule).await.added[&name("n")],
            done + 1,
            rule,
        );
    }
}

/// Of concurrent rotations one is `Done`, the others are `Superseded`, and one secret is valid.
pub async fn c23_one_of_concurrent_rotations_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = TestSession::new();
    create(&clients[0], &session.key, session.record(LONG).principal(principal("alice"))).await;
    let rule = "C23: of 50 concurrent rotations exactly one is Done (law 4)";
    let answers = run_concurrently(&clients, 50, |store, at| {
        let (session, next) = (session.clone(), session.rotated());
        async move {
            (
                store
                    .commit(&session.key, session.rotate(&next).and_set("winner", &at.to_string()))
                    .await
                    .must(rule),
                at,
                next,
            )
        }
    });
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.await.into_iter().partition(|(outcome, _, _)| matches!(outcome, Outcome::Done(_)));
    check_eq(won.len(), 1, rule);
    for (outcome, _, next) in lost {
        check_eq(outcome, Outcome::Superseded, "C23: the other rotations are Superseded");
        check_outcome(
            &clients[0],
            &session.key,
            next.commit(),
            Outcome::Superseded,
            "C23: the secret of a superseded rotation is not valid",
        )
        .await;
    }
    for (_, at, next) in won {
        let rule =
            "C23: the rotation that was Done has the current secret, and its changes took effect";
        let record = load(&clients[1], &session.key, rule).await;
        check_eq((record.secret, record.generation, record.version), (next.secret, 1, 2), rule);
        check_eq(texts(&record.data), texts(&data([("winner", &at.to_string())])), rule);
        commit(&clients[2], &session.key, next.commit(), rule).await;
    }
}

/// A rotation changes no key, handle or index entry, and creates no record.
pub async fn c24_a_rotation_changes_no_key_or_index_entry(fixture: &dyn Fixture) {
    let (clients, tolerance, alice) =
        (clients(fixture, 2).await, fixture.tolerance(), principal("alice"));
    let store = &clients[0];
    let mut sessions = Vec::new();
    for at in 0..12 {
        let session = TestSession::new();
        let authenticated = Some(Duration::from_secs(60 * at));
        create(
            store,
            &session.key,
            NewRecord {
                age: LONG * 2,
                authenticated,
                ..session.record(LONG * 2).principal(alice.clone())
            },
        )
        .await;
        sessions.push(session);
    }
    let rule = "C24: list succeeds";
    let list = async |rule: &str| -> Vec<SessionSummary> {
        list_in_pages(&clients[1], &alice, 100, rule).await
    };
    let (before, count) =
        (list(rule).await, fixture.physical_count().await.or_explain("C24 (count)"));
    let started = Instant::now();
    for (at, session) in sessions.iter_mut().enumerate() {
        for _ in 0..3 {
            let next = session.rotated();
            let rotation = if at % 2 == 0 {
                session.rotate(&next)
            } else {
                session.rotate_with_grace(&next, GRACE)
            };
            commit(store, &session.key, rotation, "C24: a rotation takes effect").await;
            *session = next;
        }
    }
    let rule = "C24: rotations change no key, order, age, ttl or attribute in the list";
    let after = list(rule).await;
    check_eq(after.len(), before.len(), rule);
    let near = tolerance + started.elapsed();
    for (was, is) in before.iter().zip(&after) {
        check_eq(
            (is.key.handle(), &is.key, &is.attributes),
            (was.key.handle(), &was.key, &was.attributes),
            rule,
        );
        check_between(is.age, was.age, was.age, near, rule);
        check_between(is.authenticated, was.authenticated, was.authenticated, near, rule);
        check_between(is.ttl, was.ttl, was.ttl, near, rule);
    }
    let rule = "C24: rotations create no record";
    check_eq(scan_keys(store, 100).await.len(), sessions.len(), rule);
    if let (Some(before), Some(after)) =
        (count, fixture.physical_count().await.or_explain("C24 (count)"))
    {
        check_eq(after, before, rule);
    }
    let rule = "C24: delete_all ends rotated sessions, each once";
    check_eq(store.delete_all(&alice, None).await.must(rule), sessions.len() as u64, rule);
    purge_all(fixture, rule).await;
    check_empty(fixture, rule).await;
}

/// A rotation of a missing, deleted or expired session is `Gone` and creates nothing.
pub async fn c25_a_dead_session_cannot_rotate(fixture: &dyn Fixture) {
    let store = fixture.store();
    for (state, session) in dead_sessions(fixture, "C25: delete finds the record").await {
        let rule = format!("C25: a rotation of a session that is {state} is Gone (law 2)");
        let next = session.rotated();
        for commit in [
            session.rotate(&next),
            session.rotate_with_grace(&next, GRACE),
            session.rotate(&next).and_set("a", "1"),
            session.rotate(&next).ttl(LONG),
            session.sign_in(&next, &principal("alice")),
            next.rotate(&next.rotated()),
        ] {
            check_outcome(&store, &session.key, commit, Outcome::Gone, &rule).await;
            check_absent(&store, &session.key, &rule).await;
        }
    }
    let rule = "C25: rotations of dead sessions create nothing";
    purge_all(fixture, rule).await;
    check_empty(fixture, rule).await;
}
