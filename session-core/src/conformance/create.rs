//! Checks of `create`: C01, C02, C04 and the new records of C08.

use std::time::Duration;

use super::{
    assert::{Must, check, check_eq, check_rejected},
    calls::{
        check_absent, check_empty, clients, commit, create, create_anonymous, end_session,
        list_keys, load, run_concurrently,
    },
    fixture::Fixture,
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Attributes, Created, Limits, NewRecord};

/// Every client sees a record once `create` has returned, and no client sees it before.
pub async fn c01_created_records_are_visible_to_every_client(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    for creator in &clients {
        let session = TestSession::new();
        for client in &clients {
            check_absent(client, &session.key, "C01: before its creation no client sees a record")
                .await;
        }
        create(creator, &session.key, session.record(LONG).data(data([("n", "1")]))).await;
        for client in &clients {
            let record = load(
                client,
                &session.key,
                "C01: once create has returned every client sees the record",
            )
            .await;
            check_eq(record.version, 1, "C01: a new record has version 1");
            check_eq(
                texts(&record.data),
                texts(&data([("n", "1")])),
                "C01: every client sees the values",
            );
        }
    }
}

/// `create` under the key of a live record returns `Taken` and changes nothing.
pub async fn c02_create_on_a_live_key_changes_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (session, other) = (TestSession::new(), TestSession::new());
    let key = &session.key;
    create(&store, key, session.record(LONG).data(data([("first", "1")]))).await;
    let second = other.record(LONG * 2).data(data([("second", "2")])).principal(principal("alice"));
    let created = store.create(key, second).await.must("C02: create on a live key succeeds");
    check_eq(created, Created::Taken, "C02: create never changes a live record (law 2)");
    let rule = "C02: a create that returns Taken changes nothing";
    let record = load(&store, key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("first", "1")])), 1, None),
        rule,
    );
    check_eq(
        record.secret,
        session.secret,
        "C02: a create that returns Taken does not change the secret",
    );
    check(
        record.ttl <= LONG,
        "C02: a create that returns Taken does not extend the ttl",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
    check_eq(
        list_keys(&store, &principal("alice"), rule).await,
        [].into(),
        "C02: a create that returns Taken adds nothing to the index (law 8)",
    );
}

/// `create` treats an expired record as absent, and the new record keeps nothing of it.
pub async fn c02_create_replaces_an_expired_record(fixture: &dyn Fixture) {
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
        .must("C02: create over an expired record succeeds");
    check_eq(created, Created::New, "C02: an expired record counts as absent (law 5)");
    let rule = "C02: the new record keeps nothing of the expired one";
    let record = load(&store, key, rule).await;
    check_eq(
        (texts(&record.data), record.principal, record.version),
        (texts(&data([])), None, 1),
        rule,
    );
    check_eq(
        (record.secret, record.generation, record.since, record.grace),
        (new.secret, 0, 0, None),
        rule,
    );
    check_eq((record.authenticated, record.attributes), (None, Attributes::default()), rule);
    check_eq(
        list_keys(&store, &principal("alice"), rule).await,
        [].into(),
        "C02: the principal of the expired record does not list the new record (law 8)",
    );
}

/// Of concurrent `create` calls for one key exactly one returns `New`.
pub async fn c02_one_of_concurrent_creates_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = TestSession::new().key;
    let answers = run_concurrently(&clients, 16, |store, at| {
        let session = TestSession::under(key.as_str());
        async move {
            let new = session.record(LONG).data(data([("creator", &at.to_string())]));
            (
                store.create(&session.key, new).await.must("C02: concurrent creates succeed"),
                at,
                session,
            )
        }
    });
    let answers = answers.await;
    let winners: Vec<_> =
        answers.iter().filter(|(created, _, _)| *created == Created::New).collect();
    check_eq(winners.len(), 1, "C02: of 16 concurrent creates for one key exactly one returns New");
    let record =
        load(&clients[1], &key, "C02: the record of the create that returned New is live").await;
    for (_, at, session) in winners {
        let rule = "C02: the record is that of the create that returned New";
        check_eq(
            (texts(&record.data), record.secret),
            (texts(&data([("creator", &at.to_string())])), session.secret),
            rule,
        );
    }
}

/// A record without values is a record: `load` finds it and `delete` ends it.
pub async fn c04_a_record_without_values_exists(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    let record = load(&store, &session.key, "C04: a record without values is found").await;
    check_eq(texts(&record.data), texts(&data([])), "C04: a record without values has none");
    check_eq(record.principal, None, "C04: a record without principal has none");
    end_session(&store, &session.key, "C04: delete ends a record without values").await;
}

/// `create` rejects a new record with contradictory fields and creates nothing.
pub async fn c08_inconsistent_new_records_are_rejected(fixture: &dyn Fixture) {
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
        let rule = format!("C08: a new record with {what} is rejected");
        check_rejected(store.create(&session.key, new).await, "Inconsistent", &rule);
        check_absent(&store, &session.key, &rule).await;
    }
    check_empty(fixture, "C08: rejected creates store nothing").await;
}
