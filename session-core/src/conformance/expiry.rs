//! When records die.

use std::time::Duration;

use super::{
    Fixture, Purge,
    steps::{LONG, Must, absent, add, commit, create, create_any, data, holds, id, load, principal, same, scan_all, set, successor},
};
use crate::{Commit, Created, NewRecord, Outcome};

/// Long enough that a busy machine does not miss the moment before, short enough to wait for.
const SHORT: Duration = Duration::from_millis(1500);

/// A record is alive shortly before its ttl has passed and dead shortly after, without any purge.
pub async fn c26_a_record_dies_at_its_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, SHORT).await;
    fixture.advance(SHORT * 2 / 3).await;
    let record = load(&store, &key, "C26: a record is alive before its ttl has passed").await;
    holds(!record.ttl.is_zero() && record.ttl <= SHORT / 3, "C26: ttl is what is left", format_args!("0 to {:?}", SHORT / 3), record.ttl);
    fixture.advance(SHORT / 3 + Duration::from_millis(50)).await;
    absent(&store, &key, "C26: a record is dead when its ttl has passed, purged or not (law 5)").await;
}

/// What has expired is dead for every method, also where it still lies in the storage.
pub async fn c27_an_expired_record_is_dead_for_every_method(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (id, alice) = (id(), principal("alice"));
    let (key, target) = (id.store_key(), successor(&id));
    create(&store, &key, NewRecord::new(Duration::from_millis(100)).data(data([("a", "1")])).principal(alice.clone())).await;
    fixture.advance(Duration::from_millis(200)).await;
    if fixture.purge() == Purge::ByCall
        && let Some(count) = fixture.physical_count().await.or_explain("C27 (count)")
    {
        same(count, 1, "C27: nobody has purged the record, so that this check sees what it is for");
    }
    absent(&store, &key, "C27: an expired record is not loaded (law 5)").await;
    same(store.list(&alice).await.must("C27: list answers"), Vec::new(), "C27: an expired record is not listed (law 5)");
    same(scan_all(&store, 10).await, Vec::new(), "C27: an expired record is not scanned (law 5)");
    let commits = [
        ("changed", set("a", "2")),
        ("summed", add("n", 1)),
        ("touched", Commit::new().ttl(LONG)),
        ("moved", Commit::new().ttl(LONG).move_to(target.clone())),
        ("left", Commit::new()),
    ];
    for (how, commit) in commits {
        let law = format!("C27: an expired record cannot be {how} (law 5)");
        same(store.commit(&key, commit).await.must(&law), Outcome::Gone, &law);
        absent(&store, &key, &law).await;
    }
    absent(&store, &target, "C27: an expired record is not under the key it should have moved to").await;
    same(store.delete_all(&alice, None).await.must("C27: delete_all answers"), 0, "C27: an expired record is not counted (law 5)");
    same(store.delete(&key).await.must("C27: delete answers"), false, "C27: an expired record is not there to delete (law 5)");
    let created = store.create(&key, NewRecord::new(LONG)).await.must("C27: create answers");
    same(created, Created::New, "C27: an expired record does not take its key (law 5)");
    same(load(&store, &key, "C27: the new record lives").await.data.len(), 0, "C27: the new record has nothing of the expired one");
}

/// The deadline changes only when a commit says so.
pub async fn c28_the_deadline_moves_only_when_asked(fixture: &dyn Fixture) {
    let (store, tolerance) = (fixture.store(), fixture.tolerance());
    let id = id();
    let (old, new) = (id.store_key(), successor(&id));
    create(&store, &old, NewRecord::new(LONG)).await;
    let passed = tolerance + Duration::from_millis(200);
    fixture.advance(passed).await;
    let at_most = (LONG + tolerance).saturating_sub(passed);
    let mut key = old;
    load(&store, &key, "C28: a load does not extend").await;
    for next in [Commit::new(), set("a", "1"), add("n", 1), Commit::new().clear(), Commit::new().move_to(new.clone())] {
        let law = "C28: a commit without a ttl keeps the deadline";
        let moved = next.move_to.clone();
        commit(&store, &key, next, law).await;
        key = moved.unwrap_or(key);
        let ttl = load(&store, &key, law).await.ttl;
        holds(ttl <= at_most && ttl > LONG / 2, law, format_args!("{:?} to {at_most:?}", LONG / 2), ttl);
    }
    let law = "C28: a commit with a ttl sets the deadline from now on";
    commit(&store, &key, Commit::new().ttl(LONG * 3), law).await;
    let ttl = load(&store, &key, law).await.ttl;
    holds(ttl > LONG * 2 && ttl <= LONG * 3 + tolerance, law, format_args!("about {:?}", LONG * 3), ttl);
}

/// A commit can shorten a life, and the record dies at the new deadline.
pub async fn c28_shortening_a_life_works(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = create_any(&store, LONG).await;
    let ttl = Duration::from_millis(100);
    commit(&store, &key, Commit::new().ttl(ttl), "C28: shortening a life takes effect").await;
    fixture.advance(ttl * 2).await;
    absent(&store, &key, "C28: a shortened life ends at its new deadline").await;
    let outcome = store.commit(&key, Commit::new().ttl(LONG)).await.must("C28: commit answers");
    same(outcome, Outcome::Gone, "C28: an ended life is not extended (law 2)");
}

/// Each record has a life of its own.
pub async fn c29_each_record_has_its_own_ttl(fixture: &dyn Fixture) {
    let store = fixture.store();
    let short = create_any(&store, Duration::from_millis(300)).await;
    let long = create_any(&store, LONG).await;
    let shortened = create_any(&store, LONG).await;
    commit(&store, &shortened, Commit::new().ttl(Duration::from_millis(300)), "C29: shortening takes effect").await;
    let extended = create_any(&store, Duration::from_millis(800)).await;
    commit(&store, &extended, Commit::new().ttl(LONG), "C29: extending takes effect").await;
    fixture.advance(Duration::from_secs(1)).await;
    absent(&store, &short, "C29: the short life ends").await;
    absent(&store, &shortened, "C29: the shortened life ends").await;
    load(&store, &long, "C29: the long life goes on").await;
    load(&store, &extended, "C29: the extended life goes on").await;
}
