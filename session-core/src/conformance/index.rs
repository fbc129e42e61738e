//! What `list` and `delete_all` promise.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    Fixture,
    steps::{
        Client, LONG, Must, TestSession, absent, at_once, broken, chain, clients, commit, create,
        create_any, create_each, create_many, end, holds, keys, list_in_pages, listed, load,
        principal, refused, same, scan_all, signed_in, within,
    },
};
use crate::{
    Attributes, Cursor, NewRecord, Outcome, Principal, SessionSummary, ShortText, StoreError,
    StoreKey,
};

/// Exactly the principal's live sessions are listed, each with the ages, ttl and attributes that
/// `load` gives.
pub async fn c32_list_shows_the_live_sessions_of_the_principal(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let label = ShortText::new("Firefox on Linux").unwrap_or_else(|error| panic!("{error}"));
    let attributes =
        Attributes { label: Some(label), idle_timeout: Some(LONG), ..Attributes::default() };
    let (begun, mut theirs) = (Instant::now(), BTreeMap::new());
    for at in 0..4 {
        let session = TestSession::new();
        // Younger than the session: the user signed in later.
        let authenticated = Duration::from_secs(60 * at);
        let new = session.record(LONG * 2).principal(alice.clone()).attributes(attributes.clone());
        create(
            &clients[0],
            &session.key,
            NewRecord { age: LONG, authenticated: Some(authenticated), ..new },
        )
        .await;
        theirs.insert(session.key, authenticated);
    }
    signed_in(&clients[0], &principal("bob")).await;
    create_any(&clients[0], LONG).await;
    for client in &clients {
        let law = "C32: list shows exactly the principal's sessions, each once";
        let sessions = list_in_pages(client, &alice, 100, law).await;
        same(sessions.len(), theirs.len(), law);
        same(
            sessions.iter().map(|summary| &summary.key).collect::<BTreeSet<_>>(),
            theirs.keys().collect(),
            law,
        );
        for SessionSummary { key, age, authenticated, ttl, attributes: shown } in sessions {
            let record = load(client, &key, "C32: a listed session lives").await;
            let law = "C32: list shows ages, ttl and attributes as load does";
            let (zero, near) = (Duration::ZERO, fixture.tolerance() + Duration::from_millis(50));
            within(age.abs_diff(record.age), zero, zero, near, law);
            within(authenticated, theirs[&key], theirs[&key] + begun.elapsed(), near, law);
            within(ttl.abs_diff(record.ttl), zero, zero, near, law);
            same(shown, attributes.clone(), law);
        }
    }
}

/// Principals that look alike to people or to a pattern language do not see each other's sessions.
pub async fn c32_similar_principals_do_not_leak(fixture: &dyn Fixture) {
    let store = fixture.store();
    let longest = "p".repeat(Principal::MAX_BYTES);
    let almost = "p".repeat(Principal::MAX_BYTES - 1);
    let names = [
        "bob",
        "Bob",
        "BOB",
        "bob ",
        " bob",
        "bo",
        "bobb",
        "b*b",
        "b?b",
        "b.b",
        "b%b",
        "b_b",
        "b[o]b",
        ".*",
        "*",
        "%",
        "_",
        "bob|alice",
        "^bob$",
        "bob\\",
        "bób",
        "bo\u{301}b",
        "ｂob",
        "bob'--",
        "\"bob\"",
        "{bob}",
        "bob:1",
        "bob/1",
        "$ne",
        "null",
        "0",
        "🦀",
        "straße",
        "strasse",
        &longest,
        &almost,
    ];
    let mut sessions = Vec::new();
    for text in names {
        let who = principal(text);
        let session = signed_in(&store, &who).await;
        sessions.push((who, session.key));
    }
    for (who, key) in &sessions {
        let law = format!("C32: {who:?} sees its own session and no other");
        same(listed(&store, who, &law).await, [key.clone()].into(), &law);
    }
    for (at, (who, key)) in sessions.iter().enumerate() {
        let law = format!("C35: delete_all of {who:?} ends its own session and no other");
        same(store.delete_all(who, None).await.must(&law), 1, &law);
        absent(&store, key, &law).await;
        for (_, other) in &sessions[at + 1..] {
            load(&store, other, &law).await;
        }
    }
}

/// The index follows sign-in, change of user, sign-out, rotation, deletion and expiry.
pub async fn c33_the_index_follows_the_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (store, reader, alice, bob) =
        (&clients[0], &clients[1], principal("alice"), principal("bob"));
    let shown = async |alices: &[&StoreKey], bobs: &[&StoreKey], law: &str| {
        same(listed(reader, &alice, law).await.iter().collect::<Vec<_>>(), alices.to_vec(), law);
        same(listed(reader, &bob, law).await.iter().collect::<Vec<_>>(), bobs.to_vec(), law);
    };
    let first = create_any(store, LONG).await;
    let (key, second) = (&first.key, first.rotated());
    commit(store, key, first.sign_in(&second, &alice), "C33: a sign-in takes effect").await;
    same(
        load(reader, key, "C33: the record lives").await.principal,
        Some(alice.clone()),
        "C33: a sign-in sets the principal",
    );
    shown(&[key], &[], "C33: a sign-in adds the session to the index (law 8)").await;
    let third = second.rotated();
    commit(
        store,
        key,
        second.sign_in(&third, &alice).ttl(LONG * 2),
        "C33: a second sign-in takes effect",
    )
    .await;
    shown(&[key], &[], "C33: a second sign-in of one user lists the session once").await;
    let fourth = third.rotated();
    commit(store, key, third.sign_in(&fourth, &bob), "C33: a change of user takes effect").await;
    shown(&[], &[key], "C33: a change of user moves the session to the other user (law 8)").await;
    let fifth = fourth.rotated();
    commit(store, key, fourth.rotate(&fifth), "C33: a rotation takes effect").await;
    shown(&[], &[key], "C33: a rotation leaves the index as it is (law 8)").await;
    commit(store, key, fifth.add("n", 1).clear(), "C33: clear takes effect").await;
    shown(&[], &[key], "C33: clear removes values, not the principal").await;
    commit(store, key, fifth.sign_out(), "C33: a sign-out takes effect").await;
    shown(&[], &[], "C33: unset removes the session from the index (law 8)").await;
    same(
        load(reader, key, "C33: the record lives on").await.principal,
        None,
        "C33: unset removes the principal",
    );
    let sixth = fifth.rotated();
    commit(store, key, fifth.sign_in(&sixth, &alice), "C33: a sign-in takes effect").await;
    end(store, key, "C33: delete finds the record").await;
    shown(&[], &[], "C33: delete removes the session from the index (law 8)").await;
    let (extended, brief) = (TestSession::new(), TestSession::new());
    for session in [&extended, &brief] {
        create(
            store,
            &session.key,
            session.record(Duration::from_millis(300)).principal(alice.clone()),
        )
        .await;
    }
    commit(store, &extended.key, extended.touch(LONG), "C33: extending takes effect").await;
    fixture.advance(Duration::from_millis(600)).await;
    shown(
        &[&extended.key],
        &[],
        "C33: expiry removes a session from the index, and an extended one stays in it (law 8)",
    )
    .await;
}

/// A record without principal is in no index.
pub async fn c34_a_record_without_principal_is_in_no_index(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_any(&store, LONG).await;
    commit(&store, &session.key, session.add("n", 1), "C34: a commit takes effect").await;
    for text in ["null", "None", "0", "undefined", " ", "*", "%"] {
        let law = format!("C34: an anonymous session does not belong to {text:?}");
        same(listed(&store, &principal(text), &law).await, [].into(), &law);
        same(store.delete_all(&principal(text), None).await.must(&law), 0, &law);
    }
    load(&store, &session.key, "C34: the anonymous session lives on").await;
}

/// All sessions of the principal end but `except`. The answer counts them, and other sessions stay.
pub async fn c35_delete_all_ends_all_but_the_exception(fixture: &dyn Fixture) {
    let (clients, alice, bob) = (clients(fixture, 2).await, principal("alice"), principal("bob"));
    let bobs = signed_in(&clients[0], &bob).await;
    let anonymous = create_any(&clients[0], LONG).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(signed_in(&clients[0], &alice).await);
    }
    // The exception holds for the session, whatever its secret is by now.
    let rotated = sessions[2].rotated();
    commit(&clients[0], &rotated.key, sessions[2].rotate(&rotated), "C35: a rotation takes effect")
        .await;
    let law = "C35: delete_all ends all but the exception and counts them";
    same(clients[0].delete_all(&alice, Some(&rotated.key)).await.must(law), 4, law);
    for (at, session) in sessions.iter().enumerate() {
        let record = clients[1].load(&session.key).await.must(law);
        same(record.is_some(), at == 2, law);
    }
    same(listed(&clients[1], &alice, law).await, [rotated.key.clone()].into(), law);
    let law = "C35: an exception that is not one of the sessions saves none";
    same(clients[0].delete_all(&alice, Some(&bobs.key)).await.must(law), 1, law);
    same(
        clients[0].delete_all(&alice, None).await.must(law),
        0,
        "C35: if no session is left the answer is 0",
    );
    load(&clients[1], &bobs.key, "C35: sessions of other principals stay").await;
    load(&clients[1], &anonymous.key, "C35: anonymous sessions stay").await;
}

/// A sign-in that races with `delete_all` is ended or fully alive: record and index agree. Sessions
/// that the principal had before are dead.
pub async fn c35_a_racing_sign_in_is_ended_or_fully_alive(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    for _ in 0..10 {
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(signed_in(&clients[0], &alice).await);
        }
        for _ in 0..4 {
            sessions.push(create_any(&clients[0], LONG).await);
        }
        let answers = at_once(&clients, 9, |store, at| {
            let (alice, session) = (alice.clone(), sessions.get(at).cloned());
            async move {
                let law = "C35: calls beside delete_all succeed";
                let Some(session) = session else {
                    store.delete_all(&alice, None).await.must(law);
                    return None;
                };
                let next = session.rotated();
                let commit =
                    if at < 4 { session.rotate(&next) } else { session.sign_in(&next, &alice) };
                Some((at, next, store.commit(&session.key, commit).await.must(law)))
            }
        });
        let mut survivors = BTreeSet::new();
        for (at, session, outcome) in answers.await.into_iter().flatten() {
            let law = "C35: a session that rotates beside delete_all is ended";
            let record =
                clients[1].load(&session.key).await.must(law).map(crate::Stored::into_record);
            same(at < 4 && record.is_some(), false, law);
            let law = "C35: a sign-in that races with delete_all is ended or fully alive";
            holds(
                at < 4 || matches!(outcome, Outcome::Done(_)),
                law,
                "Done for an anonymous session",
                &outcome,
            );
            if let Some(record) = record {
                same(
                    (record.principal, record.secret, record.since),
                    (Some(alice.clone()), session.secret, 1),
                    law,
                );
                survivors.insert(session.key);
            }
        }
        let law = "C35: the index shows exactly the survivors (law 8)";
        same(listed(&clients[2], &alice, law).await, survivors.clone(), law);
        let law = "C35: a later delete_all ends the survivors of the first";
        same(clients[3].delete_all(&alice, None).await.must(law), survivors.len() as u64, law);
    }
}

/// A principal may have a thousand sessions.
pub async fn c36_a_thousand_sessions_of_one_principal_work(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 8).await, principal("alice"));
    let theirs = keys(&alices(&clients, 1000).await);
    let law = "C36: a thousand sessions are listed, each once";
    let shown = listed(&clients[0], &alice, law).await;
    same((shown.len(), shown == theirs), (1000, true), law);
    let Some(kept) = theirs.first() else { return };
    let law = "C36: delete_all ends 999 of a thousand";
    same(clients[0].delete_all(&alice, Some(kept)).await.must(law), 999, law);
    same(
        listed(&clients[1], &alice, law).await,
        [kept.clone()].into(),
        "C36: only the exception is left",
    );
}

async fn alices(clients: &[Client], count: usize) -> Vec<TestSession> {
    create_each(clients, count, |session| session.record(LONG).principal(principal("alice"))).await
}

/// Pages have at most `limit` sessions, and together they are the whole list, in an order that
/// commits do not change.
pub async fn c52_pages_of_a_list_are_bounded_and_keep_their_order(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let store = &clients[0];
    let sessions = alices(&clients, 60).await;
    create_each(&clients, 40, |session| session.record(LONG).principal(principal("bob"))).await;
    create_many(&clients, 40, LONG).await;
    let order = async |store: &Client, limit: usize, law: &str| -> Vec<StoreKey> {
        list_in_pages(store, &alice, limit, law)
            .await
            .into_iter()
            .map(|summary| summary.key)
            .collect()
    };
    let first = order(store, 1000, "C52: list answers").await;
    same(
        first.iter().cloned().collect::<BTreeSet<_>>() == keys(&sessions),
        true,
        "C52: the list has exactly the principal's sessions",
    );
    // A limit of 0 counts as 1.
    for limit in [0, 1, 7, 59, 60, 61] {
        let law = format!("C52: pages of {limit} give the whole list in its order");
        same(order(&clients[1], limit, &law).await == first, true, &law);
    }
    for (at, session) in sessions.iter().enumerate() {
        let next = session.rotated();
        let commit = match at % 4 {
            0 => session.set("a", "1"),
            1 => session.touch(LONG * 2),
            2 => session.rotate(&next),
            _ => session.sign_in(&next, &alice),
        };
        super::steps::commit(store, &session.key, commit, "C52: a commit takes effect").await;
    }
    let law = "C52: values, longer lives, rotations and sign-ins do not change the order of a list";
    same(order(store, 7, law).await == first, true, law);
}

/// A session that is the principal's through the whole walk is listed exactly once, whatever comes,
/// goes and rotates meanwhile. A session that comes or goes is listed at most once.
pub async fn c52_a_list_is_complete_while_sessions_come_go_and_rotate(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let (reader, writer) = (&clients[0], &clients[1]);
    let mut staying = alices(&clients, 80).await;
    let mut leaving = alices(&clients, 60).await;
    let expected = keys(&staying);
    let (mut shown, mut after) = (Vec::new(), None::<Cursor>);
    for step in 0_usize.. {
        let page = reader.list(&alice, after, 5).await.must("C52: list answers beside writers");
        shown.extend(page.sessions.into_iter().map(|summary| summary.key));
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        for session in leaving.split_off(leaving.len().saturating_sub(3)) {
            end(writer, &session.key, "C52: delete finds the record beside a list").await;
        }
        if step < 40 {
            signed_in(writer, &alice).await;
        }
        for session in staying.iter_mut().skip(step % 10).step_by(10) {
            let (next, law) = (session.rotated(), "C52: commits take effect beside a list");
            let extended = LONG * (1 + u32::from(step % 2 == 0));
            commit(writer, &session.key, session.rotate(&next).ttl(extended), law).await;
            commit(writer, &session.key, next.add("n", 1), law).await;
            *session = next;
        }
        holds(step < 100_000, "C52: a list ends, also while others write", "an end", step);
    }
    let once: BTreeSet<StoreKey> = shown.iter().cloned().collect();
    same(
        once.len(),
        shown.len(),
        "C52: no session is listed twice, also while sessions come, go and rotate",
    );
    let missed: Vec<&StoreKey> = expected.difference(&once).collect();
    same(missed, Vec::new(), "C52: a list has every session that is the principal's throughout");
}

/// Every session that was the principal's when `delete_all` began is dead afterwards, although they
/// rotate, change and get longer lives meanwhile.
pub async fn c52_delete_all_is_complete_while_sessions_come_and_rotate(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    let sessions = alices(&clients, 300).await;
    let law = "C52: delete_all ends every session that was there when it began";
    let answers = at_once(&clients, 4, |store, at| {
        let (alice, mine) =
            (alice.clone(), sessions.iter().skip(at).step_by(3).cloned().collect::<Vec<_>>());
        async move {
            if at == 3 {
                return store.delete_all(&alice, None).await.must(law);
            }
            for session in mine {
                let next = session.rotated();
                match store
                    .commit(&session.key, session.rotate(&next).ttl(LONG * 3))
                    .await
                    .must(law)
                {
                    Outcome::Done(_) => {}
                    Outcome::Gone => continue,
                    other => broken(law, "Done or Gone", format_args!("{other:?}")),
                }
                let outcome = store.commit(&session.key, next.add("n", 1)).await.must(law);
                holds(
                    matches!(outcome, Outcome::Done(_) | Outcome::Gone),
                    law,
                    "Done or Gone",
                    outcome,
                );
                let _ = store
                    .create(
                        &TestSession::new().key,
                        TestSession::new().record(LONG).principal(alice.clone()),
                    )
                    .await
                    .must(law);
            }
            0
        }
    });
    let ended: u64 = answers.await.into_iter().sum();
    holds(
        ended >= 300,
        "C52: delete_all counts at least the sessions that were there when it began",
        "300 or more",
        ended,
    );
    let (shown, before) = (listed(&clients[0], &alice, law).await, keys(&sessions));
    same(shown.intersection(&before).count(), 0, law);
    for session in &sessions {
        refused(&clients[1], &session.key, session.rotated().commit(), Outcome::Gone, law).await;
    }
    let living: BTreeSet<StoreKey> = scan_all(&clients[2], 100).await.into_iter().collect();
    same(living == shown, true, "C52: beside delete_all index and records agree (law 8)");
}

/// A cursor that the store did not make is an error for every walk, and ends nothing.
pub async fn c52_a_foreign_cursor_is_an_error(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let session = signed_in(&store, &alice).await;
    // Control characters and this length: no store makes such a cursor.
    for text in ["\0not a cursor\n".to_owned(), "\u{7f}".repeat(4096)] {
        let cursor = Some(Cursor::new(text));
        let answers = [
            ("scan", store.scan(cursor.clone(), 10).await.map(drop)),
            ("list", store.list(&alice, cursor.clone(), 10).await.map(drop)),
            ("delete_everyone", store.delete_everyone(cursor, 10).await.map(drop)),
        ];
        for (call, answer) in answers {
            let law = format!("C52: {call} refuses a cursor that the store did not make");
            match answer {
                Err(StoreError::Other { .. }) => {}
                Err(error) => broken(&law, "Other", chain(&error)),
                Ok(()) => broken(&law, "Other", "an answer"),
            }
        }
    }
    load(&store, &session.key, "C52: a foreign cursor ends no session").await;
}
