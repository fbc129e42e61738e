//! Checks of `scan`: C37.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    assert::{Must, check, check_between, check_eq, fail},
    calls::{
        clients, commit, create, create_anonymous, create_many, end_session, keys, load, scan_keys,
        scan_records,
    },
    fixture::Fixture,
    session::{LONG, TestSession, data, principal, texts},
};
use crate::{Attributes, Cursor, StoreKey};

/// `scan` visits every live record in pages of at most `limit`, and ends.
pub async fn c37_scan_visits_every_live_record(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    check_eq(
        scan_keys(&clients[0], 10).await,
        Vec::new(),
        "C37: a scan of an empty storage visits nothing",
    );
    create_many(&clients, 5, Duration::from_millis(300)).await;
    let living = keys(&create_many(&clients, 120, LONG).await);
    fixture.advance(Duration::from_millis(600)).await;
    // A limit of 0 counts as 1.
    for limit in [0, 1, 7, 100, 1000] {
        for client in &clients {
            let visited: BTreeSet<StoreKey> = scan_keys(client, limit).await.into_iter().collect();
            let rule = format!("C37: a scan in pages of {limit} visits exactly the live records");
            check_eq((visited.len(), visited == living), (120, true), &rule);
        }
    }
}

/// `scan` returns whole records, as `load` does.
pub async fn c37_scan_returns_whole_records(fixture: &dyn Fixture) {
    let store = fixture.store();
    let session = TestSession::new();
    let (key, next) = (&session.key, session.rotated());
    let attributes = Attributes { idle_timeout: Some(LONG), ..Attributes::default() };
    create(&store, key, session.record(LONG).data(data([("a", "1")])).attributes(attributes)).await;
    commit(&store, key, session.sign_in(&next, &principal("alice")), "C37: a sign-in takes effect")
        .await;
    let last = next.rotated();
    let grace = Duration::from_secs(30);
    commit(
        &store,
        key,
        next.rotate_with_grace(&last, grace).ttl(LONG * 2),
        "C37: a rotation takes effect",
    )
    .await;
    let rule = "C37: a scan returns the same fields as load";
    let started = Instant::now();
    let mut visited = scan_records(&store, 10).await;
    let loaded = load(&store, key, rule).await;
    // The scan read the record at some time before the load.
    let elapsed = started.elapsed();
    let Some((found, record)) = visited.pop().filter(|_| visited.is_empty()) else {
        fail(rule, "one record", visited.len())
    };
    check_eq(&found, key, rule);
    check_eq((texts(&record.data), record.version), (texts(&loaded.data), 2), rule);
    check_eq((record.principal, record.attributes), (loaded.principal, loaded.attributes), rule);
    check_eq((record.secret, record.generation, record.since), (last.secret, 2, 1), rule);
    check_eq(record.grace.map(|grace| grace.secret), Some(next.secret), rule);
    let tolerance = fixture.tolerance();
    check_between(record.ttl, loaded.ttl, loaded.ttl + elapsed, tolerance, rule);
    check_between(record.age, loaded.age.saturating_sub(elapsed), loaded.age, tolerance, rule);
    check_between(
        record.rotated,
        loaded.rotated.saturating_sub(elapsed),
        loaded.rotated,
        tolerance,
        rule,
    );
    let authenticated = loaded.authenticated.unwrap_or_default();
    check_between(
        record.authenticated.unwrap_or(LONG),
        authenticated.saturating_sub(elapsed),
        authenticated,
        tolerance,
        rule,
    );
}

/// `scan` visits every record that lives during the whole scan, despite concurrent writes.
pub async fn c37_scan_is_complete_during_writes(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (scanner, writer) = (&clients[0], &clients[1]);
    let mut staying = create_many(&clients, 100, LONG).await;
    let mut leaving = create_many(&clients, 60, LONG).await;
    let expected = keys(&staying);
    let (mut visited, mut after) = (BTreeSet::new(), None::<Cursor>);
    for step in 0_usize.. {
        let page = scanner.scan(after, 5).await.must("C37: scan succeeds during writes");
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        for session in leaving.split_off(leaving.len().saturating_sub(3)) {
            end_session(writer, &session.key, "C37: delete finds the record during a scan").await;
        }
        if step < 40 {
            create_anonymous(writer, LONG).await;
        }
        // Changes, a longer ttl and rotations must not hide the record from the scan.
        for session in staying.iter_mut().skip(step % 20).step_by(20) {
            let (next, extended) = (session.rotated(), LONG * (1 + u32::from(step % 2 == 0)));
            let whole = session.add("n", 1).ttl(extended).rotate(next.rotation());
            commit(writer, &session.key, whole, "C37: a commit takes effect during a scan").await;
            *session = next;
        }
        check(step < 100_000, "C37: a scan ends despite concurrent writes", "an end", step);
    }
    let missed: Vec<&StoreKey> = expected.difference(&visited).collect();
    check_eq(missed, Vec::new(), "C37: a scan visits every record that is live throughout");
}
