//! Checks of namespaces: C38, C53.

use std::time::Duration;

use super::{
    assert::{Must, check_eq},
    calls::{
        check_absent, check_outcome, commit, create, create_anonymous, delete_everyone_in_pages,
        list_keys, load, scan_keys,
    },
    fixture::{Fixture, Purge},
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Claim, Created, Deleted, Outcome};

/// No method sees or changes a record of another namespace.
pub async fn c38_namespaces_are_isolated(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    // The second name starts with the first one. As a pattern, the third name matches both.
    let (mine, others) =
        (open("c38").await, [open("c38b").await, open("c38*").await, fixture.store()]);
    let (session, alice) = (TestSession::new(), principal("alice"));
    let (key, next) = (&session.key, session.rotated());
    create(&mine, key, session.record(LONG).data(data([("a", "1")])).principal(alice.clone()))
        .await;
    for (at, other) in others.iter().enumerate() {
        let rule = "C38: a record of another namespace is absent";
        check_absent(other, key, rule).await;
        for commit in
            [session.set("a", "2"), session.touch(LONG), session.rotate(&next), session.commit()]
        {
            check_outcome(other, key, commit, Outcome::Gone, rule).await;
        }
        check_eq(other.delete(key, Claim::Any).await.must(rule), Deleted::Missing, rule);
        check_eq(list_keys(other, &alice, rule).await, [].into(), rule);
        check_eq(other.delete_all(&alice, None).await.must(rule), 0, rule);
        check_eq(delete_everyone_in_pages(other, 10, rule).await, 0, rule);
        check_eq(scan_keys(other, 10).await, Vec::new(), rule);
        let created = other
            .create(key, session.record(LONG).data(data([("o", "0")])).principal(alice.clone()))
            .await
            .must(rule);
        check_eq(created, Created::New, "C38: a key of another namespace is not taken");
        let number = i64::try_from(at).unwrap_or(0);
        commit(other, key, session.add("o", number), "C38: a commit in one namespace takes effect")
            .await;
    }
    check_eq(scan_keys(&mine, 10).await, vec![key.clone()], "C38: a scan stays in its namespace");
    check_eq(
        list_keys(&mine, &alice, "C38: list succeeds").await,
        [key.clone()].into(),
        "C38: list stays in its namespace",
    );
    commit(&mine, key, session.rotate(&next), "C38: a rotation takes effect").await;
    check_eq(
        mine.delete_all(&alice, None).await.must("C38: delete_all succeeds"),
        1,
        "C38: delete_all stays in its namespace",
    );
    for (at, other) in others.iter().enumerate() {
        let record = load(other, key, "C38: the records of other namespaces stay live").await;
        check_eq(
            texts(&record.data),
            texts(&data([("o", &at.to_string())])),
            "C38: each namespace has its own values",
        );
        commit(other, key, session.commit(), "C38: a rotation stays in its namespace").await;
    }
}

/// `delete_expired` purges only its own namespace.
pub async fn c38_delete_expired_stays_in_its_namespace(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    let (one, other) = (open("c38p").await, open("c38p2").await);
    let brief = Duration::from_millis(100);
    for store in [&one, &other] {
        create_anonymous(store, brief).await;
    }
    fixture.advance(brief * 2).await;
    let expected = u64::from(fixture.purge() == Purge::ByCall);
    let rule = "C38: a purge removes the expired records of its own namespace only";
    check_eq(one.delete_expired(100).await.must(rule), expected, rule);
    check_eq(other.delete_expired(100).await.must(rule), expected, rule);
}

/// Two clients of one namespace share its records.
pub async fn c38_clients_of_one_namespace_share_records(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C38: opening a namespace succeeds")
    };
    let (one, same_one) = (open("c38s").await, open("c38s").await);
    let session = create_anonymous(&one, LONG).await;
    load(&same_one, &session.key, "C38: two clients of one namespace share its records").await;
}

/// `delete_everyone` ends no session of another namespace.
pub async fn c53_delete_everyone_stays_in_its_namespace(fixture: &dyn Fixture) {
    let open = async |name: &str| {
        fixture.open_namespace(name).await.must("C53: opening a namespace succeeds")
    };
    let (mine, others) =
        (open("c53").await, [open("c53b").await, open("c53*").await, fixture.store()]);
    let rule = "C53: delete_everyone ends no session of another namespace";
    let mut kept = Vec::new();
    for other in &others {
        let session = TestSession::new();
        create(other, &session.key, session.record(LONG).principal(principal("alice"))).await;
        kept.push((other, session));
    }
    let ended = create_anonymous(&mine, LONG).await;
    check_eq(delete_everyone_in_pages(&mine, 10, rule).await, 1, rule);
    check_absent(&mine, &ended.key, rule).await;
    for (other, session) in kept {
        load(other, &session.key, rule).await;
        check_eq(list_keys(other, &principal("alice"), rule).await, [session.key].into(), rule);
    }
}
