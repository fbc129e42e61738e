//! A primary steps down, dies or hangs under load, and another member becomes primary.
//!
//! Calls fail only for a limited time, and only with transient errors. Afterwards the same store
//! serves all clients, no acknowledged add is lost, no add is applied twice, and no sign-out is
//! undone.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use session_core::{NewRecord, SessionStore};
use tests::{
    PATIENCE,
    service::{ExternalServer, MongoSet},
    wait,
};

use crate::{
    load::Load,
    session::{LONG, PATIENT, Session, connect, is_done, principal, with},
};

/// Number of clients.
const CLIENTS: usize = 16;

/// The minimum duration of the load, including the fault.
const MIN_LOAD: Duration = Duration::from_secs(8);

/// Number of consecutive successes after which a client counts as served again. While a member
/// hangs, the servers acknowledge a write only with their next heartbeat.
const SUCCESSES: usize = 8;

/// How long calls may fail after the fault. A secondary that replicates from a hanging member
/// detects that after five seconds. Until then no majority acknowledges a write, whichever member
/// is the primary.
const RECOVERY: Duration = Duration::from_secs(10);

/// Time to live of a session that soon expires.
const SHORT: Duration = Duration::from_secs(2);

/// How long before the fault a call that fails by it may have started.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// The fault of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It steps down, as for maintenance.
    SteppedDown,
    /// Its process ends, and the kernel refuses connections.
    Killed,
    /// It keeps its connections and does not respond. After the thaw it still acts as primary for a
    /// moment.
    Frozen,
}

async fn lose_the_primary(set: &mut MongoSet, fault: Fault) -> Result<(), ExternalServer> {
    let start = Instant::now();
    let store = connect(&set.url()).await;
    let load = Load::start(&store, CLIENTS).await;
    load.wait_for_successes(20).await;
    assert_eq!(load.failures(), 0, "no call fails before the fault");

    let fault_at = Instant::now();
    let failed_port = match fault {
        Fault::SteppedDown => set.step_down().await?,
        Fault::Killed => set.kill_primary().await?,
        Fault::Frozen => set.freeze_primary().await?,
    };
    let another = async || set.primary().await.ok().filter(|port| *port != failed_port);
    wait::until("another primary", PATIENCE, another).await;
    let election = fault_at.elapsed();
    load.wait_for_successes(SUCCESSES).await;
    let served = fault_at.elapsed();
    match fault {
        Fault::SteppedDown => {}
        Fault::Killed => set.start_again(failed_port).await?,
        Fault::Frozen => set.thaw(failed_port).await?,
    }
    set.complete().await;
    load.wait_for_successes(SUCCESSES).await;
    tokio::time::sleep(MIN_LOAD.saturating_sub(start.elapsed())).await;

    let report = load.end().await;
    let window =
        report.window.map(|(from, to)| (from.saturating_duration_since(fault_at), to - fault_at));
    eprintln!(
        "{fault:?}: new primary after {election:?}, all clients served after {served:?}, failures \
         in {window:?}; {} failed, the slowest took {:?}; {} adds acknowledged, {} uncertain, of \
         which {} were applied; {} signed out\n{:?}",
        report.failed,
        report.longest,
        report.added,
        report.uncertain,
        report.applied,
        report.signed_out,
        report.failures,
    );
    if let Some((first, last)) = report.window {
        assert!(
            first + IN_FLIGHT >= fault_at,
            "a call failed {:?} before the fault",
            fault_at - first
        );
        assert!(last <= fault_at + RECOVERY, "a call failed {:?} after the fault", last - fault_at);
    }
    // A step-down takes less than 100 ms, and the driver's retry hides it.
    let is_hidden = matches!(fault, Fault::SteppedDown);
    assert!(
        is_hidden || report.failed > 0,
        "a lost primary makes calls fail, otherwise the test proves nothing"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_step_down_loses_no_acknowledged_write() {
    let Some(mut set) = MongoSet::start().await else { return };
    ours!(lose_the_primary(&mut set, Fault::SteppedDown).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_killed_primary_loses_no_acknowledged_write() {
    let Some(mut set) = MongoSet::start().await else { return };
    ours!(lose_the_primary(&mut set, Fault::Killed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_frozen_primary_loses_no_acknowledged_write() {
    let Some(mut set) = MongoSet::start().await else { return };
    ours!(lose_the_primary(&mut set, Fault::Frozen).await);
}

/// Number of linearizable reads that a member has served.
async fn linearizable_reads(set: &MongoSet, port: u16) -> i64 {
    let status =
        set.command(port, doc! { "serverStatus": 1 }).await.expect("a running member responds");
    let counters = status
        .get_document("readConcernCounters")
        .and_then(|all| all.get_document("nonTransactionOps"));
    counters
        .and_then(|counters| counters.get_i64("linearizable"))
        .expect("the server counts reads by their read concern")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_first_read_after_an_election_is_linearizable() {
    let Some(set) = MongoSet::start().await else { return };
    let store = connect(&with(&set.url(), PATIENT)).await;
    let session = Session::signed_in(&store, "bob").await;
    let first = ours!(set.primary().await);
    let read = async || {
        wait::until("a read to succeed", PATIENCE, async || {
            store.load(&session.key).await.ok().flatten()
        })
        .await;
        wait::until("a list to succeed", PATIENCE, async || {
            store.list(&principal("bob"), None, 10).await.ok()
        })
        .await;
    };
    read().await;
    let known = linearizable_reads(&set, first).await;
    assert!(known > 0, "the first read of a store is linearizable");
    read().await;
    assert_eq!(linearizable_reads(&set, first).await, known, "one linearizable read is enough");

    let _ = ours!(set.step_down().await);
    let second = wait::until("another primary", PATIENCE, async || {
        set.primary().await.ok().filter(|port| *port != first)
    })
    .await;
    let before = linearizable_reads(&set, second).await;
    read().await;
    let after = linearizable_reads(&set, second).await;
    assert!(after > before, "the first read after an election is linearizable");
    read().await;
    read().await;
    assert_eq!(linearizable_reads(&set, second).await, after, "one linearizable read is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_configured_read_concern_disables_linearizable_reads() {
    let Some(set) = MongoSet::start().await else { return };
    let store = connect(&with(&set.url(), &format!("{PATIENT}&readConcernLevel=majority"))).await;
    let session = Session::signed_in(&store, "bob").await;
    let _ = store
        .load(&session.key)
        .await
        .expect("the replica set responds")
        .expect("the session exists");
    assert_eq!(linearizable_reads(&set, ours!(set.primary().await)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_extended_session_stays_alive_while_the_majority_is_slow() {
    let Some(set) = MongoSet::start().await else { return };
    let store = connect(&with(&set.url(), PATIENT)).await;
    let primary = ours!(set.primary().await);
    set.outlive_followers(primary).await;
    let others: Vec<_> = ours!(set.ports()).into_iter().filter(|port| *port != primary).collect();
    let session = Session::new();
    // The first read after an election is linearizable anyway, so it comes before the test.
    let confirmed = async || {
        let before = linearizable_reads(&set, primary).await;
        let _ = store.load(&session.key).await.expect("the replica set responds");
        (linearizable_reads(&set, primary).await == before).then_some(())
    };
    wait::until("a read that is not linearizable", PATIENCE, confirmed).await;
    let _ = store
        .create(&session.key, NewRecord::new(session.secret, SHORT))
        .await
        .expect("the session is created");
    for other in &others {
        ours!(set.freeze(*other).await);
    }
    let extending = tokio::spawn({
        let (store, session) = (store.clone(), session.clone());
        async move { store.commit(&session.key, session.commit().ttl(LONG)).await }
    });
    tokio::time::sleep(SHORT * 2).await;
    assert!(!extending.is_finished(), "a frozen majority acknowledges no write");
    let read = tokio::spawn({
        let (store, key) = (store.clone(), session.key.clone());
        async move { store.load(&key).await }
    });
    tokio::time::sleep(SHORT).await;
    let answered = read.is_finished();
    for other in &others {
        ours!(set.thaw(*other).await);
    }
    assert_eq!(
        ours!(set.primary().await),
        primary,
        "an election would make the read linearizable anyway, and the test would prove nothing"
    );
    let (extended, read) = (
        extending.await.expect("the task does not panic"),
        read.await.expect("the task does not panic"),
    );
    assert!(is_done(&extended), "the commit arrived in time: {extended:?}");
    assert!(
        read.expect("the replica set responds").is_some(),
        "the session is alive; the read ended before the thaw: {answered}"
    );
}
