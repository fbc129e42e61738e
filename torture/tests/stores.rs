//! The stores keep the laws while workers and servers are killed, restarted and frozen.
//!
//! `TORTURE_SECONDS` sets the duration of the runs. `TORTURE_SEED` repeats the choices of a run,
//! but not the timing of its processes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails if it cannot run, and prints what it found"
)]

use std::{env, path::PathBuf, time::Duration};

use torture::{
    check::{Law, describe, describe_undone},
    history::{Call, CallOutcome},
    run::{Options, Outcome, PlantedBug, run},
};

/// The duration of a run in seconds.
const SECONDS: u64 = 6;
/// The shortest duration of a run with elections, in seconds. An election may need a second vote.
const SECONDS_WITH_ELECTIONS: u64 = 10;
/// The number of violations that are printed.
const SHOWN: usize = 5;

async fn run_with_faults(store: &str, faults: &str, plant: Option<PlantedBug>) -> Option<Outcome> {
    let number = |name| {
        env::var(name).ok().map(|text| {
            text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is not valid: use a number"))
        })
    };
    let least = if faults.contains("failover") { SECONDS_WITH_ELECTIONS } else { 0 };
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_torture")),
        store: store.to_owned(),
        length: Duration::from_secs(number("TORTURE_SECONDS").unwrap_or(SECONDS).max(least)),
        workers: 4,
        clients: 4,
        seed: number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000)),
        faults: faults.parse().unwrap(),
        plant,
        tolerance: Duration::from_millis(250),
    };
    println!("{store}: TORTURE_SEED={}", options.seed);
    let outcome = run(&options).await.unwrap()?;
    println!("{}", outcome.summary);
    // A run with few calls proves little. During an election few calls get through.
    let enough = if faults == "failover" { 30 } else { 100 };
    assert!(
        outcome.summary.acknowledged > enough && outcome.summary.faults > 0,
        "{}",
        outcome.summary
    );
    let has_rotated =
        |call: &&Call| call.rotation().is_some() && call.outcome() == CallOutcome::Happened;
    let rotations = outcome.history.calls.iter().filter(has_rotated).count();
    assert!(rotations > 10, "{rotations} rotations took effect: {}", outcome.summary);
    let failed_over = outcome
        .history
        .faults
        .iter()
        .any(|fault| fault.what.ends_with("until another server had taken over"));
    assert!(
        failed_over || !faults.contains("failover"),
        "no failover took place: {:?}",
        outcome.history.faults
    );
    Some(outcome)
}

async fn keeps_the_laws(store: &str, faults: &str) {
    let Some(outcome) = run_with_faults(store, faults, None).await else { return };
    for undone in outcome.verdict.undone.iter().take(SHOWN) {
        println!("{}", describe_undone(&outcome.history, undone));
    }
    let found = &outcome.verdict.violations;
    for violation in found.iter().take(SHOWN) {
        println!("{}", describe(&outcome.history, violation));
    }
    if !found.is_empty() {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{store}-{}.history", outcome.history.seed));
        outcome.history.save(&file).unwrap();
        panic!("{store} broke a law {} times; the history is in {}", found.len(), file.display());
    }
    // A store that waits for a majority has no documented losses.
    assert!(
        store.starts_with("redis-") || outcome.verdict.undone.is_empty(),
        "{}",
        outcome.summary
    );
}

/// Failovers do not hide a planted bug.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_bug_is_found_despite_failovers() {
    let Some(outcome) =
        run_with_faults("redis-sentinel", "failover", Some(PlantedBug::LostAdd)).await
    else {
        return;
    };
    assert!(!outcome.history.failovers.is_empty(), "{}", outcome.summary);
    // The number of violations depends on the duration of the election, so one is enough.
    let mut found = outcome.verdict.violations.iter();
    assert!(found.any(|found| found.law == Law::LostAdd), "{}", outcome.summary);
}

macro_rules! stores {
    ($($test:ident: $store:literal with $faults:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            keeps_the_laws($store, $faults).await;
        })*

        #[test]
        fn every_store_has_a_test() {
            assert_eq!([$($store),*].as_slice(), torture::run::STORES);
        }
    };
}

stores! {
    ipc: "ipc" with "kill,freeze";
    sqlite: "sqlite" with "kill,freeze";
    redis: "redis" with "kill,freeze,restart";
    mongo: "mongo" with "kill,freeze,restart";
    postgres: "postgres" with "kill,freeze,restart";
    mariadb: "mariadb" with "kill,freeze,restart";
    redis_sentinel: "redis-sentinel" with "failover";
    redis_cluster: "redis-cluster" with "failover";
    mongo_set: "mongo-set" with "failover";
}
