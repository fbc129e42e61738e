//! Checks of calls that a client repeats because the answer was lost: C49, C51.

use std::time::Duration;

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        MAX_POLLS, check_outcome, clients, commit, create, create_anonymous, drop_after, list_keys,
        load, run_concurrently,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, name, principal, texts},
};
use crate::{Change, Created, NewRecord, Opened, Outcome};

/// A rotation repeated with the same secret takes effect once; the repetition is `Superseded`.
///
/// Afterwards `load` opens with the new secret.
pub async fn c49_a_repeated_rotation_takes_effect_once(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let session = create_anonymous(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let whole = session.sign_in(&next, &alice).change(name("n"), Change::Add(1));
    commit(&clients[0], key, whole.clone(), "C49: the first attempt takes effect").await;
    let rule = "C49: a repeated rotation is Superseded and changes nothing";
    for client in &clients {
        check_outcome(client, key, whole.clone(), Outcome::Superseded, rule).await;
        match client.load(key).await.must(rule).must(rule).open(&next.secret) {
            Opened::Current(record) => {
                check_eq((record.generation, record.since, record.version), (1, 1, 2), rule);
                check_eq(
                    texts(&record.data),
                    texts(&data([("n", "1")])),
                    "C49: a repeated rotation adds once",
                );
            }
            opened => fail(
                "C49: after a repeated rotation the new secret opens the session",
                "Current",
                format_args!("{opened:?}"),
            ),
        }
    }
    let answers = run_concurrently(&clients, 8, |store, _| {
        let (session, rotation) = (next.clone(), next.rotate(&next.rotated()));
        let third = rotation.rotate.map(|rotation| rotation.secret);
        async move { (store.commit(&session.key, rotation).await.must(rule), third) }
    });
    let answers = answers.await;
    let landed: Vec<_> =
        answers.iter().filter(|(outcome, _)| matches!(outcome, Outcome::Done(_))).collect();
    check_eq(landed.len(), 1, "C49: of concurrent rotations one takes effect");
    let current = load(&clients[1], key, rule).await.secret;
    check_eq(landed[0].1, Some(current), "C49: the rotation that was Done has the current secret");
}

/// A rotation dropped at any await and repeated takes effect once.
///
/// The new secret opens the session.
pub async fn c49_a_dropped_rotation_can_be_repeated(fixture: &dyn Fixture) {
    let store = fixture.store();
    let rule = "C49: a dropped and repeated rotation takes effect once";
    for polls in 0..=MAX_POLLS {
        let session = create_anonymous(&store, LONG).await;
        let (key, next) = (&session.key, session.rotated());
        let whole = session.add("n", 1).and_set("z", "1").rotate(next.rotation());
        let ended = drop_after(polls, store.commit(key, whole.clone())).await;
        match store.commit(key, whole).await.must(rule) {
            Outcome::Superseded => {}
            Outcome::Done(_) if ended.is_none() => {}
            other => fail(
                rule,
                "Superseded, or Done if the first attempt did not end",
                format_args!("{other:?}"),
            ),
        }
        let record = load(&store, key, rule).await;
        check_eq((record.secret, record.generation, record.version), (next.secret, 1, 2), rule);
        check_eq(texts(&record.data), texts(&data([("n", "1"), ("z", "1")])), rule);
        if let Some(answer) = ended {
            answer.must(rule).must(rule);
            return;
        }
    }
    fail("C49: a rotation ends", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// A repeated `create` returns `Taken` and changes nothing, even after later commits.
pub async fn c51_a_repeated_create_changes_nothing(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    let new = || NewRecord {
        version: 7,
        ..session.record(LONG).data(data([("a", "1")])).principal(alice.clone())
    };
    create(&clients[0], key, new()).await;
    let rule = "C51: a repeated create returns Taken and changes nothing (law 2)";
    let again = async |rule: &str| {
        for client in &clients {
            check_eq(client.create(key, new()).await.must(rule), Created::Taken, rule);
        }
    };
    again(rule).await;
    let record = load(&clients[1], key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.secret),
        (texts(&data([("a", "1")])), 7, session.secret),
        rule,
    );
    let rule = "C51: a create repeated after a commit changes nothing (law 2)";
    let grace = Duration::from_secs(30);
    let whole =
        session.rotate_with_grace(&next, grace).and_remove("a").and_set("b", "2").ttl(LONG / 2);
    commit(&clients[0], key, whole, rule).await;
    again(rule).await;
    let record = load(&clients[1], key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.generation),
        (texts(&data([("b", "2")])), 8, 1),
        rule,
    );
    check_eq(
        (record.secret, record.grace.map(|grace| grace.secret)),
        (next.secret, Some(session.secret)),
        rule,
    );
    check(
        record.ttl <= LONG / 2,
        rule,
        format_args!("a ttl of at most {:?}", LONG / 2),
        record.ttl,
    );
    let rule = "C51: a create repeated after a sign-out adds nothing to the index (law 8)";
    commit(&clients[0], key, next.sign_out(), rule).await;
    again(rule).await;
    check_eq(list_keys(&clients[1], &alice, rule).await, [].into(), rule);
}

/// A `create` dropped at any await and repeated creates the record once and whole.
pub async fn c51_a_dropped_create_can_be_repeated(fixture: &dyn Fixture) {
    let store = fixture.store();
    let rule = "C51: a dropped and repeated create takes effect once";
    for polls in 0..=MAX_POLLS {
        let session = TestSession::new();
        let new =
            session.record(LONG).data(data([("a", "1"), ("z", "1")])).principal(principal("alice"));
        let ended = drop_after(polls, store.create(&session.key, new.clone())).await;
        let created = store.create(&session.key, new).await.must(rule);
        check(
            ended.is_none() || created == Created::Taken,
            rule,
            "Taken after a create that ended",
            created,
        );
        let record = load(&store, &session.key, rule).await;
        check_eq(
            (texts(&record.data), record.version),
            (texts(&data([("a", "1"), ("z", "1")])), 1),
            rule,
        );
        check_eq(
            (record.secret, record.principal),
            (session.secret, Some(principal("alice"))),
            rule,
        );
        check_eq(
            list_keys(&store, &principal("alice"), rule).await.contains(&session.key),
            true,
            rule,
        );
        if let Some(answer) = ended {
            let _ = answer.must(rule);
            return;
        }
    }
    fail("C51: a create ends", format_args!("at most {MAX_POLLS} polls"), "more");
}
