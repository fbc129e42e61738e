//! Checks of the guard of a commit: C13, C16.

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        check_outcome, check_values, clients, commit, create, create_anonymous,
        create_three_values, load, run_on_session,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, principal, texts},
};
use crate::{Guard, Json, Outcome};

/// Of two commits to one name the later one wins under `Guard::Any`.
pub async fn c13_the_later_commit_wins_under_guard_any(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_three_values(&clients[0]).await;
    let rule = "C13: of two commits to one name the later one wins under Guard::Any";
    commit(&clients[0], &session.key, session.set("a", "10"), rule).await;
    commit(&clients[1], &session.key, session.set("a", "11"), rule).await;
    check_values(&clients[0], &session.key, [("a", "11"), ("b", "2"), ("c", "3")], rule).await;
}

/// A commit with `Guard::Version` and a stale version is a `Conflict` and changes nothing.
pub async fn c13_a_stale_version_is_a_conflict(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    create(&clients[0], key, session.record(LONG).data(data([("a", "1")]))).await;
    let rule = "C13: the first commit under the current version takes effect";
    let first =
        commit(&clients[0], key, session.set("a", "10").guard(Guard::Version(1)), rule).await;
    check_eq(first.version, 2, rule);
    let rule = "C13: a commit under a stale version is a Conflict";
    let stale = session
        .sign_in(&next, &principal("alice"))
        .and_set("a", "11")
        .and_set("b", "2")
        .ttl(LONG * 2);
    for version in [1, 0, 3, u64::MAX] {
        check_outcome(
            &clients[1],
            key,
            stale.clone().guard(Guard::Version(version)),
            Outcome::Conflict,
            rule,
        )
        .await;
    }
    let rule = "C13: a Conflict changes nothing";
    let record = load(&clients[0], key, rule).await;
    check_eq(
        (texts(&record.data), record.version, record.principal),
        (texts(&data([("a", "10")])), 2, None),
        rule,
    );
    check_eq(
        (record.secret, record.generation, record.since),
        (session.secret, 0, 0),
        "C13: a Conflict rotates nothing",
    );
    check(
        record.ttl <= LONG,
        "C13: a Conflict does not extend the ttl",
        format_args!("at most {LONG:?}"),
        record.ttl,
    );
}

/// Read, change and write under `Guard::Version`, repeated on `Conflict`, lose no update.
pub async fn c16_guarded_increments_lose_no_update(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_anonymous(&clients[0], LONG).await;
    let rule = "C16: a commit under Guard::Version loses no update (law 1)";
    let answers = run_on_session(&clients, &session, 8, |store, session, _| async move {
        for _ in 0..25 {
            loop {
                let record = load(&store, &session.key, rule).await;
                let next = record.data.get("n").and_then(Json::as_integer).unwrap_or(0) + 1;
                let whole =
                    session.set("n", &next.to_string()).guard(Guard::Version(record.version));
                match store.commit(&session.key, whole).await.must(rule) {
                    Outcome::Done(committed) => {
                        check_eq(committed.version, record.version + 1, rule);
                        break;
                    }
                    Outcome::Conflict => tokio::task::yield_now().await,
                    other => fail(rule, "Done or Conflict", format_args!("{other:?}")),
                }
            }
        }
    });
    answers.await;
    let record = load(&clients[0], &session.key, rule).await;
    check_eq(
        texts(&record.data),
        texts(&data([("n", "200")])),
        "C16: 200 guarded increments end at 200",
    );
    check_eq(record.version, 201, "C16: each of 200 increments increments the version once");
}

/// Of concurrent commits under one version exactly one takes effect.
pub async fn c16_one_of_concurrent_guarded_commits_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_anonymous(&clients[0], LONG).await;
    let rule = "C16: of 40 commits under one version exactly one is Done";
    let answers = run_on_session(&clients, &session, 40, |store, session, at| async move {
        store
            .commit(&session.key, session.set(&format!("n{at}"), "1").guard(Guard::Version(1)))
            .await
            .must(rule)
    });
    let (done, others): (Vec<_>, Vec<_>) =
        answers.await.into_iter().partition(|outcome| matches!(outcome, Outcome::Done(_)));
    check_eq(done.len(), 1, rule);
    check_eq(
        others.iter().all(|outcome| *outcome == Outcome::Conflict),
        true,
        "C16: the other commits return Conflict",
    );
    check_eq(load(&clients[0], &session.key, rule).await.data.len(), 1, rule);
}
