//! Which claims end a session.

use super::{
    Fixture,
    steps::{
        Client, LONG, Must, TestSession, absent, at_once, broken, clients, commit, create_any,
        empty, listed, load, principal, refused, same, signed_in,
    },
};
use crate::{Claim, Deleted, Outcome};

async fn delete(store: &Client, session: &TestSession, claim: Claim, expected: Deleted, law: &str) {
    same(store.delete(&session.key, claim).await.must(law), expected, law);
}

/// A claim from before the sign-in ends nothing and changes nothing. One of the sign-in's
/// generation or a later one ends the session, whatever its secret is by then.
pub async fn c47_a_claim_from_before_the_sign_in_ends_nothing(fixture: &dyn Fixture) {
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
        let first = create_any(store, LONG).await;
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
        for planted in [Claim::Generation(0), Claim::Generation(1)] {
            let law = format!("C47: {planted:?} is from before the sign-in and ends nothing");
            delete(&clients[1], &session, planted, Deleted::Superseded, &law).await;
            let record = load(store, key, &law).await;
            same(
                (record.secret, record.since, record.generation, record.version),
                (session.secret, 2, 4, 2),
                &law,
            );
            same(listed(store, &alice, &law).await.contains(key), true, &law);
        }
        let law = format!(
            "C47: {claim:?} ends a session of generation 4 whose user signed in at generation 2"
        );
        delete(&clients[1], &session, claim, Deleted::Ended, &law).await;
        absent(store, key, &law).await;
        delete(store, &session, claim, Deleted::Missing, &law).await;
        refused(store, key, session.commit(), Outcome::Gone, &law).await;
    }
    empty(fixture, "C47: ended sessions leave nothing").await;
}

/// Every claim ends an anonymous session, also after a sign-out.
pub async fn c47_any_claim_ends_an_anonymous_session(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    for claim in [Claim::Any, Claim::Generation(0), Claim::Generation(7)] {
        let law = format!("C47: {claim:?} ends an anonymous session");
        let session = create_any(&store, LONG).await;
        let next = session.rotated();
        commit(&store, &session.key, session.rotate(&next), &law).await;
        delete(&store, &session, claim, Deleted::Ended, &law).await;
        absent(&store, &session.key, &law).await;

        let law = format!("C47: {claim:?} ends a session after its sign-out");
        let session = create_any(&store, LONG).await;
        let next = session.rotated();
        commit(&store, &session.key, session.sign_in(&next, &alice), &law).await;
        commit(&store, &session.key, next.sign_out(), &law).await;
        delete(&store, &session, claim, Deleted::Ended, &law).await;
        absent(&store, &session.key, &law).await;
    }
    let session = signed_in(&store, &alice).await;
    let law = "C47: a session that was created for a user counts as signed in at generation 0";
    delete(&store, &session, Claim::Generation(0), Deleted::Ended, law).await;
    delete(
        &store,
        &TestSession::new(),
        Claim::Generation(0),
        Deleted::Missing,
        "C47: a missing session is Missing",
    )
    .await;
}

/// A claim against a sign-in at the same moment: the claim ends the anonymous session, or the
/// signed-in session lives.
pub async fn c47_a_claim_against_a_sign_in_has_an_order(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let law = "C47: a claim is compared and carried out in one step";
    for round in 0..64 {
        let session = create_any(&clients[0], LONG).await;
        let next = session.rotated();
        let answers = at_once(&clients, 2, |store, at| {
            let (session, next, alice) = (session.clone(), next.clone(), alice.clone());
            async move {
                if at == 0 {
                    // Each round begins a little later, so that the claim meets the sign-in at
                    // another of its steps.
                    for _ in 0..round % 8 {
                        tokio::task::yield_now().await;
                    }
                    return match store.delete(&session.key, Claim::Generation(0)).await.must(law) {
                        Deleted::Ended => false,
                        Deleted::Superseded => true,
                        Deleted::Missing => broken(law, "Ended or Superseded", "Missing"),
                    };
                }
                match store.commit(&session.key, session.sign_in(&next, &alice)).await.must(law) {
                    Outcome::Done(_) => true,
                    Outcome::Gone => false,
                    other => broken(law, "Done or Gone", format_args!("{other:?}")),
                }
            }
        });
        let mut lives = answers.await;
        lives.dedup();
        same(lives.len(), 1, law);
        same(clients[1].load(&session.key).await.must(law).is_some(), lives[0], law);
        same(
            listed(&clients[1], &alice, law).await.contains(&session.key),
            lives[0],
            "C47: index and record agree (law 8)",
        );
    }
}
