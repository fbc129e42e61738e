//! The list from which the macro makes tests has every check.
#![cfg(feature = "conformance")]

use std::{collections::BTreeSet, fs, path::Path};

use session_core::conformance::CHECKS;

#[test]
fn the_list_has_every_check_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let functions = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        written
            .extend(functions.filter_map(|function| function.split('(').next()).map(str::to_owned));
    }
    let listed: BTreeSet<String> = CHECKS.iter().map(|check| (*check).to_owned()).collect();
    assert_eq!(listed, written);
    assert_eq!(listed.len(), CHECKS.len(), "no check is listed twice");
}

#[test]
fn every_line_of_the_store_contract_has_a_check() {
    for line in 1..=54 {
        let prefix = format!("c{line:02}_");
        assert!(CHECKS.iter().any(|check| check.starts_with(&prefix)), "{prefix}");
    }
}
