//! What stands in the code blocks of a page.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// A file of this repository.
pub(crate) fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", file].iter().collect()
}

/// A text file of this repository.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The code blocks of a page whose first line is this.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begun = page.split(&fence).skip(1);
    begun.map(|rest| rest.split_once("```").expect("a code block ends").0.to_owned()).collect()
}

/// The languages of all code blocks of a page.
pub(crate) fn languages(page: &str) -> BTreeSet<&str> {
    // Every other fence ends a block.
    page.lines().filter_map(|line| line.trim_start().strip_prefix("```")).step_by(2).collect()
}

/// The only such block of a page.
pub(crate) fn block(page: &str, language: &str) -> String {
    let mut all = blocks(page, language);
    assert_eq!(all.len(), 1, "the page has {} blocks of {language}", all.len());
    all.remove(0)
}

/// The page that rustdoc shows first has the same application.
#[test]
fn the_front_page_and_the_crates_page_show_one_example() {
    let crate_page = text("session-actix/src/lib.rs");
    let lines = crate_page.lines().filter_map(|line| line.strip_prefix("//!"));
    let shown: String =
        lines.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect();
    assert_eq!(block(&shown, "no_run"), block(&text("README.md"), "rust,no_run"));
}
