//! What a dropped future leaves behind.

use std::future::Future;

use super::{
    Fixture,
    steps::{
        Client, CommitWords, LONG, MOST_POLLS, Must, TestSession, absent, broken, commit, create,
        create_any, data, dropped_after, end_everyone, holds, load, principal, same, texts,
    },
};
use crate::{Claim, Opened, StoreError};

/// Whether the call had ended by then. A call that ended did not fail.
async fn has_answered<T>(polls: usize, call: impl Future<Output = Result<T, StoreError>>) -> bool {
    let ended = dropped_after(polls, call).await;
    ended
        .map(|answer| answer.must("C41: beside dropped calls those that end are answered"))
        .is_some()
}

/// A session with a known state, to drop a call on.
async fn fresh(store: &Client) -> TestSession {
    let session = TestSession::new();
    create(store, &session.key, session.record(LONG).data(data([("a", "0"), ("z", "0")]))).await;
    session
}

/// A commit that was dropped at any await leaves the record as before or as after, and the client
/// usable.
pub async fn c41_dropped_calls_leave_the_record_whole(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C41: a dropped commit took effect whole or not at all";
    for polls in 0..=MOST_POLLS {
        let session = fresh(&store).await;
        let ended = dropped_after(
            polls,
            store.commit(&session.key, session.set("a", "1").and_set("z", "1").ttl(LONG * 3)),
        )
        .await;
        let record = load(&store, &session.key, law).await;
        let before = (texts(&data([("a", "0"), ("z", "0")])), 1, false);
        let after = (texts(&data([("a", "1"), ("z", "1")])), 2, true);
        let seen = (texts(&record.data), record.version, record.ttl > LONG * 2);
        holds(
            seen == after || (ended.is_none() && seen == before),
            law,
            format_args!("{before:?} or {after:?}"),
            &seen,
        );
        commit(
            &store,
            &session.key,
            session.add("n", 1),
            "C41: after a dropped commit the client works",
        )
        .await;
        if let Some(answer) = ended {
            answer.must(law).must(law);
            return;
        }
    }
    broken("C41: a commit ends", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// A dropped sign-in leaves the record with exactly one current secret, and with all of the sign-in
/// or nothing of it.
pub async fn c41_dropped_rotations_leave_one_live_secret(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let law = "C41: a dropped sign-in took effect whole or not at all";
    for polls in 0..=MOST_POLLS {
        let session = fresh(&store).await;
        let (key, next) = (&session.key, session.rotated());
        let ended = dropped_after(
            polls,
            store.commit(key, session.sign_in(&next, &alice).and_set("a", "1").and_set("z", "1")),
        )
        .await;
        let record = load(&store, key, law).await;
        let current = if record.secret == next.secret { &next } else { &session };
        let landed = current.generation == 1;
        holds(landed || ended.is_none(), law, "the effect of a call that ended", &record);
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
        same(seen, expected, law);
        match store.load(key).await.must(law).must(law).open(&session.secret) {
            Opened::Current(_) if !landed => {}
            // The sign-in may land after the first look.
            Opened::Superseded(_) => {}
            opened => broken(law, "a superseded former secret", format_args!("{opened:?}")),
        }
        if let Some(answer) = ended {
            answer.must(law).must(law);
            return;
        }
    }
    broken("C41: a sign-in ends", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// Creates and deletes that were dropped leave a whole record or none.
pub async fn c41_dropped_creates_and_deletes_leave_all_or_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (mut create_ended, mut delete_ended) = (false, false);
    for polls in 0..=MOST_POLLS {
        if create_ended && delete_ended {
            return;
        }
        let (created, deleted) = (TestSession::new(), fresh(&store).await);
        let new = created.record(LONG).data(data([("a", "0"), ("z", "0")]));
        create_ended = has_answered(polls, store.create(&created.key, new)).await;
        delete_ended = has_answered(polls, store.delete(&deleted.key, Claim::Any)).await;
        for (session, ended, there, law) in [
            (created, create_ended, true, "C41: a dropped create leaves a whole record or none"),
            (deleted, delete_ended, false, "C41: a dropped delete leaves a whole record or none"),
        ] {
            let record = store.load(&session.key).await.must(law);
            holds(
                !ended || record.is_some() == there,
                law,
                "the effect of a call that ended",
                record.is_some(),
            );
            if let Some(record) = record.map(crate::Stored::into_record) {
                let whole = (texts(&data([("a", "0"), ("z", "0")])), 1, session.secret);
                same((texts(&record.data), record.version, record.secret), whole, law);
            }
        }
    }
    broken("C41: create and delete end", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// Every other call can be dropped as well: the next call on the same client is answered, and with
/// its own answer.
pub async fn c41_dropped_reads_leave_the_client_working(fixture: &dyn Fixture) {
    let (store, alice) = (fixture.store(), principal("alice"));
    let (session, other) = (fresh(&store).await, fresh(&store).await);
    commit(&store, &session.key, session.add("own", 1), "C41: a commit takes effect").await;
    let mut ended = false;
    for polls in 0..=MOST_POLLS {
        if ended {
            return;
        }
        ended = has_answered(polls, store.load(&other.key)).await
            & has_answered(polls, store.commit(&other.key, other.commit())).await
            & has_answered(polls, store.list(&alice, None, 10)).await
            & has_answered(polls, store.delete_all(&alice, None)).await
            & has_answered(polls, store.scan(None, 10)).await
            & has_answered(polls, store.delete_expired(10)).await
            & has_answered(polls, store.ping()).await;
        let record = load(&store, &session.key, "C41: after dropped reads the client works").await;
        same(
            record.data.get("own").is_some(),
            true,
            "C41: an answer belongs to its own call, not to a dropped one",
        );
        store.ping().await.must("C41: after dropped reads the backend answers");
    }
    broken("C41: reads end", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// A dropped `delete_everyone` can be repeated, and leaves the client usable.
pub async fn c41_a_dropped_delete_everyone_can_be_repeated(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C41: after a dropped delete_everyone the next walk ends every session";
    for polls in 0..=MOST_POLLS {
        let session = create_any(&store, LONG).await;
        let ended = has_answered(polls, store.delete_everyone(None, 100)).await;
        end_everyone(&store, 100, law).await;
        absent(&store, &session.key, law).await;
        if ended {
            return;
        }
    }
    broken("C41: delete_everyone ends", format_args!("at most {MOST_POLLS} polls"), "more");
}
