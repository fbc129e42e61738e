//! What a call promises that a client repeats because it did not get the answer.

use super::{
    Fixture,
    steps::{
        CommitWords, LONG, MOST_POLLS, Must, TestSession, at_once, broken, clients, commit, create,
        create_any, data, dropped_after, holds, listed, load, principal, refused, same, texts,
    },
};
use crate::{Created, NewRecord, Opened, Outcome};

/// A rotation whose answer was lost is repeated with the same new secret. It lands once, the
/// repetition is `Superseded`, and a load opens with the new secret.
pub async fn c49_a_repeated_rotation_lands_once(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let session = create_any(&clients[0], LONG).await;
    let (key, next) = (&session.key, session.rotated());
    let whole =
        session.sign_in(&next, &alice).change(super::steps::name("n"), crate::Change::Add(1));
    commit(&clients[0], key, whole.clone(), "C49: the first attempt takes effect").await;
    let law = "C49: a repeated rotation is Superseded and changes nothing";
    for client in &clients {
        refused(client, key, whole.clone(), Outcome::Superseded, law).await;
        match client.load(key).await.must(law).must(law).open(&next.secret) {
            Opened::Current(record) => {
                same((record.generation, record.since, record.version), (1, 1, 2), law);
                same(
                    texts(&record.data),
                    texts(&data([("n", "1")])),
                    "C49: a repeated rotation adds once",
                );
            }
            opened => broken(
                "C49: after a repeated rotation the new secret opens the session",
                "Current",
                format_args!("{opened:?}"),
            ),
        }
    }
    let answers = at_once(&clients, 8, |store, _| {
        let (session, rotation) = (next.clone(), next.rotate(&next.rotated()));
        let third = rotation.rotate.map(|rotation| rotation.secret);
        async move { (store.commit(&session.key, rotation).await.must(law), third) }
    });
    let answers = answers.await;
    let landed: Vec<_> =
        answers.iter().filter(|(outcome, _)| matches!(outcome, Outcome::Done(_))).collect();
    same(landed.len(), 1, "C49: of rotations at once one lands");
    let current = load(&clients[1], key, law).await.secret;
    same(
        landed[0].1,
        Some(current),
        "C49: the secret of the rotation that was Done is the current one",
    );
}

/// A rotation that was dropped at any await is repeated: it lands once, and the new secret opens
/// the session.
pub async fn c49_a_dropped_rotation_is_repeated_and_lands_once(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C49: a rotation that was dropped and repeated lands once";
    for polls in 0..=MOST_POLLS {
        let session = create_any(&store, LONG).await;
        let (key, next) = (&session.key, session.rotated());
        let whole = session.add("n", 1).and_set("z", "1").rotate(next.rotation());
        let ended = dropped_after(polls, store.commit(key, whole.clone())).await;
        match store.commit(key, whole).await.must(law) {
            Outcome::Superseded => {}
            Outcome::Done(_) if ended.is_none() => {}
            other => broken(
                law,
                "Superseded, or Done if the first attempt did not end",
                format_args!("{other:?}"),
            ),
        }
        let record = load(&store, key, law).await;
        same((record.secret, record.generation, record.version), (next.secret, 1, 2), law);
        same(texts(&record.data), texts(&data([("n", "1"), ("z", "1")])), law);
        if let Some(answer) = ended {
            answer.must(law).must(law);
            return;
        }
    }
    broken("C49: a rotation ends", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// A create that is repeated says `Taken`, also after the session has changed, and changes nothing.
pub async fn c51_a_repeated_create_changes_nothing(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    let new = || NewRecord {
        version: 7,
        ..session.record(LONG).data(data([("a", "1")])).principal(alice.clone())
    };
    create(&clients[0], key, new()).await;
    let law = "C51: a repeated create says Taken and changes nothing (law 2)";
    let again = async |law: &str| {
        for client in &clients {
            same(client.create(key, new()).await.must(law), Created::Taken, law);
        }
    };
    again(law).await;
    let record = load(&clients[1], key, law).await;
    same(
        (texts(&record.data), record.version, record.secret),
        (texts(&data([("a", "1")])), 7, session.secret),
        law,
    );
    let law = "C51: a create that is repeated after a commit changes nothing (law 2)";
    let grace = std::time::Duration::from_secs(30);
    let whole =
        session.rotate_with_grace(&next, grace).and_remove("a").and_set("b", "2").ttl(LONG / 2);
    commit(&clients[0], key, whole, law).await;
    again(law).await;
    let record = load(&clients[1], key, law).await;
    same(
        (texts(&record.data), record.version, record.generation),
        (texts(&data([("b", "2")])), 8, 1),
        law,
    );
    same(
        (record.secret, record.grace.map(|grace| grace.secret)),
        (next.secret, Some(session.secret)),
        law,
    );
    holds(record.ttl <= LONG / 2, law, format_args!("a ttl of at most {:?}", LONG / 2), record.ttl);
    let law = "C51: a create that is repeated after a sign-out adds nothing to the index (law 8)";
    commit(&clients[0], key, next.sign_out(), law).await;
    again(law).await;
    same(listed(&clients[1], &alice, law).await, [].into(), law);
}

/// A create that was dropped at any await is repeated: the record exists once, as it was meant.
pub async fn c51_a_dropped_create_is_repeated_and_lands_once(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C51: a create that was dropped and repeated lands once";
    for polls in 0..=MOST_POLLS {
        let session = TestSession::new();
        let new =
            session.record(LONG).data(data([("a", "1"), ("z", "1")])).principal(principal("alice"));
        let ended = dropped_after(polls, store.create(&session.key, new.clone())).await;
        let created = store.create(&session.key, new).await.must(law);
        holds(
            ended.is_none() || created == Created::Taken,
            law,
            "Taken after a create that ended",
            created,
        );
        let record = load(&store, &session.key, law).await;
        same(
            (texts(&record.data), record.version),
            (texts(&data([("a", "1"), ("z", "1")])), 1),
            law,
        );
        same((record.secret, record.principal), (session.secret, Some(principal("alice"))), law);
        same(listed(&store, &principal("alice"), law).await.contains(&session.key), true, law);
        if let Some(answer) = ended {
            let _ = answer.must(law);
            return;
        }
    }
    broken("C51: a create ends", format_args!("at most {MOST_POLLS} polls"), "more");
}
