//! Checks of `delete_expired`: C30, C31.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    assert::{Must, check, check_eq},
    calls::{
        Client, check_absent, clients, commit, create_anonymous, create_many, end_session, load,
        scan_keys,
    },
    fixture::{Fixture, Purge},
    session::LONG,
};

const SHORT: Duration = Duration::from_millis(300);

/// `delete_expired` removes at most `limit` expired records and no live one, and counts them.
///
/// The result 0 means that no expired record is left.
pub async fn c30_delete_expired_removes_only_expired_records(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let store = &clients[0];
    let living = create_many(&clients, 10, LONG).await;
    check_eq(
        store.delete_expired(100).await.must("C30: delete_expired succeeds"),
        0,
        "C30: if no record has expired none is purged",
    );
    create_many(&clients, 25, SHORT).await;
    fixture.advance(SHORT * 2).await;
    let expected: &[u64] = match fixture.purge() {
        Purge::ByCall => &[0, 10, 10, 5, 0, 0],
        Purge::ByItself => &[0, 0],
    };
    for (at, expected) in expected.iter().enumerate() {
        let limit = if at == 0 { 0 } else { 10 };
        let count = store.delete_expired(limit).await.must("C30: delete_expired succeeds");
        check_eq(
            count,
            *expected,
            "C30: delete_expired(10) purges at most 10 of 25 expired records per call and \
             returns the number",
        );
    }
    if fixture.purge() == Purge::ByCall
        && let Some(count) = fixture.physical_count().await.or_explain("C30 (count)")
    {
        check_eq(count, 10, "C30: only the live records are still stored");
    }
    for session in &living {
        load(store, &session.key, "C30: no live record is purged").await;
    }
}

/// `delete_expired` uses the current deadline of a record, not an earlier one.
pub async fn c30_delete_expired_uses_the_current_deadline(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (extended, shortened) =
        (create_anonymous(&store, SHORT).await, create_anonymous(&store, LONG).await);
    commit(&store, &extended.key, extended.touch(LONG), "C30: a longer ttl takes effect").await;
    commit(&store, &shortened.key, shortened.touch(SHORT), "C30: a shorter ttl takes effect").await;
    fixture.advance(SHORT * 2).await;
    let expected = u64::from(fixture.purge() == Purge::ByCall);
    check_eq(
        store.delete_expired(10).await.must("C30: delete_expired succeeds"),
        expected,
        "C30: only the record with the shorter ttl is purged",
    );
    load(&store, &extended.key, "C30: the record with the longer ttl is not purged").await;
    check_absent(&store, &shortened.key, "C30: the record with the shorter ttl is dead").await;
}

/// `delete_expired` during other calls fails none of them, loses no update and cannot deadlock.
pub async fn c30_delete_expired_disturbs_no_concurrent_call(fixture: &dyn Fixture) {
    let clients = clients(fixture, 4).await;
    let sessions = create_many(&clients, 40, LONG).await;
    create_many(&clients, 200, SHORT).await;
    fixture.advance(SHORT * 2).await;
    let mut running = JoinSet::new();
    for client in &clients {
        let (purger, worker, sessions) =
            (Client::clone(client), Client::clone(client), sessions.clone());
        running.spawn(async move {
            for _ in 0..40 {
                purger.delete_expired(5).await.must("C30: a purge during other calls succeeds");
            }
        });
        running.spawn(async move {
            for session in &sessions {
                commit(
                    &worker,
                    &session.key,
                    session.add("n", 1).ttl(LONG),
                    "C30: a commit during a purge takes effect",
                )
                .await;
                let passing = create_anonymous(&worker, LONG).await;
                end_session(&worker, &passing.key, "C30: a delete during a purge succeeds").await;
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), running.join_all()).await;
    check_eq(all.is_ok(), true, "C30: purges and other calls do not deadlock");
    for session in &sessions {
        let record =
            load(&clients[0], &session.key, "C30: a purge does not remove live records").await;
        check_eq(record.version, 5, "C30: all four commits during the purge took effect");
    }
    check_eq(
        scan_keys(&clients[0], 50).await.len(),
        40,
        "C30: all sessions that were not deleted are live after the purge",
    );
}

/// The cost of purging ten records does not grow with the number of stored records.
pub async fn c31_purge_cost_follows_the_expired_records(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    if fixture.purge() == Purge::ByItself {
        check_eq(
            clients[0].delete_expired(100).await.must("C31: delete_expired succeeds"),
            0,
            "C31: delete_expired returns 0 if the backend purges by itself",
        );
        return;
    }
    create_many(&clients, 1_000, LONG).await;
    let few = purge_ten(fixture, &clients).await;
    create_many(&clients, fixture.bulk().saturating_sub(1_000), LONG).await;
    let many = purge_ten(fixture, &clients).await;
    // The minimum of several samples has little noise. The constant allows for the rest.
    let most = few * 8 + Duration::from_millis(10);
    let rule = "C31: the cost of delete_expired follows the expired records, not the stored ones";
    check(
        many <= most,
        rule,
        format_args!(
            "at most {most:?} among {} records, as it takes {few:?} among 1,000",
            fixture.bulk()
        ),
        many,
    );
}

async fn purge_ten(fixture: &dyn Fixture, clients: &[Client]) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        create_many(clients, 10, SHORT).await;
        fixture.advance(SHORT + Duration::from_millis(20)).await;
        let started = Instant::now();
        let purged = clients[0].delete_expired(100).await.must("C31: delete_expired succeeds");
        best = best.min(started.elapsed());
        check_eq(purged, 10, "C31: the ten expired records are purged");
    }
    best
}
