//! Checks of values, names and limits: C06, C07, C08.

use std::time::Duration;

use super::{
    assert::{check, check_eq, check_rejected, fail},
    calls::{Client, check_empty, commit, create, create_anonymous, load, scan_keys},
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, json, name, texts},
};
use crate::{Change, Commit, Data, Json, Limits, Name, Rejection};

/// Two sessions with these values: one is created with them, and the other gets them by a commit.
async fn sessions_with(store: &Client, values: &Data, rule: &str) -> [TestSession; 2] {
    let (created, committed) = (TestSession::new(), create_anonymous(store, LONG).await);
    create(store, &created.key, created.record(LONG).data(values.clone())).await;
    let changes =
        values.clone().into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    commit(store, &committed.key, Commit { changes, ..committed.commit() }, rule).await;
    [created, committed]
}

/// Every JSON value is stored byte for byte, by `create` and by `commit`.
pub async fn c06_json_values_are_stored_exactly(fixture: &dyn Fixture) {
    let store = fixture.store();
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let nested_objects = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let long = format!("\"{}\"", "x".repeat(60 * 1024));
    let values = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e308",
        "1E2",
        "5e-324",
        "0.1",
        "123456789.012345",
        "-0.000123456789012345",
        "18446744073709551615",
        "9223372036854775807",
        "-9223372036854775808",
        "123456789012345678901234567890",
        r#""""#,
        r#"" ""#,
        r#""\u0000""#,
        r#""\u0041\/\n""#,
        r#""\ud83e\udd80""#,
        "\"🦀 äöü e\u{301} \u{202e}\u{feff}\"",
        r#""\"\\'%$""#,
        r#""null""#,
        r#""1""#,
        "{}",
        "[]",
        r#"[{},[],null,""]"#,
        r#"{"":null}"#,
        r#"{"b":1,"a":2}"#,
        r#"{"$set":{"a.b":1}}"#,
        r#"{"a" : [1 , 2]}"#,
        &nested,
        &nested_objects,
    ];
    let all: Data =
        values.iter().enumerate().map(|(at, text)| (name(&format!("v{at}")), json(text))).collect();
    for session in sessions_with(&store, &all, "C06: a commit of many values takes effect").await {
        let key = &session.key;
        let record = load(&store, key, "C06: a record of many values is found").await;
        for (at, text) in values.iter().enumerate() {
            let held = record.data.get(&format!("v{at}"));
            check_eq(
                held.map(Json::as_str),
                Some(*text),
                "C06: a JSON value is stored byte for byte",
            );
        }
        check_eq(record.data.len(), values.len(), "C06: no value is added");
        commit(
            &store,
            key,
            session.set("long", &long).clear(),
            "C06: a value of 60 KiB is within the limit",
        )
        .await;
        let record = load(&store, key, "C06: a record with a value of 60 KiB is found").await;
        check_eq(
            record.data.get("long").map(|value| value.as_str() == long),
            Some(true),
            "C06: a text of 60 KiB is stored exactly",
        );
    }
}

/// Names with a meaning in a query language are plain names, and no two names collide.
pub async fn c07_unusual_names_are_stored_and_distinct(fixture: &dyn Fixture) {
    let store = fixture.store();
    let longest = "n".repeat(Name::MAX_BYTES);
    let names = [
        ".",
        "..",
        "a",
        "A",
        "a.b",
        "a..b",
        ".a",
        "a.",
        "$",
        "$set",
        "$where",
        "a$b",
        "%",
        "%2e",
        "%24",
        "a%b",
        "\"",
        "'",
        "`",
        "\"quoted\"",
        "\\",
        "\\u002e",
        "a\\",
        " ",
        "a ",
        " a",
        "a b",
        "🦀",
        "é",
        "e\u{301}",
        "__proto__",
        "constructor",
        "_id",
        "id",
        "data",
        "version",
        "v",
        "principal",
        "ttl",
        "age",
        "key",
        "d:a",
        "a:b",
        "{a}",
        "[0]",
        "*",
        "?",
        "#",
        "/",
        "~0",
        "~1",
        "-",
        "0",
        "1",
        "null",
        "';--",
        "\u{ff0e}",
        "\u{ff04}",
        "\u{200b}",
        &longest,
    ];
    let values: Data =
        names.iter().enumerate().map(|(at, text)| (name(text), json(&at.to_string()))).collect();
    for session in
        sessions_with(&store, &values, "C07: a commit with unusual names takes effect").await
    {
        let key = &session.key;
        let mut expected = values.clone();
        check_eq(
            texts(&load(&store, key, "C07: a record with unusual names is found").await.data),
            texts(&expected),
            "C07: every name is stored and no two names collide",
        );
        for (at, text) in names.iter().enumerate() {
            let (change, rule) = if at % 2 == 0 {
                expected.remove(text);
                (Change::Remove, format!("C07: removing {text:?} removes only that name"))
            } else {
                expected.insert(name(text), Json::integer(i64::try_from(at).unwrap_or(0) + 1000));
                (Change::Add(1000), format!("C07: adding to {text:?} changes only that name"))
            };
            commit(&store, key, session.commit().change(name(text), change), &rule).await;
            check_eq(texts(&load(&store, key, &rule).await.data), texts(&expected), &rule);
        }
    }
}

/// Data over the limit is rejected without effect, and data of exactly the limit is stored.
pub async fn c08_data_over_the_limit_is_rejected(fixture: &dyn Fixture) {
    let store = fixture.store();
    let cap = fixture.limits().data_bytes;
    // The size includes a name of one byte and two quotes.
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 3));
    let too_large = |rejection: Rejection, expected: usize, rule: &str| match rejection {
        Rejection::DataTooLarge { bytes, limit } => check_eq((bytes, limit), (expected, cap), rule),
        other => fail(rule, "Rejected(DataTooLarge)", format_args!("{other:?}")),
    };
    let session = TestSession::new();
    let (key, rule) = (&session.key, "C08: a new record over the limit is rejected");
    let answer = store.create(key, session.record(LONG).data(data([("a", &text(cap + 1))]))).await;
    too_large(check_rejected(answer, "DataTooLarge", rule), cap + 1, rule);
    check_empty(fixture, "C08: a rejected create stores nothing").await;

    create(&store, key, session.record(LONG).data(data([("a", &text(cap / 2))]))).await;
    let before = load(&store, key, "C08: a record below the limit is stored").await;
    let rule = "C08: a commit that alone is over the limit is rejected";
    too_large(
        check_rejected(
            store.commit(key, session.set("b", &text(cap + 1))).await,
            "DataTooLarge",
            rule,
        ),
        cap + 1,
        rule,
    );
    let rule = "C08: a commit that makes the record exceed the limit is rejected";
    let next = session.rotated();
    let answer = store
        .commit(key, session.rotate(&next).and_set("b", &text(cap - cap / 2 + 1)).ttl(LONG * 2))
        .await;
    too_large(check_rejected(answer, "DataTooLarge", rule), cap + 1, rule);
    let after = load(&store, key, "C08: after a rejected commit the record is live").await;
    check_eq(
        texts(&after.data) == texts(&before.data),
        true,
        "C08: a rejected commit does not change the values",
    );
    check_eq(
        (after.version, after.secret),
        (before.version, session.secret),
        "C08: a rejected commit does not change version or secret",
    );
    check(
        after.ttl <= LONG,
        "C08: a rejected commit does not extend the ttl",
        format_args!("at most {LONG:?}"),
        after.ttl,
    );

    commit(
        &store,
        key,
        session.set("b", &text(cap - cap / 2)),
        "C08: data of exactly the limit is stored",
    )
    .await;
    commit(
        &store,
        key,
        session.set("c", &text(cap)).clear(),
        "C08: values that the same commit clears do not count towards the limit",
    )
    .await;
    let replaced = commit(
        &store,
        key,
        session.set("c", &text(cap)),
        "C08: values that the same commit replaces do not count towards the limit",
    )
    .await;
    check_eq(replaced.version, 4, "C08: a rejected commit does not increment the version");
}

/// `create` and `commit` reject a ttl that is out of range.
pub async fn c08_ttls_out_of_range_are_rejected(fixture: &dyn Fixture) {
    let store = fixture.store();
    let held = create_anonymous(&store, LONG).await;
    for ttl in
        [Duration::ZERO, Duration::from_micros(999), Limits::LONGEST_TTL + Duration::from_millis(1)]
    {
        let rule = format!("C08: a ttl of {ttl:?} is rejected");
        let session = TestSession::new();
        check_rejected(store.create(&session.key, session.record(ttl)).await, "Ttl", &rule);
        check_rejected(store.commit(&held.key, held.set("n", "1").ttl(ttl)).await, "Ttl", &rule);
    }
    let record = load(&store, &held.key, "C08: after a rejected commit the record is live").await;
    check_eq((record.version, record.data.len()), (1, 0), "C08: a rejected commit changes nothing");
    create_anonymous(&store, Limits::LONGEST_TTL).await;
    let scanned = scan_keys(&store, 10).await.len();
    check_eq(scanned, 2, "C08: the longest ttl is allowed, and rejected creates store nothing");
}
