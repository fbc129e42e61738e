//! What keeps namespaces apart.

use std::time::Duration;

use super::{
    Fixture, Purge,
    steps::{
        LONG, Must, TestSession, absent, commit, create, create_any, data, end_everyone, listed,
        load, principal, refused, same, scan_all, texts,
    },
};
use crate::{Claim, Created, Deleted, Outcome};

/// Two namespaces of one backend never see each other, by any method.
pub async fn c38_namespaces_do_not_see_each_other(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    // The second name begins with the first, and the third is a pattern that fits both.
    let (mine, others) =
        (open("c38").await, [open("c38b").await, open("c38*").await, fixture.store()]);
    let (session, alice) = (TestSession::new(), principal("alice"));
    let (key, next) = (&session.key, session.rotated());
    create(&mine, key, session.record(LONG).data(data([("a", "1")])).principal(alice.clone()))
        .await;
    for (at, other) in others.iter().enumerate() {
        let law = "C38: a record of another namespace is absent";
        absent(other, key, law).await;
        for commit in
            [session.set("a", "2"), session.touch(LONG), session.rotate(&next), session.commit()]
        {
            refused(other, key, commit, Outcome::Gone, law).await;
        }
        same(other.delete(key, Claim::Any).await.must(law), Deleted::Missing, law);
        same(listed(other, &alice, law).await, [].into(), law);
        same(other.delete_all(&alice, None).await.must(law), 0, law);
        same(end_everyone(other, 10, law).await, 0, law);
        same(scan_all(other, 10).await, Vec::new(), law);
        let created = other
            .create(key, session.record(LONG).data(data([("o", "0")])).principal(alice.clone()))
            .await
            .must(law);
        same(created, Created::New, "C38: a key of another namespace is not taken");
        let number = i64::try_from(at).unwrap_or(0);
        commit(other, key, session.add("o", number), "C38: a commit in one namespace takes effect")
            .await;
    }
    same(scan_all(&mine, 10).await, vec![key.clone()], "C38: a scan stays in its namespace");
    same(
        listed(&mine, &alice, "C38: list answers").await,
        [key.clone()].into(),
        "C38: list stays in its namespace",
    );
    commit(&mine, key, session.rotate(&next), "C38: a rotation takes effect").await;
    same(
        mine.delete_all(&alice, None).await.must("C38: delete_all answers"),
        1,
        "C38: delete_all stays in its namespace",
    );
    for (at, other) in others.iter().enumerate() {
        let record = load(other, key, "C38: the records of other namespaces live on").await;
        same(
            texts(&record.data),
            texts(&data([("o", &at.to_string())])),
            "C38: each namespace has its own values",
        );
        commit(other, key, session.commit(), "C38: a rotation stays in its namespace").await;
    }
}

/// A purge stays in its namespace.
pub async fn c38_a_purge_stays_in_its_namespace(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    let (one, other) = (open("c38p").await, open("c38p2").await);
    let brief = Duration::from_millis(100);
    for store in [&one, &other] {
        create_any(store, brief).await;
    }
    fixture.advance(brief * 2).await;
    let expected = u64::from(fixture.purge() == Purge::ByCall);
    let law = "C38: a purge takes the expired of its own namespace and no other";
    same(one.delete_expired(100).await.must(law), expected, law);
    same(other.delete_expired(100).await.must(law), expected, law);
}

/// Two clients of one namespace share its records.
pub async fn c38_clients_of_one_namespace_share_it(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    let (one, same_one) = (open("c38s").await, open("c38s").await);
    let session = create_any(&one, LONG).await;
    load(&same_one, &session.key, "C38: two clients of one namespace share its records").await;
}

/// `delete_everyone` ends no session of another namespace.
pub async fn c53_delete_everyone_stays_in_its_namespace(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C53: opening a namespace succeeds")
    };
    let (mine, others) =
        (open("c53").await, [open("c53b").await, open("c53*").await, fixture.store()]);
    let law = "C53: delete_everyone ends no session of another namespace";
    let mut kept = Vec::new();
    for other in &others {
        let session = TestSession::new();
        create(other, &session.key, session.record(LONG).principal(principal("alice"))).await;
        kept.push((other, session));
    }
    let ended = create_any(&mine, LONG).await;
    same(end_everyone(&mine, 10, law).await, 1, law);
    absent(&mine, &ended.key, law).await;
    for (other, session) in kept {
        load(other, &session.key, law).await;
        same(listed(other, &principal("alice"), law).await, [session.key].into(), law);
    }
}
