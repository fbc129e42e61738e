//! The report of a store's check, as tests read it.

use session_core::report::{Check, CheckReport, Outcome};

/// The check with this name.
///
/// # Panics
/// If the report does not have exactly one.
#[must_use]
pub fn line<'r>(report: &'r CheckReport, name: &str) -> &'r Check {
    let lines: Vec<_> = report.checks.iter().filter(|check| check.name == name).collect();
    let [line] = lines.as_slice() else { panic!("{name} has {} lines in: {report}", lines.len()) };
    line
}

/// Expects a check with this name and outcome, and these words in what was found and in the remedy.
///
/// # Panics
/// If the check differs.
pub fn assert_line(report: &CheckReport, name: &str, outcome: Outcome, words: &[&str]) {
    let check = line(report, name);
    assert_eq!(check.outcome, outcome, "{report}");
    let text = format!("{} {}", check.found, check.remedy.as_deref().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    let needs_remedy = matches!(outcome, Outcome::Warning | Outcome::Failed);
    assert!(!needs_remedy || check.remedy.is_some(), "{name} has no remedy: {report}");
}

/// Expects that all checks found what they should, except those with these names.
///
/// # Panics
/// If a check differs.
pub fn assert_all_ok(report: &CheckReport, except: &[&str]) {
    let others = report.checks.iter().filter(|check| !except.contains(&check.name));
    for check in others {
        assert_eq!(check.outcome, Outcome::Ok, "{} in: {report}", check.name);
    }
    assert!(report.checks.len() > except.len(), "{report}");
}
