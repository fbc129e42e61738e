//! What a dropped future leaves behind.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    Fixture,
    steps::{
        Client, CommitWords, LONG, Must, absent, add, broken, commit, create, data, holds, id, load, name, principal, same, set, successor,
        texts,
    },
};
use crate::{Commit, NewRecord, PrincipalChange, SessionId, StoreError};

/// No call of any store awaits this often; beyond it a call does not end.
const MOST_POLLS: usize = 2_000;

/// Polls the call `polls` times and drops it then. `None` if it had not ended.
async fn dropped_after<F: Future>(polls: usize, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Whether the call had ended by then. One that ended did not fail.
async fn has_answered<T>(polls: usize, call: impl Future<Output = Result<T, StoreError>>) -> bool {
    let ended = dropped_after(polls, call).await;
    ended.map(|answer| answer.must("C41: beside dropped calls those that end are answered")).is_some()
}

/// A session with a known state, to drop a call on.
async fn fresh(store: &Client) -> SessionId {
    let id = id();
    create(store, &id.store_key(), NewRecord::new(LONG).data(data([("a", "0"), ("z", "0")]))).await;
    id
}

/// A commit that was dropped at any await leaves the record as before or as after, and the client working.
pub async fn c41_dropped_calls_leave_the_record_whole(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C41: a dropped commit took effect whole or not at all";
    for polls in 0..=MOST_POLLS {
        let key = fresh(&store).await.store_key();
        let whole = set("a", "1").and_set("z", "1").principal(PrincipalChange::Set(principal("alice")));
        let ended = dropped_after(polls, store.commit(&key, whole)).await;
        let record = load(&store, &key, law).await;
        let before = (texts(&data([("a", "0"), ("z", "0")])), 1, None);
        let after = (texts(&data([("a", "1"), ("z", "1")])), 2, Some(principal("alice")));
        let seen = (texts(&record.data), record.version, record.principal);
        holds(seen == after || (ended.is_none() && seen == before), law, format_args!("{before:?} or {after:?}"), &seen);
        commit(&store, &key, add("n", 1), "C41: after a dropped commit the client works").await;
        if let Some(answer) = ended {
            answer.must(law).must(law);
            return;
        }
    }
    broken("C41: a commit ends", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// A dropped move leaves the record under exactly one of the two keys.
pub async fn c41_dropped_moves_leave_one_live_key(fixture: &dyn Fixture) {
    let store = fixture.store();
    let law = "C41: after a dropped move the record lives under exactly one key";
    for polls in 0..=MOST_POLLS {
        let id = fresh(&store).await;
        let (old, new) = (id.store_key(), successor(&id));
        let ended = dropped_after(polls, store.commit(&old, set("a", "1").and_set("z", "1").move_to(new.clone()))).await;
        let (under_old, under_new) = (store.load(&old).await.must(law), store.load(&new).await.must(law));
        match (under_old, under_new) {
            (Some(record), None) => same(texts(&record.data), texts(&data([("a", "0"), ("z", "0")])), law),
            (None, Some(record)) => same(texts(&record.data), texts(&data([("a", "1"), ("z", "1")])), law),
            // The move landed between the two reads: then the old key is dead now.
            (Some(_), Some(_)) => same(store.load(&old).await.must(law), None, law),
            (None, None) => broken(law, "one live key", "none"),
        }
        if let Some(answer) = ended {
            answer.must(law).must(law);
            absent(&store, &old, "C41: a move that ended took effect").await;
            return;
        }
    }
    broken("C41: a move ends", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// Creates and deletes that were dropped leave a whole record or none.
pub async fn c41_dropped_creates_and_deletes_leave_all_or_nothing(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (mut create_ended, mut delete_ended) = (false, false);
    for polls in 0..=MOST_POLLS {
        if create_ended && delete_ended {
            return;
        }
        let (created, deleted) = (id().store_key(), fresh(&store).await.store_key());
        let new = NewRecord::new(LONG).data(data([("a", "0"), ("z", "0")]));
        create_ended = has_answered(polls, store.create(&created, new)).await;
        delete_ended = has_answered(polls, store.delete(&deleted)).await;
        for (key, ended, there, law) in [
            (created, create_ended, true, "C41: a dropped create leaves a whole record or none"),
            (deleted, delete_ended, false, "C41: a dropped delete leaves a whole record or none"),
        ] {
            let record = store.load(&key).await.must(law);
            holds(!ended || record.is_some() == there, law, "the effect of a call that ended", record.is_some());
            if let Some(record) = record {
                same((texts(&record.data), record.version), (texts(&data([("a", "0"), ("z", "0")])), 1), law);
            }
        }
    }
    broken("C41: create and delete end", format_args!("at most {MOST_POLLS} polls"), "more");
}

/// Every other call can be dropped as well: the next one on the same client is answered, and with its own answer.
pub async fn c41_dropped_reads_leave_the_client_working(fixture: &dyn Fixture) {
    let store = fixture.store();
    let alice = principal("alice");
    let (key, other) = (fresh(&store).await.store_key(), fresh(&store).await.store_key());
    commit(&store, &key, Commit::new().change(name("own"), crate::Change::Add(1)), "C41: a commit takes effect").await;
    let mut ended = false;
    for polls in 0..=MOST_POLLS {
        if ended {
            return;
        }
        ended = has_answered(polls, store.load(&other)).await
            & has_answered(polls, store.list(&alice)).await
            & has_answered(polls, store.delete_all(&alice, None)).await
            & has_answered(polls, store.scan(None, 10)).await
            & has_answered(polls, store.delete_expired(10)).await
            & has_answered(polls, store.ping()).await;
        let record = load(&store, &key, "C41: after dropped reads the client works").await;
        same(record.data.get("own").is_some(), true, "C41: an answer belongs to its own call, not to a dropped one");
        store.ping().await.must("C41: after dropped reads the backend answers");
    }
    broken("C41: reads end", format_args!("at most {MOST_POLLS} polls"), "more");
}
