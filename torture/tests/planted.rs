//! Each planted bug is found, so the checker can fail.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails if it cannot run, and prints what it found"
)]

use std::{path::PathBuf, time::Duration};

use torture::{
    check::{Law, check, describe},
    history::History,
    run::{Faults, Options, PlantedBug, run},
};

/// The number of runs for each bug, each longer than the one before. A bug that needs two calls at
/// the same moment may need several runs.
const ATTEMPTS: u64 = 6;

fn options(seed: u64, seconds: u64, plant: Option<PlantedBug>) -> Options {
    Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_torture")),
        store: "ipc".to_owned(),
        length: Duration::from_secs(seconds),
        workers: 3,
        clients: 4,
        seed,
        faults: Faults::default(),
        plant,
        tolerance: Duration::from_millis(250),
    }
}

async fn finds(plant: PlantedBug, law: Law) {
    for attempt in 1..=ATTEMPTS {
        let outcome = run(&options(attempt, 1 + attempt, Some(plant))).await.unwrap().unwrap();
        let Some(found) = outcome.verdict.violations.iter().find(|found| found.law == law) else {
            continue;
        };
        println!("{}", describe(&outcome.history, found));
        // The saved history gives the same verdict.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history");
        outcome.history.save(&file).unwrap();
        let read = History::open(&file).unwrap();
        assert_eq!(read, outcome.history);
        assert_eq!(check(&read), outcome.verdict);
        return;
    }
    panic!("{ATTEMPTS} runs with the bug {plant} showed no violation of {law}");
}

macro_rules! planted {
    ($($test:ident: $plant:ident breaks $law:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            finds(PlantedBug::$plant, Law::$law).await;
        })*

        #[test]
        fn every_bug_has_a_test() {
            let planted: Vec<_> = PlantedBug::ALL.iter().map(|(_, plant)| *plant).collect();
            assert_eq!([$(PlantedBug::$plant),*].as_slice(), planted);
        }
    };
}

planted! {
    commit_that_creates: Upsert breaks Resurrection;
    guard_that_is_ignored: LostGuard breaks Guard;
    deadline_that_is_ignored: ForgottenExpiry breaks AfterDeadline;
    life_that_is_shortened: EarlyExpiry breaks WrongTime;
    session_that_is_read_after_its_end: StaleRead breaks Resurrection;
    superseded_secret_that_is_accepted: SupersededAccepted breaks SupersededAccepted;
    rotations_that_do_not_compare_the_secret: RotationWithoutCheck breaks RotatedTwice;
    rotation_that_loses_updates: LossyRotation breaks LostAdd;
    claim_that_is_ignored: IgnoredClaim breaks Claim;
    creation_that_replaces_a_session: OverwritingCreate breaks CreatedTwice;
    set_that_is_dropped: LostSet breaks LostWrite;
    addition_that_is_dropped: LostAdd breaks LostAdd;
    addition_that_is_made_twice: DoubleAdd breaks SurplusAdd;
    creation_that_is_dropped: LostSession breaks LostSession;
    revocation_of_one_page: HalfRevoke breaks Resurrection;
    list_that_lacks_a_session: LostIndex breaks MissingInList;
    commit_in_two_steps: TornCommit breaks Version;
}
