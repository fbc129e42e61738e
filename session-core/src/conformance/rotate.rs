//! What a rotation promises.

use std::time::{Duration, Instant};

use super::{
    Fixture,
    steps::{
        Client, CommitWords, LONG, Must, TestSession, absent, at_once, broken, clients, commit,
        create, create_any, data, empty, end, holds, list_in_pages, load, principal, purge_all,
        refused, rejected, same, scan_all, texts, within,
    },
};
use crate::{
    Attributes, Commit, Guard, Limits, NewRecord, Opened, Outcome, PrincipalChange, SessionSummary,
    Superseded,
};

/// The grace of the checks: far longer than they run.
const GRACE: Duration = Duration::from_secs(30);

/// Opens the record with the session's secret.
async fn open(store: &Client, session: &TestSession, law: &str) -> Opened {
    store.load(&session.key).await.must(law).must(law).open(&session.secret)
}

/// The new secret opens the session with all that it had. The former secret is superseded at once,
/// for every client and every commit.
pub async fn c22_a_rotated_session_opens_with_its_new_secret_alone(fixture: &dyn Fixture) {
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
    let begun = Instant::now();
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let told =
        commit(&clients[0], key, session.rotate(&next), "C22: a rotation takes effect").await;
    same(told.version, 1, "C22: a rotation is not a change (law 3)");
    for client in &clients {
        let record = load(client, key, "C22: the session lives under its key").await;
        let law = "C22: load gives the new hash and generation, and forgets the former secret without a grace";
        same(
            (record.secret, record.generation, record.since, record.grace),
            (next.secret, 1, 0, None),
            law,
        );
        same(texts(&record.data), texts(&values), "C22: a rotation keeps the values");
        let law = "C22: a rotation keeps principal and attributes";
        same(
            (record.principal, record.attributes),
            (Some(principal("alice")), attributes.clone()),
            law,
        );
        same(record.version, 1, "C22: a rotation is not a change (law 3)");
        let most = passed.max(begun.elapsed()) + tolerance;
        within(record.age, passed, most, tolerance, "C22: a rotation does not reset the age");
        within(
            record.rotated,
            Duration::ZERO,
            begun.elapsed().saturating_sub(passed),
            tolerance,
            "C22: a rotation resets `rotated`",
        );
        let law = "C22: a rotation alone does not reset the authentication";
        within(record.authenticated.unwrap_or_default(), passed, most, tolerance, law);
        within(
            record.ttl,
            LONG.saturating_sub(most),
            LONG.saturating_sub(passed),
            tolerance,
            "C22: a rotation keeps the deadline",
        );
        let law = "C22: the former secret is superseded (law 4)";
        match open(client, &session, law).await {
            Opened::Superseded(Superseded { generation, since, principal: who, .. }) => {
                same((generation, since, who), (1, 0, Some(principal("alice"))), law);
            }
            opened => broken(law, "Superseded", format_args!("{opened:?}")),
        }
        same(
            matches!(open(client, &next, law).await, Opened::Current(_)),
            true,
            "C22: the new secret opens the session",
        );
        for commit in [
            session.set("a", "9"),
            session.add("n", 1),
            session.touch(LONG),
            session.rotate(&session.rotated()),
            session.commit(),
        ] {
            refused(
                client,
                key,
                commit,
                Outcome::Superseded,
                "C22: a commit with the former secret is Superseded (law 4)",
            )
            .await;
        }
        commit(client, key, next.commit(), "C22: a commit with the new secret takes effect").await;
    }
    same(
        texts(&load(&clients[1], key, "C22: the session lives").await.data),
        texts(&values),
        "C22: superseded commits change nothing",
    );
}

/// A rotation takes effect together with changes, guard, principal and ttl, or not at all.
pub async fn c22_a_rotation_and_its_changes_are_one_step(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&store, key, session.record(LONG).data(data([("a", "1"), ("n", "1")]))).await;
    let law = "C22: a rotation and its changes are one step (law 1)";
    let whole = session
        .add("n", 1)
        .and_remove("a")
        .ttl(LONG * 2)
        .guard(Guard::Version(1))
        .rotate(next.rotation());
    same(commit(&store, key, whole, law).await.version, 2, law);
    let record = load(&store, key, law).await;
    same(
        (texts(&record.data), record.version, record.secret),
        (texts(&data([("n", "2")])), 2, next.secret),
        law,
    );
    holds(
        record.ttl > LONG,
        "C22: a rotation takes the ttl that came with it",
        format_args!("more than {LONG:?}"),
        record.ttl,
    );
    let law = "C22: a refused change refuses the rotation";
    let third = next.rotated();
    rejected(
        store.commit(key, next.add("n", i64::MAX).rotate(third.rotation())).await,
        "Overflow",
        law,
    );
    refused(&store, key, next.rotate(&third).guard(Guard::Version(1)), Outcome::Conflict, law)
        .await;
    let record = load(&store, key, law).await;
    same((record.secret, record.generation), (next.secret, 1), law);
    refused(&store, key, third.commit(), Outcome::Superseded, law).await;
    commit(&store, key, next.commit(), law).await;
}

/// What a commit does besides its rotation.
type Besides<'a> = Box<dyn Fn(Commit) -> Commit + Send + Sync + 'a>;

/// `generation` is what the rotation says. `since` is the generation of the sign-in, and 0 in an
/// anonymous session.
pub async fn c22_generation_and_since_follow_the_commits(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (alice, bob) = (principal("alice"), principal("bob"));
    let mut session = create_any(&store, LONG).await;
    let key = session.key.clone();
    let set = |who: &crate::Principal| PrincipalChange::Set(who.clone());
    let steps: [(&str, u32, Besides<'_>, u32); 9] = [
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
    for (what, generation, besides, since) in steps {
        let next = TestSession { generation, ..TestSession::under(key.as_str()) };
        let law = format!("C22: generation and since after {what}");
        commit(&store, &key, besides(session.rotate(&next)), &law).await;
        let record = load(&store, &key, &law).await;
        same(
            (record.generation, record.since, record.secret),
            (generation, since, next.secret),
            &law,
        );
        session = next;
        let law = format!(
            "C22: values, lives and authentications keep generation and since after {what}"
        );
        for next in [
            session.set("a", "1"),
            session.touch(LONG),
            session.commit().authenticated(),
            session.commit(),
        ] {
            commit(&store, &key, next, &law).await;
        }
        let record = load(&store, &key, &law).await;
        same(
            (record.generation, record.since, record.secret),
            (generation, since, session.secret),
            &law,
        );
    }
    let law = "C22: a sign-out without a rotation sets since to 0 and keeps the generation";
    commit(&store, &key, session.sign_out(), law).await;
    let record = load(&store, &key, law).await;
    same((record.generation, record.since, record.secret), (u32::MAX, 0, session.secret), law);
}

/// In its grace the former secret reads and does not write. It is forgotten when the grace is over.
pub async fn c22_a_grace_reads_for_so_long_and_never_writes(fixture: &dyn Fixture) {
    let (clients, tolerance) = (clients(fixture, 2).await, fixture.tolerance());
    let session = create_any(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let grace = tolerance + Duration::from_secs(2);
    let begun = Instant::now();
    commit(
        &clients[0],
        key,
        session.rotate_with_grace(&next, grace),
        "C22: a rotation with a grace takes effect",
    )
    .await;
    for client in &clients {
        let law = "C22: load shows the former secret while its grace lasts";
        match open(client, &session, law).await {
            Opened::Grace(record) => {
                let Some(shown) = record.grace else { broken(law, "a grace", "None") };
                same(
                    (shown.secret, record.secret, record.generation),
                    (session.secret, next.secret, 1),
                    law,
                );
                let least = grace.saturating_sub(begun.elapsed());
                holds(!shown.left.is_zero(), law, "some time left", shown.left);
                within(
                    shown.left,
                    least,
                    grace,
                    tolerance,
                    "C22: `left` is what remains of the grace",
                );
            }
            opened => broken(law, "Grace", format_args!("{opened:?}")),
        }
        for commit in [
            session.set("a", "9"),
            session.touch(LONG),
            session.rotate(&session.rotated()),
            session.commit(),
        ] {
            refused(
                client,
                key,
                commit,
                Outcome::Superseded,
                "C22: in its grace a secret does not write (law 4)",
            )
            .await;
        }
    }
    commit(
        &clients[0],
        key,
        next.set("a", "1").ttl(LONG),
        "C22: the new secret writes during the grace",
    )
    .await;
    let law = "C22: a commit without a rotation keeps the grace";
    same(
        matches!(open(&clients[1], &session, law).await, Opened::Grace(_) | Opened::Superseded(_)),
        true,
        law,
    );
    fixture.advance(grace + tolerance).await;
    for client in &clients {
        let law = "C22: load forgets the former secret when its grace is over";
        same(load(client, key, law).await.grace, None, law);
        same(matches!(open(client, &session, law).await, Opened::Superseded(_)), true, law);
    }
}

/// Each rotation decides anew: one without a grace forgets the former secret, and one with a grace
/// keeps only the last.
pub async fn c22_the_next_rotation_forgets_the_secret_before_it(fixture: &dyn Fixture) {
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
    let shown = async |expected: Option<&TestSession>, law: &str| {
        same(
            load(&store, key, law).await.grace.map(|grace| grace.secret),
            expected.map(|session| session.secret),
            law,
        );
    };
    let second = first.rotated();
    graced(&first, &second).await;
    shown(Some(&first), "C22: load shows the former secret while its grace lasts").await;
    let third = second.rotated();
    graced(&second, &third).await;
    shown(Some(&second), "C22: a second grace replaces the first").await;
    let mut session = third.rotated();
    commit(&store, key, third.rotate(&session), "C22: a rotation takes effect").await;
    shown(None, "C22: a rotation without a grace forgets the secret before it").await;
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
        let law = format!("C22: {what} forgets the secret before it");
        commit(&store, key, whole, &law).await;
        shown(None, &law).await;
        session = last;
    }
}

/// A grace is at most [`Limits::LONGEST_GRACE`]. A longer one, and one beside a sign-in or an
/// authentication, is refused and changes nothing.
pub async fn c22_a_grace_out_of_range_is_refused(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let millisecond = Duration::from_millis(1);
    for grace in [
        Duration::ZERO,
        Duration::from_micros(999),
        Limits::LONGEST_GRACE + millisecond,
        Duration::MAX,
    ] {
        let law = format!("C22: a grace of {grace:?} is refused");
        rejected(
            store.commit(key, session.rotate_with_grace(&next, grace).and_set("a", "1")).await,
            "Grace",
            &law,
        );
    }
    let with_grace = session.rotate_with_grace(&next, GRACE);
    for (what, commit) in [
        ("a sign-in", with_grace.clone().principal(PrincipalChange::Set(principal("alice")))),
        ("a sign-out", with_grace.clone().principal(PrincipalChange::Unset)),
        ("an authentication", with_grace.clone().authenticated()),
    ] {
        rejected(
            store.commit(key, commit).await,
            "GraceWithSignIn",
            &format!("C22: a grace beside {what} is refused"),
        );
    }
    let law = "C22: a refused rotation changes nothing";
    let record = load(&store, key, law).await;
    same(
        (record.secret, record.generation, record.version, record.grace),
        (session.secret, 0, 1, None),
        law,
    );
    commit(
        &store,
        key,
        session.rotate_with_grace(&next, Limits::LONGEST_GRACE),
        "C22: the longest grace is allowed",
    )
    .await;
    let law = "C22: a grace never lasts longer than it was given";
    let left = load(&store, key, law).await.grace.map_or(Duration::MAX, |grace| grace.left);
    holds(
        left <= Limits::LONGEST_GRACE,
        law,
        format_args!("at most {:?}", Limits::LONGEST_GRACE),
        left,
    );
}

/// Of many concurrent rotations exactly one is `Done`. The others are `Superseded`, and exactly one
/// secret is live.
pub async fn c23_of_concurrent_rotations_exactly_one_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = TestSession::new();
    create(&clients[0], &session.key, session.record(LONG).principal(principal("alice"))).await;
    let law = "C23: of 50 concurrent rotations exactly one is Done (law 4)";
    let answers = at_once(&clients, 50, |store, at| {
        let (session, next) = (session.clone(), session.rotated());
        async move {
            (
                store
                    .commit(&session.key, session.rotate(&next).and_set("winner", &at.to_string()))
                    .await
                    .must(law),
                at,
                next,
            )
        }
    });
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.await.into_iter().partition(|(outcome, _, _)| matches!(outcome, Outcome::Done(_)));
    same(won.len(), 1, law);
    for (outcome, _, next) in lost {
        same(outcome, Outcome::Superseded, "C23: the other rotations are Superseded");
        refused(
            &clients[0],
            &session.key,
            next.commit(),
            Outcome::Superseded,
            "C23: the secret of a rotation that lost is dead",
        )
        .await;
    }
    for (_, at, next) in won {
        let law = "C23: the winner's secret is the one that lives, and its changes came with it";
        let record = load(&clients[1], &session.key, law).await;
        same((record.secret, record.generation, record.version), (next.secret, 1, 2), law);
        same(texts(&record.data), texts(&data([("winner", &at.to_string())])), law);
        commit(&clients[2], &session.key, next.commit(), law).await;
    }
}

/// A rotation changes neither key nor handle nor any index entry, and creates no record.
pub async fn c24_a_rotation_changes_no_key_and_no_index(fixture: &dyn Fixture) {
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
    let law = "C24: list answers";
    let list = async |law: &str| -> Vec<SessionSummary> {
        list_in_pages(&clients[1], &alice, 100, law).await
    };
    let (before, count) =
        (list(law).await, fixture.physical_count().await.or_explain("C24 (count)"));
    let begun = Instant::now();
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
    let law = "C24: rotations leave the list as it is: keys, order, ages, ttl and attributes";
    let after = list(law).await;
    same(after.len(), before.len(), law);
    let near = tolerance + begun.elapsed();
    for (was, is) in before.iter().zip(&after) {
        same(
            (is.key.handle(), &is.key, &is.attributes),
            (was.key.handle(), &was.key, &was.attributes),
            law,
        );
        within(is.age, was.age, was.age, near, law);
        within(is.authenticated, was.authenticated, was.authenticated, near, law);
        within(is.ttl, was.ttl, was.ttl, near, law);
    }
    let law = "C24: rotations create no record";
    same(scan_all(store, 100).await.len(), sessions.len(), law);
    if let (Some(before), Some(after)) =
        (count, fixture.physical_count().await.or_explain("C24 (count)"))
    {
        same(after, before, law);
    }
    let law = "C24: delete_all ends rotated sessions, each once";
    same(store.delete_all(&alice, None).await.must(law), sessions.len() as u64, law);
    purge_all(fixture, law).await;
    empty(fixture, law).await;
}

/// A dead session does not rotate, and nothing is created.
pub async fn c25_a_dead_session_does_not_rotate(fixture: &dyn Fixture) {
    let store = fixture.store();
    let expired = create_any(&store, Duration::from_millis(100)).await;
    fixture.advance(Duration::from_millis(200)).await;
    let deleted = create_any(&store, LONG).await;
    end(&store, &deleted.key, "C25: delete finds the record").await;
    for (state, session) in
        [("missing", TestSession::new()), ("deleted", deleted), ("expired", expired)]
    {
        let law = format!("C25: a rotation of a session that is {state} is Gone (law 2)");
        let next = session.rotated();
        for commit in [
            session.rotate(&next),
            session.rotate_with_grace(&next, GRACE),
            session.rotate(&next).and_set("a", "1"),
            session.rotate(&next).ttl(LONG),
            session.sign_in(&next, &principal("alice")),
            next.rotate(&next.rotated()),
        ] {
            refused(&store, &session.key, commit, Outcome::Gone, &law).await;
            absent(&store, &session.key, &law).await;
        }
    }
    let law = "C25: rotations of dead sessions create nothing";
    purge_all(fixture, law).await;
    empty(fixture, law).await;
}
