//! Checks of the changes of a commit: C09 to C12, C17, C20, C21.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use super::{
    assert::{check, check_eq},
    calls::{
        check_absent, check_empty, check_outcome, check_values, clients, commit, create,
        create_anonymous, create_three_values, dead_sessions, list_keys, load, purge_all,
        run_concurrently, run_on_session,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, name, principal, texts},
};
use crate::{Attributes, Change, Guard, Json, Outcome, PrincipalChange};

/// The change that a commit makes to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Keep,
    Set,
    Remove,
    Add,
}

/// One commit sets and removes several values and leaves all other values unchanged.
pub async fn c09_commit_changes_only_the_named_values(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_three_values(&store).await;
    let rule = "C09: a commit changes the values that it names and no other";
    let next = session.set("a", "10").and_remove("b").and_set("d", "4").and_remove("never there");
    commit(&store, &session.key, next, rule).await;
    check_values(&store, &session.key, [("a", "10"), ("c", "3"), ("d", "4")], rule).await;
}

/// Every combination of changes to three names, present or absent, has the specified result.
///
/// The result does not depend on the order of the names or on the values that remain.
pub async fn c09_every_combination_of_changes_works(fixture: &dyn Fixture) {
    const NAMES: [&str; 3] = ["a", "m", "z"];
    const CASES: [(bool, Action); 8] = [
        (true, Action::Keep),
        (true, Action::Set),
        (true, Action::Remove),
        (false, Action::Keep),
        (false, Action::Set),
        (false, Action::Remove),
        (true, Action::Add),
        (false, Action::Add),
    ];
    // Only the middle name takes the last two cases, which keeps the check short.
    const OUTER: usize = 6;
    const TASKS: usize = 8;
    let clients = clients(fixture, 4).await;
    let answers = run_concurrently(&clients, TASKS, |store, task| async move {
        for choice in (task..OUTER * OUTER * CASES.len()).step_by(TASKS) {
            let cases = [
                CASES[choice % OUTER],
                CASES[choice / OUTER / OUTER],
                CASES[choice / OUTER % OUTER],
            ];
            let session = TestSession::new();
            let (mut new, mut next) = (session.record(LONG), session.commit());
            let (mut left, mut sums) = (BTreeMap::new(), BTreeMap::new());
            for (at, (text, (is_present, action))) in (1..).zip(NAMES.into_iter().zip(cases)) {
                let old = if is_present { at } else { 0 };
                if is_present {
                    new.data.insert(name(text), Json::integer(old));
                }
                let (change, value) = match action {
                    Action::Keep => (None, is_present.then_some(old)),
                    Action::Set => (Some(Change::Set(Json::integer(at * 10))), Some(at * 10)),
                    Action::Remove => (Some(Change::Remove), None),
                    Action::Add => (Some(Change::Add(100)), Some(old + 100)),
                };
                next.changes.extend(change.map(|change| (name(text), change)));
                left.extend(value.map(|value| (text.to_owned(), value.to_string())));
                if action == Action::Add {
                    sums.insert(name(text), old + 100);
                }
            }
            let rule = format!(
                "C09: a commit changes the values that it names and no other; \
                 {NAMES:?} with (is present, change): {cases:?}"
            );
            create(&store, &session.key, new).await;
            check_eq(commit(&store, &session.key, next, &rule).await.added, sums, &rule);
            check_eq(texts(&load(&store, &session.key, &rule).await.data), left, &rule);
        }
    });
    answers.await;
}

/// A reader sees all changes of a commit or none.
pub async fn c09_readers_never_see_part_of_a_commit(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let first = TestSession::new();
    let new = first
        .record(LONG)
        .data(data([("a", "0"), ("m", "0"), ("z", "0")]))
        .principal(principal("0"));
    create(&clients[0], &first.key, new).await;
    let rule = "C09: a commit is one atomic step for readers (law 1)";
    let answers = run_concurrently(&clients, 8, |store, at| {
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
                    commit(&store, &session.key, whole, rule).await;
                    session = next;
                } else {
                    let record = load(&store, &session.key, rule).await;
                    let seen = texts(&record.data);
                    let expected = (record.version - 1).to_string();
                    check(
                        seen.values().all(|text| *text == expected),
                        rule,
                        "the same number in all values and the version",
                        (&seen, &expected),
                    );
                    let marks =
                        (record.generation.to_string(), record.since.to_string(), record.principal);
                    check_eq(
                        marks,
                        (expected.clone(), expected.clone(), Some(principal(&expected))),
                        rule,
                    );
                }
            }
        }
    });
    answers.await;
}

/// Of several changes to one name in one commit the last one takes effect.
pub async fn c10_the_last_change_to_a_name_wins(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_three_values(&store).await;
    let rule = "C10: of several changes to one name the last one takes effect";
    let whole = session
        .set("a", "10")
        .and_remove("a")
        .and_remove("b")
        .and_set("b", "20")
        .and_set("c", "30")
        .and_set("c", "31");
    commit(&store, &session.key, whole, rule).await;
    check_values(&store, &session.key, [("b", "20"), ("c", "31")], rule).await;
}

/// `clear` removes all values except those that the same commit sets.
pub async fn c11_clear_keeps_only_values_set_by_the_commit(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_three_values(&store).await;
    let rule = "C11: clear applies before the changes of the same commit";
    let whole = session.add("c", 5).and_set("b", "20").and_set("d", "4").and_remove("a").clear();
    let committed = commit(&store, &session.key, whole, rule).await;
    check_eq(
        committed.added.get(&name("c")).copied(),
        Some(5),
        "C11: after clear an Add starts from 0",
    );
    check_values(&store, &session.key, [("b", "20"), ("c", "5"), ("d", "4")], rule).await;
    commit(&store, &session.key, session.commit().clear(), "C11: clear alone takes effect").await;
    check_values(
        &store,
        &session.key,
        [],
        "C11: clear alone removes all values, and the record stays live",
    )
    .await;
}

/// Two commits based on the same version that change different names both take effect.
pub async fn c12_stale_commits_to_different_names_both_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_three_values(&clients[0]).await;
    let key = &session.key;
    let rule = "C12: two commits based on the same version that change different names both \
                take effect (law 1)";
    for client in &clients {
        load(client, key, rule).await;
    }
    commit(&clients[0], key, session.set("a", "10"), rule).await;
    commit(&clients[1], key, session.set("d", "4").and_remove("b"), rule).await;
    for client in &clients {
        check_values(client, key, [("a", "10"), ("c", "3"), ("d", "4")], rule).await;
    }
}

/// Concurrent commits to different names all take effect.
pub async fn c12_concurrent_commits_to_different_names_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_anonymous(&clients[0], LONG).await;
    let rule = "C12: concurrent commits to different names all take effect (law 1)";
    let answers = run_on_session(&clients, &session, 50, |store, session, at| async move {
        commit(&store, &session.key, session.set(&format!("n{at}"), &at.to_string()), rule)
            .await
            .version
    });
    let mut versions = answers.await;
    versions.sort_unstable();
    check_eq(
        versions,
        (2..=51).collect(),
        "C12: each of 50 commits gets a different version (law 3)",
    );
    check_eq(load(&clients[0], &session.key, rule).await.data.len(), 50, rule);
}

/// A commit to a missing, expired or deleted record is `Gone` and creates nothing.
pub async fn c17_commit_never_creates_a_record(fixture: &dyn Fixture) {
    let store = fixture.store();
    for (state, session) in dead_sessions(fixture, "C17: delete finds the record").await {
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
            let rule = format!("C17: a commit to a record that is {state} returns Gone (law 2)");
            check_outcome(&store, &session.key, commit, Outcome::Gone, &rule).await;
            check_absent(&store, &session.key, &rule).await;
        }
    }
    let rule = "C17: a commit that is Gone adds nothing to the index";
    check_eq(list_keys(&store, &principal("alice"), rule).await, [].into(), rule);
    purge_all(fixture, rule).await;
    check_empty(fixture, "C17: commits to dead keys leave the storage empty").await;
}

/// The version grows by one with each change of data, principal or attributes.
///
/// A longer ttl, a rotation and an authentication keep the version.
pub async fn c20_the_version_counts_only_changes(fixture: &dyn Fixture) {
    let store = fixture.store();
    let first = create_anonymous(&store, LONG).await;
    let (second, key) = (first.rotated(), &first.key);
    let third = second.rotated();
    let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
    let steps = [
        ("one value set", first.set("a", "1"), 2),
        ("several values changed", first.set("a", "2").and_set("b", "3").and_remove("c"), 3),
        ("an Add", first.add("n", 1), 4),
        ("a longer ttl", first.touch(LONG * 2), 4),
        ("nothing", first.commit(), 4),
        ("a rotation", first.rotate(&second), 4),
        ("the principal set with a rotation", second.sign_in(&third, &principal("alice")), 5),
        ("an authentication", third.commit().authenticated(), 5),
        ("the attributes set", third.commit().attributes(attributes), 6),
        ("a value set and a longer ttl", third.set("a", "4").ttl(LONG), 7),
        ("the principal unset", third.sign_out(), 8),
        ("all cleared", third.commit().clear(), 9),
        ("an absent value removed", third.commit().and_remove("a"), 10),
        ("an absent principal unset", third.commit().principal(PrincipalChange::Unset), 11),
    ];
    for (what, next, version) in steps {
        let rule = format!("C20: the version after {what} (law 3)");
        check_eq(commit(&store, key, next, &rule).await.version, version, &rule);
        check_eq(load(&store, key, &rule).await.version, version, &rule);
    }
}

/// An empty commit on a live record is `Done` and writes nothing.
pub async fn c21_an_empty_commit_writes_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_three_values(&store).await;
    let stored = fixture.dump().await.or_explain("C21 (stored bytes)");
    fixture.advance(fixture.tolerance() + Duration::from_millis(200)).await;
    let rule = "C21: an empty commit on a live record is Done and changes nothing";
    for empty in [session.commit(), session.commit().guard(Guard::Version(1))] {
        check_eq(commit(&store, &session.key, empty, rule).await.version, 1, rule);
    }
    let record = load(&store, &session.key, rule).await;
    check_eq(
        (texts(&record.data), record.version),
        (texts(&data([("a", "1"), ("b", "2"), ("c", "3")])), 1),
        rule,
    );
    check(
        record.ttl < LONG,
        "C21: an empty commit does not extend the ttl",
        format_args!("less than {LONG:?}"),
        record.ttl,
    );
    if let (Some(before), Some(after)) =
        (stored, fixture.dump().await.or_explain("C21 (stored bytes)"))
    {
        check_eq(before == after, true, "C21: an empty commit does not change the stored bytes");
    }
}
