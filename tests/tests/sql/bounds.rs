//! Large calls, and calls at the limits.

use std::time::Duration;

use session_core::{
    Change, Commit, Guard, Json, Name, NewRecord, Outcome, Rejection, SessionStore, StoreError,
};
use store_sql::SqlStore;
use tests::{
    PATIENCE,
    service::AnySql,
    session::{LONG, Session, is_done, name},
    wait, with_sources,
};

use crate::locks::{PATIENT, connect, record};

on_all_databases!(
    c30_purge_continues_after_its_first_step,
    c10_cap_applies_to_sums_after_a_clear,
    c09_field_order_does_not_affect_sets_and_removals,
    c09_many_removals_in_one_commit_all_apply,
    c09_results_are_equal_below_and_above_the_statement_limit,
    c12_concurrent_commits_of_many_removals_lose_nothing,
);

async fn c30_purge_continues_after_its_first_step(sql: AnySql) {
    const EXPIRED: usize = 2_100;
    let store = connect(&sql.url(PATIENT)).await;
    let mut made = Vec::with_capacity(EXPIRED);
    for _ in 0..EXPIRED / 30 {
        made.extend(futures_util::future::join_all((0..30).map(|_| expiring(&store))).await);
    }
    let kept = Session::anonymous(&store).await;
    let gone = async || store.load(made.last()?).await.expect("an answer").is_none().then_some(());
    wait::until("the last session to expire", PATIENCE, gone).await;
    assert_eq!(
        store.delete_expired(2_050).await.expect("an answer"),
        2_050,
        "a purge deletes at most its limit"
    );
    assert_eq!(store.delete_expired(10_000).await.expect("an answer"), 50);
    assert_eq!(store.delete_expired(10_000).await.expect("an answer"), 0);
    assert!(store.load(&kept.key).await.expect("an answer").is_some());
}

async fn expiring(store: &SqlStore) -> session_core::StoreKey {
    let session = Session::new();
    let _ = store
        .create(&session.key, NewRecord::new(session.secret, Duration::from_millis(1)))
        .await
        .expect("an answer");
    session.key
}

async fn c10_cap_applies_to_sums_after_a_clear(sql: AnySql) {
    let store = connect(&sql.url(&format!("{PATIENT}&data_bytes=1000"))).await;
    let session = Session::anonymous(&store).await;
    let mut commit = session.commit().clear().ttl(LONG);
    for n in 0..20 {
        let name = Name::new(format!("{n:0>100}")).expect("a name");
        commit = commit.change(name, session_core::Change::Add(1));
    }
    match store.commit(&session.key, commit).await {
        Err(StoreError::Rejected(Rejection::DataTooLarge { limit: 1_000, .. })) => {}
        other => panic!("{other:?}"),
    }
    let few = session
        .commit()
        .clear()
        .change(Name::new("n").expect("a name"), session_core::Change::Add(1));
    match store.commit(&session.key, few).await {
        Ok(Outcome::Done(done)) => {
            assert_eq!(done.added.values().copied().collect::<Vec<_>>(), [1]);
        }
        other => panic!("{other:?}"),
    }
}

/// MariaDB and SQLite keep fields in the order of their insertion, PostgreSQL in its own order.
async fn c09_field_order_does_not_affect_sets_and_removals(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for order in [
        ["a", "b", "c"],
        ["a", "c", "b"],
        ["b", "a", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ] {
        for choice in 0..27 {
            let session = Session::anonymous(&store).await;
            for field in order {
                assert!(is_done(&store.commit(&session.key, session.set(field, "1")).await));
            }
            let mut commit = session.commit();
            let mut expected = Vec::new();
            for (at, field) in ["a", "b", "c"].into_iter().enumerate() {
                match choice / 3_i32.pow(u32::try_from(at).expect("one of three")) % 3 {
                    0 => expected.push((field, "1")),
                    1 => {
                        commit.changes.append(&mut session.set(field, "2").changes);
                        expected.push((field, "2"));
                    }
                    _ => commit = commit.change(name(field), Change::Remove),
                }
            }
            assert!(is_done(&store.commit(&session.key, commit.clone()).await));
            let record = record(&store, &session).await;
            let data: Vec<_> =
                record.data.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let data: Vec<_> = data.into_iter().filter(|(name, _)| order.contains(name)).collect();
            assert_eq!(data, expected, "{commit:?} on fields in the order {order:?}");
        }
    }
}

async fn c09_many_removals_in_one_commit_all_apply(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    let session = Session::anonymous(&store).await;
    let (mut all, mut none) = (session.commit(), session.commit());
    for n in 0..100 {
        all.changes.append(&mut session.set(&format!("f{n}"), "1").changes);
        none = none.change(name(&format!("f{n}")), Change::Remove);
    }
    all = all.change(name("kept"), Change::Add(1));
    assert!(is_done(&store.commit(&session.key, all).await));
    none.changes.append(&mut session.set("set", "2").changes);
    assert!(is_done(&store.commit(&session.key, none).await));
    let record = record(&store, &session).await;
    let left: Vec<_> = record
        .data
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with(['f', 'k', 's']))
        .collect();
    assert_eq!(left, ["kept", "set"]);
}

/// Counts around the limit of one statement. A commit of more than 16 sums, or on MariaDB of more
/// than 16 removals, reads the session first. The result must be the same.
const AROUND_THE_LIMIT: [usize; 3] = [15, 16, 17];

/// A commit that removes `count` fields of a session that `session_with_fields` created. Each fifth
/// of these fields does not exist.
fn removals(session: &Session, count: usize) -> Commit {
    let change = |commit: Commit, n| commit.change(name(&field(n)), Change::Remove);
    (0..count).fold(session.commit(), change)
}

fn field(n: usize) -> String {
    format!("f{n:02}")
}

/// A session with `count` fields, except each fifth one.
async fn session_with_fields(store: &SqlStore, count: usize) -> Session {
    let session = Session::anonymous(store).await;
    let there = (0..count).filter(|n| n % 5 != 0).flat_map(|n| session.set(&field(n), "1").changes);
    assert!(is_done(
        &store.commit(&session.key, Commit { changes: there.collect(), ..session.commit() }).await
    ));
    session
}

async fn c09_results_are_equal_below_and_above_the_statement_limit(sql: AnySql) {
    let store = connect(&sql.url(PATIENT)).await;
    for count in AROUND_THE_LIMIT {
        for (kept, sums) in [(0, 0), (0, 3), (3, 0), (3, count)] {
            let session = session_with_fields(&store, count + kept).await;
            let mut commit =
                removals(&session, count).change(name("set"), Change::Set(Json::integer(2)));
            commit.changes.extend((0..sums).map(|n| (name(&format!("n{n}")), Change::Add(7))));
            let before = record(&store, &session).await;
            let Ok(Outcome::Done(done)) = store.commit(&session.key, commit).await else {
                panic!("{count} removals, {sums} sums")
            };
            assert_eq!(
                (done.version, done.added.len()),
                (before.version + 1, sums),
                "{count} removals"
            );
            assert!(done.added.values().all(|sum| *sum == 7));
            let record = record(&store, &session).await;
            let mut expected: Vec<String> =
                (count..count + kept).filter(|n| n % 5 != 0).map(field).collect();
            expected.extend((0..sums).map(|n| format!("n{n}")));
            expected.push("set".to_owned());
            expected.sort();
            let left: Vec<_> = record.data.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(
                left,
                expected,
                "after {count} removals and {sums} sums of {}",
                count + kept
            );
        }
        // The store refuses a commit in the same way below and above the limit.
        let session = session_with_fields(&store, count).await;
        assert!(is_done(&store.commit(&session.key, session.set(&field(count), "\"text\"")).await));
        let refused = store
            .commit(
                &session.key,
                removals(&session, count).change(name(&field(count)), Change::Add(1)),
            )
            .await;
        assert!(
            matches!(&refused, Err(StoreError::Rejected(Rejection::NotAnInteger { .. }))),
            "{refused:?}"
        );
        let stale =
            store.commit(&session.key, removals(&session, count).guard(Guard::Version(1))).await;
        assert!(matches!(stale, Ok(Outcome::Conflict)), "{stale:?}");
        let record = record(&store, &session).await;
        assert_eq!(
            record.data.get("f01").map(Json::as_str),
            Some("1"),
            "a refused commit changes nothing"
        );
        let missing = Session::new();
        let gone = store.commit(&missing.key, removals(&missing, count)).await;
        assert!(matches!(gone, Ok(Outcome::Gone)), "{gone:?}");
    }
}

async fn c12_concurrent_commits_of_many_removals_lose_nothing(sql: AnySql) {
    const ADDS: i64 = 20;
    let store = connect(&sql.url(PATIENT)).await;
    for count in AROUND_THE_LIMIT {
        let session = session_with_fields(&store, count).await;
        // One task removes the fields and puts them back, and two tasks change other fields all the
        // time. So the session can change at each attempt of a commit that reads first. The store
        // then reports a conflict, and the commit has changed nothing.
        let made = async |commit: Commit| {
            loop {
                match store.commit(&session.key, commit.clone()).await {
                    Ok(Outcome::Done(_)) => return,
                    Err(error) if with_sources(&error).contains("changed at each attempt") => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let removing = async {
            for _ in 0..8 {
                made(removals(&session, count)).await;
                let back = (0..count).flat_map(|n| session.set(&field(n), "1").changes);
                made(Commit { changes: back.collect(), ..session.commit() }).await;
            }
            made(removals(&session, count)).await;
        };
        let adding = async |field: &str| {
            for n in 0..ADDS {
                assert!(is_done(&store.commit(&session.key, session.add("n", 1)).await));
                assert!(is_done(
                    &store.commit(&session.key, session.set(field, &n.to_string())).await
                ));
            }
        };
        tokio::join!(removing, adding("one"), adding("two"));
        let record = record(&store, &session).await;
        let data: Vec<_> =
            record.data.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            data,
            [("n", "40"), ("one", "19"), ("two", "19")],
            "concurrent with commits of {count} removals"
        );
    }
}
