//! Checks of dropped futures: C41.

use std::future::Future;

use super::{
    assert::{Must, check, check_eq, fail},
    calls::{
        Client, MAX_POLLS, check_absent, commit, create, create_anonymous,
        delete_everyone_in_pages, drop_after, load,
    },
    fixture::Fixture,
    session::{CommitExt, LONG, TestSession, data, principal, texts},
};
use crate::{Claim, Opened, StoreError, Stored};

/// A commit dropped at any await takes effect whole or not at all; the client stays usable.
pub async fn c41_dropped_calls_leave_the_record_whole(fixture: &dyn Fixture) {
    let store = fixture.store();
    let rule = "C41: a dropped commit takes effect whole or not at all";
    for polls in 0..=MAX_POLLS {
        let session = create_known(&store).await;
        let ended = drop_after(
            polls,
            store.commit(&session.key, session.set("a", "1").and_set("z", "1").ttl(LONG * 3)),
        )
        .await;
        let record = load(&store, &session.key, rule).await;
        let before = (texts(&data([("a", "0"), ("z", "0")])), 1, false);
        let after = (texts(&data([("a", "1"), ("z", "1")])), 2, true);
        let seen = (texts(&record.data), record.version, record.ttl > LONG * 2);
        check(
            seen == after || (ended.is_none() && seen == before),
            rule,
            format_args!("{before:?} or {after:?}"),
            &seen,
        );
        commit(
            &store,
            &session.key,
            session.add("n", 1),
            "C41: after a dropped commit the client stays usable",
        )
        .await;
        if let Some(answer) = ended {
            answer.must(rule).must(rule);
            return;
        }
    }
    fail("C41: a commit ends", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// A sign-in dropped at any await takes effect whole or not at all; one secret is valid.
pub async fn c41_dropped_rotations_leave_one_valid_secret(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let rule = "C41: a dropped sign-in takes effect whole or not at all";
    for polls in 0..=MAX_POLLS {
        let session = create_known(&store).await;
        let (key, next) = (&session.key, session.rotated());
        let ended = drop_after(
            polls,
            store.commit(key, session.sign_in(&next, &alice).and_set("a", "1").and_set("z", "1")),
        )
        .await;
        let record = load(&store, key, rule).await;
        let current = if record.secret == next.secret { &next } else { &session };
        let landed = current.generation == 1;
        check(landed || ended.is_none(), rule, "the effect of the ended call", &record);
        let value = if landed { "1" } else { "0" };
        let seen = (
            texts(&record.data),
            record.version,
            record.secret,
            record.generation,
            record.since,
            record.principal,
        );
        let version = 1 + u64::from(landed);
        let expected = (
            texts(&data([("a", value), ("z", value)])),
            version,
            current.secret,
            current.generation,
            u32::from(landed),
            landed.then(|| alice.clone()),
        );
        check_eq(seen, expected, rule);
        match store.load(key).await.must(rule).must(rule).open(&session.secret) {
            Opened::Current(_) if !landed => {}
            // The dropped sign-in may take effect after the load above.
            Opened::Superseded(_) => {}
            opened => fail(rule, "a superseded former secret", format_args!("{opened:?}")),
        }
        if let Some(answer) = ended {
            answer.must(rule).must(rule);
            return;
        }
    }
    fail("C41: a sign-in ends", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// A `create` or `delete` dropped at any await leaves a whole record or none.
pub async fn c41_dropped_creates_and_deletes_are_atomic(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (mut create_ended, mut delete_ended) = (false, false);
    for polls in 0..=MAX_POLLS {
        if create_ended && delete_ended {
            return;
        }
        let (created, deleted) = (TestSession::new(), create_known(&store).await);
        let new = created.record(LONG).data(data([("a", "0"), ("z", "0")]));
        create_ended = ended_after(polls, store.create(&created.key, new)).await;
        delete_ended = ended_after(polls, store.delete(&deleted.key, Claim::Any)).await;
        for (session, ended, there, rule) in [
            (created, create_ended, true, "C41: a dropped create leaves a whole record or none"),
            (deleted, delete_ended, false, "C41: a dropped delete leaves a whole record or none"),
        ] {
            let record = store.load(&session.key).await.must(rule);
            check(
                !ended || record.is_some() == there,
                rule,
                "the effect of the ended call",
                record.is_some(),
            );
            if let Some(record) = record.map(Stored::into_record) {
                let whole = (texts(&data([("a", "0"), ("z", "0")])), 1, session.secret);
                check_eq((texts(&record.data), record.version, record.secret), whole, rule);
            }
        }
    }
    fail("C41: create and delete end", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// After any other dropped call the next call on the same client gets its own answer.
pub async fn c41_dropped_reads_leave_the_client_usable(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let (session, other) = (create_known(&store).await, create_known(&store).await);
    commit(&store, &session.key, session.add("own", 1), "C41: a commit takes effect").await;
    let mut ended = false;
    for polls in 0..=MAX_POLLS {
        if ended {
            return;
        }
        ended = ended_after(polls, store.load(&other.key)).await
            & ended_after(polls, store.commit(&other.key, other.commit())).await
            & ended_after(polls, store.list(&alice, None, 10)).await
            & ended_after(polls, store.delete_all(&alice, None)).await
            & ended_after(polls, store.scan(None, 10)).await
            & ended_after(polls, store.delete_expired(10)).await
            & ended_after(polls, store.ping()).await;
        let record =
            load(&store, &session.key, "C41: after dropped calls the client stays usable").await;
        check_eq(
            record.data.get("own").is_some(),
            true,
            "C41: a call does not get the answer of a dropped call",
        );
        store.ping().await.must("C41: after dropped calls ping succeeds");
    }
    fail("C41: reads end", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// A dropped `delete_everyone` can be repeated; the client stays usable.
pub async fn c41_a_dropped_delete_everyone_can_be_repeated(fixture: &dyn Fixture) {
    let store = fixture.store();
    let rule = "C41: after a dropped delete_everyone the next one ends every session";
    for polls in 0..=MAX_POLLS {
        let session = create_anonymous(&store, LONG).await;
        let ended = ended_after(polls, store.delete_everyone(None, 100)).await;
        delete_everyone_in_pages(&store, 100, rule).await;
        check_absent(&store, &session.key, rule).await;
        if ended {
            return;
        }
    }
    fail("C41: delete_everyone ends", format_args!("at most {MAX_POLLS} polls"), "more");
}

/// Polls the call `polls` times and drops it. Returns whether it had ended. An ended call must have
/// succeeded.
async fn ended_after<T>(polls: usize, call: impl Future<Output = Result<T, StoreError>>) -> bool {
    let ended = drop_after(polls, call).await;
    ended.map(|answer| answer.must("C41: a call that ends before it is dropped succeeds")).is_some()
}

/// Creates a session with two known values.
async fn create_known(store: &Client) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(LONG).data(data([("a", "0"), ("z", "0")]))).await;
    session
}
