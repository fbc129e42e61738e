//! How a store treats records that it cannot read.

use super::{
    Fixture, Supported,
    steps::{
        Client, LONG, Must, TestSession, absent, broken, chain, commit, create, data, listed, load,
        principal, same, scan_all, signed_in, texts,
    },
};
use crate::{Claim, Created, Deleted, Guard, StoreError, StoreKey};

/// Corrupt stored bytes are reported as `Corrupt` and left as they are. Other records stay usable.
pub async fn c39_a_corrupt_record_is_reported_and_left_alone(fixture: &dyn Fixture) {
    let (spoilt, fine) = two_records(&fixture.store()).await;
    let hand = fixture.corrupt(&spoilt.key).await;
    unreadable_is_left_alone(fixture, "C39", hand, &spoilt, &fine).await;
}

/// A record in a newer format is reported as `Corrupt` and not overwritten. Other records stay
/// usable.
pub async fn c40_a_record_of_a_newer_format_is_reported_and_not_overwritten(fixture: &dyn Fixture) {
    let (newer, fine) = two_records(&fixture.store()).await;
    let hand = fixture.future_format(&newer.key).await;
    unreadable_is_left_alone(fixture, "C40", hand, &newer, &fine).await;
}

/// Every claim ends a record that cannot be read. A second delete finds nothing.
pub async fn c47_any_claim_ends_a_corrupt_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    for claim in [Claim::Any, Claim::Generation(0)] {
        let session = signed_in(&store, &principal("alice")).await;
        if fixture.corrupt(&session.key).await.or_explain("C47").is_none() {
            return;
        }
        let law = format!("C47: {claim:?} ends a record that cannot be read");
        let deleted = store.delete(&session.key, claim).await.must(&law);
        if deleted == Deleted::Superseded {
            broken(&law, "Ended or Missing", format_args!("{deleted:?}"));
        }
        absent(&store, &session.key, &law).await;
        same(store.delete(&session.key, claim).await.must(&law), Deleted::Missing, &law);
    }
}

async fn two_records(store: &Client) -> (TestSession, TestSession) {
    let (one, other) = (TestSession::new(), TestSession::new());
    for session in [&one, &other] {
        create(
            store,
            &session.key,
            session.record(LONG).data(data([("a", "1")])).principal(principal("alice")),
        )
        .await;
    }
    (one, other)
}

async fn unreadable_is_left_alone(
    fixture: &dyn Fixture,
    line: &str,
    hand: Supported,
    spoilt: &TestSession,
    fine: &TestSession,
) {
    if hand.or_explain(line).is_none() {
        return;
    }
    let store = fixture.store();
    let (key, next) = (&spoilt.key, spoilt.rotated());
    let stored = fixture.dump().await.or_explain(&format!("{line} (stored bytes)"));
    let law = format!("{line}: a record that cannot be read is Corrupt (law 6)");
    corrupt(store.load(key).await, key, &law);
    let law = format!("{line}: a commit does not overwrite a record that cannot be read (law 6)");
    for commit in [
        spoilt.set("a", "2"),
        spoilt.add("n", 1),
        spoilt.set("a", "2").clear(),
        spoilt.sign_out(),
        spoilt.touch(LONG),
        spoilt.rotate(&next),
        spoilt.sign_in(&next, &principal("bob")),
        spoilt.commit(),
    ] {
        corrupt(store.commit(key, commit).await, key, &law);
    }
    let law = "C46: Corrupt comes before Superseded and Conflict";
    for commit in [
        next.set("a", "2"),
        next.commit(),
        spoilt.set("a", "2").guard(Guard::Version(9)),
        spoilt.add("a", i64::MAX),
    ] {
        corrupt(store.commit(key, commit).await, key, law);
    }
    let law = format!("{line}: create does not overwrite a record that cannot be read (law 6)");
    match store.create(key, spoilt.record(LONG)).await {
        Ok(Created::Taken) | Err(StoreError::Corrupt { .. }) => {}
        Ok(Created::New) => broken(&law, "Taken or Corrupt", "New"),
        Err(error) => broken(&law, "Taken or Corrupt", chain(&error)),
    }
    corrupt(
        store.load(key).await,
        key,
        &format!("{line}: refused calls leave the record as it is"),
    );
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain(&format!("{line} (stored bytes)")))
    {
        same(
            before == after,
            true,
            &format!("{line}: refused calls leave the stored bytes as they are"),
        );
    }
    let law = format!("{line}: other records stay usable");
    same(texts(&load(&store, &fine.key, &law).await.data), texts(&data([("a", "1")])), &law);
    commit(&store, &fine.key, fine.set("a", "2"), &law).await;
    same(
        scan_all(&store, 10).await,
        vec![fine.key.clone()],
        &format!("{line}: a scan leaves out what it cannot read and continues"),
    );
    same(listed(&store, &principal("alice"), &law).await.contains(&fine.key), true, &law);
    store.delete_expired(10).await.must(&law);
    let law = format!("{line}: a record that cannot be read is deleted like any other");
    let _ = store.delete(key, Claim::Any).await.must(&law);
    absent(&store, key, &law).await;
}

#[track_caller]
fn corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>, key: &StoreKey, law: &str) {
    match answer {
        Err(StoreError::Corrupt { handle, .. }) => same(handle, key.handle(), law),
        Err(error) => broken(law, "Corrupt", chain(&error)),
        Ok(answer) => broken(law, "Corrupt", format_args!("{answer:?}")),
    }
}
