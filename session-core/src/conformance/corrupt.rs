//! Checks of records that the store cannot read: C39, C40, C47.

use std::fmt::Debug;

use super::{
    assert::{Must, check_eq, error_text, fail},
    calls::{Client, check_absent, commit, create, create_signed_in, list_keys, load, scan_keys},
    fixture::{Fixture, Supported},
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Claim, Created, Deleted, Guard, StoreError, StoreKey};

/// A corrupt record is reported as `Corrupt` and not overwritten; other records stay usable.
pub async fn c39_a_corrupt_record_is_reported_and_kept(fixture: &dyn Fixture) {
    let (corrupted, intact) = two_records(&fixture.store()).await;
    let prepared = fixture.corrupt(&corrupted.key).await;
    check_unreadable_is_kept(fixture, "C39", prepared, &corrupted, &intact).await;
}

/// A record in a newer format is reported as `Corrupt` and not overwritten.
///
/// Other records stay usable.
pub async fn c40_a_newer_format_is_reported_and_kept(fixture: &dyn Fixture) {
    let (newer, intact) = two_records(&fixture.store()).await;
    let prepared = fixture.future_format(&newer.key).await;
    check_unreadable_is_kept(fixture, "C40", prepared, &newer, &intact).await;
}

/// Every claim ends a record that cannot be read.
///
/// A second `delete` returns `Missing`.
pub async fn c47_any_claim_ends_a_corrupt_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    for claim in [Claim::Any, Claim::Generation(0)] {
        let session = create_signed_in(&store, &principal("alice")).await;
        if fixture.corrupt(&session.key).await.or_explain("C47").is_none() {
            return;
        }
        let rule = format!("C47: {claim:?} ends a record that cannot be read");
        let deleted = store.delete(&session.key, claim).await.must(&rule);
        if deleted == Deleted::Superseded {
            fail(&rule, "Ended or Missing", format_args!("{deleted:?}"));
        }
        check_absent(&store, &session.key, &rule).await;
        check_eq(store.delete(&session.key, claim).await.must(&rule), Deleted::Missing, &rule);
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

async fn check_unreadable_is_kept(
    fixture: &dyn Fixture,
    id: &str,
    prepared: Supported,
    corrupted: &TestSession,
    intact: &TestSession,
) {
    if prepared.or_explain(id).is_none() {
        return;
    }
    let store = fixture.store();
    let (key, next) = (&corrupted.key, corrupted.rotated());
    let stored = fixture.dump().await.or_explain(&format!("{id} (stored bytes)"));
    let rule = format!("{id}: a record that cannot be read is Corrupt (law 6)");
    corrupt(store.load(key).await, key, &rule);
    let rule = format!("{id}: a commit does not overwrite a record that cannot be read (law 6)");
    for commit in [
        corrupted.set("a", "2"),
        corrupted.add("n", 1),
        corrupted.set("a", "2").clear(),
        corrupted.sign_out(),
        corrupted.touch(LONG),
        corrupted.rotate(&next),
        corrupted.sign_in(&next, &principal("bob")),
        corrupted.commit(),
    ] {
        corrupt(store.commit(key, commit).await, key, &rule);
    }
    let rule = "C46: Corrupt comes before Superseded and Conflict";
    for commit in [
        next.set("a", "2"),
        next.commit(),
        corrupted.set("a", "2").guard(Guard::Version(9)),
        corrupted.add("a", i64::MAX),
    ] {
        corrupt(store.commit(key, commit).await, key, rule);
    }
    let rule = format!("{id}: create does not overwrite a record that cannot be read (law 6)");
    match store.create(key, corrupted.record(LONG)).await {
        Ok(Created::Taken) | Err(StoreError::Corrupt { .. }) => {}
        Ok(Created::New) => fail(&rule, "Taken or Corrupt", "New"),
        Err(error) => fail(&rule, "Taken or Corrupt", error_text(&error)),
    }
    corrupt(store.load(key).await, key, &format!("{id}: failed calls do not change the record"));
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain(&format!("{id} (stored bytes)")))
    {
        check_eq(
            before == after,
            true,
            &format!("{id}: failed calls do not change the stored bytes"),
        );
    }
    let rule = format!("{id}: other records stay usable");
    check_eq(
        texts(&load(&store, &intact.key, &rule).await.data),
        texts(&data([("a", "1")])),
        &rule,
    );
    commit(&store, &intact.key, intact.set("a", "2"), &rule).await;
    check_eq(
        scan_keys(&store, 10).await,
        vec![intact.key.clone()],
        &format!("{id}: a scan skips a record that it cannot read and continues"),
    );
    check_eq(
        list_keys(&store, &principal("alice"), &rule).await.contains(&intact.key),
        true,
        &rule,
    );
    store.delete_expired(10).await.must(&rule);
    let rule = format!("{id}: delete ends a record that cannot be read");
    let _ = store.delete(key, Claim::Any).await.must(&rule);
    check_absent(&store, key, &rule).await;
}

#[track_caller]
fn corrupt<T: Debug>(answer: Result<T, StoreError>, key: &StoreKey, rule: &str) {
    match answer {
        Err(StoreError::Corrupt { handle, .. }) => check_eq(handle, key.handle(), rule),
        Err(error) => fail(rule, "Corrupt", error_text(&error)),
        Ok(answer) => fail(rule, "Corrupt", format_args!("{answer:?}")),
    }
}
