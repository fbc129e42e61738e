//! Checks of `Add`: C14, C15.

use super::{
    assert::{check, check_eq, check_rejected, fail},
    calls::{clients, commit, create, create_anonymous, load, run_on_session},
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, name, principal, texts},
};
use crate::{Change, Rejection};

/// Concurrent `Add` changes lose no update, and each caller gets a different sum.
pub async fn c14_concurrent_adds_lose_no_update(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_anonymous(&clients[0], LONG).await;
    let rule = "C14: Add is atomic in the store (law 1)";
    let answers = run_on_session(&clients, &session, 200, |store, session, _| async move {
        commit(&store, &session.key, session.add("n", 1), rule).await.added.get(&name("n")).copied()
    });
    let mut sums = answers.await;
    sums.sort_unstable();
    check_eq(
        sums,
        (1..=200).map(Some).collect(),
        "C14: 200 concurrent Add(1) return 200 distinct sums, 1 to 200",
    );
    check_eq(
        texts(&load(&clients[0], &session.key, rule).await.data),
        texts(&data([("n", "200")])),
        "C14: 200 concurrent Add(1) end at 200",
    );
}

/// `Add` counts an absent value as 0 and takes negative numbers and several names.
///
/// The sum is an integer for all readers.
pub async fn c15_add_starts_from_zero(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    let key = &session.key;
    let steps = [
        (5, 5),
        (-8, -3),
        (0, -3),
        (i64::MAX, i64::MAX - 3),
        (3, i64::MAX),
        (i64::MIN, -1),
        (i64::MIN + 1, i64::MIN),
    ];
    for (by, sum) in steps {
        let rule = format!("C15: Add({by}) returns {sum}");
        let committed = commit(&store, key, session.add("n", by), &rule).await;
        check_eq(committed.added, [(name("n"), sum)].into(), &rule);
        check_eq(
            texts(&load(&store, key, &rule).await.data),
            texts(&data([("n", &sum.to_string())])),
            &rule,
        );
    }
    let rule = "C15: one commit takes several Adds and other changes";
    let committed = commit(
        &store,
        key,
        session.add("a", 1).change(name("b"), Change::Add(-2)).and_set("n", "7").and_set("s", "8"),
        rule,
    )
    .await;
    check_eq(committed.added, [(name("a"), 1), (name("b"), -2)].into(), rule);
    check_eq(
        texts(&load(&store, key, rule).await.data),
        texts(&data([("a", "1"), ("b", "-2"), ("n", "7"), ("s", "8")])),
        rule,
    );
    let rule = "C15: Add uses a value that an earlier commit set";
    check_eq(
        commit(&store, key, session.add("n", 1), rule).await.added,
        [(name("n"), 8)].into(),
        rule,
    );
}

/// `Add` to a value that is not an integer, or beyond `i64`, rejects the whole commit.
pub async fn c15_an_invalid_add_is_rejected(fixture: &dyn Fixture) {
    let store = fixture.store();
    let no_integers = [
        r#""1""#,
        "1.0",
        "1.5",
        "1e3",
        "null",
        "true",
        "[1]",
        "{}",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "1e999",
    ];
    let out_of_range = [
        ("9223372036854775807", 1),
        ("9223372036854775806", 2),
        ("-9223372036854775808", -1),
        ("-1", i64::MIN),
        ("1", i64::MAX),
    ];
    let cases = no_integers
        .map(|text| (text, 1, "NotAnInteger"))
        .into_iter()
        .chain(out_of_range.map(|(text, by)| (text, by, "Overflow")));
    for (text, by, expected) in cases {
        let rule = format!("C15: Add({by}) to {text} is rejected and changes nothing");
        let session = TestSession::new();
        let (key, next) = (&session.key, session.rotated());
        create(&store, key, session.record(LONG).data(data([("m", "1"), ("n", text), ("z", "1")])))
            .await;
        let whole = session
            .sign_in(&next, &principal("alice"))
            .and_set("m", "2")
            .and_remove("z")
            .ttl(LONG * 2);
        let whole = whole.change(name("n"), Change::Add(by)).change(name("a"), Change::Add(1));
        match check_rejected(store.commit(key, whole).await, expected, &rule) {
            Rejection::NotAnInteger { name: which } | Rejection::Overflow { name: which } => {
                check_eq(which, name("n"), &rule);
            }
            other => fail(&rule, expected, format_args!("{other:?}")),
        }
        let record = load(&store, key, &rule).await;
        check_eq(texts(&record.data), texts(&data([("m", "1"), ("n", text), ("z", "1")])), &rule);
        check_eq(
            (record.version, record.principal, record.secret, record.generation),
            (1, None, session.secret, 0),
            &rule,
        );
        check(record.ttl <= LONG, &rule, format_args!("a ttl of at most {LONG:?}"), record.ttl);
        commit(
            &store,
            key,
            session.set("n", "1"),
            "C15: after a rejected Add the record accepts other commits",
        )
        .await;
    }
}
