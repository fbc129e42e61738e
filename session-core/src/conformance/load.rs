//! What `load` promises.

use std::time::{Duration, Instant};

use super::{
    Fixture,
    steps::{
        LONG, Must, absent, add, broken, create, create_any, data, empty, holds, key, load, name, principal, rejected, same, set, texts,
    },
};
use crate::{Commit, Lifetime, NewRecord, Outcome, Persistence, Rejection, StoreKey};

/// A load gives back values, version, principal and lifetime exactly as they were stored.
pub async fn c03_load_gives_back_what_was_stored(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = key();
    let lifetime = Lifetime {
        idle_timeout: Some(Duration::from_millis(1_234_567)),
        absolute_timeout: Some(Duration::from_secs(86_400)),
        persistence: Some(Persistence::Persistent),
    };
    let values = data([("cart", r#"{"items":[1,2]}"#), ("theme", r#""dark""#), ("visits", "3")]);
    let new = NewRecord { data: values.clone(), ttl: LONG, principal: Some(principal("alice")), lifetime };
    create(&store, &key, new).await;
    let record = load(&store, &key, "C03: a live record is found").await;
    same(texts(&record.data), texts(&values), "C03: load gives back exactly the stored values");
    same(record.version, 1, "C03: load gives back the version");
    same(record.principal, Some(principal("alice")), "C03: load gives back the principal");
    same(record.lifetime, lifetime, "C03: load gives back the lifetime settings unchanged");
    let (other, law) = (
        Lifetime { persistence: Some(Persistence::BrowserSession), ..Lifetime::default() },
        "C03: a commit replaces the lifetime settings",
    );
    let committed = super::steps::commit(&store, &key, Commit { lifetime: Some(other), ..Commit::new() }, law).await;
    same(committed.lifetime, other, law);
    same(load(&store, &key, law).await.lifetime, other, law);
}

/// Age and ttl are what the backend's clock says, within the fixture's tolerance.
pub async fn c03_age_and_ttl_follow_the_backends_clock(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let begun = Instant::now();
    let key = create_any(&store, LONG).await;
    let mut passed = Duration::ZERO;
    for _ in 0..2 {
        let record = load(&store, &key, "C03: a live record is found").await;
        // A clock made for tests passes by `advance` alone, a real one at least by what it took to get here.
        let (least, most) = (passed, passed.max(begun.elapsed()) + begun.elapsed().min(tolerance));
        let ages = least.saturating_sub(tolerance)..=most + tolerance;
        holds(ages.contains(&record.age), "C03: age is the time since creation", format_args!("{ages:?}"), record.age);
        let ttls = LONG.saturating_sub(most + tolerance)..=(LONG + tolerance).saturating_sub(least);
        holds(ttls.contains(&record.ttl), "C03: ttl is the time that is left", format_args!("{ttls:?}"), record.ttl);
        passed = tolerance + Duration::from_millis(200);
        fixture.advance(passed).await;
    }
}

/// A commit answers with version, age, ttl and lifetime as a load right after it does.
pub async fn c03_a_commit_tells_the_record_as_load_does(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let key = create_any(&store, LONG).await;
    fixture.advance(Duration::from_millis(20)).await;
    let commit = Commit::new().ttl(LONG * 2).change(name("n"), crate::Change::Add(2));
    let committed = super::steps::commit(&store, &key, commit, "C03: a commit takes effect").await;
    let record = load(&store, &key, "C03: a live record is found").await;
    same(committed.version, record.version, "C03: a commit answers with the version that load gives");
    same(committed.lifetime, record.lifetime, "C03: a commit answers with the lifetime that load gives");
    holds(
        record.age.abs_diff(committed.age) <= tolerance,
        "C03: a commit answers with the record's age",
        format_args!("about {:?}", record.age),
        committed.age,
    );
    holds(
        record.ttl.abs_diff(committed.ttl) <= tolerance,
        "C03: a commit answers with the ttl that it set",
        format_args!("about {:?}", record.ttl),
        committed.ttl,
    );
}

/// Missing and malformed keys are absent, not errors, for every method; nothing is created under them.
pub async fn c05_missing_and_malformed_keys_are_absent(fixture: &dyn Fixture) {
    let store = fixture.store();
    let malformed = ["", "\0", "abcd\0efgh", "two\nlines", "\u{7f}", "k\u{85}"]
        .map(str::to_owned)
        .into_iter()
        .chain(["k".repeat(129), "k".repeat(65_536)]);
    for text in malformed.chain([key().as_str().to_owned()]) {
        let (key, shown) = (StoreKey::from_text(&text), format!("C05 (key of {} bytes {:?})", text.len(), text.get(..12).unwrap_or(&text)));
        absent(&store, &key, &format!("{shown}: load says None (law 6)")).await;
        for commit in [set("n", "1"), add("n", 1), Commit::new().ttl(LONG), Commit::new().clear()] {
            let law = format!("{shown}: commit says Gone (law 6)");
            same(store.commit(&key, commit).await.must(&law), Outcome::Gone, &law);
        }
        let law = format!("{shown}: delete says false (law 6)");
        same(store.delete(&key).await.must(&law), false, &law);
        if !key.is_storable() {
            let law = format!("{shown}: create is refused");
            match rejected(store.create(&key, NewRecord::new(LONG)).await, "Key", &law) {
                Rejection::Key { bytes } => same(bytes, text.len(), &law),
                other => broken(&law, "Rejected(Key)", format_args!("{other:?}")),
            }
        }
    }
    empty(fixture, "C05: calls with missing and malformed keys create nothing").await;
}

/// Every storable text is a key of its own, whatever it means to the backend.
pub async fn c05_odd_keys_are_just_keys(fixture: &dyn Fixture) {
    let store = fixture.store();
    let longest = "k".repeat(StoreKey::MAX_BYTES);
    let odd = [
        "a", "A", " ", "a ", "*", "?", "[a-z]", "%", "_", "'", "\"", "';--", "{x}", "..", "../a", "a/b", "a:b", "$gt", "a.b", "\\", "🦀",
        "é", "e\u{301}", &longest,
    ];
    for (at, text) in odd.iter().enumerate() {
        create(&store, &StoreKey::from_text(text), NewRecord::new(LONG).data(data([("n", &at.to_string())]))).await;
    }
    for (at, text) in odd.iter().enumerate() {
        let law = format!("C05: the key {text:?} is a key of its own");
        let key = StoreKey::from_text(text);
        same(texts(&load(&store, &key, &law).await.data), texts(&data([("n", &at.to_string())])), &law);
        same(super::steps::commit(&store, &key, add("n", 1), &law).await.added[&name("n")], i64::try_from(at).unwrap_or(0) + 1, &law);
        same(store.delete(&key).await.must(&law), true, &law);
        absent(&store, &key, &law).await;
    }
    empty(fixture, "C05: deleting each odd key leaves none").await;
}
