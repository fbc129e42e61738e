//! What `commit` promises to one writer.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Fixture,
    steps::{
        Client, CommitWords, LONG, TestSession, absent, at_once, clients, commit, create,
        create_any, data, empty, end, holds, listed, load, name, principal, purge_all, refused,
        same, texts,
    },
};
use crate::{Attributes, Change, Guard, Json, Outcome, PrincipalChange, StoreKey};

async fn three_values(store: &Client) -> TestSession {
    let session = TestSession::new();
    create(
        store,
        &session.key,
        session.record(LONG).data(data([("a", "1"), ("b", "2"), ("c", "3")])),
    )
    .await;
    session
}

async fn values_are<const N: usize>(
    store: &Client,
    key: &StoreKey,
    values: [(&str, &str); N],
    law: &str,
) {
    same(texts(&load(store, key, law).await.data), texts(&data(values)), law);
}

/// One commit sets and removes several values. Values that it does not name stay.
pub async fn c09_a_commit_sets_and_removes_and_leaves_the_rest(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = three_values(&store).await;
    let law = "C09: a commit sets and removes what it names and leaves the rest";
    let next = session.set("a", "10").and_remove("b").and_set("d", "4").and_remove("never there");
    commit(&store, &session.key, next, law).await;
    values_are(&store, &session.key, [("a", "10"), ("c", "3"), ("d", "4")], law).await;
}

/// What a commit does to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Keep,
    Set,
    Remove,
    Add,
}

/// The same for every combination of changes to three names, each of which exists or not: the
/// result does not depend on which of them is first in the record or in the commit, nor on what
/// remains.
pub async fn c09_no_choice_of_changes_takes_from_the_others(fixture: &dyn Fixture) {
    const NAMES: [&str; 3] = ["a", "m", "z"];
    const WAYS: [(bool, Done); 8] = [
        (true, Done::Keep),
        (true, Done::Set),
        (true, Done::Remove),
        (false, Done::Keep),
        (false, Done::Set),
        (false, Done::Remove),
        (true, Done::Add),
        (false, Done::Add),
    ];
    // The sums are in the middle, so that the check stays short.
    const OUTER: usize = 6;
    const TASKS: usize = 8;
    let clients = clients(fixture, 4).await;
    let answers = at_once(&clients, TASKS, |store, task| async move {
        for choice in (task..OUTER * OUTER * WAYS.len()).step_by(TASKS) {
            let ways =
                [WAYS[choice % OUTER], WAYS[choice / OUTER / OUTER], WAYS[choice / OUTER % OUTER]];
            let session = TestSession::new();
            let (mut new, mut next) = (session.record(LONG), session.commit());
            let (mut left, mut sums) = (BTreeMap::new(), BTreeMap::new());
            for (at, (text, (is_there, done))) in (1..).zip(NAMES.into_iter().zip(ways)) {
                let old = if is_there { at } else { 0 };
                if is_there {
                    new.data.insert(name(text), Json::integer(old));
                }
                let (change, value) = match done {
                    Done::Keep => (None, is_there.then_some(old)),
                    Done::Set => (Some(Change::Set(Json::integer(at * 10))), Some(at * 10)),
                    Done::Remove => (Some(Change::Remove), None),
                    Done::Add => (Some(Change::Add(100)), Some(old + 100)),
                };
                next.changes.extend(change.map(|change| (name(text), change)));
                left.extend(value.map(|value| (text.to_owned(), value.to_string())));
                if done == Done::Add {
                    sums.insert(name(text), old + 100);
                }
            }
            let law = format!(
                "C09: a commit changes each name as it says and leaves the rest; {NAMES:?}, each there or not: {ways:?}"
            );
            create(&store, &session.key, new).await;
            same(commit(&store, &session.key, next, &law).await.added, sums, &law);
            same(texts(&load(&store, &session.key, &law).await.data), left, &law);
        }
    });
    answers.await;
}

/// Readers see all of a commit or nothing of it.
pub async fn c09_readers_see_all_of_a_commit_or_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let first = TestSession::new();
    let new = first
        .record(LONG)
        .data(data([("a", "0"), ("m", "0"), ("z", "0")]))
        .principal(principal("0"));
    create(&clients[0], &first.key, new).await;
    let law = "C09: a commit is one atomic step for readers (law 1)";
    let answers = at_once(&clients, 8, |store, at| {
        let mut session = first.clone();
        async move {
            for step in 1..=40 {
                if at == 0 {
                    let (text, next) = (step.to_string(), session.rotated());
                    let whole = session
                        .sign_in(&next, &principal(&text))
                        .and_set("a", &text)
                        .and_set("m", &text)
                        .and_set("z", &text);
                    commit(&store, &session.key, whole, law).await;
                    session = next;
                } else {
                    let record = load(&store, &session.key, law).await;
                    let seen = texts(&record.data);
                    let expected = (record.version - 1).to_string();
                    holds(
                        seen.values().all(|text| *text == expected),
                        law,
                        "the same number in all values and the version",
                        (&seen, &expected),
                    );
                    let marks =
                        (record.generation.to_string(), record.since.to_string(), record.principal);
                    same(
                        marks,
                        (expected.clone(), expected.clone(), Some(principal(&expected))),
                        law,
                    );
                }
            }
        }
    });
    answers.await;
}

/// Of several changes to one name in one commit the last one counts.
pub async fn c10_the_last_intent_for_a_name_counts(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = three_values(&store).await;
    let law = "C10: of several changes to one name the last one counts";
    let whole = session
        .set("a", "10")
        .and_remove("a")
        .and_remove("b")
        .and_set("b", "20")
        .and_set("c", "30")
        .and_set("c", "31");
    commit(&store, &session.key, whole, law).await;
    values_are(&store, &session.key, [("b", "20"), ("c", "31")], law).await;
}

/// `clear` removes everything but what the same commit sets.
pub async fn c11_clear_removes_all_but_what_the_commit_sets(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = three_values(&store).await;
    let law = "C11: clear comes before the changes of the same commit";
    let whole = session.add("c", 5).and_set("b", "20").and_set("d", "4").and_remove("a").clear();
    let committed = commit(&store, &session.key, whole, law).await;
    same(
        committed.added.get(&name("c")).copied(),
        Some(5),
        "C11: after clear an Add starts from 0",
    );
    values_are(&store, &session.key, [("b", "20"), ("c", "5"), ("d", "4")], law).await;
    commit(&store, &session.key, session.commit().clear(), "C11: clear alone takes effect").await;
    values_are(
        &store,
        &session.key,
        [],
        "C11: clear alone removes all values, and the record lives on",
    )
    .await;
}

/// Two clients that read the same state and write different names lose nothing.
pub async fn c12_stale_commits_on_different_names_both_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = three_values(&clients[0]).await;
    let key = &session.key;
    let law = "C12: commits of two stale copies on different names both survive (law 1)";
    for client in &clients {
        load(client, key, law).await;
    }
    commit(&clients[0], key, session.set("a", "10"), law).await;
    commit(&clients[1], key, session.set("d", "4").and_remove("b"), law).await;
    for client in &clients {
        values_are(client, key, [("a", "10"), ("c", "3"), ("d", "4")], law).await;
    }
}

/// The same with many writers at the same moment.
pub async fn c12_concurrent_commits_on_different_names_all_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_any(&clients[0], LONG).await;
    let law = "C12: concurrent commits on different names all survive (law 1)";
    let answers = at_once(&clients, 50, |store, at| {
        let session = session.clone();
        async move {
            commit(&store, &session.key, session.set(&format!("n{at}"), &at.to_string()), law)
                .await
                .version
        }
    });
    let mut versions = answers.await;
    versions.sort_unstable();
    same(versions, (2..=51).collect(), "C12: each of 50 commits gets a different version (law 3)");
    same(load(&clients[0], &session.key, law).await.data.len(), 50, law);
}

/// On one name the later commit wins under `Any`.
pub async fn c13_on_one_name_the_later_wins_under_any(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = three_values(&clients[0]).await;
    let law = "C13: on one name the later commit wins under Guard::Any";
    commit(&clients[0], &session.key, session.set("a", "10"), law).await;
    commit(&clients[1], &session.key, session.set("a", "11"), law).await;
    values_are(&clients[0], &session.key, [("a", "11"), ("b", "2"), ("c", "3")], law).await;
}

/// Under `Version` the second of two stale commits is a `Conflict` and changes nothing.
pub async fn c13_a_stale_version_is_a_conflict_and_changes_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&clients[0], key, session.record(LONG).data(data([("a", "1")]))).await;
    let law = "C13: the first commit under the right version takes effect";
    let first =
        commit(&clients[0], key, session.set("a", "10").guard(Guard::Version(1)), law).await;
    same(first.version, 2, law);
    let law = "C13: a commit under a stale version is a Conflict";
    let stale = session
        .sign_in(&next, &principal("alice"))
        .and_set("a", "11")
        .and_set("b", "2")
        .ttl(LONG * 2);
    for version in [1, 0, 3, u64::MAX] {
        refused(
            &clients[1],
            key,
            stale.clone().guard(Guard::Version(version)),
            Outcome::Conflict,
            law,
        )
        .await;
    }
    let law = "C13: a Conflict changes nothing";
    let record = load(&clients[0], key, law).await;
    same(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("a", "10")])), 2, None),
        law,
    );
    same(
        (record.secret, record.generation, record.since),
        (session.secret, 0, 0),
        "C13: a Conflict rotates nothing",
    );
    holds(
        record.ttl <= LONG,
        "C13: a Conflict does not extend the life",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
}

/// A commit on a missing, expired or deleted record is `Gone`, and nothing is created.
pub async fn c17_a_commit_never_creates(fixture: &dyn Fixture) {
    let store = fixture.store();
    let expired = create_any(&store, Duration::from_millis(100)).await;
    fixture.advance(Duration::from_millis(200)).await;
    let deleted = create_any(&store, LONG).await;
    end(&store, &deleted.key, "C17: delete finds the record").await;
    for (state, session) in
        [("missing", TestSession::new()), ("expired", expired), ("deleted", deleted)]
    {
        let next = session.rotated();
        for commit in [
            session.set("a", "1"),
            session.add("a", 1),
            session.set("a", "1").clear(),
            session.touch(LONG),
            session.rotate(&next),
            session.sign_in(&next, &principal("alice")),
            session.set("a", "1").guard(Guard::Version(1)),
            session.commit().authenticated(),
            session.commit(),
        ] {
            let law = format!("C17: a commit on a record that is {state} says Gone (law 2)");
            refused(&store, &session.key, commit, Outcome::Gone, &law).await;
            absent(&store, &session.key, &law).await;
        }
    }
    let law = "C17: a commit that is Gone adds nothing to the index";
    same(listed(&store, &principal("alice"), law).await, [].into(), law);
    purge_all(fixture, law).await;
    empty(fixture, "C17: commits on dead keys leave the storage empty").await;
}

/// The version grows by one with each change, and not by a longer life, a rotation or an
/// authentication.
pub async fn c20_the_version_counts_changes_and_nothing_else(fixture: &dyn Fixture) {
    let store = fixture.store();
    let first = create_any(&store, LONG).await;
    let (second, key) = (first.rotated(), &first.key);
    let third = second.rotated();
    let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
    let steps = [
        ("one value set", first.set("a", "1"), 2),
        ("several values changed", first.set("a", "2").and_set("b", "3").and_remove("c"), 3),
        ("a sum", first.add("n", 1), 4),
        ("the life extended", first.touch(LONG * 2), 4),
        ("nothing", first.commit(), 4),
        ("a rotation", first.rotate(&second), 4),
        ("the principal set with a rotation", second.sign_in(&third, &principal("alice")), 5),
        ("an authentication", third.commit().authenticated(), 5),
        ("the attributes set", third.commit().attributes(attributes), 6),
        ("a value set and the life extended", third.set("a", "4").ttl(LONG), 7),
        ("the principal unset", third.sign_out(), 8),
        ("all cleared", third.commit().clear(), 9),
        ("an absent value removed", third.commit().and_remove("a"), 10),
        ("an absent principal unset", third.commit().principal(PrincipalChange::Unset), 11),
    ];
    for (what, next, version) in steps {
        let law = format!("C20: the version after {what} (law 3)");
        same(commit(&store, key, next, &law).await.version, version, &law);
        same(load(&store, key, &law).await.version, version, &law);
    }
}

/// An empty commit on a live record is `Done` and writes nothing.
pub async fn c21_an_empty_commit_writes_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = three_values(&store).await;
    let stored = fixture.dump().await.or_explain("C21 (stored bytes)");
    fixture.advance(fixture.tolerance() + Duration::from_millis(200)).await;
    let law = "C21: an empty commit on a live record is Done and changes nothing";
    for empty in [session.commit(), session.commit().guard(Guard::Version(1))] {
        same(commit(&store, &session.key, empty, law).await.version, 1, law);
    }
    let record = load(&store, &session.key, law).await;
    same(
        (texts(&record.data), record.version),
        (texts(&data([("a", "1"), ("b", "2"), ("c", "3")])), 1),
        law,
    );
    holds(
        record.ttl < LONG,
        "C21: an empty commit does not extend the life",
        format_args!("less than {LONG:?}"),
        record.ttl,
    );
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain("C21 (stored bytes)"))
    {
        same(before == after, true, "C21: an empty commit leaves the stored bytes as they are");
    }
}
