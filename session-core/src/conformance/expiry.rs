//! Checks of deadlines: C26 to C29.

use std::time::Duration;

use super::{
    assert::{Must, check, check_eq},
    calls::{
        check_absent, check_outcome, commit, create, create_anonymous, delete_everyone_in_pages,
        list_keys, load, scan_keys,
    },
    fixture::{Fixture, Purge},
    session::{LONG, TestSession, data, principal},
};
use crate::{Claim, Created, Deleted, Outcome};

/// Long enough for a check before the deadline on a machine under load, short enough to wait for.
const SHORT: Duration = Duration::from_millis(1500);

/// A record is live shortly before its ttl has passed and dead shortly after, without a purge.
pub async fn c26_a_record_expires_after_its_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, SHORT).await;
    fixture.advance(SHORT * 2 / 3).await;
    let record =
        load(&store, &session.key, "C26: a record is live before its ttl has passed").await;
    let rule = "C26: ttl is the remaining time";
    check(
        !record.ttl.is_zero() && record.ttl <= SHORT / 3,
        rule,
        format_args!("0 to {:?}", SHORT / 3),
        record.ttl,
    );
    fixture.advance(SHORT / 3 + Duration::from_millis(50)).await;
    check_absent(
        &store,
        &session.key,
        "C26: a record is dead after its ttl, purged or not (law 5)",
    )
    .await;
}

/// An expired record is dead for every method, even while it is still stored.
pub async fn c27_an_expired_record_is_dead_for_every_method(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    let new = session
        .record(Duration::from_millis(100))
        .data(data([("a", "1")]))
        .principal(alice.clone());
    create(&store, key, new).await;
    fixture.advance(Duration::from_millis(200)).await;
    if fixture.purge() == Purge::ByCall
        && let Some(count) = fixture.physical_count().await.or_explain("C27 (count)")
    {
        check_eq(
            count,
            1,
            "C27: the expired record is still stored (otherwise the check proves nothing)",
        );
    }
    check_absent(&store, key, "C27: an expired record is not loaded (law 5)").await;
    check_eq(
        list_keys(&store, &alice, "C27: list succeeds").await,
        [].into(),
        "C27: an expired record is not listed (law 5)",
    );
    check_eq(
        scan_keys(&store, 10).await,
        Vec::new(),
        "C27: an expired record is not scanned (law 5)",
    );
    let commits = [
        ("changed", session.set("a", "2")),
        ("summed", session.add("n", 1)),
        ("extended", session.touch(LONG)),
        ("rotated", session.rotate(&next).ttl(LONG)),
        ("signed in", session.sign_in(&next, &alice).ttl(LONG)),
        ("judged as superseded", next.commit()),
        ("judged as alive", session.commit()),
    ];
    for (how, commit) in commits {
        let rule = format!("C27: an expired record cannot be {how} (law 5)");
        check_outcome(&store, key, commit, Outcome::Gone, &rule).await;
        check_absent(&store, key, &rule).await;
    }
    let rule = "C27: an expired record is not counted (law 5)";
    check_eq(store.delete_all(&alice, None).await.must(rule), 0, rule);
    for claim in [Claim::Generation(0), Claim::Any] {
        let rule = "C27: an expired record is Missing for delete (law 5)";
        check_eq(store.delete(key, claim).await.must(rule), Deleted::Missing, rule);
    }
    check_eq(delete_everyone_in_pages(&store, 10, rule).await, 0, rule);
    let created = store.create(key, next.record(LONG)).await.must("C27: create succeeds");
    check_eq(created, Created::New, "C27: the key of an expired record is free (law 5)");
    check_eq(
        load(&store, key, "C27: the new record is live").await.data.len(),
        0,
        "C27: the new record keeps nothing of the expired one",
    );
}

/// `delete_everyone` and `delete_all` count live records only.
pub async fn c27_bulk_deletes_do_not_count_expired_records(fixture: &dyn Fixture) {
    let (store, alice, brief) = (fixture.store(), principal("alice"), Duration::from_millis(100));
    let ends: [(&str, u64); 2] = [("delete_everyone", 2), ("delete_all", 1)];
    for (call, expected) in ends {
        let (expired, living) = (TestSession::new(), TestSession::new());
        create(&store, &expired.key, expired.record(brief).principal(alice.clone())).await;
        create(&store, &living.key, living.record(LONG).principal(alice.clone())).await;
        create_anonymous(&store, LONG).await;
        fixture.advance(brief * 2).await;
        let rule = format!("C27: {call} counts live sessions only (law 5)");
        let ended = if call == "delete_all" {
            store.delete_all(&alice, None).await.must(&rule)
        } else {
            delete_everyone_in_pages(&store, 10, &rule).await
        };
        check_eq(ended, expected, &rule);
        check_absent(&store, &living.key, &rule).await;
    }
}

/// Only a commit with a ttl moves the deadline.
pub async fn c28_only_a_ttl_moves_the_deadline(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let first = create_anonymous(&store, LONG).await;
    let (key, second) = (&first.key, first.rotated());
    let (third, fourth) = (second.rotated(), second.rotated().rotated());
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let at_most = (LONG + tolerance).saturating_sub(passed);
    load(&store, key, "C28: a load does not extend the ttl").await;
    for (what, next) in [
        ("an empty commit", first.commit()),
        ("a value", first.set("a", "1")),
        ("an Add", first.add("n", 1)),
        ("clear", first.commit().clear()),
        ("a rotation", first.rotate(&second)),
        ("a rotation with a grace", second.rotate_with_grace(&third, LONG / 10)),
        ("a sign-in", third.sign_in(&fourth, &principal("alice"))),
        ("an authentication", fourth.commit().authenticated()),
        ("a sign-out", fourth.sign_out()),
    ] {
        let rule = format!("C28: {what} without a ttl keeps the deadline");
        let returned = commit(&store, key, next, &rule).await.ttl;
        let read = load(&store, key, &rule).await.ttl;
        for ttl in [returned, read] {
            check(
                ttl <= at_most && ttl > LONG / 2,
                &rule,
                format_args!("{:?} to {at_most:?}", LONG / 2),
                ttl,
            );
        }
    }
    let rule = "C28: a commit with a ttl sets a new deadline";
    commit(&store, key, fourth.touch(LONG * 3), rule).await;
    let ttl = load(&store, key, rule).await.ttl;
    check(
        ttl > LONG * 2 && ttl <= LONG * 3 + tolerance,
        rule,
        format_args!("about {:?}", LONG * 3),
        ttl,
    );
}

/// A commit can shorten the ttl, and the record expires at the new deadline.
pub async fn c28_a_commit_can_shorten_the_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    let ttl = Duration::from_millis(100);
    commit(&store, &session.key, session.touch(ttl), "C28: a shorter ttl takes effect").await;
    fixture.advance(ttl * 2).await;
    check_absent(
        &store,
        &session.key,
        "C28: a record with a shorter ttl expires at the new deadline",
    )
    .await;
    check_outcome(
        &store,
        &session.key,
        session.touch(LONG),
        Outcome::Gone,
        "C28: a commit does not extend an expired record (law 2)",
    )
    .await;
}

/// Each record has its own deadline.
pub async fn c29_each_record_has_its_own_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let short = create_anonymous(&store, Duration::from_millis(300)).await;
    let long = create_anonymous(&store, LONG).await;
    let shortened = create_anonymous(&store, LONG).await;
    commit(
        &store,
        &shortened.key,
        shortened.touch(Duration::from_millis(300)),
        "C29: a shorter ttl takes effect",
    )
    .await;
    let extended = create_anonymous(&store, Duration::from_millis(800)).await;
    commit(&store, &extended.key, extended.touch(LONG), "C29: a longer ttl takes effect").await;
    fixture.advance(Duration::from_secs(1)).await;
    check_absent(&store, &short.key, "C29: the record with the short ttl expires").await;
    check_absent(&store, &shortened.key, "C29: the record with the shortened ttl expires").await;
    load(&store, &long.key, "C29: the record with the long ttl stays live").await;
    load(&store, &extended.key, "C29: the record with the extended ttl stays live").await;
}
