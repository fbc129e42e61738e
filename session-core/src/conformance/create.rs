//! What `create` promises.

use super::{
    Fixture,
    steps::{LONG, Must, absent, at_once, clients, create, create_any, data, key, load, same, texts},
};
use crate::{Created, NewRecord};

/// A created record is there for every client as soon as `create` has returned, and for none before.
pub async fn c01_created_records_are_visible_to_every_client(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    for creator in &clients {
        let key = key();
        for client in &clients {
            absent(client, &key, "C01: before its creation no client sees a record").await;
        }
        create(creator, &key, NewRecord::new(LONG).data(data([("n", "1")]))).await;
        for client in &clients {
            let record = load(client, &key, "C01: once create has returned every client sees the record").await;
            same(record.version, 1, "C01: a new record has version 1");
            same(texts(&record.data), texts(&data([("n", "1")])), "C01: every client sees the values");
        }
    }
}

/// A live record under the key is `Taken` and stays as it is.
pub async fn c02_a_taken_key_keeps_its_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = key();
    create(&store, &key, NewRecord::new(LONG).data(data([("mine", "1")]))).await;
    let second = NewRecord::new(LONG * 2).data(data([("theirs", "2")]));
    let created = store.create(&key, second).await.must("C02: create on a live key answers");
    same(created, Created::Taken, "C02: create never overwrites a live record (law 2)");
    let record = load(&store, &key, "C02: a refused create leaves the record alive").await;
    same(texts(&record.data), texts(&data([("mine", "1")])), "C02: a refused create changes no value");
    same(record.version, 1, "C02: a refused create does not touch the version");
    assert!(
        record.ttl <= LONG,
        "C02: a refused create does not extend the life\n  expected: at most {LONG:?}\n  came:     {:?}",
        record.ttl
    );
}

/// An expired leftover is as good as absent, and nothing of it shows in the new record.
pub async fn c02_an_expired_leftover_is_replaced(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = key();
    let ttl = std::time::Duration::from_millis(100);
    create(&store, &key, NewRecord::new(ttl).data(data([("old", "1")])).principal(super::steps::principal("alice"))).await;
    fixture.advance(ttl * 2).await;
    let created = store.create(&key, NewRecord::new(LONG)).await.must("C02: create over an expired leftover answers");
    same(created, Created::New, "C02: an expired leftover is as good as absent (law 5)");
    let record = load(&store, &key, "C02: the new record lives").await;
    same(texts(&record.data), texts(&data([])), "C02: no value of the leftover is in the new record");
    same(record.principal, None, "C02: the leftover's principal is not in the new record");
    same(record.version, 1, "C02: the new record starts with version 1");
    let listed = super::steps::listed(&store, &super::steps::principal("alice"), "C02: list answers").await;
    same(listed, Vec::new(), "C02: the leftover's principal does not list the new record (law 8)");
}

/// Of many creators of one key exactly one gets `New`.
pub async fn c02_one_of_many_creators_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = key();
    let answers = at_once(&clients, 16, |store, _| {
        let key = key.clone();
        async move { store.create(&key, NewRecord::new(LONG)).await.must("C02: create answers under contention") }
    });
    let new = answers.await.into_iter().filter(|created| *created == Created::New).count();
    same(new, 1, "C02: of 16 creators of one key exactly one gets New");
}

/// A record without any value is a record.
pub async fn c04_a_record_without_values_is_a_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    let record = load(&store, &key, "C04: a record without values is found").await;
    same(texts(&record.data), texts(&data([])), "C04: a record without values has none");
    same(record.principal, None, "C04: a record without principal has none");
    let deleted = store.delete(&key).await.must("C04: delete answers");
    same(deleted, true, "C04: a record without values was a live record");
}
