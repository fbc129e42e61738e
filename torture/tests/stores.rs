//! The stores keep the laws while workers and servers are killed, restarted and made to stand still.
//!
//! `TORTURE_SECONDS` makes the runs longer, `TORTURE_SEED` repeats one as far as processes let themselves be repeated.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot do its part fails, and shows what it found")]

use std::{env, path::PathBuf, time::Duration};

use torture::{
    check::describe,
    run::{Options, run},
};

/// How long each store is disturbed, in seconds.
const SECONDS: u64 = 6;
/// How many violations are shown.
const SHOWN: usize = 5;

async fn keeps_the_laws(store: &str, faults: &str) {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it is a number")));
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_torture")),
        store: store.to_owned(),
        length: Duration::from_secs(number("TORTURE_SECONDS").unwrap_or(SECONDS)),
        workers: 4,
        clients: 4,
        seed: number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000)),
        faults: faults.parse().unwrap(),
        plant: None,
        tolerance: Duration::from_millis(250),
    };
    println!("{store}: TORTURE_SEED={}", options.seed);
    let Some(outcome) = run(&options).await.unwrap() else { return };
    println!("{}", outcome.summary);
    let found = &outcome.verdict.violations;
    for violation in found.iter().take(SHOWN) {
        println!("{}", describe(&outcome.history, violation));
    }
    if !found.is_empty() {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{store}-{}.history", options.seed));
        outcome.history.save(&file).unwrap();
        panic!("{store} breaks a law {} times; the history is in {}", found.len(), file.display());
    }
    // A run in which nothing happened proves nothing.
    assert!(outcome.summary.acknowledged > 100 && outcome.summary.faults > 0, "{}", outcome.summary);
}

macro_rules! stores {
    ($($store:ident: $faults:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $store() {
            keeps_the_laws(stringify!($store), $faults).await;
        })*

        #[test]
        fn every_store_has_a_test() {
            assert_eq!([$(stringify!($store)),*].as_slice(), torture::run::STORES);
        }
    };
}

stores! {
    ipc: "kill,freeze";
    sqlite: "kill,freeze";
    redis: "kill,freeze,restart";
    mongo: "kill,freeze,restart";
    postgres: "kill,freeze,restart";
    mariadb: "kill,freeze,restart";
}
