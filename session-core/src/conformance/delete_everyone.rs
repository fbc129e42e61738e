//! Checks of `delete_everyone`: C53.

use std::{collections::BTreeSet, time::Duration};

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        check_absent, check_empty, check_outcome, clients, commit, create, create_anonymous,
        create_each, create_many, create_signed_in, delete_everyone_in_pages, end_session, keys,
        list_keys, purge_all, run_concurrently, scan_keys,
    },
    fixture::Fixture,
    session::{LONG, TestSession, principal},
};
use crate::{Cursor, Outcome, StoreKey};

/// `delete_everyone` ends all sessions in pages of about `limit` and counts the live ones.
///
/// Repeating a page has no further effect.
pub async fn c53_delete_everyone_ends_all_sessions_in_pages(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (store, reader, rule) =
        (&clients[0], &clients[1], "C53: after the last page every session is dead");
    check_eq(
        delete_everyone_in_pages(store, 10, rule).await,
        0,
        "C53: an empty storage has no session to end",
    );
    let mut sessions = create_many(&clients, 60, LONG).await;
    for user in ["alice", "bob"] {
        sessions.extend(
            create_each(&clients, 60, move |session| {
                session.record(LONG).principal(principal(user))
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
        let page = store.delete_everyone(after.clone(), 10).await.must(rule);
        // A backend that iterates by itself treats the limit as a hint.
        check(
            page.ended <= 100,
            "C53: a page of 10 ends about 10 sessions",
            "at most 100",
            page.ended,
        );
        let again = store.delete_everyone(after, 10).await.must("C53: a repeated page succeeds");
        (ended, pages) = (ended + page.ended + again.ended, pages + 1);
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        check(pages < 100_000, "C53: delete_everyone ends", "a page without `next`", pages);
    }
    check_eq(ended, 180, "C53: all pages together count every live session once");
    for session in &sessions {
        check_absent(reader, &session.key, rule).await;
    }
    check_outcome(reader, &sessions[0].key, sessions[0].commit(), Outcome::Gone, rule).await;
    for user in ["alice", "bob"] {
        check_eq(
            list_keys(reader, &principal(user), rule).await,
            [].into(),
            "C53: no index contains an ended session (law 8)",
        );
    }
    check_eq(
        delete_everyone_in_pages(store, 10, rule).await,
        0,
        "C53: a second run has no session to end",
    );
    purge_all(fixture, rule).await;
    check_empty(fixture, rule).await;
}

/// `delete_everyone` works with every limit; 0 counts as 1.
pub async fn c53_delete_everyone_accepts_every_limit(fixture: &dyn Fixture) {
    let (clients, rule) =
        (clients(fixture, 2).await, "C53: delete_everyone works with every limit");
    for limit in [0, 1, 12, 13, 1000] {
        let sessions = create_many(&clients, 12, LONG).await;
        check_eq(
            delete_everyone_in_pages(&clients[0], limit, rule).await,
            sessions.len() as u64,
            rule,
        );
        check_eq(scan_keys(&clients[1], 100).await, Vec::new(), rule);
    }
}

/// `delete_everyone` ends every session that existed before its first call, despite writes.
///
/// Sessions that are live afterwards are younger, and they are whole.
pub async fn c53_delete_everyone_is_complete_during_writes(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    let sessions = create_many(&clients, 150, LONG).await;
    let rule = "C53: delete_everyone during writes ends every session that existed before";
    let answers = run_concurrently(&clients, 4, |store, at| {
        let (alice, mine) =
            (alice.clone(), sessions.iter().skip(at).step_by(3).cloned().collect::<Vec<_>>());
        async move {
            if at == 3 {
                delete_everyone_in_pages(&store, 5, rule).await;
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
                match store.commit(&session.key, whole.ttl(LONG * 3)).await.must(rule) {
                    Outcome::Done(_) | Outcome::Gone => {}
                    other => fail(rule, "Done or Gone", format_args!("{other:?}")),
                }
                younger.insert(create_signed_in(&store, &alice).await.key);
            }
            younger
        }
    });
    let younger: BTreeSet<StoreKey> = answers.await.into_iter().flatten().collect();
    for session in &sessions {
        check_absent(&clients[0], &session.key, rule).await;
    }
    let living: BTreeSet<StoreKey> = scan_keys(&clients[1], 50).await.into_iter().collect();
    check_eq(living.intersection(&keys(&sessions)).count(), 0, rule);
    check_eq(
        living.is_subset(&younger),
        true,
        "C53: the live sessions are younger than the first call",
    );
    let rule = "C53: after delete_everyone during writes index and records agree (law 8)";
    check_eq(list_keys(&clients[2], &alice, rule).await == living, true, rule);
    for key in living {
        end_session(&clients[3], &key, rule).await;
    }
}

/// `delete_everyone` ends records that cannot be read.
pub async fn c53_delete_everyone_ends_corrupt_records(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (corrupted, fine) =
        (create_signed_in(&store, &principal("alice")).await, create_anonymous(&store, LONG).await);
    if fixture.corrupt(&corrupted.key).await.or_explain("C53").is_none() {
        return;
    }
    let rule = "C53: delete_everyone ends records that it cannot read";
    let ended = delete_everyone_in_pages(&store, 10, rule).await;
    check((1..=2).contains(&ended), rule, "1 or 2", ended);
    check_absent(&store, &corrupted.key, rule).await;
    check_absent(&store, &fine.key, rule).await;
    let session = TestSession::under(corrupted.key.as_str());
    create(&store, &session.key, session.record(LONG)).await;
}
