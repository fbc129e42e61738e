//! What becomes of records that cannot be read.

use super::{
    Fixture, Hand,
    steps::{Client, LONG, Must, add, broken, chain, commit, create, data, holds, key, load, principal, same, scan_all, set, texts},
};
use crate::{Commit, Created, NewRecord, PrincipalChange, StoreError, StoreKey};

/// Corrupt stored bytes are reported as `Corrupt` and left as they are; other records are fine.
pub async fn c39_a_corrupt_record_is_reported_and_left_alone(fixture: &dyn Fixture) {
    let (spoilt, fine) = two_records(&fixture.store()).await;
    let hand = fixture.corrupt(&spoilt).await;
    unreadable_is_left_alone(fixture, "C39", hand, &spoilt, &fine).await;
}

/// A record in a format that only newer versions know is reported as `Corrupt` and not overwritten; other records are fine.
pub async fn c40_a_record_of_a_newer_format_is_reported_and_not_overwritten(fixture: &dyn Fixture) {
    let (newer, fine) = two_records(&fixture.store()).await;
    let hand = fixture.future_format(&newer).await;
    unreadable_is_left_alone(fixture, "C40", hand, &newer, &fine).await;
}

async fn two_records(store: &Client) -> (StoreKey, StoreKey) {
    let (one, other) = (key(), key());
    for key in [&one, &other] {
        create(store, key, NewRecord::new(LONG).data(data([("a", "1")])).principal(principal("alice"))).await;
    }
    (one, other)
}

async fn unreadable_is_left_alone(fixture: &dyn Fixture, line: &str, hand: Hand, spoilt: &StoreKey, fine: &StoreKey) {
    if hand.or_explain(line).is_none() {
        return;
    }
    let store = fixture.store();
    let stored = fixture.dump().await.or_explain(&format!("{line} (stored bytes)"));
    let law = format!("{line}: a record that cannot be read is Corrupt (law 6)");
    corrupt(store.load(spoilt).await, spoilt, &law);
    let law = format!("{line}: a commit does not write over a record that cannot be read (law 6)");
    for commit in [set("a", "2"), add("n", 1), set("a", "2").clear(), Commit::new().principal(PrincipalChange::Unset)] {
        corrupt(store.commit(spoilt, commit).await, spoilt, &law);
    }
    let law = format!("{line}: create does not write over a record that cannot be read (law 6)");
    match store.create(spoilt, NewRecord::new(LONG)).await {
        Ok(Created::Taken) | Err(StoreError::Corrupt { .. }) => {}
        Ok(Created::New) => broken(&law, "Taken or Corrupt", "New"),
        Err(error) => broken(&law, "Taken or Corrupt", chain(&error)),
    }
    corrupt(store.load(spoilt).await, spoilt, &format!("{line}: refused calls leave the record as it is"));
    if let (Some(before), Some(after)) = (stored, fixture.dump().await.or_explain(&format!("{line} (stored bytes)"))) {
        same(before == after, true, &format!("{line}: refused calls leave the stored bytes as they are"));
    }
    let law = format!("{line}: other records are fine");
    same(texts(&load(&store, fine, &law).await.data), texts(&data([("a", "1")])), &law);
    commit(&store, fine, set("a", "2"), &law).await;
    same(scan_all(&store, 10).await, vec![fine.clone()], &format!("{line}: a scan leaves out what cannot be read and goes on"));
    let listed = store.list(&principal("alice")).await.must(&law);
    holds(listed.iter().any(|listed| listed.key == *fine), &law, "the other record in the list", &listed);
    store.delete_expired(10).await.must(&law);
    let law = format!("{line}: a record that cannot be read is deleted like any other");
    store.delete(spoilt).await.must(&law);
    same(store.load(spoilt).await.must(&law), None, &law);
}

#[track_caller]
fn corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>, key: &StoreKey, law: &str) {
    match answer {
        Err(StoreError::Corrupt { handle, .. }) => same(handle, key.handle(), law),
        Err(error) => broken(law, "Corrupt", chain(&error)),
        Ok(answer) => broken(law, "Corrupt", format_args!("{answer:?}")),
    }
}
