//! Checks of `delete_all`: C35, C52.

use std::collections::BTreeSet;

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        check_outcome, clients, commit, create_alices, create_anonymous, create_signed_in, keys,
        list_keys, load, run_concurrently, scan_keys,
    },
    fixture::Fixture,
    session::{LONG, TestSession, principal},
};
use crate::{Outcome, StoreKey, Stored};

/// `delete_all` ends and counts all sessions of the principal except the exception.
///
/// Sessions of other principals stay.
pub async fn c35_delete_all_ends_all_sessions_but_the_exception(fixture: &dyn Fixture) {
    let (clients, alice, bob) = (clients(fixture, 2).await, principal("alice"), principal("bob"));
    let bobs = create_signed_in(&clients[0], &bob).await;
    let anonymous = create_anonymous(&clients[0], LONG).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(create_signed_in(&clients[0], &alice).await);
    }
    // The exception is a key, so it also holds after a rotation.
    let rotated = sessions[2].rotated();
    commit(&clients[0], &rotated.key, sessions[2].rotate(&rotated), "C35: a rotation takes effect")
        .await;
    let rule = "C35: delete_all ends all sessions but the exception and counts them";
    check_eq(clients[0].delete_all(&alice, Some(&rotated.key)).await.must(rule), 4, rule);
    for (at, session) in sessions.iter().enumerate() {
        let record = clients[1].load(&session.key).await.must(rule);
        check_eq(record.is_some(), at == 2, rule);
    }
    check_eq(list_keys(&clients[1], &alice, rule).await, [rotated.key.clone()].into(), rule);
    let rule = "C35: an exception of another principal protects no session";
    check_eq(clients[0].delete_all(&alice, Some(&bobs.key)).await.must(rule), 1, rule);
    check_eq(
        clients[0].delete_all(&alice, None).await.must(rule),
        0,
        "C35: if no session is left the result is 0",
    );
    load(&clients[1], &bobs.key, "C35: sessions of other principals stay").await;
    load(&clients[1], &anonymous.key, "C35: anonymous sessions stay").await;
}

/// A sign-in during `delete_all` is ended or fully live, and record and index agree.
///
/// Sessions that the principal had before are dead.
pub async fn c35_a_racing_sign_in_is_ended_or_fully_live(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    for _ in 0..10 {
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(create_signed_in(&clients[0], &alice).await);
        }
        for _ in 0..4 {
            sessions.push(create_anonymous(&clients[0], LONG).await);
        }
        let answers = run_concurrently(&clients, 9, |store, at| {
            let (alice, session) = (alice.clone(), sessions.get(at).cloned());
            async move {
                let rule = "C35: calls during delete_all succeed";
                let Some(session) = session else {
                    store.delete_all(&alice, None).await.must(rule);
                    return None;
                };
                let next = session.rotated();
                let commit =
                    if at < 4 { session.rotate(&next) } else { session.sign_in(&next, &alice) };
                Some((at, next, store.commit(&session.key, commit).await.must(rule)))
            }
        });
        let mut survivors = BTreeSet::new();
        for (at, session, outcome) in answers.await.into_iter().flatten() {
            let rule = "C35: a session that rotates during delete_all is ended";
            let record = clients[1].load(&session.key).await.must(rule).map(Stored::into_record);
            check_eq(at < 4 && record.is_some(), false, rule);
            let rule = "C35: a sign-in during delete_all is ended or fully live";
            check(
                at < 4 || matches!(outcome, Outcome::Done(_)),
                rule,
                "Done for an anonymous session",
                &outcome,
            );
            if let Some(record) = record {
                check_eq(
                    (record.principal, record.secret, record.since),
                    (Some(alice.clone()), session.secret, 1),
                    rule,
                );
                survivors.insert(session.key);
            }
        }
        let rule = "C35: list returns exactly the live sessions (law 8)";
        check_eq(list_keys(&clients[2], &alice, rule).await, survivors.clone(), rule);
        let rule = "C35: a second delete_all ends the remaining sessions";
        check_eq(
            clients[3].delete_all(&alice, None).await.must(rule),
            survivors.len() as u64,
            rule,
        );
    }
}

/// `delete_all` ends every session that existed when it began, despite concurrent writes.
pub async fn c52_delete_all_is_complete_during_writes(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    let sessions = create_alices(&clients, 300).await;
    let rule = "C52: delete_all ends every session that existed when it began";
    let answers = run_concurrently(&clients, 4, |store, at| {
        let (alice, mine) =
            (alice.clone(), sessions.iter().skip(at).step_by(3).cloned().collect::<Vec<_>>());
        async move {
            if at == 3 {
                return store.delete_all(&alice, None).await.must(rule);
            }
            for session in mine {
                let next = session.rotated();
                match store
                    .commit(&session.key, session.rotate(&next).ttl(LONG * 3))
                    .await
                    .must(rule)
                {
                    Outcome::Done(_) => {}
                    Outcome::Gone => continue,
                    other => fail(rule, "Done or Gone", format_args!("{other:?}")),
                }
                let outcome = store.commit(&session.key, next.add("n", 1)).await.must(rule);
                check(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    rule,
                    "Done or Gone",
                    outcome,
                );
                let _ = store
                    .create(
                        &TestSession::new().key,
                        TestSession::new().record(LONG).principal(alice.clone()),
                    )
                    .await
                    .must(rule);
            }
            0
        }
    });
    let ended: u64 = answers.await.into_iter().sum();
    check(
        ended >= 300,
        "C52: delete_all counts at least the sessions that existed when it began",
        "300 or more",
        ended,
    );
    let (listed, before) = (list_keys(&clients[0], &alice, rule).await, keys(&sessions));
    check_eq(listed.intersection(&before).count(), 0, rule);
    for session in &sessions {
        check_outcome(&clients[1], &session.key, session.rotated().commit(), Outcome::Gone, rule)
            .await;
    }
    let live: BTreeSet<StoreKey> = scan_keys(&clients[2], 100).await.into_iter().collect();
    check_eq(
        live == listed,
        true,
        "C52: after delete_all during writes index and records agree (law 8)",
    );
}
