//! What keeps namespaces apart.

use std::time::Duration;

use super::{
    Fixture, Purge,
    steps::{LONG, Must, absent, add, commit, create, data, id, listed, load, principal, same, scan_all, set, successor, texts},
};
use crate::{Commit, Created, NewRecord, Outcome};

/// Two namespaces of one backend never see each other, by any method.
pub async fn c38_namespaces_do_not_see_each_other(fixture: &dyn Fixture) {
    let open = async |name: &str| fixture.open_namespace(name).await.must("C38: opening a namespace succeeds");
    // The second name begins with the first, and the third is a pattern that fits both.
    let (mine, others) = (open("c38").await, [open("c38b").await, open("c38*").await, fixture.store()]);
    let (id, alice) = (id(), principal("alice"));
    let (key, target) = (id.store_key(), successor(&id));
    create(&mine, &key, NewRecord::new(LONG).data(data([("a", "1")])).principal(alice.clone())).await;
    for (at, other) in others.iter().enumerate() {
        let law = "C38: a record of another namespace is absent";
        absent(other, &key, law).await;
        for commit in [set("a", "2"), Commit::new().ttl(LONG), Commit::new().move_to(target.clone())] {
            same(other.commit(&key, commit).await.must(law), Outcome::Gone, law);
        }
        same(other.delete(&key).await.must(law), false, law);
        same(listed(other, &alice, law).await, Vec::new(), law);
        same(other.delete_all(&alice, None).await.must(law), 0, law);
        same(scan_all(other, 10).await, Vec::new(), law);
        let created = other.create(&key, NewRecord::new(LONG).data(data([("o", "0")])).principal(alice.clone())).await.must(law);
        same(created, Created::New, "C38: a key of another namespace is not taken");
        let number = i64::try_from(at).unwrap_or(0);
        commit(other, &key, add("o", number), "C38: a commit in one namespace takes effect").await;
    }
    same(scan_all(&mine, 10).await, vec![key.clone()], "C38: a scan stays in its namespace");
    same(listed(&mine, &alice, "C38: list answers").await, vec![key.clone()], "C38: list stays in its namespace");
    commit(&mine, &key, Commit::new().move_to(target.clone()), "C38: a move takes effect").await;
    same(mine.delete_all(&alice, None).await.must("C38: delete_all answers"), 1, "C38: delete_all stays in its namespace");
    for (at, other) in others.iter().enumerate() {
        let record = load(other, &key, "C38: the records of other namespaces live on").await;
        same(texts(&record.data), texts(&data([("o", &at.to_string())])), "C38: each namespace has values of its own");
        absent(other, &target, "C38: a move stays in its namespace").await;
    }
}

/// A purge stays in its namespace.
pub async fn c38_a_purge_stays_in_its_namespace(fixture: &dyn Fixture) {
    let open = async |name: &str| fixture.open_namespace(name).await.must("C38: opening a namespace succeeds");
    let (one, other) = (open("c38p").await, open("c38p2").await);
    let brief = Duration::from_millis(100);
    for store in [&one, &other] {
        create(store, &id().store_key(), NewRecord::new(brief)).await;
    }
    fixture.advance(brief * 2).await;
    let expected = u64::from(fixture.purge() == Purge::ByCall);
    let law = "C38: a purge takes the expired of its own namespace and no other";
    same(one.delete_expired(100).await.must(law), expected, law);
    same(other.delete_expired(100).await.must(law), expected, law);
}

/// Two clients of one namespace share its records.
pub async fn c38_clients_of_one_namespace_share_it(fixture: &dyn Fixture) {
    let open = async |name: &str| fixture.open_namespace(name).await.must("C38: opening a namespace succeeds");
    let (one, same_one) = (open("c38s").await, open("c38s").await);
    let key = id().store_key();
    create(&one, &key, NewRecord::new(LONG)).await;
    load(&same_one, &key, "C38: two clients of one namespace share its records").await;
}
