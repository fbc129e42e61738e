//! Which values and names survive.

use super::{
    Fixture,
    steps::{LONG, broken, commit, create, create_any, data, json, key, load, name, rejected, same, set, texts},
};
use crate::{Change, Commit, Data, Json, Name, NewRecord, Rejection};

/// Every JSON value comes back exactly, byte for byte, however it got in.
pub async fn c06_every_json_value_survives_exactly(fixture: &dyn Fixture) {
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
    let all: Data = values.iter().enumerate().map(|(at, text)| (name(&format!("v{at}")), json(text))).collect();
    let (created, committed) = (key(), create_any(&store, LONG).await);
    create(&store, &created, NewRecord::new(LONG).data(all.clone())).await;
    let changes = all.clone().into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    commit(&store, &committed, Commit { changes, ..Commit::new() }, "C06: a commit of many values takes effect").await;
    for key in [created, committed] {
        let record = load(&store, &key, "C06: a record of many values is found").await;
        for (at, text) in values.iter().enumerate() {
            let held = record.data.get(&format!("v{at}"));
            same(held.map(Json::as_str), Some(*text), "C06: a JSON value comes back byte for byte");
        }
        same(record.data.len(), values.len(), "C06: no value is added");
        commit(&store, &key, set("long", &long).clear(), "C06: a value of 60 KiB is within the cap").await;
        let record = load(&store, &key, "C06: a record with a value of 60 KiB is found").await;
        same(record.data.get("long").map(|value| value.as_str() == long), Some(true), "C06: a text of 60 KiB comes back exactly");
    }
}

/// Names that mean something to a backend are just names, and none is taken for another.
pub async fn c07_odd_names_survive_and_do_not_collide(fixture: &dyn Fixture) {
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
    let (created, committed) = (key(), create_any(&store, LONG).await);
    let values: Data = names.iter().enumerate().map(|(at, text)| (name(text), json(&at.to_string()))).collect();
    create(&store, &created, NewRecord::new(LONG).data(values.clone())).await;
    let changes = values.clone().into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    commit(&store, &committed, Commit { changes, ..Commit::new() }, "C07: a commit under odd names takes effect").await;
    for key in [created, committed] {
        let mut expected = values.clone();
        same(
            texts(&load(&store, &key, "C07: a record with odd names is found").await.data),
            texts(&expected),
            "C07: every name survives and none collides",
        );
        for (at, text) in names.iter().enumerate() {
            let (change, law) = if at % 2 == 0 {
                expected.remove(text);
                (Change::Remove, format!("C07: removing {text:?} removes that name alone"))
            } else {
                expected.insert(name(text), Json::integer(i64::try_from(at).unwrap_or(0) + 1000));
                (Change::Add(1000), format!("C07: adding to {text:?} adds to that name alone"))
            };
            commit(&store, &key, Commit::new().change(name(text), change), &law).await;
            same(texts(&load(&store, &key, &law).await.data), texts(&expected), &law);
        }
    }
}

/// Data over the cap is refused, alone or together with what is there; the record stays as it was, and the cap itself is allowed.
pub async fn c08_data_over_the_cap_is_refused(fixture: &dyn Fixture) {
    let store = fixture.store();
    let cap = fixture.limits().data_bytes;
    // A name of one byte and two quotes belong to the size.
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 3));
    let too_large = |rejection: Rejection, expected: usize, law: &str| match rejection {
        Rejection::DataTooLarge { bytes, limit } => same((bytes, limit), (expected, cap), law),
        other => broken(law, "Rejected(DataTooLarge)", format_args!("{other:?}")),
    };
    let (key, law) = (key(), "C08: a new record over the cap is refused");
    let answer = store.create(&key, NewRecord::new(LONG).data(data([("a", &text(cap + 1))]))).await;
    too_large(rejected(answer, "DataTooLarge", law), cap + 1, law);
    super::steps::empty(fixture, "C08: a refused create leaves nothing").await;

    create(&store, &key, NewRecord::new(LONG).data(data([("a", &text(cap / 2))]))).await;
    let before = load(&store, &key, "C08: a record below the cap is kept").await;
    let law = "C08: a commit that alone is over the cap is refused";
    too_large(rejected(store.commit(&key, set("b", &text(cap + 1))).await, "DataTooLarge", law), cap + 1, law);
    let law = "C08: a commit that makes the record grow over the cap is refused";
    let answer = store.commit(&key, set("b", &text(cap - cap / 2 + 1)).ttl(LONG * 2)).await;
    too_large(rejected(answer, "DataTooLarge", law), cap + 1, law);
    let after = load(&store, &key, "C08: a refused commit leaves the record alive").await;
    same(texts(&after.data) == texts(&before.data), true, "C08: a refused commit leaves all values as they were");
    same(after.version, before.version, "C08: a refused commit leaves the version as it was");
    holds_at_most(after.ttl, LONG, "C08: a refused commit does not extend the life");

    commit(&store, &key, set("b", &text(cap - cap / 2)), "C08: exactly the cap is allowed").await;
    commit(&store, &key, set("c", &text(cap)).clear(), "C08: what the same commit clears does not count").await;
    let replaced = commit(&store, &key, set("c", &text(cap)), "C08: what the same commit replaces does not count").await;
    same(replaced.version, 4, "C08: refused commits do not count as versions");
}

/// Lives out of range are refused, by `create` and by `commit`.
pub async fn c08_lives_out_of_range_are_refused(fixture: &dyn Fixture) {
    let store = fixture.store();
    let held = create_any(&store, LONG).await;
    for ttl in
        [std::time::Duration::ZERO, std::time::Duration::from_micros(999), crate::Limits::LONGEST_TTL + std::time::Duration::from_millis(1)]
    {
        let law = format!("C08: a life of {ttl:?} is refused");
        rejected(store.create(&key(), NewRecord::new(ttl)).await, "Ttl", &law);
        rejected(store.commit(&held, set("n", "1").ttl(ttl)).await, "Ttl", &law);
    }
    let record = load(&store, &held, "C08: a refused commit leaves the record alive").await;
    same((record.version, record.data.len()), (1, 0), "C08: a refused commit changes nothing");
    create_any(&store, crate::Limits::LONGEST_TTL).await;
    let scanned = super::steps::scan_all(&store, 10).await.len();
    same(scanned, 2, "C08: the longest life is allowed, and refused creates leave nothing");
}

#[track_caller]
fn holds_at_most(ttl: std::time::Duration, most: std::time::Duration, law: &str) {
    super::steps::holds(ttl <= most, law, format_args!("at most {most:?}"), ttl);
}
