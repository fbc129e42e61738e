//! What `create` promises.

use std::time::Duration;

use super::{
    Fixture,
    steps::{
        LONG, Must, TestSession, absent, at_once, clients, commit, create, create_any, data, end,
        holds, listed, load, principal, rejected, same, texts,
    },
};
use crate::{Attributes, Created, Limits, NewRecord};

/// A created record exists for every client as soon as `create` has returned, and for no client
/// before.
pub async fn c01_created_records_are_visible_to_every_client(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    for creator in &clients {
        let session = TestSession::new();
        for client in &clients {
            absent(client, &session.key, "C01: before its creation no client sees a record").await;
        }
        create(creator, &session.key, session.record(LONG).data(data([("n", "1")]))).await;
        for client in &clients {
            let record = load(
                client,
                &session.key,
                "C01: once create has returned every client sees the record",
            )
            .await;
            same(record.version, 1, "C01: a new record has version 1");
            same(
                texts(&record.data),
                texts(&data([("n", "1")])),
                "C01: every client sees the values",
            );
        }
    }
}

/// A live record under the key is `Taken` and stays as it is.
pub async fn c02_a_taken_key_keeps_its_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (session, other) = (TestSession::new(), TestSession::new());
    let key = &session.key;
    create(&store, key, session.record(LONG).data(data([("mine", "1")]))).await;
    let second = other.record(LONG * 2).data(data([("theirs", "2")])).principal(principal("alice"));
    let created = store.create(key, second).await.must("C02: create on a live key answers");
    same(created, Created::Taken, "C02: create never changes a live record (law 2)");
    let law = "C02: a refused create changes nothing";
    let record = load(&store, key, law).await;
    same(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("mine", "1")])), 1, None),
        law,
    );
    same(record.secret, session.secret, "C02: a refused create does not change the secret");
    holds(
        record.ttl <= LONG,
        "C02: a refused create does not extend the life",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
    same(
        listed(&store, &principal("alice"), law).await,
        [].into(),
        "C02: a refused create adds nothing to the index (law 8)",
    );
}

/// An expired leftover counts as absent, and the new record has nothing of it.
pub async fn c02_an_expired_leftover_is_replaced(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (old, ttl) = (TestSession::new().rotated(), Duration::from_millis(100));
    let (key, new) = (&old.key, TestSession::under(old.key.as_str()));
    let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
    create(
        &store,
        key,
        old.record(ttl)
            .data(data([("old", "1")]))
            .principal(principal("alice"))
            .attributes(attributes),
    )
    .await;
    commit(
        &store,
        key,
        old.rotate_with_grace(&old.rotated(), LONG / 10),
        "C02: a rotation with a grace takes effect",
    )
    .await;
    fixture.advance(ttl * 2).await;
    let created = store
        .create(key, new.record(LONG))
        .await
        .must("C02: create over an expired leftover answers");
    same(created, Created::New, "C02: an expired leftover counts as absent (law 5)");
    let law = "C02: the new record has nothing of the leftover";
    let record = load(&store, key, law).await;
    same((texts(&record.data), record.principal, record.version), (texts(&data([])), None, 1), law);
    same(
        (record.secret, record.generation, record.since, record.grace),
        (new.secret, 0, 0, None),
        law,
    );
    same((record.authenticated, record.attributes), (None, Attributes::default()), law);
    same(
        listed(&store, &principal("alice"), law).await,
        [].into(),
        "C02: the leftover's principal does not list the new record (law 8)",
    );
}

/// Of many creators of one key exactly one gets `New`.
pub async fn c02_one_of_many_creators_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = TestSession::new().key;
    let answers = at_once(&clients, 16, |store, at| {
        let session = TestSession::under(key.as_str());
        async move {
            let new = session.record(LONG).data(data([("creator", &at.to_string())]));
            (
                store.create(&session.key, new).await.must("C02: create answers under contention"),
                at,
                session,
            )
        }
    });
    let answers = answers.await;
    let winners: Vec<_> =
        answers.iter().filter(|(created, _, _)| *created == Created::New).collect();
    same(winners.len(), 1, "C02: of 16 creators of one key exactly one gets New");
    let record = load(&clients[1], &key, "C02: the winner's record lives").await;
    for (_, at, session) in winners {
        let law = "C02: the record is the winner's";
        same(
            (texts(&record.data), record.secret),
            (texts(&data([("creator", &at.to_string())])), session.secret),
            law,
        );
    }
}

/// A record without any value is a record.
pub async fn c04_a_record_without_values_is_a_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    let record = load(&store, &session.key, "C04: a record without values is found").await;
    same(texts(&record.data), texts(&data([])), "C04: a record without values has none");
    same(record.principal, None, "C04: a record without principal has none");
    end(&store, &session.key, "C04: a record without values was a live record").await;
}

/// Fields of a new record that contradict each other are refused, and nothing is created.
pub async fn c08_inconsistent_new_records_are_refused(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (session, alice) = (TestSession::new(), principal("alice"));
    let new = || session.record(LONG);
    let second = Duration::from_secs(1);
    for (what, new) in [
        ("version 0", NewRecord { version: 0, ..new() }),
        ("a version beyond 2^53", NewRecord { version: Limits::LARGEST_VERSION + 1, ..new() }),
        (
            "a principal without authentication",
            NewRecord { principal: Some(alice.clone()), ..new() },
        ),
        (
            "an authentication without principal",
            NewRecord { authenticated: Some(Duration::ZERO), ..new() },
        ),
        (
            "an authentication before the creation",
            NewRecord { authenticated: Some(second), ..new().principal(alice.clone()) },
        ),
        ("an age of more than 100 years", NewRecord { age: Limits::LONGEST_AGE + second, ..new() }),
        (
            "a sign-in at a future generation",
            NewRecord { since: 1, ..new().principal(alice.clone()) },
        ),
        ("a sign-in without principal", NewRecord { since: 1, generation: 1, ..new() }),
    ] {
        let law = format!("C08: a new record with {what} is refused");
        rejected(store.create(&session.key, new).await, "Inconsistent", &law);
        absent(&store, &session.key, &law).await;
    }
    super::steps::empty(fixture, "C08: refused creates leave nothing").await;
}
