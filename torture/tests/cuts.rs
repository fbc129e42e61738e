//! Runs with cuts: the stores keep the laws while packets are dropped.
//!
//! A cut needs a network namespace for the run. Without one these tests fail.
//! `TEST_NAMESPACES=none` says that the system makes no namespaces, and skips them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails if it cannot run, and prints what it found"
)]

use std::{
    env,
    process::{Command, Output},
};

use torture::history::History;

const SECONDS: &str = "6";
/// Servers outside of the namespace, which the run must not use.
const OUTSIDE: &[(&str, &str)] = &[
    ("TEST_REDIS_URL", "redis://127.0.0.1:1/0"),
    ("TEST_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none"),
];

fn torture(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_torture");
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).envs(environment.iter().copied()).output().unwrap();
    (
        status.code(),
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)),
    )
}

fn keeps_the_laws(store: &str) {
    if env::var("TEST_NAMESPACES").is_ok_and(|value| value == "none") {
        println!("SKIPPED, TEST_NAMESPACES=none: the system makes no network namespaces");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().display().to_string();
    let run = [
        "run",
        "--store",
        store,
        "--faults",
        "cut",
        "--seconds",
        SECONDS,
        "--seed",
        "7",
        "--keep-always",
        "--keep",
        &keep,
    ];
    let (code, output) = torture(&run, OUTSIDE);
    println!("{output}");
    assert_eq!(code, Some(0), "{output}");
    let history = History::open(&folder.path().join("torture-7.history")).unwrap();
    assert!(
        history.faults.iter().any(|fault| fault.what.contains("were dropped for")),
        "{:?}",
        history.faults
    );
    // Some calls had no answer because of the cut, and many others had one.
    let unanswered = history
        .calls
        .iter()
        .filter(|call| call.outcome() == torture::history::CallOutcome::Unknown)
        .count();
    assert!(unanswered > 0 && history.calls.len() > 100, "{output}");
}

#[test]
fn redis() {
    keeps_the_laws("redis");
}

#[test]
fn postgres() {
    keeps_the_laws("postgres");
}

#[test]
fn store_that_the_run_did_not_start_is_not_cut() {
    for store in ["ipc", "sqlite", "redis://127.0.0.1:1/0"] {
        let (code, output) = torture(&["run", "--store", store, "--faults", "kill,cut"], &[]);
        assert!(
            code == Some(2)
                && output.contains("no cut here: ")
                && output.contains("--faults kill,freeze"),
            "{code:?}: {output}"
        );
    }
}

#[test]
fn missing_tools_end_the_run() {
    let (code, output) =
        torture(&["run", "--store", "redis", "--faults", "cut"], &[("PATH", "/nowhere")]);
    assert!(
        code == Some(2) && output.contains("no cut here: ") && output.contains("unshare"),
        "{code:?}: {output}"
    );
}

#[test]
fn false_namespace_claim_is_refused() {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    let (code, output) =
        torture(&["run", "--store", "redis", "--faults", "cut"], &[("TORTURE_OUTSIDE", &own)]);
    assert!(code == Some(2) && output.contains("nothing is cut"), "{code:?}: {output}");
    let elsewhere = [("TORTURE_OUTSIDE", "net:[1]")];
    let (code, output) = torture(&["run", "--store", "redis", "--faults", "cut"], &elsewhere);
    assert!(code == Some(2) && output.contains("nothing is cut"), "{code:?}: {output}");
}
