//! What `list` and `delete_all` promise.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Fixture,
    steps::{
        Client, LONG, Must, absent, add, at_once, clients, commit, create, create_any, holds, id, key, listed, listed_set, load, principal,
        same, successor,
    },
};
use crate::{Commit, Listed, NewRecord, Outcome, Principal, PrincipalChange, StoreKey};

async fn signed_in(store: &Client, who: &Principal) -> StoreKey {
    let key = key();
    create(store, &key, NewRecord::new(LONG).principal(who.clone())).await;
    key
}

/// Exactly the principal's live sessions are listed, newest first, with age and ttl.
pub async fn c32_list_shows_the_live_sessions_newest_first(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 2).await, principal("alice"));
    let mut newest_first = Vec::new();
    for _ in 0..4 {
        newest_first.insert(0, signed_in(&clients[0], &alice).await);
        fixture.advance(Duration::from_millis(50)).await;
    }
    // The order is that of creation: neither changing nor extending makes a session newer.
    commit(&clients[0], &newest_first[3], add("n", 1).ttl(LONG * 2), "C32: a commit takes effect").await;
    for client in &clients {
        let sessions = client.list(&alice).await.must("C32: list answers");
        same(
            sessions.iter().map(|listed| listed.key.clone()).collect(),
            newest_first.clone(),
            "C32: list shows the principal's sessions, newest first",
        );
        holds(sessions.is_sorted_by(|a, b| a.age <= b.age), "C32: ages grow from newest to oldest", "ages in order", &sessions);
        for Listed { key, age, ttl } in sessions {
            let record = load(client, &key, "C32: what is listed lives").await;
            let near = |a: Duration, b: Duration| a.abs_diff(b) <= fixture.tolerance() + Duration::from_millis(50);
            holds(
                near(age, record.age) && near(ttl, record.ttl),
                "C32: list shows age and ttl as load does",
                format_args!("{:?}, {:?}", record.age, record.ttl),
                (age, ttl),
            );
        }
    }
}

/// Principals that look alike, to people or to a pattern language, do not see each other's sessions.
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
        let key = signed_in(&store, &who).await;
        sessions.push((who, key));
    }
    for (who, key) in &sessions {
        let law = format!("C32: {who:?} sees its own session and no other");
        same(listed(&store, who, &law).await, vec![key.clone()], &law);
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
    let (store, reader, alice, bob) = (&clients[0], &clients[1], principal("alice"), principal("bob"));
    let shown = async |alices: Vec<StoreKey>, bobs: Vec<StoreKey>, law: &str| {
        same(listed(reader, &alice, law).await, alices, law);
        same(listed(reader, &bob, law).await, bobs, law);
    };
    let id = id();
    let (old, new) = (id.store_key(), successor(&id));
    create(store, &old, NewRecord::new(LONG)).await;
    let sign_in = |who: &Principal| Commit::new().principal(PrincipalChange::Set(who.clone()));
    commit(store, &old, sign_in(&alice), "C33: a sign-in takes effect").await;
    same(load(reader, &old, "C33: the record lives").await.principal, Some(alice.clone()), "C33: a sign-in sets the principal");
    shown(vec![old.clone()], vec![], "C33: a sign-in puts the session into the index (law 8)").await;
    commit(store, &old, sign_in(&alice).ttl(LONG * 2), "C33: a second sign-in takes effect").await;
    shown(vec![old.clone()], vec![], "C33: a second sign-in of one user lists the session once").await;
    commit(store, &old, sign_in(&bob).move_to(new.clone()), "C33: a change of user takes effect").await;
    shown(vec![], vec![new.clone()], "C33: a change of user with a rotation moves the entry to the new key (law 8)").await;
    commit(store, &new, Commit::new().move_to(old.clone()), "C33: moving back takes effect").await;
    shown(vec![], vec![old.clone()], "C33: a rotation points the entry to the new key alone (law 8)").await;
    commit(store, &old, add("n", 1).clear(), "C33: clear takes effect").await;
    shown(vec![], vec![old.clone()], "C33: clear takes values, not the principal").await;
    commit(store, &old, Commit::new().principal(PrincipalChange::Unset), "C33: a sign-out takes effect").await;
    shown(vec![], vec![], "C33: unset takes the session out of the index (law 8)").await;
    same(load(reader, &old, "C33: the record lives on").await.principal, None, "C33: unset removes the principal");
    commit(store, &old, sign_in(&alice), "C33: a sign-in takes effect").await;
    same(store.delete(&old).await.must("C33: delete answers"), true, "C33: delete finds the record");
    shown(vec![], vec![], "C33: delete takes the session out of the index (law 8)").await;
    let (extended, brief) = (key(), key());
    create(store, &extended, NewRecord::new(Duration::from_millis(300)).principal(alice.clone())).await;
    commit(store, &extended, Commit::new().ttl(LONG), "C33: extending takes effect").await;
    create(store, &brief, NewRecord::new(Duration::from_millis(300)).principal(alice.clone())).await;
    fixture.advance(Duration::from_millis(600)).await;
    shown(vec![extended], vec![], "C33: expiry takes a session out of the index, and an extended one stays in it (law 8)").await;
}

/// A record without principal is in no index.
pub async fn c34_a_record_without_principal_is_in_no_index(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    commit(&store, &key, add("n", 1), "C34: a commit takes effect").await;
    for text in ["null", "None", "0", "undefined", " ", "*", "%"] {
        let law = format!("C34: an anonymous session is not one of {text:?}");
        same(listed(&store, &principal(text), &law).await, Vec::new(), &law);
        same(store.delete_all(&principal(text), None).await.must(&law), 0, &law);
    }
    load(&store, &key, "C34: the anonymous session lives on").await;
}

/// All sessions of the principal end but `except`; the answer counts them; others stay.
pub async fn c35_delete_all_ends_all_but_the_exception(fixture: &dyn Fixture) {
    let (clients, alice, bob) = (clients(fixture, 2).await, principal("alice"), principal("bob"));
    let bobs = signed_in(&clients[0], &bob).await;
    let anonymous = create_any(&clients[0], LONG).await;
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(signed_in(&clients[0], &alice).await);
    }
    let law = "C35: delete_all ends all but the exception and counts them";
    same(clients[0].delete_all(&alice, Some(&keys[2])).await.must(law), 4, law);
    for (at, key) in keys.iter().enumerate() {
        let record = clients[1].load(key).await.must(law);
        same(record.is_some(), at == 2, law);
    }
    same(listed(&clients[1], &alice, law).await, vec![keys[2].clone()], law);
    let law = "C35: an exception that is not one of the sessions saves none";
    same(clients[0].delete_all(&alice, Some(&bobs)).await.must(law), 1, law);
    same(clients[0].delete_all(&alice, None).await.must(law), 0, "C35: where no session is left the answer is 0");
    load(&clients[1], &bobs, "C35: sessions of other principals stay").await;
    load(&clients[1], &anonymous, "C35: anonymous sessions stay").await;
}

/// A sign-in that races with `delete_all` is killed or fully alive: record and index agree. What was the principal's before is dead.
pub async fn c35_a_racing_sign_in_is_killed_or_fully_alive(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 4).await, principal("alice"));
    for _ in 0..10 {
        let mut before = Vec::new();
        for _ in 0..4 {
            let id = id();
            create(&clients[0], &id.store_key(), NewRecord::new(LONG).principal(alice.clone())).await;
            before.push(id);
        }
        let arriving = [id(), id(), id(), id()];
        for id in &arriving {
            create(&clients[0], &id.store_key(), NewRecord::new(LONG)).await;
        }
        let answers = at_once(&clients, 9, |store, at| {
            let (alice, rotating, arriving) = (alice.clone(), before.get(at).cloned(), arriving.get(at.wrapping_sub(4)).cloned());
            async move {
                let law = "C35: calls beside delete_all succeed";
                let (id, next) = match (rotating, arriving) {
                    (Some(id), _) => (id, Commit::new()),
                    (None, Some(id)) => (id, Commit::new().principal(PrincipalChange::Set(alice))),
                    (None, None) => {
                        store.delete_all(&alice, None).await.must(law);
                        return None;
                    }
                };
                let target = successor(&id);
                let outcome = store.commit(&id.store_key(), next.move_to(target.clone())).await.must(law);
                Some((at, id.store_key(), target, outcome))
            }
        });
        let mut survivors = BTreeSet::new();
        for (at, old, new, outcome) in answers.await.into_iter().flatten() {
            absent(&clients[1], &old, "C35: beside delete_all a rotated key is dead").await;
            let law = "C35: a session that was being rotated does not slip past delete_all";
            let record = clients[1].load(&new).await.must(law);
            same(at < 4 && record.is_some(), false, law);
            let law = "C35: a sign-in that races with delete_all is killed or fully alive";
            holds(at < 4 || matches!(outcome, Outcome::Done(_)), law, "Done for a session that was nobody's", &outcome);
            if let Some(record) = record {
                same(record.principal, Some(alice.clone()), law);
                survivors.insert(new);
            }
        }
        same(
            listed_set(&clients[2], &alice, "C35: list answers").await,
            survivors.clone(),
            "C35: the index shows exactly what survived (law 8)",
        );
        let law = "C35: a later delete_all ends what survived the first";
        same(clients[3].delete_all(&alice, None).await.must(law), survivors.len() as u64, law);
    }
}

/// A principal may have a thousand sessions.
pub async fn c36_a_thousand_sessions_of_one_principal_work(fixture: &dyn Fixture) {
    let (clients, alice) = (clients(fixture, 8).await, principal("alice"));
    let answers = at_once(&clients, 40, |store, _| {
        let alice = alice.clone();
        async move {
            let mut keys = Vec::new();
            for _ in 0..25 {
                keys.push(signed_in(&store, &alice).await);
            }
            keys
        }
    });
    let keys: BTreeSet<StoreKey> = answers.await.concat().into_iter().collect();
    let sessions = clients[0].list(&alice).await.must("C36: list answers");
    holds(
        sessions.is_sorted_by(|a, b| a.age <= b.age),
        "C36: a thousand sessions are listed newest first",
        "ages in order",
        "another order",
    );
    same(sessions.len(), 1000, "C36: a thousand sessions are listed, each once");
    same(
        sessions.into_iter().map(|listed| listed.key).collect::<BTreeSet<_>>() == keys,
        true,
        "C36: the listed sessions are the created ones",
    );
    let Some(kept) = keys.first() else { return };
    same(clients[0].delete_all(&alice, Some(kept)).await.must("C36: delete_all answers"), 999, "C36: delete_all ends 999 of a thousand");
    same(listed(&clients[1], &alice, "C36: list answers").await, vec![kept.clone()], "C36: the exception is what is left");
}
