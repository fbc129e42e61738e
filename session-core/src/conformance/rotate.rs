//! What moving a record to a new key promises.

use std::time::Duration;

use super::{
    Fixture,
    steps::{
        LONG, Must, absent, add, at_once, clients, commit, create, data, empty, holds, id, key, listed, load, principal, rejected, same,
        set, successor, texts,
    },
};
use crate::{Commit, Guard, Lifetime, NewRecord, Outcome, StoreKey};

/// Under the new key the record lives with all it had; under the old one it is dead at once, for every client.
pub async fn c22_a_moved_record_lives_under_its_new_key_alone(fixture: &dyn Fixture) {
    let (clients, tolerance) = (clients(fixture, 2).await, fixture.tolerance());
    let id = id();
    let (old, new) = (id.store_key(), successor(&id));
    let lifetime = Lifetime { absolute_timeout: Some(LONG), ..Lifetime::default() };
    let record = NewRecord { data: data([("a", "1"), ("b", "2")]), ttl: LONG, principal: Some(principal("alice")), lifetime };
    create(&clients[0], &old, record).await;
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let committed = commit(&clients[0], &old, Commit::new().move_to(new.clone()), "C22: a move takes effect").await;
    for client in &clients {
        absent(client, &old, "C22: a rotated key is dead at once (law 4)").await;
        let record = load(client, &new, "C22: the record lives under its new key").await;
        same(texts(&record.data), texts(&data([("a", "1"), ("b", "2")])), "C22: a move keeps the values");
        same((record.principal, record.lifetime), (Some(principal("alice")), lifetime), "C22: a move keeps principal and lifetime");
        same((record.version, committed.version), (1, 1), "C22: a move is not a change (law 3)");
        holds(
            record.age >= passed.saturating_sub(tolerance),
            "C22: a move does not reset the age",
            format_args!("at least {passed:?}"),
            record.age,
        );
        holds(record.ttl < LONG, "C22: a move does not extend the life", format_args!("less than {LONG:?}"), record.ttl);
        holds(record.ttl > LONG / 2, "C22: a move does not shorten the life", format_args!("nearly {LONG:?}"), record.ttl);
        same(client.commit(&old, set("a", "9")).await.must("C22: commit answers"), Outcome::Gone, "C22: a commit on the old key is Gone");
        same(client.delete(&old).await.must("C22: delete answers"), false, "C22: a delete of the old key finds nothing");
    }
    same(
        listed(&clients[1], &principal("alice"), "C22: list answers").await,
        vec![new],
        "C22: the index points to the new key alone (law 8)",
    );
}

/// A move takes its changes, guard and ttl along in one step.
pub async fn c22_a_move_and_its_changes_are_one_step(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let (old, new) = (id.store_key(), successor(&id));
    create(&store, &old, NewRecord::new(LONG).data(data([("a", "1"), ("n", "1")]))).await;
    let whole =
        add("n", 1).change(super::steps::name("a"), crate::Change::Remove).ttl(LONG * 2).guard(Guard::Version(1)).move_to(new.clone());
    let law = "C22: a move and its changes are one step (law 1)";
    same(commit(&store, &old, whole, law).await.version, 2, law);
    absent(&store, &old, law).await;
    let record = load(&store, &new, law).await;
    same((texts(&record.data), record.version), (texts(&data([("n", "2")])), 2), law);
    holds(record.ttl > LONG, "C22: a move takes the ttl that came with it", format_args!("more than {LONG:?}"), record.ttl);
    let refused = rejected(
        store.commit(&new, add("n", i64::MAX).move_to(successor(&id))).await,
        "Overflow",
        "C22: a refused change refuses the move",
    );
    load(&store, &new, &format!("C22: after {refused:?} the record is where it was")).await;
}

/// A key of another lineage or one that cannot be stored is refused as target.
pub async fn c22_a_move_out_of_the_lineage_is_refused(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let old = id.store_key();
    create(&store, &old, NewRecord::new(LONG)).await;
    for target in [key(), StoreKey::from_text(format!("{}\n", old.as_str())), StoreKey::from_text("")] {
        rejected(
            store.commit(&old, set("a", "1").move_to(target.clone())).await,
            "OtherLineage or Key",
            "C22: a move out of the lineage is refused",
        );
        absent(&store, &target, "C22: a refused move creates nothing").await;
    }
    same(load(&store, &old, "C22: a refused move leaves the record").await.version, 1, "C22: a refused move changes nothing");
}

/// Of many concurrent moves exactly one is `Done`; the others see `Gone`, and one live key is left.
pub async fn c23_of_concurrent_moves_exactly_one_wins(fixture: &dyn Fixture) {
    let clients = clients(fixture, 8).await;
    let id = id();
    let old = id.store_key();
    create(&clients[0], &old, NewRecord::new(LONG).principal(principal("alice"))).await;
    let law = "C23: of 50 concurrent moves exactly one is Done (law 4)";
    let answers = at_once(&clients, 50, |store, at| {
        let (old, target) = (old.clone(), successor(&id));
        async move { (store.commit(&old, set("winner", &at.to_string()).move_to(target.clone())).await.must(law), at, target) }
    });
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for (outcome, at, target) in answers.await {
        if matches!(outcome, Outcome::Done(_)) { won.push((at, target)) } else { lost.push((outcome, target)) }
    }
    same(won.len(), 1, law);
    absent(&clients[0], &old, law).await;
    for (outcome, target) in lost {
        same(outcome, Outcome::Gone, "C23: the other moves are Gone");
        absent(&clients[0], &target, "C23: a move that lost creates nothing").await;
    }
    for (at, target) in won {
        let record = load(&clients[1], &target, law).await;
        same(texts(&record.data), texts(&data([("winner", &at.to_string())])), "C23: the winner's changes came with its move");
        same(listed(&clients[1], &principal("alice"), law).await, vec![target], "C23: the index has the winner's key alone");
    }
}

/// A target that another live record has is a `Conflict`; both stay as they are.
pub async fn c24_a_move_onto_a_live_key_is_a_conflict(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let (mine, theirs) = (id.store_key(), successor(&id));
    create(&store, &mine, NewRecord::new(LONG).data(data([("a", "1")])).principal(principal("alice"))).await;
    create(&store, &theirs, NewRecord::new(LONG).data(data([("b", "2")])).principal(principal("bob"))).await;
    let law = "C24: a move onto a live key is a Conflict";
    let answer = store.commit(&mine, set("a", "9").ttl(LONG * 2).move_to(theirs.clone())).await.must(law);
    same(answer, Outcome::Conflict, law);
    for (key, who, values) in [(mine, "alice", data([("a", "1")])), (theirs, "bob", data([("b", "2")]))] {
        let record = load(&store, &key, "C24: both records live on").await;
        same((texts(&record.data), record.version), (texts(&values), 1), "C24: both records are as they were");
        holds(record.ttl <= LONG, "C24: a Conflict does not extend the life", format_args!("at most {LONG:?}"), record.ttl);
        same(listed(&store, &principal(who), law).await, vec![key], "C24: the index is as it was");
    }
}

/// An expired leftover under the new key is no obstacle.
pub async fn c24_a_move_onto_an_expired_leftover_replaces_it(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let (mine, leftover) = (id.store_key(), successor(&id));
    create(&store, &leftover, NewRecord::new(Duration::from_millis(100)).data(data([("b", "2")])).principal(principal("bob"))).await;
    create(&store, &mine, NewRecord::new(LONG).data(data([("a", "1")]))).await;
    fixture.advance(Duration::from_millis(200)).await;
    let law = "C24: a move onto an expired leftover takes effect (law 5)";
    commit(&store, &mine, Commit::new().move_to(leftover.clone()), law).await;
    absent(&store, &mine, law).await;
    let record = load(&store, &leftover, law).await;
    same(
        (texts(&record.data), record.principal),
        (texts(&data([("a", "1")])), None),
        "C24: nothing of the leftover is in the moved record",
    );
    same(listed(&store, &principal("bob"), law).await, Vec::new(), "C24: the leftover's principal does not list the moved record");
}

/// A dead record cannot be moved, and the target stays absent.
pub async fn c25_a_dead_record_does_not_move(fixture: &dyn Fixture) {
    let store = fixture.store();
    let [missing, deleted, expired, moved] = [id(), id(), id(), id()];
    create(&store, &expired.store_key(), NewRecord::new(Duration::from_millis(100))).await;
    fixture.advance(Duration::from_millis(200)).await;
    create(&store, &deleted.store_key(), NewRecord::new(LONG)).await;
    create(&store, &moved.store_key(), NewRecord::new(LONG)).await;
    same(store.delete(&deleted.store_key()).await.must("C25: delete answers"), true, "C25: delete finds the record");
    let elsewhere = successor(&moved);
    commit(&store, &moved.store_key(), Commit::new().move_to(elsewhere.clone()), "C25: a first move takes effect").await;
    for (state, id) in [("missing", missing), ("deleted", deleted), ("expired", expired), ("moved away", moved)] {
        let law = format!("C25: a move of a record that is {state} is Gone (law 2)");
        for commit in [Commit::new(), set("a", "1"), Commit::new().ttl(LONG)] {
            let target = successor(&id);
            same(store.commit(&id.store_key(), commit.move_to(target.clone())).await.must(&law), Outcome::Gone, &law);
            absent(&store, &target, &law).await;
            absent(&store, &id.store_key(), &law).await;
        }
    }
    same(store.delete(&elsewhere).await.must("C25: delete answers"), true, "C25: the record that was moved first lives on");
    while fixture.purge() == super::Purge::ByCall && store.delete_expired(100).await.must("C25: delete_expired answers") > 0 {}
    empty(fixture, "C25: moves of dead records create nothing").await;
}
