//! Checks of `delete` and its claims: C18, C19, C47.

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        Client, check_absent, check_empty, check_outcome, clients, commit, create_anonymous,
        create_signed_in, end_session, list_keys, load, run_concurrently,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, principal},
};
use crate::{Claim, Deleted, Outcome};

/// After a `delete` among concurrent commits no record is left or comes back.
pub async fn c18_delete_among_commits_leaves_no_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let rule = "C18: a concurrent commit does not recreate a deleted record (law 2)";
    for _ in 0..20 {
        let session = create_anonymous(&clients[0], LONG).await;
        let answers = run_concurrently(&clients, 16, |store, at| {
            let session = session.clone();
            async move {
                if at == 8 {
                    return Some(
                        store
                            .delete(&session.key, Claim::Any)
                            .await
                            .must("C18: delete succeeds among commits"),
                    );
                }
                let first = session.add("n", 1).ttl(LONG);
                let wide = (0..20).fold(first, |commit, at| commit.and_set(&format!("v{at}"), "1"));
                let outcome = store
                    .commit(&session.key, wide)
                    .await
                    .must("C18: commit succeeds during a delete");
                check(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    rule,
                    "Done or Gone",
                    outcome,
                );
                None
            }
        });
        let deleted: Vec<Deleted> = answers.await.into_iter().flatten().collect();
        check_eq(deleted, vec![Deleted::Ended], "C18: delete finds the record among commits");
        check_absent(&clients[1], &session.key, rule).await;
        check_outcome(&clients[2], &session.key, session.touch(LONG), Outcome::Gone, rule).await;
    }
    check_empty(fixture, rule).await;
}

/// A `delete` during a rotation ends the session under both secrets, in every order.
pub async fn c18_delete_beats_a_concurrent_rotation(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let rule = "C18: delete ends a session that rotates concurrently (law 2)";
    for round in 0..64 {
        let session = create_anonymous(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = run_concurrently(&clients, 2, |store, at| {
            let (session, next) = (session.clone(), next.clone());
            async move {
                if at == 0 {
                    // Each round starts the delete later, so that it meets another step of the
                    // rotation.
                    for _ in 0..round % 8 {
                        tokio::task::yield_now().await;
                    }
                    end_session(&store, &session.key, rule).await;
                    return;
                }
                let outcome = store
                    .commit(&session.key, session.rotate(&next).and_set("n", "1"))
                    .await
                    .must(rule);
                check(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    rule,
                    "Done or Gone",
                    outcome,
                );
            }
        });
        answers.await;
        for client in &clients {
            check_absent(client, &session.key, rule).await;
            check_outcome(client, &session.key, next.commit(), Outcome::Gone, rule).await;
        }
    }
}

/// `delete` returns `Ended` once; every later call returns `Missing` and is not an error.
pub async fn c19_delete_reports_whether_a_record_existed(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let session = create_anonymous(&clients[0], LONG).await;
    commit(&clients[0], &session.key, session.set("n", "1"), "C19: a commit takes effect").await;
    end_session(&clients[1], &session.key, "C19: the first delete finds the record").await;
    for client in &clients {
        check_absent(client, &session.key, "C19: after a delete no client sees the record").await;
        let rule = "C19: a second delete finds nothing and is not an error";
        check_eq(client.delete(&session.key, Claim::Any).await.must(rule), Deleted::Missing, rule);
        check_outcome(
            client,
            &session.key,
            session.add("n", 1),
            Outcome::Gone,
            "C19: a commit after the delete is Gone",
        )
        .await;
    }
    let session = create_anonymous(&clients[0], LONG).await;
    let answers = run_concurrently(&clients, 8, |store, _| {
        let key = session.key.clone();
        async move { store.delete(&key, Claim::Any).await.must("C19: delete succeeds") }
    });
    let ended = answers.await.into_iter().filter(|deleted| *deleted == Deleted::Ended).count();
    check_eq(ended, 1, "C19: of 8 concurrent deletes exactly one returns Ended");
}

/// A claim from before the sign-in ends nothing, and a claim from the sign-in or later ends.
///
/// The secret of the session at that time is irrelevant.
pub async fn c47_a_claim_older_than_the_sign_in_ends_nothing(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let store = &clients[0];
    // The session signs in at generation 2 and is at generation 4 when it ends.
    for claim in [
        Claim::Any,
        Claim::Generation(2),
        Claim::Generation(3),
        Claim::Generation(4),
        Claim::Generation(u32::MAX),
    ] {
        let first = create_anonymous(store, LONG).await;
        let key = &first.key;
        let mut session = first.rotated();
        commit(store, key, first.rotate(&session), "C47: a rotation takes effect").await;
        for sign_in in [true, false, false] {
            let next = session.rotated();
            let whole =
                if sign_in { session.sign_in(&next, &alice) } else { session.rotate(&next) };
            commit(store, key, whole, "C47: a rotation takes effect").await;
            session = next;
        }
        for early in [Claim::Generation(0), Claim::Generation(1)] {
            let rule = format!("C47: {early:?} is from before the sign-in and ends nothing");
            delete(&clients[1], &session, early, Deleted::Superseded, &rule).await;
            let record = load(store, key, &rule).await;
            check_eq(
                (record.secret, record.since, record.generation, record.version),
                (session.secret, 2, 4, 2),
                &rule,
            );
            check_eq(list_keys(store, &alice, &rule).await.contains(key), true, &rule);
        }
        let rule = format!(
            "C47: {claim:?} ends a session of generation 4 whose user signed in at generation 2"
        );
        delete(&clients[1], &session, claim, Deleted::Ended, &rule).await;
        check_absent(store, key, &rule).await;
        delete(store, &session, claim, Deleted::Missing, &rule).await;
        check_outcome(store, key, session.commit(), Outcome::Gone, &rule).await;
    }
    check_empty(fixture, "C47: ended sessions leave no record").await;
}

/// Every claim ends an anonymous session, also after a sign-out.
pub async fn c47_any_claim_ends_an_anonymous_session(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    for claim in [Claim::Any, Claim::Generation(0), Claim::Generation(7)] {
        let rule = format!("C47: {claim:?} ends an anonymous session");
        let session = create_anonymous(&store, LONG).await;
        let next = session.rotated();
        commit(&store, &session.key, session.rotate(&next), &rule).await;
        delete(&store, &session, claim, Deleted::Ended, &rule).await;
        check_absent(&store, &session.key, &rule).await;

        let rule = format!("C47: {claim:?} ends a session after its sign-out");
        let session = create_anonymous(&store, LONG).await;
        let next = session.rotated();
        commit(&store, &session.key, session.sign_in(&next, &alice), &rule).await;
        commit(&store, &session.key, next.sign_out(), &rule).await;
        delete(&store, &session, claim, Deleted::Ended, &rule).await;
        check_absent(&store, &session.key, &rule).await;
    }
    let session = create_signed_in(&store, &alice).await;
    let rule = "C47: a session created with a principal counts as signed in at generation 0";
    delete(&store, &session, Claim::Generation(0), Deleted::Ended, rule).await;
    delete(
        &store,
        &TestSession::new(),
        Claim::Generation(0),
        Deleted::Missing,
        "C47: a missing session is Missing",
    )
    .await;
}

/// Of a claim and a concurrent sign-in one wins: the session is ended, or it is signed in.
pub async fn c47_a_claim_racing_a_sign_in_is_atomic(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let rule = "C47: delete compares the claim and ends the session in one step";
    for round in 0..64 {
        let session = create_anonymous(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = run_concurrently(&clients, 2, |store, at| {
            let (session, next, alice) = (session.clone(), next.clone(), alice.clone());
            async move {
                if at == 0 {
                    // Each round starts the delete later, so that it meets another step of the
                    // sign-in.
                    for _ in 0..round % 8 {
                        tokio::task::yield_now().await;
                    }
                    return match store.delete(&session.key, Claim::Generation(0)).await.must(rule) {
                        Deleted::Ended => false,
                        Deleted::Superseded => true,
                        Deleted::Missing => fail(rule, "Ended or Superseded", "Missing"),
                    };
                }
                match store.commit(&session.key, session.sign_in(&next, &alice)).await.must(rule) {
                    Outcome::Done(_) => true,
                    Outcome::Gone => false,
                    other => fail(rule, "Done or Gone", format_args!("{other:?}")),
                }
            }
        });
        let mut lives = answers.await;
        lives.dedup();
        check_eq(lives.len(), 1, rule);
        check_eq(clients[1].load(&session.key).await.must(rule).is_some(), lives[0], rule);
        check_eq(
            list_keys(&clients[1], &alice, rule).await.contains(&session.key),
            lives[0],
            "C47: index and record agree (law 8)",
        );
    }
}

async fn delete(
    store: &Client,
    session: &TestSession,
    claim: Claim,
    expected: Deleted,
    rule: &str,
) {
    check_eq(store.delete(&session.key, claim).await.must(rule), expected, rule);
}
