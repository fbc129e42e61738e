//! What `scan` promises.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Fixture,
    steps::{
        LONG, Must, add, broken, clients, commit, create, create_any, create_many, data, holds, key, load, principal, same, scan_all, texts,
    },
};
use crate::{Cursor, NewRecord, StoreKey};

/// A scan visits every live record, in pages of at most `limit`, and ends.
pub async fn c37_a_scan_visits_every_live_record_and_ends(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    same(scan_all(&clients[0], 10).await, Vec::new(), "C37: a scan of an empty storage visits nothing");
    create_many(&clients, 5, Duration::from_millis(300)).await;
    let living: BTreeSet<StoreKey> = create_many(&clients, 120, LONG).await.into_iter().collect();
    fixture.advance(Duration::from_millis(600)).await;
    for limit in [1, 7, 100, 1000] {
        for client in &clients {
            let visited: BTreeSet<StoreKey> = scan_all(client, limit).await.into_iter().collect();
            let law = format!("C37: a scan in pages of {limit} visits exactly the live records");
            same((visited.len(), visited == living), (120, true), &law);
        }
    }
}

/// A scan gives whole records, as `load` does.
pub async fn c37_a_scan_gives_whole_records(fixture: &dyn Fixture) {
    let store = fixture.store();
    let key = key();
    create(&store, &key, NewRecord::new(LONG).data(data([("a", "1")])).principal(principal("alice"))).await;
    commit(&store, &key, add("n", 2), "C37: a commit takes effect").await;
    let mut after = None;
    let visited = loop {
        let page = store.scan(after, 10).await.must("C37: scan answers");
        match (page.records.into_iter().next(), page.next) {
            (Some(visited), _) => break visited,
            (None, Some(cursor)) => after = Some(cursor),
            (None, None) => broken("C37: a scan visits the record", "the record", "an end without it"),
        }
    };
    let loaded = load(&store, &key, "C37: load finds the record").await;
    let law = "C37: a scan gives what load gives";
    same(visited.0, key, law);
    same((texts(&visited.1.data), visited.1.version), (texts(&loaded.data), 2), law);
    same((visited.1.principal, visited.1.lifetime), (loaded.principal, loaded.lifetime), law);
    let (near, tolerance) = (visited.1.ttl.abs_diff(loaded.ttl), fixture.tolerance());
    holds(near <= tolerance, law, format_args!("a ttl of about {:?}", loaded.ttl), visited.1.ttl);
}

/// What lives under one key through the whole scan is visited, whatever comes, changes and goes meanwhile.
pub async fn c37_a_scan_misses_nothing_while_others_write(fixture: &dyn Fixture) {
    let clients = clients(fixture, 2).await;
    let (scanner, writer) = (&clients[0], &clients[1]);
    let staying: BTreeSet<StoreKey> = create_many(&clients, 100, LONG).await.into_iter().collect();
    let mut leaving = create_many(&clients, 60, LONG).await;
    let (mut visited, mut after) = (BTreeSet::new(), None::<Cursor>);
    for step in 0_u64.. {
        let page = scanner.scan(after, 5).await.must("C37: scan answers beside writers");
        visited.extend(page.records.into_iter().map(|(key, _)| key));
        let Some(cursor) = page.next else { break };
        after = Some(cursor);
        for key in leaving.split_off(leaving.len().saturating_sub(3)) {
            writer.delete(&key).await.must("C37: delete answers beside a scan");
        }
        if step < 40 {
            create_any(writer, LONG).await;
        }
        // A changed and extended record is still the same record.
        for key in staying.iter().skip(usize::try_from(step % 20).unwrap_or(0)).step_by(20) {
            commit(writer, key, add("n", 1).ttl(LONG * (1 + u32::from(step % 2 == 0))), "C37: commit takes effect beside a scan").await;
        }
        holds(step < 100_000, "C37: a scan ends, also while others write", "an end", step);
    }
    let missed: Vec<&StoreKey> = staying.difference(&visited).collect();
    same(missed, Vec::new(), "C37: a scan visits every record that lives under its key throughout");
}
