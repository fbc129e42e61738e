//! What `delete_everyone` promises.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Fixture,
    steps::{
        LONG, Must, TestSession, absent, at_once, broken, clients, commit, create_any, create_each,
        create_many, empty, end, end_everyone, holds, keys, listed, principal, purge_all, refused,
        same, scan_all, signed_in,
    },
};
use crate::{Cursor, Outcome, StoreKey};

/// Sessions of all users and of visitors end, in pages of about `limit`. The answers count the live
/// ones, and a repeated page does no harm.
pub async fn c53_delete_everyone_ends_all_sessions_in_pages(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (store, reader, law) =
        (&clients[0], &clients[1], "C53: after the last page every session is dead");
    same(end_everyone(store, 10, law).await, 0, "C53: an empty storage has no session to end");
    let mut sessions = create_many(&clients, 60, LONG).await;
    for who in ["alice", "bob"] {
        sessions.extend(
            create_each(&clients, 60, move |session| {
                session.record(LONG).principal(principal(who))
            })
            .await,
        );
    }
    create_many(&clients, 20, Duration::from_millis(100)).await;
    fixture.advance(Duration::from_millis(200)).await;
    for session in sessions.iter_mut().step_by(3) {
        let next = session.rotated();
        commit(store, &session.key, session.rotate(&next), "C53: a rotation takes effect").await;
        *session = next;
    }
    let (mut ended, mut pages, mut after) = (0, 0, None::<Cursor>);
    loop {
        let page = store.delete_everyone(after.clone(), 10).await.must(law);
        // Backends that walk by themselves treat a limit as a hint.
        holds(
            page.ended <= 100,
            "C53: a page of 10 ends about 10 sessions",
            "at most 100",
            page.ended,
        );
        let again = store.delete_everyone(after, 10).await.must("C53: a page can be repeated");
        (ended, pages) = (ended + page.ended + again.ended, pages + 1);
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        holds(pages < 100_000, "C53: delete_everyone ends", "a page without `next`", pages);
    }
    same(ended, 180, "C53: the pages together count every live session once");
    for session in &sessions {
        absent(reader, &session.key, law).await;
    }
    refused(reader, &sessions[0].key, sessions[0].commit(), Outcome::Gone, law).await;
    for who in ["alice", "bob"] {
        same(
            listed(reader, &principal(who), law).await,
            [].into(),
            "C53: no index shows an ended session (law 8)",
        );
    }
    same(end_everyone(store, 10, law).await, 0, "C53: a second walk has no session to end");
    purge_all(fixture, law).await;
    empty(fixture, law).await;
}

/// Every limit works; 0 counts as 1.
pub async fn c53_delete_everyone_takes_every_limit(fixture: &dyn Fixture) {
    let (clients, law) = (clients(fixture, 2).await, "C53: delete_everyone works with every limit");
    for limit in [0, 1, 12, 13, 1000] {
        let sessions = create_many(&clients, 12, LONG).await;
        same(end_everyone(&clients[0], limit, law).await, sessions.len() as u64, law);
        same(scan_all(&clients[1], 100).await, Vec::new(), law);
    }
}

/// Sessions that existed before the first call are dead after the last page, although they rotate,
/// sign in and get longer lives, and others come and go meanwhile. Sessions that live afterwards
/// are younger, and are whole.
pub async fn c53_delete_everyone_is_complete_beside_traffic(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    let sessions = create_many(&clients, 150, LONG).await;
    let law = "C53: beside traffic every session that existed before is dead";
    let answers = at_once(&clients, 4, |store, at| {
        let (alice, mine) =
            (alice.clone(), sessions.iter().skip(at).step_by(3).cloned().collect::<Vec<_>>());
        async move {
            if at == 3 {
                end_everyone(&store, 5, law).await;
                return BTreeSet::new();
            }
            let mut younger = BTreeSet::new();
            for (at, session) in mine.into_iter().enumerate() {
                let next = session.rotated();
                let whole = if at % 2 == 0 {
                    session.rotate(&next)
                } else {
                    session.sign_in(&next, &alice)
                };
                match store.commit(&session.key, whole.ttl(LONG * 3)).await.must(law) {
                    Outcome::Done(_) | Outcome::Gone => {}
                    other => broken(law, "Done or Gone", format_args!("{other:?}")),
                }
                younger.insert(signed_in(&store, &alice).await.key);
            }
            younger
        }
    });
    let younger: BTreeSet<StoreKey> = answers.await.into_iter().flatten().collect();
    for session in &sessions {
        absent(&clients[0], &session.key, law).await;
    }
    let living: BTreeSet<StoreKey> = scan_all(&clients[1], 50).await.into_iter().collect();
    same(living.intersection(&keys(&sessions)).count(), 0, law);
    same(
        living.is_subset(&younger),
        true,
        "C53: the sessions that live are younger than the first call",
    );
    let law = "C53: beside delete_everyone index and records agree (law 8)";
    same(listed(&clients[2], &alice, law).await == living, true, law);
    for key in living {
        end(&clients[3], &key, law).await;
    }
}

/// A record that cannot be read ends as well.
pub async fn c53_delete_everyone_ends_corrupt_records(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (spoilt, fine) =
        (signed_in(&store, &principal("alice")).await, create_any(&store, LONG).await);
    if fixture.corrupt(&spoilt.key).await.or_explain("C53").is_none() {
        return;
    }
    let law = "C53: delete_everyone ends records that it cannot read as well";
    let ended = end_everyone(&store, 10, law).await;
    holds((1..=2).contains(&ended), law, "1 or 2", ended);
    absent(&store, &spoilt.key, law).await;
    absent(&store, &fine.key, law).await;
    let session = TestSession::under(spoilt.key.as_str());
    super::steps::create(&store, &session.key, session.record(LONG)).await;
}
