//! What holds when many clients write one session.

use super::{
    Fixture,
    steps::{CommitWords, LONG, Must, absent, add, at_once, clients, commit, create_any, data, empty, load, same, set, successor, texts},
};
use crate::{Commit, Guard, Json, Outcome};

/// Read, change and write back under the version that was read, again on `Conflict`: nothing is lost.
pub async fn c16_guarded_increments_lose_nothing(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = create_any(&clients[0], LONG).await;
    let law = "C16: a commit under Guard::Version loses no update (law 1)";
    let answers = at_once(&clients, 8, |store, _| {
        let key = key.clone();
        async move {
            for _ in 0..25 {
                loop {
                    let record = load(&store, &key, law).await;
                    let next = record.data.get("n").and_then(Json::as_integer).unwrap_or(0) + 1;
                    match store.commit(&key, set("n", &next.to_string()).guard(Guard::Version(record.version))).await.must(law) {
                        Outcome::Done(committed) => {
                            same(committed.version, record.version + 1, law);
                            break;
                        }
                        Outcome::Conflict => tokio::task::yield_now().await,
                        Outcome::Gone => super::steps::broken(law, "Done or Conflict", "Gone"),
                    }
                }
            }
        }
    });
    answers.await;
    let record = load(&clients[0], &key, law).await;
    same(texts(&record.data), texts(&data([("n", "200")])), "C16: 200 guarded increments end at 200");
    same(record.version, 201, "C16: each of 200 increments is one version");
}

/// Of many commits under one version exactly one takes effect.
pub async fn c16_of_many_commits_under_one_version_one_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let key = create_any(&clients[0], LONG).await;
    let law = "C16: of 40 commits under one version exactly one is Done";
    let answers = at_once(&clients, 40, |store, at| {
        let key = key.clone();
        async move { store.commit(&key, set(&format!("n{at}"), "1").guard(Guard::Version(1))).await.must(law) }
    });
    let (done, others): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(|outcome| matches!(outcome, Outcome::Done(_)));
    same(done.len(), 1, law);
    same(others.iter().all(|outcome| *outcome == Outcome::Conflict), true, "C16: the others are Conflict");
    same(load(&clients[0], &key, law).await.data.len(), 1, law);
}

/// A delete among commits in flight: whatever the order, no record is left and none comes back.
pub async fn c18_a_delete_among_commits_leaves_no_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let law = "C18: a commit in flight does not bring a deleted record back (law 2)";
    for _ in 0..20 {
        let key = create_any(&clients[0], LONG).await;
        let answers = at_once(&clients, 16, |store, at| {
            let key = key.clone();
            async move {
                if at == 8 {
                    return store.delete(&key).await.must("C18: delete answers among commits");
                }
                let wide = (0..20).fold(add("n", 1).ttl(LONG), |commit, at| commit.and_set(&format!("v{at}"), "1"));
                let outcome = store.commit(&key, wide).await.must("C18: commit answers beside a delete");
                super::steps::holds(outcome != Outcome::Conflict, law, "Done or Gone", outcome);
                false
            }
        });
        let deleted = answers.await.into_iter().filter(|deleted| *deleted).count();
        same(deleted, 1, "C18: delete finds the record among commits");
        absent(&clients[1], &key, law).await;
        same(clients[2].commit(&key, Commit::new().ttl(LONG)).await.must(law), Outcome::Gone, law);
    }
    empty(fixture, law).await;
}

/// A delete against a rotation: either the rotation finds no record any more, or the record has gone to its new key before.
pub async fn c18_a_delete_against_a_rotation_has_an_order(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let law = "C18: of a delete and a rotation at the same moment exactly one finds the record";
    for round in 0..64 {
        let id = super::steps::id();
        let (old, new) = (id.store_key(), successor(&id));
        super::steps::create(&clients[0], &old, crate::NewRecord::new(LONG)).await;
        let answers = at_once(&clients, 2, |store, at| {
            let (old, new) = (old.clone(), new.clone());
            async move {
                if at == 0 {
                    // Each round begins a little later, so that the delete meets the rotation at another of its steps.
                    for _ in 0..round % 8 {
                        tokio::task::yield_now().await;
                    }
                    return store.delete(&old).await.must(law);
                }
                store.commit(&old, set("n", "1").move_to(new)).await.must(law) == Outcome::Gone
            }
        });
        let mut deleted = answers.await;
        deleted.dedup();
        same(deleted.len(), 1, law);
        absent(&clients[0], &old, "C18: after a delete and a rotation the old key is dead").await;
        same(clients[1].load(&new).await.must(law).is_none(), deleted[0], law);
    }
}

/// A second delete says `false` and is no error.
pub async fn c19_delete_says_whether_a_record_was_there(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let key = create_any(&clients[0], LONG).await;
    commit(&clients[0], &key, set("n", "1"), "C19: a commit takes effect").await;
    same(clients[1].delete(&key).await.must("C19: delete answers"), true, "C19: the first delete finds the record");
    for client in &clients {
        absent(client, &key, "C19: after a delete no client sees the record").await;
        same(client.delete(&key).await.must("C19: a second delete is no error"), false, "C19: a second delete finds nothing");
        let outcome = client.commit(&key, add("n", 1)).await.must("C19: commit answers");
        same(outcome, Outcome::Gone, "C19: a commit after the delete is Gone");
    }
    let answers = at_once(&clients, 8, |store, _| {
        let key = key.clone();
        async move { store.delete(&key).await.must("C19: delete answers") }
    });
    same(answers.await.contains(&true), false, "C19: no later delete finds the record");
}
