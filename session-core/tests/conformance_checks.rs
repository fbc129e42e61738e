//! The list of conformance checks and its table in `docs/conformance.md` are complete.
#![cfg(feature = "conformance")]

use std::{collections::BTreeSet, fs, path::Path};

use session_core::conformance::CHECKS;

#[test]
fn the_list_contains_every_check_once() {
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
    assert_eq!(listed.len(), CHECKS.len(), "a check is listed twice");
}

#[test]
fn every_id_of_the_store_contract_has_a_check() {
    for id in 1..=54 {
        let prefix = format!("c{id:02}_");
        assert!(CHECKS.iter().any(|check| check.starts_with(&prefix)), "{prefix}");
    }
}

#[test]
fn the_table_lists_every_check_with_its_id() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            match cells[..] {
                [id, _, function] => Some((id, function.strip_prefix('`')?.strip_suffix('`')?)),
                _ => None,
            }
        })
        .collect();
    let functions: Vec<&str> = rows.iter().map(|(_, function)| *function).collect();
    assert_eq!(functions, CHECKS);
    for (id, function) in rows {
        assert!(function.starts_with(&format!("{}_", id.to_lowercase())), "{id} {function}");
    }
}

#[test]
fn the_page_for_store_authors_names_every_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("OWN_STORE.md");
    let text = fs::read_to_string(path).unwrap();
    let missing: Vec<&&str> =
        CHECKS.iter().filter(|check| !text.contains(&format!("`{check}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
