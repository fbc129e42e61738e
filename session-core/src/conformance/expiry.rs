//! When records die.

use std::time::Duration;

use super::{
    Fixture, Purge,
    steps::{
        LONG, Must, TestSession, absent, commit, create, create_any, data, end_everyone, holds,
        listed, load, principal, refused, same, scan_all,
    },
};
use crate::{Claim, Created, Deleted, Outcome};

/// Long enough that a busy machine does not miss the moment before, short enough to wait for.
const SHORT: Duration = Duration::from_millis(1500);

/// A record is alive shortly before its ttl has passed and dead shortly after, without any purge.
pub async fn c26_a_record_dies_at_its_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, SHORT).await;
    fixture.advance(SHORT * 2 / 3).await;
    let record =
        load(&store, &session.key, "C26: a record is alive before its ttl has passed").await;
    let law = "C26: ttl is the remaining time";
    holds(
        !record.ttl.is_zero() && record.ttl <= SHORT / 3,
        law,
        format_args!("0 to {:?}", SHORT / 3),
        record.ttl,
    );
    fixture.advance(SHORT / 3 + Duration::from_millis(50)).await;
    absent(
        &store,
        &session.key,
        "C26: a record is dead when its ttl has passed, purged or not (law 5)",
    )
    .await;
}

/// An expired record is dead for every method, also while it is still stored.
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
        same(
            count,
            1,
            "C27: the expired record is still stored, so that this check tests something",
        );
    }
    absent(&store, key, "C27: an expired record is not loaded (law 5)").await;
    same(
        listed(&store, &alice, "C27: list answers").await,
        [].into(),
        "C27: an expired record is not listed (law 5)",
    );
    same(scan_all(&store, 10).await, Vec::new(), "C27: an expired record is not scanned (law 5)");
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
        let law = format!("C27: an expired record cannot be {how} (law 5)");
        refused(&store, key, commit, Outcome::Gone, &law).await;
        absent(&store, key, &law).await;
    }
    let law = "C27: an expired record is not counted (law 5)";
    same(store.delete_all(&alice, None).await.must(law), 0, law);
    for claim in [Claim::Generation(0), Claim::Any] {
        let law = "C27: an expired record is Missing for delete (law 5)";
        same(store.delete(key, claim).await.must(law), Deleted::Missing, law);
    }
    same(end_everyone(&store, 10, law).await, 0, law);
    let created = store.create(key, next.record(LONG)).await.must("C27: create answers");
    same(created, Created::New, "C27: an expired record does not take its key (law 5)");
    same(
        load(&store, key, "C27: the new record lives").await.data.len(),
        0,
        "C27: the new record has nothing of the expired one",
    );
}

/// An expired record is not counted by `delete_everyone` and `delete_all`, whichever comes first.
pub async fn c27_ends_do_not_count_the_expired(fixture: &dyn Fixture) {
    let (store, alice, brief) = (fixture.store(), principal("alice"), Duration::from_millis(100));
    let ends: [(&str, u64); 2] = [("delete_everyone", 2), ("delete_all", 1)];
    for (call, expected) in ends {
        let (expired, living) = (TestSession::new(), TestSession::new());
        create(&store, &expired.key, expired.record(brief).principal(alice.clone())).await;
        create(&store, &living.key, living.record(LONG).principal(alice.clone())).await;
        create_any(&store, LONG).await;
        fixture.advance(brief * 2).await;
        let law = format!("C27: {call} counts live sessions only (law 5)");
        let ended = if call == "delete_all" {
            store.delete_all(&alice, None).await.must(&law)
        } else {
            end_everyone(&store, 10, &law).await
        };
        same(ended, expected, &law);
        absent(&store, &living.key, &law).await;
    }
}

/// The deadline changes only when a commit says so.
pub async fn c28_the_deadline_moves_only_when_asked(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let first = create_any(&store, LONG).await;
    let (key, second) = (&first.key, first.rotated());
    let (third, fourth) = (second.rotated(), second.rotated().rotated());
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let at_most = (LONG + tolerance).saturating_sub(passed);
    load(&store, key, "C28: a load does not extend").await;
    for (what, next) in [
        ("an empty commit", first.commit()),
        ("a value", first.set("a", "1")),
        ("a sum", first.add("n", 1)),
        ("clear", first.commit().clear()),
        ("a rotation", first.rotate(&second)),
        ("a rotation with a grace", second.rotate_with_grace(&third, LONG / 10)),
        ("a sign-in", third.sign_in(&fourth, &principal("alice"))),
        ("an authentication", fourth.commit().authenticated()),
        ("a sign-out", fourth.sign_out()),
    ] {
        let law = format!("C28: {what} without a ttl keeps the deadline");
        let told = commit(&store, key, next, &law).await.ttl;
        let read = load(&store, key, &law).await.ttl;
        for ttl in [told, read] {
            holds(
                ttl <= at_most && ttl > LONG / 2,
                &law,
                format_args!("{:?} to {at_most:?}", LONG / 2),
                ttl,
            );
        }
    }
    let law = "C28: a commit with a ttl sets the deadline from now on";
    commit(&store, key, fourth.touch(LONG * 3), law).await;
    let ttl = load(&store, key, law).await.ttl;
    holds(
        ttl > LONG * 2 && ttl <= LONG * 3 + tolerance,
        law,
        format_args!("about {:?}", LONG * 3),
        ttl,
    );
}

/// A commit can shorten a life, and the record dies at the new deadline.
pub async fn c28_shortening_a_life_works(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    let ttl = Duration::from_millis(100);
    commit(&store, &session.key, session.touch(ttl), "C28: shortening a life takes effect").await;
    fixture.advance(ttl * 2).await;
    absent(&store, &session.key, "C28: a shortened life ends at its new deadline").await;
    refused(
        &store,
        &session.key,
        session.touch(LONG),
        Outcome::Gone,
        "C28: an ended life is not extended (law 2)",
    )
    .await;
}

/// Each record has its own deadline.
pub async fn c29_each_record_has_its_own_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let short = create_any(&store, Duration::from_millis(300)).await;
    let long = create_any(&store, LONG).await;
    let shortened = create_any(&store, LONG).await;
    commit(
        &store,
        &shortened.key,
        shortened.touch(Duration::from_millis(300)),
        "C29: shortening takes effect",
    )
    .await;
    let extended = create_any(&store, Duration::from_millis(800)).await;
    commit(&store, &extended.key, extended.touch(LONG), "C29: extending takes effect").await;
    fixture.advance(Duration::from_secs(1)).await;
    absent(&store, &short.key, "C29: the short life ends").await;
    absent(&store, &shortened.key, "C29: the shortened life ends").await;
    load(&store, &long.key, "C29: the long life continues").await;
    load(&store, &extended.key, "C29: the extended life continues").await;
}
