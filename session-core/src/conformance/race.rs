//! What holds when many clients write one session.

use super::{
    Fixture,
    steps::{
        CommitWords, LONG, Must, absent, at_once, broken, clients, commit, create_any, data, empty,
        end, holds, load, name, refused, same, texts,
    },
};
use crate::{Claim, Deleted, Guard, Json, Outcome};

/// Read, change and write back under the version that was read, again on `Conflict`: nothing is
/// lost.
pub async fn c16_guarded_increments_lose_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_any(&clients[0], LONG).await;
    let law = "C16: a commit under Guard::Version loses no update (law 1)";
    let answers = at_once(&clients, 8, |store, _| {
        let session = session.clone();
        async move {
            for _ in 0..25 {
                loop {
                    let record = load(&store, &session.key, law).await;
                    let next = record.data.get("n").and_then(Json::as_integer).unwrap_or(0) + 1;
                    let whole =
                        session.set("n", &next.to_string()).guard(Guard::Version(record.version));
                    match store.commit(&session.key, whole).await.must(law) {
                        Outcome::Done(committed) => {
                            same(committed.version, record.version + 1, law);
                            break;
                        }
                        Outcome::Conflict => tokio::task::yield_now().await,
                        other => broken(law, "Done or Conflict", format_args!("{other:?}")),
                    }
                }
            }
        }
    });
    answers.await;
    let record = load(&clients[0], &session.key, law).await;
    same(
        texts(&record.data),
        texts(&data([("n", "200")])),
        "C16: 200 guarded increments end at 200",
    );
    same(record.version, 201, "C16: each of 200 increments is one version");
}

/// Of many commits under one version exactly one takes effect.
pub async fn c16_of_many_commits_under_one_version_one_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let session = create_any(&clients[0], LONG).await;
    let law = "C16: of 40 commits under one version exactly one is Done";
    let answers = at_once(&clients, 40, |store, at| {
        let session = session.clone();
        async move {
            store
                .commit(&session.key, session.set(&format!("n{at}"), "1").guard(Guard::Version(1)))
                .await
                .must(law)
        }
    });
    let (done, others): (Vec<_>, Vec<_>) =
        answers.await.into_iter().partition(|outcome| matches!(outcome, Outcome::Done(_)));
    same(done.len(), 1, law);
    same(
        others.iter().all(|outcome| *outcome == Outcome::Conflict),
        true,
        "C16: the others are Conflict",
    );
    same(load(&clients[0], &session.key, law).await.data.len(), 1, law);
}

/// A delete among commits in flight: in every order no record is left, and none comes back.
pub async fn c18_a_delete_among_commits_leaves_no_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let law = "C18: a commit in flight does not bring a deleted record back (law 2)";
    for _ in 0..20 {
        let session = create_any(&clients[0], LONG).await;
        let answers = at_once(&clients, 16, |store, at| {
            let session = session.clone();
            async move {
                if at == 8 {
                    return Some(
                        store
                            .delete(&session.key, Claim::Any)
                            .await
                            .must("C18: delete answers among commits"),
                    );
                }
                let first = session.add("n", 1).ttl(LONG);
                let wide = (0..20).fold(first, |commit, at| commit.and_set(&format!("v{at}"), "1"));
                let outcome = store
                    .commit(&session.key, wide)
                    .await
                    .must("C18: commit answers beside a delete");
                holds(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    law,
                    "Done or Gone",
                    outcome,
                );
                None
            }
        });
        let deleted: Vec<Deleted> = answers.await.into_iter().flatten().collect();
        same(deleted, vec![Deleted::Ended], "C18: delete finds the record among commits");
        absent(&clients[1], &session.key, law).await;
        refused(&clients[2], &session.key, session.touch(LONG), Outcome::Gone, law).await;
    }
    empty(fixture, law).await;
}

/// A delete against a rotation: in both orders the delete finds the record, and it is dead
/// afterwards under both secrets.
pub async fn c18_a_delete_beats_a_rotation_in_every_order(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let law = "C18: a delete ends a session that rotates at the same moment (law 2)";
    for round in 0..64 {
        let session = create_any(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = at_once(&clients, 2, |store, at| {
            let (session, next) = (session.clone(), next.clone());
            async move {
                if at == 0 {
                    // Each round begins a little later, so that the delete meets the rotation at
                    // another of its steps.
                    for _ in 0..round % 8 {
                        tokio::task::yield_now().await;
                    }
                    end(&store, &session.key, law).await;
                    return;
                }
                let outcome = store
                    .commit(&session.key, session.rotate(&next).and_set("n", "1"))
                    .await
                    .must(law);
                holds(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    law,
                    "Done or Gone",
                    outcome,
                );
            }
        });
        answers.await;
        for client in &clients {
            absent(client, &session.key, law).await;
            refused(client, &session.key, next.commit(), Outcome::Gone, law).await;
        }
    }
}

/// A second delete says `Missing` and is not an error.
pub async fn c19_delete_says_whether_a_record_was_there(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_any(&clients[0], LONG).await;
    commit(&clients[0], &session.key, session.set("n", "1"), "C19: a commit takes effect").await;
    end(&clients[1], &session.key, "C19: the first delete finds the record").await;
    for client in &clients {
        absent(client, &session.key, "C19: after a delete no client sees the record").await;
        let law = "C19: a second delete finds nothing and is not an error";
        same(client.delete(&session.key, Claim::Any).await.must(law), Deleted::Missing, law);
        refused(
            client,
            &session.key,
            session.add("n", 1),
            Outcome::Gone,
            "C19: a commit after the delete is Gone",
        )
        .await;
    }
    let session = create_any(&clients[0], LONG).await;
    let answers = at_once(&clients, 8, |store, _| {
        let key = session.key.clone();
        async move { store.delete(&key, Claim::Any).await.must("C19: delete answers") }
    });
    let ended = answers.await.into_iter().filter(|deleted| *deleted == Deleted::Ended).count();
    same(ended, 1, "C19: of 8 deletes at once exactly one finds the record");
}

/// Sums beside a rotation: each is `Done` before it or `Superseded` after it, and the record counts
/// the `Done` ones.
pub async fn c23_a_rotation_among_adds_has_an_order(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let law = "C23: an Add beside a rotation is Done or Superseded (law 4)";
    for _ in 0..5 {
        let session = create_any(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = at_once(&clients, 24, |store, at| {
            let (session, next) = (session.clone(), next.clone());
            async move {
                if at == 12 {
                    commit(
                        &store,
                        &session.key,
                        session.rotate(&next),
                        "C23: a rotation among adds takes effect",
                    )
                    .await;
                    return 0;
                }
                match store.commit(&session.key, session.add("n", 1)).await.must(law) {
                    Outcome::Done(_) => 1,
                    Outcome::Superseded => 0,
                    other => broken(law, "Done or Superseded", format_args!("{other:?}")),
                }
            }
        });
        let done: i64 = answers.await.into_iter().sum();
        let record = load(&clients[1], &session.key, law).await;
        let sum = record.data.get("n").and_then(Json::as_integer).unwrap_or(0);
        same(sum, done, "C23: the record counts exactly the adds that were Done");
        same(
            commit(&clients[2], &session.key, next.add("n", 1), law).await.added[&name("n")],
            done + 1,
            law,
        );
    }
}
