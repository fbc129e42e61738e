//! Checks of `list` and of the index of principals: C32 to C34, C36, C52.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    assert::{Must, check, check_between, check_eq, error_text, fail},
    calls::{
        Client, check_absent, clients, commit, create, create_alices, create_anonymous,
        create_each, create_many, create_signed_in, end_session, keys, list_in_pages, list_keys,
        load,
    },
    fixture::Fixture,
    session::{LONG, TestSession, principal},
};
use crate::{
    Attributes, Cursor, NewRecord, Principal, SessionSummary, ShortText, StoreError, StoreKey,
};

/// `list` returns exactly the live sessions of the principal, with the fields that `load` returns.
pub async fn c32_list_shows_the_live_sessions_of_the_principal(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let label = ShortText::new("Firefox on Linux").unwrap_or_else(|error| panic!("{error}"));
    let attributes =
        Attributes { label: Some(label), idle_timeout: Some(LONG), ..Attributes::default() };
    let (started, mut theirs) = (Instant::now(), BTreeMap::new());
    for at in 0..4 {
        let session = TestSession::new();
        // The user signs in after the session is created, so this age is the smaller one.
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
    create_signed_in(&clients[0], &principal("bob")).await;
    create_anonymous(&clients[0], LONG).await;
    for client in &clients {
        let rule = "C32: list returns exactly the sessions of the principal, each once";
        let sessions = list_in_pages(client, &alice, 100, rule).await;
        check_eq(sessions.len(), theirs.len(), rule);
        check_eq(
            sessions.iter().map(|summary| &summary.key).collect::<BTreeSet<_>>(),
            theirs.keys().collect(),
            rule,
        );
        for SessionSummary { key, age, authenticated, ttl, attributes: listed } in sessions {
            let record = load(client, &key, "C32: a listed session is live").await;
            let rule = "C32: list returns the same ages, ttl and attributes as load";
            let (zero, near) = (Duration::ZERO, fixture.tolerance() + Duration::from_millis(50));
            check_between(age.abs_diff(record.age), zero, zero, near, rule);
            check_between(
                authenticated,
                theirs[&key],
                theirs[&key] + started.elapsed(),
                near,
                rule,
            );
            check_between(ttl.abs_diff(record.ttl), zero, zero, near, rule);
            check_eq(listed, attributes.clone(), rule);
        }
    }
}

/// Principals that look alike, or match as a pattern, do not see each other's sessions.
pub async fn c32_similar_principals_are_distinct(fixture: &dyn Fixture) {
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
        let user = principal(text);
        let session = create_signed_in(&store, &user).await;
        sessions.push((user, session.key));
    }
    for (user, key) in &sessions {
        let rule = format!("C32: list of {user:?} returns its own session and no other");
        check_eq(list_keys(&store, user, &rule).await, [key.clone()].into(), &rule);
    }
    for (at, (user, key)) in sessions.iter().enumerate() {
        let rule = format!("C35: delete_all of {user:?} ends its own session and no other");
        check_eq(store.delete_all(user, None).await.must(&rule), 1, &rule);
        check_absent(&store, key, &rule).await;
        for (_, other) in &sessions[at + 1..] {
            load(&store, other, &rule).await;
        }
    }
}

/// `list` follows sign-in, change of user, sign-out, rotation, deletion and expiry.
pub async fn c33_the_index_follows_the_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (store, reader, alice, bob) =
        (&clients[0], &clients[1], principal("alice"), principal("bob"));
    let check_lists = async |alices: &[&StoreKey], bobs: &[&StoreKey], rule: &str| {
        check_eq(
            list_keys(reader, &alice, rule).await.iter().collect::<Vec<_>>(),
            alices.to_vec(),
            rule,
        );
        check_eq(
            list_keys(reader, &bob, rule).await.iter().collect::<Vec<_>>(),
            bobs.to_vec(),
            rule,
        );
    };
    let first = create_anonymous(store, LONG).await;
    let (key, second) = (&first.key, first.rotated());
    commit(store, key, first.sign_in(&second, &alice), "C33: a sign-in takes effect").await;
    check_eq(
        load(reader, key, "C33: the record is live").await.principal,
        Some(alice.clone()),
        "C33: a sign-in sets the principal",
    );
    check_lists(&[key], &[], "C33: a sign-in adds the session to the index (law 8)").await;
    let third = second.rotated();
    commit(
        store,
        key,
        second.sign_in(&third, &alice).ttl(LONG * 2),
        "C33: a second sign-in takes effect",
    )
    .await;
    check_lists(&[key], &[], "C33: a second sign-in of one user lists the session once").await;
    let fourth = third.rotated();
    commit(store, key, third.sign_in(&fourth, &bob), "C33: a change of user takes effect").await;
    check_lists(&[], &[key], "C33: a change of user moves the session to the other user (law 8)")
        .await;
    let fifth = fourth.rotated();
    commit(store, key, fourth.rotate(&fifth), "C33: a rotation takes effect").await;
    check_lists(&[], &[key], "C33: a rotation does not change the index (law 8)").await;
    commit(store, key, fifth.add("n", 1).clear(), "C33: clear takes effect").await;
    check_lists(&[], &[key], "C33: clear removes values, not the principal").await;
    commit(store, key, fifth.sign_out(), "C33: a sign-out takes effect").await;
    check_lists(&[], &[], "C33: unset removes the session from the index (law 8)").await;
    check_eq(
        load(reader, key, "C33: the record stays live").await.principal,
        None,
        "C33: unset removes the principal",
    );
    let sixth = fifth.rotated();
    commit(store, key, fifth.sign_in(&sixth, &alice), "C33: a sign-in takes effect").await;
    end_session(store, key, "C33: delete finds the record").await;
    check_lists(&[], &[], "C33: delete removes the session from the index (law 8)").await;
    let (extended, brief) = (TestSession::new(), TestSession::new());
    for session in [&extended, &brief] {
        create(
            store,
            &session.key,
            session.record(Duration::from_millis(300)).principal(alice.clone()),
        )
        .await;
    }
    commit(store, &extended.key, extended.touch(LONG), "C33: a longer ttl takes effect").await;
    fixture.advance(Duration::from_millis(600)).await;
    check_lists(
        &[&extended.key],
        &[],
        "C33: an expired session leaves the index, and one with a longer ttl stays (law 8)",
    )
    .await;
}

/// `list` and `delete_all` of any principal ignore a record without a principal.
pub async fn c34_an_anonymous_record_is_in_no_index(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = create_anonymous(&store, LONG).await;
    commit(&store, &session.key, session.add("n", 1), "C34: a commit takes effect").await;
    for text in ["null", "None", "0", "undefined", " ", "*", "%"] {
        let rule = format!("C34: an anonymous session does not belong to {text:?}");
        check_eq(list_keys(&store, &principal(text), &rule).await, [].into(), &rule);
        check_eq(store.delete_all(&principal(text), None).await.must(&rule), 0, &rule);
    }
    load(&store, &session.key, "C34: the anonymous session stays live").await;
}

/// `list` and `delete_all` work for a principal with a thousand sessions.
pub async fn c36_one_principal_can_have_a_thousand_sessions(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 8).await, principal("alice"));
    let theirs = keys(&create_alices(&clients, 1000).await);
    let rule = "C36: a thousand sessions are listed, each once";
    let listed = list_keys(&clients[0], &alice, rule).await;
    check_eq((listed.len(), listed == theirs), (1000, true), rule);
    let Some(kept) = theirs.first() else { return };
    let rule = "C36: delete_all ends 999 of a thousand";
    check_eq(clients[0].delete_all(&alice, Some(kept)).await.must(rule), 999, rule);
    check_eq(
        list_keys(&clients[1], &alice, rule).await,
        [kept.clone()].into(),
        "C36: only the exception is left",
    );
}

/// Pages of `list` have at most `limit` sessions, in an order that commits do not change.
///
/// Together the pages are the whole list.
pub async fn c52_list_pages_are_bounded_and_ordered(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let store = &clients[0];
    let sessions = create_alices(&clients, 60).await;
    create_each(&clients, 40, |session| session.record(LONG).principal(principal("bob"))).await;
    create_many(&clients, 40, LONG).await;
    let order = async |store: &Client, limit: usize, rule: &str| -> Vec<StoreKey> {
        list_in_pages(store, &alice, limit, rule)
            .await
            .into_iter()
            .map(|summary| summary.key)
            .collect()
    };
    let first = order(store, 1000, "C52: list succeeds").await;
    check_eq(
        first.iter().cloned().collect::<BTreeSet<_>>() == keys(&sessions),
        true,
        "C52: list returns exactly the sessions of the principal",
    );
    // A limit of 0 counts as 1.
    for limit in [0, 1, 7, 59, 60, 61] {
        let rule = format!("C52: pages of {limit} sessions give the whole list in the same order");
        check_eq(order(&clients[1], limit, &rule).await == first, true, &rule);
    }
    for (at, session) in sessions.iter().enumerate() {
        let next = session.rotated();
        let next_commit = match at % 4 {
            0 => session.set("a", "1"),
            1 => session.touch(LONG * 2),
            2 => session.rotate(&next),
            _ => session.sign_in(&next, &alice),
        };
        commit(store, &session.key, next_commit, "C52: a commit takes effect").await;
    }
    let rule =
        "C52: values, longer ttls, rotations and sign-ins do not change the order of the list";
    check_eq(order(store, 7, rule).await == first, true, rule);
}

/// `list` returns every session that the principal has throughout exactly once, despite writes.
///
/// It returns a session that starts or ends meanwhile at most once.
pub async fn c52_list_is_complete_during_writes(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let (reader, writer) = (&clients[0], &clients[1]);
    let mut staying = create_alices(&clients, 80).await;
    let mut leaving = create_alices(&clients, 60).await;
    let expected = keys(&staying);
    let (mut listed, mut after) = (Vec::new(), None::<Cursor>);
    for step in 0_usize.. {
        let page = reader.list(&alice, after, 5).await.must("C52: list succeeds during writes");
        listed.extend(page.sessions.into_iter().map(|summary| summary.key));
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        for session in leaving.split_off(leaving.len().saturating_sub(3)) {
            end_session(writer, &session.key, "C52: delete finds the record during a list").await;
        }
        if step < 40 {
            create_signed_in(writer, &alice).await;
        }
        for session in staying.iter_mut().skip(step % 10).step_by(10) {
            let (next, rule) = (session.rotated(), "C52: commits take effect during a list");
            let extended = LONG * (1 + u32::from(step % 2 == 0));
            commit(writer, &session.key, session.rotate(&next).ttl(extended), rule).await;
            commit(writer, &session.key, next.add("n", 1), rule).await;
            *session = next;
        }
        check(step < 100_000, "C52: a list ends despite concurrent writes", "an end", step);
    }
    let once: BTreeSet<StoreKey> = listed.iter().cloned().collect();
    check_eq(once.len(), listed.len(), "C52: no session is listed twice despite concurrent writes");
    let missed: Vec<&StoreKey> = expected.difference(&once).collect();
    check_eq(
        missed,
        Vec::new(),
        "C52: list returns every session that the principal has throughout",
    );
}

/// Every paged call refuses a cursor that the store did not create, and ends no session.
pub async fn c52_a_foreign_cursor_is_an_error(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let session = create_signed_in(&store, &alice).await;
    // No store creates cursors with control characters or of this length.
    for text in ["\0not a cursor\n".to_owned(), "\u{7f}".repeat(4096)] {
        let cursor = Some(Cursor::new(text));
        let answers = [
            ("scan", store.scan(cursor.clone(), 10).await.map(drop)),
            ("list", store.list(&alice, cursor.clone(), 10).await.map(drop)),
            ("delete_everyone", store.delete_everyone(cursor, 10).await.map(drop)),
        ];
        for (call, answer) in answers {
            let rule = format!("C52: {call} refuses a cursor that the store did not create");
            match answer {
                Err(StoreError::Other { .. }) => {}
                Err(error) => fail(&rule, "Other", error_text(&error)),
                Ok(()) => fail(&rule, "Other", "an answer"),
            }
        }
    }
    load(&store, &session.key, "C52: a foreign cursor ends no session").await;
}
