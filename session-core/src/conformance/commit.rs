//! What `commit` promises to one writer.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Fixture,
    steps::{
        Client, CommitWords, LONG, Must, absent, add, at_once, clients, commit, create, create_any, data, empty, holds, id, key, load,
        name, principal, same, set, successor, texts,
    },
};
use crate::{Change, Commit, Guard, Json, NewRecord, Outcome, PrincipalChange, StoreKey};

async fn three_values(store: &Client) -> StoreKey {
    let key = key();
    create(store, &key, NewRecord::new(LONG).data(data([("a", "1"), ("b", "2"), ("c", "3")]))).await;
    key
}

async fn values_are<const N: usize>(store: &Client, key: &StoreKey, values: [(&str, &str); N], law: &str) {
    same(texts(&load(store, key, law).await.data), texts(&data(values)), law);
}

/// One commit sets and removes several values; what it does not name stays.
pub async fn c09_a_commit_sets_and_removes_and_leaves_the_rest(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = three_values(&store).await;
    let law = "C09: a commit sets and removes what it names and leaves the rest";
    commit(&store, &key, set("a", "10").and_remove("b").and_set("d", "4").and_remove("never there"), law).await;
    values_are(&store, &key, [("a", "10"), ("c", "3"), ("d", "4")], law).await;
}

/// What a commit does to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Keep,
    Set,
    Remove,
    Add,
}

/// The same for every choice of what to do to three names, each of which is there or not, with and without a sum among them: whichever of them
/// comes first, in the record or in the commit, and whatever is left.
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
            let ways = [WAYS[choice % OUTER], WAYS[choice / OUTER / OUTER], WAYS[choice / OUTER % OUTER]];
            let (key, mut new, mut next, mut left, mut sums) =
                (key(), NewRecord::new(LONG), Commit::new(), BTreeMap::new(), BTreeMap::new());
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
            let law = format!("C09: a commit does what it says to each name and leaves the rest; {NAMES:?}, each there or not: {ways:?}");
            create(&store, &key, new).await;
            same(commit(&store, &key, next, &law).await.added, sums, &law);
            same(texts(&load(&store, &key, &law).await.data), left, &law);
        }
    });
    answers.await;
}

/// Readers see all of a commit or nothing of it.
pub async fn c09_readers_see_all_of_a_commit_or_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = key();
    create(&clients[0], &key, NewRecord::new(LONG).data(data([("a", "0"), ("m", "0"), ("z", "0")])).principal(principal("0"))).await;
    let law = "C09: a commit is one atomic step for readers (law 1)";
    let answers = at_once(&clients, 8, |store, at| {
        let key = key.clone();
        async move {
            for step in 1..=40 {
                if at == 0 {
                    let text = step.to_string();
                    let next = set("a", &text).and_set("m", &text).and_set("z", &text).principal(PrincipalChange::Set(principal(&text)));
                    commit(&store, &key, next, law).await;
                } else {
                    let record = load(&store, &key, law).await;
                    let seen = texts(&record.data);
                    let expected = record.principal.as_ref().map(|principal| principal.as_str().to_owned());
                    holds(
                        seen.values().all(|text| Some(text) == expected.as_ref()),
                        law,
                        "the same number in all values and the principal",
                        (&seen, &expected),
                    );
                    same(expected, Some((record.version - 1).to_string()), law);
                }
            }
        }
    });
    answers.await;
}

/// Of several intents for one name in one commit the last counts.
pub async fn c10_the_last_intent_for_a_name_counts(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = three_values(&store).await;
    let law = "C10: of several intents for one name the last counts";
    commit(&store, &key, set("a", "10").and_remove("a").and_remove("b").and_set("b", "20").and_set("c", "30").and_set("c", "31"), law)
        .await;
    values_are(&store, &key, [("b", "20"), ("c", "31")], law).await;
}

/// `clear` removes everything but what the same commit sets.
pub async fn c11_clear_removes_all_but_what_the_commit_sets(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = three_values(&store).await;
    let law = "C11: clear comes before the changes of the same commit";
    let committed =
        commit(&store, &key, set("b", "20").and_set("d", "4").and_remove("a").change(name("c"), Change::Add(5)).clear(), law).await;
    same(committed.added.get(&name("c")).copied(), Some(5), "C11: after clear an Add starts from 0");
    values_are(&store, &key, [("b", "20"), ("c", "5"), ("d", "4")], law).await;
    commit(&store, &key, Commit::new().clear(), "C11: clear alone takes effect").await;
    values_are(&store, &key, [], "C11: clear alone removes all values, and the record lives on").await;
}

/// Two clients that read the same state and write different names lose nothing.
pub async fn c12_stale_commits_on_different_names_both_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let key = three_values(&clients[0]).await;
    let law = "C12: commits of two stale copies on different names both survive (law 1)";
    for client in &clients {
        load(client, &key, law).await;
    }
    commit(&clients[0], &key, set("a", "10"), law).await;
    commit(&clients[1], &key, Commit::new().and_remove("b").and_set("d", "4"), law).await;
    for client in &clients {
        values_are(client, &key, [("a", "10"), ("c", "3"), ("d", "4")], law).await;
    }
}

/// The same with many writers at the same moment.
pub async fn c12_concurrent_commits_on_different_names_all_survive(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = create_any(&clients[0], LONG).await;
    let law = "C12: concurrent commits on different names all survive (law 1)";
    let answers = at_once(&clients, 50, |store, at| {
        let key = key.clone();
        async move { commit(&store, &key, set(&format!("n{at}"), &at.to_string()), law).await.version }
    });
    let mut versions = answers.await;
    versions.sort_unstable();
    same(versions, (2..=51).collect(), "C12: each of 50 commits gets a version of its own (law 3)");
    same(load(&clients[0], &key, law).await.data.len(), 50, law);
}

/// On one name the later commit wins under `Any`.
pub async fn c13_on_one_name_the_later_wins_under_any(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let key = three_values(&clients[0]).await;
    let law = "C13: on one name the later commit wins under Guard::Any";
    commit(&clients[0], &key, set("a", "10"), law).await;
    commit(&clients[1], &key, set("a", "11"), law).await;
    values_are(&clients[0], &key, [("a", "11"), ("b", "2"), ("c", "3")], law).await;
}

/// Under `Version` the second of two stale commits is a `Conflict` and changes nothing at all.
pub async fn c13_a_stale_version_is_a_conflict_and_changes_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let id = id();
    let key = id.store_key();
    create(&clients[0], &key, NewRecord::new(LONG).data(data([("a", "1")]))).await;
    let law = "C13: the first commit under the right version takes effect";
    let first = commit(&clients[0], &key, set("a", "10").guard(Guard::Version(1)), law).await;
    same(first.version, 2, law);
    let law = "C13: a commit under a stale version is a Conflict";
    let target = successor(&id);
    let stale = set("a", "11").and_set("b", "2").principal(PrincipalChange::Set(principal("alice"))).ttl(LONG * 2).move_to(target.clone());
    for version in [1, 0, 3, u64::MAX] {
        let answer = clients[1].commit(&key, stale.clone().guard(Guard::Version(version))).await.must(law);
        same(answer, Outcome::Conflict, law);
    }
    let record = load(&clients[0], &key, "C13: a Conflict leaves the record under its key").await;
    same(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("a", "10")])), 2, None),
        "C13: a Conflict changes nothing",
    );
    holds(record.ttl <= LONG, "C13: a Conflict does not extend the life", format_args!("at most {LONG:?}"), record.ttl);
    absent(&clients[0], &target, "C13: a Conflict moves nothing").await;
}

/// A commit on a missing, expired or deleted record is `Gone`, and nothing is created.
pub async fn c17_a_commit_never_creates(fixture: &dyn Fixture) {
    let store = fixture.store();
    let expired = create_any(&store, Duration::from_millis(100)).await;
    fixture.advance(Duration::from_millis(200)).await;
    let deleted = create_any(&store, LONG).await;
    same(store.delete(&deleted).await.must("C17: delete answers"), true, "C17: delete finds the record");
    for (state, key) in [("missing", key()), ("expired", expired), ("deleted", deleted)] {
        let alice = PrincipalChange::Set(principal("alice"));
        for commit in [
            set("a", "1"),
            add("a", 1),
            set("a", "1").clear(),
            Commit::new().ttl(LONG),
            Commit::new().principal(alice),
            set("a", "1").guard(Guard::Version(1)),
            Commit::new(),
        ] {
            let law = format!("C17: a commit on a record that is {state} says Gone (law 2)");
            same(store.commit(&key, commit).await.must(&law), Outcome::Gone, &law);
            absent(&store, &key, &law).await;
        }
    }
    same(
        store.list(&principal("alice")).await.must("C17: list answers"),
        Vec::new(),
        "C17: a commit that is Gone puts nobody into the index",
    );
    while fixture.purge() == super::Purge::ByCall && store.delete_expired(100).await.must("C17: delete_expired answers") > 0 {}
    empty(fixture, "C17: commits on dead keys leave the storage empty").await;
}

/// The version grows by one with each change, and not by extending or moving.
pub async fn c20_the_version_counts_changes_and_nothing_else(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let mut key = id.store_key();
    create(&store, &key, NewRecord::new(LONG)).await;
    let lifetime = crate::Lifetime { idle_timeout: Some(LONG), ..crate::Lifetime::default() };
    let target = successor(&id);
    let steps = [
        ("one value set", set("a", "1"), 2),
        ("several values changed", set("a", "2").and_set("b", "3").and_remove("c"), 3),
        ("a sum", add("n", 1), 4),
        ("the life extended", Commit::new().ttl(LONG * 2), 4),
        ("nothing", Commit::new(), 4),
        ("the principal set", Commit::new().principal(PrincipalChange::Set(principal("alice"))), 5),
        ("the record moved", Commit::new().move_to(target), 5),
        ("the lifetime set", Commit { lifetime: Some(lifetime), ..Commit::new() }, 6),
        ("a value set and the life extended", set("a", "4").ttl(LONG), 7),
        ("the principal unset", Commit::new().principal(PrincipalChange::Unset), 8),
        ("all cleared", Commit::new().clear(), 9),
    ];
    for (what, next, version) in steps {
        let law = format!("C20: the version after {what} (law 3)");
        let moved = next.move_to.clone();
        same(commit(&store, &key, next, &law).await.version, version, &law);
        key = moved.unwrap_or(key);
        same(load(&store, &key, &law).await.version, version, &law);
    }
}

/// A commit that does nothing is `Done` on a live record and writes nothing.
pub async fn c21_an_empty_commit_writes_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = three_values(&store).await;
    let stored = fixture.dump().await.or_explain("C21 (stored bytes)");
    fixture.advance(fixture.tolerance() + Duration::from_millis(200)).await;
    let law = "C21: an empty commit on a live record is Done and changes nothing";
    same(commit(&store, &key, Commit::new(), law).await.version, 1, law);
    let record = load(&store, &key, law).await;
    same((texts(&record.data), record.version), (texts(&data([("a", "1"), ("b", "2"), ("c", "3")])), 1), law);
    holds(record.ttl < LONG, "C21: an empty commit does not extend the life", format_args!("less than {LONG:?}"), record.ttl);
    if let (Some(before), Some(after)) = (stored, fixture.dump().await.or_explain("C21 (stored bytes)")) {
        same(before == after, true, "C21: an empty commit leaves the stored bytes as they are");
    }
}
